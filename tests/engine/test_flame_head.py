"""An imported FLAME model as a head: shapes against the truth, what is left over, the inner mouth, the marks."""

import flame_like
import numpy as np
import pytest
from head_tools import weights_of

from engine.core.errors import BadInput
from engine.core.names import ARKIT, EXTRA
from engine.head.evaluate import flame_vertices, shape_weights
from engine.head.files import read_head
from engine.head.flame.file import read_flame
from engine.head.flame.lay import flame_face, our_face
from engine.head.flame.marks import Face, boundary_loops, face_marks
from engine.head.flame.project import KEEP, project
from engine.head.library import load_head
from engine.head.lips import lip_gaps

V = flame_like.V


@pytest.fixture(scope="module")
def made():
    """(model, head, truth by name)."""
    model, truth, head = flame_like.prepared()
    with np.load(truth) as data:
        shapes = dict(zip(data["names"].tolist(), data["shapes"], strict=True))
    return read_flame(model), load_head(head), shapes


def posed(head, **named):
    weights = shape_weights(head, *weights_of(**named)).astype(float)
    return flame_vertices(head, None, weights @ head.shape_expression, weights @ head.shape_pose)[0]


def test_flames_vertices_and_faces_keep_their_numbers(made):
    model, head, _ = made
    assert np.array_equal(head.template[:V], model.template.astype(np.float32))
    assert np.array_equal(head.faces[: len(model.triangles), :3], model.triangles)
    assert (head.faces[: len(model.triangles), 3] == -1).all()
    assert np.array_equal(head.weights[:V], model.weights.astype(np.float32))
    assert np.array_equal(head.expression[:V, :, :100], model.expression.astype(np.float32))
    assert head.shape_names == (*ARKIT, *EXTRA) and head.flame_version == "2023-open"
    assert np.abs(head.weights.sum(1) - 1).max() < 1e-5
    assert head.is_flame and not load_head().is_flame


def test_faces_of_flame_alone_are_flame(made):
    """The head's first vertices move as the file's own model does, whatever was added."""
    model, head, _ = made
    rng = np.random.default_rng(0)
    expression = np.zeros((1, len(head.expression_names)))
    expression[0, :100] = rng.normal(0, 1, 100)
    pose = rng.normal(0, 0.2, (1, 15))
    from test_flame_skinning import bare_head

    fields = {
        "v_template": model.template, "f": model.triangles, "posedirs": model.posedirs, "weights": model.weights,
        "shapedirs": np.concatenate([model.identity, model.expression], 2), "J_regressor": model.regressor,
    }  # fmt: skip
    alone = flame_vertices(bare_head(fields), None, expression[:, :100], pose)
    assert np.abs(flame_vertices(head, None, expression, pose)[:, :V] - alone).max() < 1e-7


# Mean error in percent of the shape's mean displacement, over the vertices that it moves. The truth is our own head's
# shapes on another person's face, so both transfer (about 3 to 12 %) and FLAME's basis (about 5 %) are in it.
LIMITS = {
    "jawOpen": 9, "mouthSmileLeft": 10, "mouthSmileRight": 10, "mouthPucker": 8, "mouthFunnel": 12, "cheekPuff": 8,
    "jawLeft": 8, "eyeBlinkLeft": 14, "eyeBlinkRight": 14, "browInnerUp": 20, "noseSneerLeft": 28, "mouthClose": 14,
}  # fmt: skip


@pytest.mark.parametrize("name", LIMITS)
def test_shapes_are_those_of_the_truth(made, name):
    _, head, truth = made
    wanted = truth[name]
    got = head.shapes[head.shape_index[name]][:V]
    moved = np.linalg.norm(wanted, axis=1) > 0.02 * np.linalg.norm(wanted, axis=1).max()
    size = np.linalg.norm(wanted[moved], axis=1).mean()
    error = 100 * np.linalg.norm((got - wanted)[moved], axis=1).mean() / size
    assert error < LIMITS[name], error
    other = truth["mouthFrownLeft"]
    assert 100 * np.linalg.norm((other - wanted)[moved], axis=1).mean() / size > 60, "another shape must not pass"


def test_jaw_open_is_a_turn_of_the_jaw(made):
    _, head, truth = made
    k = head.shape_index["jawOpen"]
    assert 0.3 < head.jaw_open_rad < 0.6 and head.shape_pose[k, 6] == pytest.approx(head.jaw_open_rad)
    assert np.abs(head.shape_pose[k, 7:9]).max() < 0.01
    others = [i for i, n in enumerate(head.shape_names) if n not in ("jawOpen", "jawLeft", "jawRight")]
    assert not head.shape_pose[others].any(), "no other shape turns a joint"
    chin = truth["jawOpen"][:, 1].min()
    assert head.shapes[k][:V, 1].min() == pytest.approx(chin, rel=0.1)


