"""Skinning and evaluation: fast paths against plain twins, FLAME's conventions, the jaw joint against jawOpen."""

import dataclasses

import numpy as np
import pytest
from head_tools import weights_of

from engine.core.errors import BadInput
from engine.core.names import ARKIT, EXTRA, JOINTS
from engine.core.units import MM
from engine.head import evaluate, lbs
from engine.head.library import load_head

# float32 sums over 59 shapes of at most 4 cm: about 60 * 2^-24 * 0.04 m, far below; skinning adds as much again.
TOLERANCE_M = 2e-6


@pytest.fixture(scope="module")
def head():
    return load_head("default")


@pytest.fixture(scope="module")
def motion():
    rng = np.random.default_rng(0)
    frames = 70  # more than one block of frames
    pose = rng.normal(0, 0.25, (frames, 15))
    pose[:, 6:9] = 0
    return (
        rng.uniform(0, 1, (frames, len(ARKIT))), rng.uniform(0, 1, (frames, len(EXTRA))), pose,
        rng.normal(0, 0.1, (frames, 3)),
    )  # fmt: skip


def per_vertex_skinning(points, joints, pose, parents, weights):
    """One frame of LBS in loops and 4 x 4 matrices (SMPL, equations 2-4), float64."""

    def turn(r):
        angle = np.linalg.norm(r)
        if angle < 1e-12:
            return np.eye(3)
        x, y, z = r / angle
        k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
        return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k

    world = []
    for j, parent in enumerate(parents):
        local = np.eye(4)
        local[:3, :3] = turn(pose[3 * j : 3 * j + 3])
        local[:3, 3] = joints[j] - (joints[parent] if parent >= 0 else 0)
        world.append(world[parent] @ local if parent >= 0 else local)
    out = np.zeros_like(points)
    for v, p in enumerate(points):
        for j, w in enumerate(weights[v]):
            out[v] += w * (world[j][:3, :3] @ (p - joints[j]) + world[j][:3, 3])
    return out


def test_skinning_against_a_float64_twin_on_a_random_model():
    rng = np.random.default_rng(3)
    v = 300
    points, joints = rng.normal(0, 0.1, (2, v, 3)), rng.normal(0, 0.05, (5, 3))
    weights = rng.uniform(0, 1, (v, 5)) ** 4
    weights /= weights.sum(1, keepdims=True)
    pose = rng.normal(0, 0.5, (2, 15))
    transforms = lbs.joint_transforms(joints[None], pose, (-1, 0, 1, 1, 1))
    plain = lbs.skin_reference(points, transforms, weights)
    for t in range(2):
        want = per_vertex_skinning(points[t], joints, pose[t], (-1, 0, 1, 1, 1), weights)
        assert np.abs(plain[t] - want).max() < 1e-12
    fast = lbs.skin(points.astype(np.float32), transforms, weights)
    assert np.abs(fast - plain).max() < 5e-7  # float32 of coordinates below 1 m


def test_rodrigues_is_a_rotation_and_keeps_small_angles():
    rng = np.random.default_rng(1)
    for scale in (1e-9, 1e-5, 0.3, 3.0):
        turn = lbs.rodrigues_reference(rng.normal(0, scale, (20, 3)))
        assert np.abs(turn @ turn.transpose(0, 2, 1) - np.eye(3)).max() < 1e-12
        assert np.abs(np.linalg.det(turn) - 1).max() < 1e-12
    tiny = np.array([1e-7, -2e-7, 3e-7])
    skew = np.array([[0, -tiny[2], tiny[1]], [tiny[2], 0, -tiny[0]], [-tiny[1], tiny[0], 0]])
    assert np.abs(lbs.rodrigues_reference(tiny) - np.eye(3) - skew).max() < 1e-13


