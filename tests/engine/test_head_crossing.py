"""Any mix of shapes: lips never pass through each other or the teeth, lids always meet, and never enter the eye."""

import dataclasses
import itertools

import numpy as np
import pytest
from head_tools import weights_of

from engine.core.names import ARKIT, ARKIT_INDEX, EXTRA, JOINTS
from engine.core.units import MM
from engine.head import crossing, evaluate, fixes, lips, respond
from engine.head.library import load_head

NAMES = (*ARKIT, *EXTRA)
MOUTH = [i for i, n in enumerate(NAMES) if n.startswith(("mouth", "jaw", "cheekPuff", "noseSneer", "lip", "lower"))]
EYES = [i for i, n in enumerate(NAMES) if n.startswith(("eye", "cheekSquint", "brow", "noseSneer", "mouthSmile"))]
# Bounds in mm. Facing pairs press into each other by up to 0.4 (fixes.LIP_SOFT_M) before they are parted, exactly in
# the plain sum of shapes; what is left comes from the corrections at neighbouring pairs and from pushing lips off the
# teeth. Surfaces: deepest inside the corners of a wide open funnel (2.0 mm) and where both lips are rolled in (1.8 mm):
# the red of a lip is 8 mm thick and soft.
PAIRS_MM, LIPS_MM, TEETH_MM = 1.3, 2.5, 2.0
OFTEN = 0.95  # part of all mixes that stay within half of these


@pytest.fixture(scope="module")
def head():
    return load_head("default")


def mixes(count, pool, seed):
    """[count, 59] weights of 2 to 6 shapes of `pool`, each in [0, 1]."""
    rng = np.random.default_rng(seed)
    out = np.zeros((count, len(NAMES)), np.float32)
    for row in out:
        n = rng.integers(2, 7)
        row[rng.choice(pool, n, replace=False)] = rng.random(n)
    return out


def mouth_pairs():
    """[n, 59]: every two shapes of the mouth at full, mirrored pairs once."""
    rows, seen = [], set()
    for a, b in itertools.combinations(MOUTH, 2):
        names = tuple(sorted((NAMES[a], NAMES[b])))
        twin = tuple(sorted(n.replace("Left", "@").replace("Right", "Left").replace("@", "Right") for n in names))
        if twin not in seen:
            seen.add(names)
            rows.append(np.eye(len(NAMES), dtype=np.float32)[[a, b]].sum(0))
    return np.array(rows)


def mouth_figures(head, weights):
    """{"pairs", "lips", "teeth"}: [t] mm."""
    verts = evaluate.vertices(head, weights[:, : len(ARKIT)], weights[:, len(ARKIT) :])
    found = [crossing.mouth_crossing(head, v) for v in verts]
    out = {name: np.array([f[name] for f in found]) * MM for name in ("lips", "teeth")}
    return {"pairs": lips.lip_gaps(head, verts).overlap * MM, **out}


@pytest.mark.parametrize("which", ["random", "pairs"])
def test_no_mix_passes_lips_through_each_other_or_the_teeth(head, which):
    weights = mixes(220, MOUTH, 3) if which == "random" else mouth_pairs()
    for name, values in mouth_figures(head, weights).items():
        bound = {"pairs": PAIRS_MM, "lips": LIPS_MM, "teeth": TEETH_MM}[name]
        worst = {NAMES[i]: round(float(w), 2) for i, w in enumerate(weights[values.argmax()]) if w}
        assert values.max() < bound, (name, round(float(values.max()), 2), worst)
        assert (values < bound / 2).mean() > OFTEN, (name, np.percentile(values, 95))


def test_without_correctives_the_same_measure_sees_lips_and_teeth_cross(head):
    bare = dataclasses.replace(head, corrective_names=())
    found = mouth_figures(bare, mixes(60, MOUTH, 3))
    assert found["pairs"].max() > 15 and found["lips"].max() > 2.5 and found["teeth"].max() > 1.5


def eye_figures(head, weights, pose):
    """(gaps [t, 2, 13] mm between the lids, depth [t] mm of the lids' edges in the balls)."""
    verts = evaluate.vertices(head, weights[:, : len(ARKIT)], weights[:, len(ARKIT) :], pose)
    gaps = np.stack([crossing.lid_gaps(head, verts, side) for side in ("left", "right")], 1) * MM
    depth = [max(crossing.lid_depth(head, v, side) for side in ("left", "right")) * MM for v in verts]
    return gaps, np.array(depth)