def test_coefficients_stay_near_the_data(made):
    _, head, _ = made
    assert np.abs(head.shape_expression).max() < 5, "in standard deviations; sliders end at 10"


@pytest.mark.parametrize("keep", KEEP)
def test_residuals_are_what_is_left(made, keep):
    """The report agrees with vertices computed anew; more columns leave less."""
    model, _, truth = made
    skin, _ = flame_face(model)
    names = ("jawOpen", "mouthClose", "mouthSmileLeft", "eyeBlinkLeft", "lipsTogether")
    shapes = np.stack([truth[n][skin] for n in names])
    found = project(model, skin, names, shapes, np.ones(len(skin)), np.ones(len(skin)), keep)
    for k in (0, 2):
        points = model.template + model.expression @ found.expression[k, :100]
        own = np.zeros((V, 3))
        own[skin] = np.tensordot(found.expression[k, 100:], found.offsets, 1)
        from engine.head import lbs

        pose = found.pose[k : k + 1]
        turn = (lbs.rodrigues_reference(pose.reshape(5, 3)[1:]) - np.eye(3)).ravel()
        points += own
        moves = lbs.joint_transforms((model.regressor @ points)[None], pose, (-1, 0, 1, 1, 1))
        got = lbs.skin_reference((points + model.posedirs @ turn)[None], moves, model.weights)[0]
        left = 1000 * np.linalg.norm(got[skin] - model.template[skin] - shapes[k], axis=1)
        assert found.residual_mm[names[k]]["max"] == pytest.approx(left.max(), abs=2e-3)
    smile, blink = found.residual_mm["mouthSmileLeft"], found.residual_mm["eyeBlinkLeft"]
    assert smile["bare_mean"] < 0.1 * smile["moved"]
    if keep == "none":
        assert found.columns == () and blink["mean"] > 0.5 * blink["moved"], "FLAME has no lid control"
    else:
        assert found.columns[0] == "eyelid_left" and blink["max"] < 1e-6
        assert found.residual_mm["lipsTogether"]["mean"] < 0.01
    if keep == "all":
        assert max(row["max"] for row in found.residual_mm.values()) < 0.11


def test_an_unknown_way_of_keeping_is_refused(made):
    model, _, _ = made
    with pytest.raises(BadInput, match="none, contact, all"):
        project(model, np.arange(3), (), np.zeros((0, 3, 3)), np.ones(3), np.ones(3), "some")


def test_lips_shut_on_the_open_jaw_and_lids_in_a_blink(made):
    _, head, _ = made
    rest = lip_gaps(head, head.template[None].astype(float))
    shut = lip_gaps(head, posed(head, jawOpen=1.0, mouthClose=1.0)[None])
    opened = lip_gaps(head, posed(head, jawOpen=1.0)[None])
    assert opened.gap[0] > 0.02 and shut.gap[0] < rest.gap[0] + 0.0006
    assert shut.overlap[0] < 0.0015
    marks = face_marks(flame_face(read_flame(flame_like.prepared()[0]))[1])
    skin = flame_face(read_flame(flame_like.prepared()[0]))[0]
    upper, lower = (skin[marks[f"lid_left_{k}"]] for k in (11, 4))
    height = head.template[upper, 1] - head.template[lower, 1]
    blink = posed(head, eyeBlink=1.0)
    assert height > 0.007 and abs(blink[upper, 1] - blink[lower, 1]) < 0.25 * height


def test_the_lower_teeth_turn_with_the_jaw_and_the_upper_do_not(made):
    _, head, _ = made
    opened = posed(head, jawOpen=1.0)
    for part in ("teeth_upper", "gums_upper"):
        assert np.abs(opened[head.parts[part]] - head.template[head.parts[part]]).max() < 2e-5
    rows = head.parts["teeth_lower"]
    assert np.linalg.norm(opened[rows] - head.template[rows], axis=1).min() > 0.01
    apart = [np.linalg.norm(p[rows[:50]] - p[rows[-50:]], axis=1) for p in (opened, head.template)]
    assert np.abs(apart[0] - apart[1]).max() < 1e-6, "teeth are rigid"
    assert np.linalg.norm(posed(head, tongueOut=1.0)[head.parts["tongue"]] - head.template[head.parts["tongue"]],
                          axis=1).max() > 0.015  # fmt: skip