@pytest.mark.parametrize("with_pose", [False, True])
def test_fast_vertices_equal_the_reference(head, motion, with_pose):
    arkit, extra, pose, move = motion
    pose = pose if with_pose else None
    fast = evaluate.vertices(head, arkit, extra, pose, move)
    plain = evaluate.vertices_reference(head, arkit, extra, pose, move)
    assert fast.dtype == np.float32 and fast.shape == (len(arkit), *head.template.shape)
    assert np.abs(fast - plain).max() < TOLERANCE_M


def test_fast_vertices_with_identity_equal_the_reference(head, motion):
    arkit, extra, pose, _ = motion
    who = np.linspace(-0.5, 0.5, head.identity.shape[2])
    fast = evaluate.vertices(head, arkit[:3], extra[:3], pose[:3], identity=who)
    plain = evaluate.vertices_reference(head, arkit[:3], extra[:3], pose[:3], identity=who)
    assert np.abs(fast - plain).max() < TOLERANCE_M


def test_weights_at_rest_give_the_template(head):
    assert (evaluate.vertices(head, *weights_of())[0] == head.template).all()
    assert (evaluate.vertices(head, *weights_of(), pose=np.zeros((1, 15)))[0] == head.template).all()


def test_weights_sum_to_one_and_eyes_are_rigid(head):
    assert np.abs(head.weights.sum(1) - 1).max() < 1e-6 and head.weights.min() >= 0
    assert np.abs(head.joint_regressor.sum(1) - 1).max() < 1e-5
    for name in ("eye_left", "eye_right"):
        assert (head.weights[head.parts[name], JOINTS.index(name)] == 1).all()


def test_neck_turns_the_head_and_leaves_the_bust(head):
    pose = np.zeros((1, 15))
    pose[0, 3:6] = (0.1, 0.4, -0.1)
    verts = evaluate.vertices(head, *weights_of(), pose)[0]
    cap = head.parts["cap"]
    assert np.abs(verts[cap] - head.template[cap]).max() * MM < 0.01
    rigid = np.concatenate([head.parts["teeth_upper"], [head.landmarks["nose_tip"][0]]])
    a, b = head.template[rigid].astype(float), verts[rigid].astype(float)
    near = np.linalg.norm(a[:50, None] - a[None, :50], axis=-1)
    assert np.abs(np.linalg.norm(b[:50, None] - b[None, :50], axis=-1) - near).max() * MM < 0.01
    edges = np.concatenate([head.triangles[:, [0, 1]], head.triangles[:, [1, 2]]])
    edges = edges[np.isin(edges, head.parts["skin"]).all(1)]
    stretch = np.linalg.norm(verts[edges[:, 0]] - verts[edges[:, 1]], axis=1) / np.linalg.norm(
        head.template[edges[:, 0]] - head.template[edges[:, 1]], axis=1
    )
    assert stretch.max() < 1.8  # the blend over the neck shears, it does not tear


def test_eye_joint_turns_the_ball_about_its_centre(head):
    pose = np.zeros((1, 15))
    pose[0, 9:12] = (0.0, 0.3, 0.0)  # the left eye looks to its left: +y turns +z towards +x
    verts = evaluate.vertices(head, *weights_of(), pose)[0]
    ball = head.parts["eye_left"]
    centre = evaluate.joints_of(head)[JOINTS.index("eye_left")]
    before, after = head.template[ball] - centre, verts[ball] - centre
    assert np.abs(np.linalg.norm(before, axis=1) - np.linalg.norm(after, axis=1)).max() < 1e-6
    pupil = np.argmax(before[:, 2])
    assert after[pupil, 0] > 0.003
    moved = np.abs(verts - head.template).max(1) > 1e-6
    moved[ball] = False
    lids = np.linalg.norm(head.template[moved] - centre, axis=1)
    assert lids.max() < 0.045 and (head.template[moved, 0] > 0).all()  # nothing but that eye's lids, which follow
    look = evaluate.vertices(head, *weights_of(eyeLookOutLeft=float(np.sin(0.3) / np.sin(np.radians(30)) - 0.02)))[0]
    assert np.abs(verts[moved] - look[moved]).max() < 1e-6