def gazes(count, seed):
    """[count, 15]: both eyes turned by up to half a radian each way."""
    pose = np.zeros((count, 15))
    pose[:, 9:11] = pose[:, 12:14] = np.random.default_rng(seed).uniform(-0.5, 0.5, (count, 2))
    return pose


def test_a_blink_closes_whatever_else_the_eye_does_and_lids_never_pass(head):
    weights, pose = mixes(300, EYES, 5), gazes(300, 6)
    gaps, depth = eye_figures(head, weights, pose)
    assert gaps.min() > -0.3 and depth.max() < 0.1
    weights[:, [ARKIT_INDEX["eyeBlinkLeft"], ARKIT_INDEX["eyeBlinkRight"]]] = 1
    gaps, depth = eye_figures(head, weights, pose)
    assert gaps.max() < 0.3 and gaps.min() > -0.3 and depth.max() < 0.1


def test_without_correctives_a_wide_eye_stays_open_in_a_blink(head):
    bare = dataclasses.replace(head, corrective_names=())
    arkit, extra = weights_of(eyeBlink=1, eyeWide=1)
    gaps, _ = eye_figures(bare, np.concatenate([arkit, extra], 1), np.zeros((1, 15)))
    assert gaps.max() > 1.5


@pytest.mark.parametrize(
    "turn, shape",
    [((0.35, 0.0), "eyeLookDownLeft"), ((-0.3, 0.0), "eyeLookUpLeft"), ((0.0, 0.4), "eyeLookOutLeft"),
     ((0.0, -0.4), "eyeLookInLeft")],
)  # fmt: skip
def test_lids_follow_the_eye_joint_and_not_twice(head, turn, shape):
    pose = np.zeros((1, 15))
    pose[0, 9:11] = turn
    lid = np.concatenate([head.landmarks["lid_upper_left"], head.landmarks["lid_lower_left"]])
    alone = evaluate.vertices(head, *weights_of(), pose)[0, lid] - head.template[lid]
    full = head.shapes[head.shape_index[shape]][lid]
    share = float((alone * full).sum() / (full**2).sum())
    angle = fixes.LOOK_RAD[shape[7:].removesuffix("Left")]
    assert share == pytest.approx(np.sin(max(map(abs, turn))) / np.sin(angle) - fixes.LOOK_SLACK, abs=0.02)
    arkit, extra = weights_of()
    arkit[0, ARKIT_INDEX[shape]] = share + 0.05  # a take writes both: the larger of the two counts, not their sum
    both = evaluate.vertices(head, arkit, extra, pose)[0, lid]
    shape_only = evaluate.vertices(head, arkit, extra)[0, lid]
    assert np.abs(both - shape_only).max() < 1e-6


def test_full_looks_agree_with_what_the_motion_system_writes():
    from engine.motion.perform import EYE_LOOK_RAD

    want = {"Up": EYE_LOOK_RAD["up"], "Down": EYE_LOOK_RAD["down"], "In": EYE_LOOK_RAD["yaw"]}
    assert all(fixes.LOOK_RAD[way] == pytest.approx(angle) for way, angle in want.items())
    angles = np.linspace(0, np.radians(30), 50)
    for full in want.values():
        part = angles[angles <= full]
        assert (np.sin(part) / np.sin(full) - part / full).max() < fixes.LOOK_SLACK


def test_fast_responses_equal_the_plain_twin(head):
    rng = np.random.default_rng(2)
    weights = (rng.random((40, len(NAMES))) ** 2).astype(np.float32)
    turn = evaluate.pose_features(rng.normal(0, 0.3, (40, 15)))
    for given in (None, turn):
        fast = respond.responses(head, weights, given)
        plain = respond.responses_reference(head, weights.astype(np.float64), given)
        # float32 sums of up to 30 terms of at most 5 cm each.
        assert np.abs(fast - plain).max() < 1e-5 and (fast >= 0).all() and (fast > 0).any(0).mean() > 0.3
    assert not respond.responses(head, np.zeros((1, len(NAMES)), np.float32)).any()


def test_correctives_rest_in_what_the_face_does_every_day(head):
    """Single shapes hardly wake them: a take on the default head is the plain sum of its shapes nearly always."""
    weights = np.eye(len(NAMES), dtype=np.float32)
    active = respond.responses(head, weights)
    moved = np.abs(np.tensordot(active, head.correctives, 1)).max((1, 2)) * MM
    alone = {"mouthClose", "lipsTogether", "mouthRollUpper"}  # these have no meaning by themselves, or meet the teeth
    for name, size in zip(NAMES, moved, strict=True):
        assert size < 1.5 or name in alone, (name, size)
    assert JOINTS[3] == "eye_left"