def shown_through(head, points):
    """How far (metres) inner parts stand before all skin that covers them seen from the front: [n] positive ones."""
    triangles = head.triangles[np.isin(head.triangles, head.parts["skin"]).all(1)]
    a, b, c = (points[triangles[:, k]] for k in range(3))
    front = np.cross(b - a, c - a)[:, 2] > 0
    a, b, c = a[front], b[front], c[front]
    out = []
    for row in np.concatenate([head.parts[p] for p in ("mouth", "teeth_upper", "teeth_lower", "gums_lower")]):
        p = points[row]
        near = (np.abs(a[:, :2] - p[:2]) < 0.015).all(1)
        corner = np.stack([a[near], b[near], c[near]], 1)
        after = np.roll(corner, -1, 1)
        area = (after[..., 0] - corner[..., 0]) * (p[1] - corner[..., 1])
        area = area - (after[..., 1] - corner[..., 1]) * (p[0] - corner[..., 0])
        covers = (area >= 0).all(1)
        if covers.any():
            share = np.roll(area[covers], -1, 1) / area[covers].sum(1, keepdims=True)
            out.append(p[2] - (share * corner[covers][..., 2]).sum(1).max())
    return np.maximum(np.array(out), 0)


@pytest.mark.parametrize(
    "named",
    [{}, {"jawOpen": 1.0}, {"mouthSmile": 1.0, "jawOpen": 0.3}, {"mouthPucker": 1.0}, {"jawOpen": 1, "mouthClose": 1}],
    ids=["rest", "open", "smile", "pucker", "shut"],
)
def test_nothing_of_the_inner_mouth_shows_through(made, named):
    _, head, _ = made
    through = shown_through(head, posed(head, **named))
    assert through.max() < 0.0008 and (through > 1e-4).sum() <= 4


def test_the_rows_of_the_head_file_come_back(made):
    head = read_head(flame_like.prepared()[2])
    assert np.array_equal(head.shape_expression, made[1].shape_expression)
    assert np.array_equal(head.shape_pose, made[1].shape_pose)


def test_marks_name_the_same_places_on_both_heads(made):
    """Eyes apart, nose and seam of the made-up person lie where the known warp puts our own head's."""
    model, _, _ = made
    _, theirs = flame_face(model)
    _, ours = our_face(load_head())
    a, b = face_marks(ours), face_marks(theirs)
    scale = theirs.span / ours.span
    assert len(a.keys() & b.keys()) > 45
    for name in ("nose", "chin", "lip_upper_4", "lip_lower_0", "lip_upper_8", "lid_left_3", "lid_right_12"):
        there = (ours.points[a[name]] - ours.eyes.mean(0)) * scale + theirs.eyes.mean(0)
        assert np.linalg.norm(theirs.points[b[name]] - there) < 0.012, name


def test_a_template_without_a_face_is_refused(made):
    _, theirs = flame_face(made[0])
    with pytest.raises(ValueError, match="no lips"):
        face_marks(Face(theirs.points, theirs.triangles, np.zeros(len(theirs.points)), theirs.eyes, theirs.radius))


def test_corners_are_found_on_a_shut_mesh_too(made):
    """A template whose lips are joined by a membrane has no border round the mouth: the jaw's weights tell instead."""
    _, theirs = flame_face(made[0])
    mouth = next(loop for loop in boundary_loops(theirs.triangles) if theirs.lower[loop].any())[::-1]
    x = theirs.points[mouth, 0]
    mouth = np.roll(mouth, -int(x.argmax()))
    turn = int(theirs.points[mouth, 0].argmin())
    one, other = mouth[: turn + 1], np.r_[mouth[:1], mouth[turn:][::-1]]
    strip, i, j = [], 0, 0
    while i < len(one) - 1 or j < len(other) - 1:
        ahead = [theirs.points[side[k + 1], 0] if k + 1 < len(side) else -1 for side, k in ((one, i), (other, j))]
        if ahead[0] > ahead[1]:
            strip.append([one[i], one[i + 1], other[j]])
            i += 1
        else:
            strip.append([one[i], other[j + 1], other[j]])
            j += 1
    whole = np.concatenate([theirs.triangles, [t for t in strip if len(set(t)) == 3]])
    assert len(boundary_loops(whole)) == len(boundary_loops(theirs.triangles)) - 1
    shut = face_marks(Face(theirs.points, whole, theirs.jaw, theirs.eyes, theirs.radius))
    for name, row in face_marks(theirs).items():
        if name.startswith("lip"):  # an edge's length, and the corners' own uncertainty of 3 mm
            assert np.linalg.norm(theirs.points[row] - theirs.points[shut[name]]) < 0.008, name