def test_the_jaw_joint_reproduces_jaw_open(head):
    parts = np.linspace(0, 1, 9)
    arkit = np.zeros((9, len(ARKIT)))
    arkit[:, ARKIT.index("jawOpen")] = parts
    pose = np.zeros((9, 15))
    pose[:, 6] = parts * head.jaw_open_rad
    flame = evaluate.flame_vertices(head, None, np.zeros((9, len(head.expression_names))), pose)
    residual = np.abs(flame - evaluate.vertices(head, arkit)).max((1, 2)) * MM
    assert residual[[0, 4, 8]].max() < 0.01  # exact by construction at rest, half and full
    assert residual.max() < 0.15  # third order between them
    assert 0.3 < head.jaw_open_rad < 0.55


def test_flame_path_closes_the_lips_over_an_open_jaw(head):
    from engine.head import lips

    pose = np.zeros((1, 15))
    pose[0, 6] = head.jaw_open_rad
    expression = np.zeros((1, len(head.expression_names)))
    expression[0, head.expression_names.index("mouthClose")] = 1
    flame = evaluate.flame_vertices(head, None, expression, pose)
    arkit, extra = weights_of(jawOpen=1, mouthClose=1)
    assert np.abs(flame[0] - evaluate.vertices(head, arkit, extra)[0]).max() * MM < 0.05
    assert lips.lip_gap(head, flame)[0] * MM < 0.5


def test_flame_expression_is_the_shapes_without_the_jaw(head):
    rng = np.random.default_rng(5)
    arkit, extra = rng.uniform(0, 1, (2, len(ARKIT))), rng.uniform(0, 1, (2, len(EXTRA)))
    for name in ("jawOpen", "mouthClose"):
        arkit[:, ARKIT.index(name)] = 0
    weights = evaluate.shape_weights(head, arkit, extra)
    expression = weights[:, [head.shape_index[n] for n in head.expression_names]]
    flame = evaluate.flame_vertices(head, None, expression, np.zeros((2, 15)))
    assert np.abs(flame - evaluate.vertices_reference(head, arkit, extra)).max() < 1e-8


def test_flame_path_agrees_with_a_naive_model_at_any_pose(head):
    head = dataclasses.replace(head, corrective_names=())  # FLAME itself knows none
    rng = np.random.default_rng(7)
    pose = rng.normal(0, 0.2, (1, 15))
    expression = rng.uniform(0, 0.5, (1, len(head.expression_names)))
    flame = evaluate.flame_vertices(head, None, expression, pose)[0]
    shaped = head.template + head.expression.astype(float) @ expression[0]
    joints = head.joint_regressor.astype(float) @ shaped
    feature = (lbs.rodrigues_reference(pose.reshape(5, 3)[1:]) - np.eye(3)).ravel()
    posed = shaped + head.posedirs.astype(float) @ feature
    want = per_vertex_skinning(posed, joints, pose[0], head.parents, head.weights.astype(float))
    assert np.abs(flame - want).max() < 1e-7  # the correctives are added in the points' own float64


@pytest.mark.parametrize(
    "change, says",
    [
        ({"arkit": np.zeros((2, 51))}, "52"),
        ({"arkit": np.zeros(52)}, "52"),
        ({"extra": np.zeros((1, 7))}, "extra"),
        ({"pose": np.zeros((2, 12))}, "pose"),
        ({"translation": np.zeros((1, 3))}, "translation"),
        ({"identity": np.zeros(99)}, "identity"),
    ],
)
def test_wrong_shapes_are_one_sentence(head, change, says):
    good = {"arkit": np.zeros((2, 52)), "extra": np.zeros((2, 7)), "pose": np.zeros((2, 15))}
    with pytest.raises(BadInput, match=says):
        evaluate.vertices(head, **{**good, **change})
