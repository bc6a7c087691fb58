"""Lips, lids and teeth: what must close closes, what must not cross does not."""

import numpy as np
import pytest
from head_tools import weights_of

from engine.core.errors import BadInput
from engine.core.units import MM
from engine.head import correct, evaluate, lips
from engine.head.hairs import Surface
from engine.head.library import load_head


@pytest.fixture(scope="module")
def head():
    return load_head("default")


# Closed lips press into each other by correct.PRESS_M, and correctives part them from fixes.LIP_SOFT_M on.
PRESSED_MM = 0.8


def gaps_of(head, **named):
    return lips.lip_gaps(head, evaluate.vertices(head, *weights_of(**named)))


def test_neutral_lips_are_shut_and_jaw_open_opens_them_in_proportion(head):
    assert lips.lip_gap(head, head.template[None])[0] * MM < 0.5
    assert gaps_of(head).contact[0] == 1
    gaps = [lips.lip_gap(head, evaluate.vertices(head, *weights_of(jawOpen=w)))[0] * MM for w in (0.25, 0.5, 1.0)]
    assert (
        gaps[2] > 25
        and gaps[1] == pytest.approx(gaps[2] / 2, abs=0.4)
        and gaps[0] == pytest.approx(gaps[2] / 4, abs=0.4)
    )


@pytest.mark.parametrize("jaw", [0.2, 0.6, 1.0])
@pytest.mark.parametrize(
    "mix",
    [{}, {"mouthSmile": 1}, {"mouthPucker": 1}, {"mouthFrown": 1}, {"mouthStretch": 1}, {"mouthPress": 1},
     {"mouthSmile": 0.6, "mouthPucker": 0.4}, {"mouthShrugLower": 1}, {"mouthRollLower": 1, "mouthRollUpper": 1},
     {"mouthSmile": 1, "cheekSquint": 1, "noseSneer": 0.5}, {"jawForward": 1}, {"jawLeft": 1, "mouthRight": 1}],
)  # fmt: skip
def test_mouth_close_cancels_the_jaw_in_every_mix(head, jaw, mix):
    """Sealed in the middle to half a millimetre; no pair crosses by more than 1 mm.

    (Facing vertices stand up to 1 mm apart in width, and a smile tilts the line between the lips there.)
    """
    found = gaps_of(head, jawOpen=jaw, mouthClose=jaw, **mix)
    assert -PRESSED_MM < found.gap[0] * MM < 0.5
    assert found.overlap[0] * MM < 1.2


@pytest.mark.parametrize(
    "mix", [{"mouthFunnel": 1}, {"mouthUpperUp": 1}, {"mouthLowerDown": 1}, {"mouthShrugUpper": 1}]
)
def test_opening_shapes_part_the_lips_without_crossing_at_the_corners(head, mix):
    found = gaps_of(head, **mix)
    assert found.gap[0] * MM > 2 and found.overlap[0] < lips.CONTACT_M


def test_a_shape_that_is_not_corrected_would_cross_the_lips(head):
    """The measure sees what the correction removes: hm08's own smile on both sides."""
    from engine.head import hm08

    shapes = hm08.read_shapes(hm08.locate())
    raw = shapes["mouthSmileLeft"] + shapes["mouthSmileRight"]
    assert (raw[520] - raw[523])[1] * MM < -2.0


def test_lips_together_closes_the_gap_it_names(head):
    """Lips that stand TOGETHER_M apart (jaw shut) meet at lipsTogether = 1, and half of that at half."""
    for part in (0.5, 1.0):
        apart = part * correct.TOGETHER_M / (gaps_of(head, mouthLowerDown=1).gap[0] - gaps_of(head).gap[0])
        assert gaps_of(head, mouthLowerDown=apart).gap[0] * MM > part * 4.0
        assert -PRESSED_MM < gaps_of(head, mouthLowerDown=apart, lipsTogether=part).gap[0] * MM < 0.8


def test_lower_lip_reaches_the_upper_teeth_for_f(head):
    rest = lips.labiodental_gap(head, head.template[None])[0] * MM
    tucked = lips.labiodental_gap(head, evaluate.vertices(head, *weights_of(jawOpen=0.06, lowerLipToTeeth=1)))[0] * MM
    assert rest > 5 and tucked < 2.0
    moved = head.shapes[head.shape_index["lowerLipToTeeth"]]
    assert not moved[head.parts["teeth_upper"]].any() and not moved[head.landmarks["nose_tip"]].any()


def test_gap_is_measured_in_the_face_not_in_space(head):
    """A turned, tilted and moved head has the same gaps."""
    arkit, extra = weights_of(jawOpen=0.3)
    pose = np.zeros((1, 15))
    pose[0, :6] = (0.3, 1.0, 0.5, 0.2, -0.4, 0.1)
    still = lips.lip_gaps(head, evaluate.vertices(head, arkit, extra))
    turned = lips.lip_gaps(head, evaluate.vertices(head, arkit, extra, pose, np.array([[1.0, 2.0, 3.0]])))
    assert turned.gap[0] == pytest.approx(still.gap[0], abs=5e-5)  # the lower lip lies in the neck's blend, barely
    assert turned.contact[0] == still.contact[0]


def test_gap_refuses_other_meshes(head):
    with pytest.raises(BadInput, match="vertices must be"):
        lips.lip_gap(head, np.zeros((2, 10, 3)))


def lid_gap_mm(head, verts, side):
    """Heights between facing marks of the two lids (middle and both sides of it)."""
    marks = head.landmarks["face68"]
    pairs = ((43, 47), (44, 46)) if side == "left" else ((38, 40), (37, 41))
    found = [verts[marks[a], 1] - verts[marks[b], 1] for a, b in pairs]
    middle = verts[head.landmarks[f"upper_lid_{side}"][0], 1] - verts[head.landmarks[f"lower_lid_{side}"][0], 1]
    return np.array([*found, middle]) * MM


def in_front_of_skin(head, verts, side):
    """Part of the eyeball's front that no skin covers, seen from the front."""
    skin = head.parts["skin"]
    surface = Surface(verts[skin].astype(float), head.faces[(head.faces < len(skin)).all(1)])
    ball = verts[head.parts[f"eye_{side}"]].astype(float)
    front = ball[ball[:, 2] > ball[:, 2].max() - 0.012]
    index, weight = surface.under(front[:, :2])
    return (front[:, 2] > np.einsum("nj,nj->n", weight, surface.rest[index][:, :, 2])).mean()


def test_blink_closes_exactly_and_covers_the_ball(head):
    for mix in ({"eyeBlink": 1}, {"eyeBlink": 1, "mouthSmile": 1}, {"eyeBlink": 1, "browDown": 1}):
        verts = evaluate.vertices(head, *weights_of(**mix))[0]
        for side in ("left", "right"):
            gap = lid_gap_mm(head, verts, side)
            assert gap.max() < 0.3 and gap.min() > -1.0, mix
            assert in_front_of_skin(head, verts, side) == 0, mix


def test_half_a_blink_and_wide_eyes_are_between(head):
    shown = [
        in_front_of_skin(head, evaluate.vertices(head, *weights_of(**mix))[0], "left")
        for mix in ({"eyeBlink": 1}, {"eyeBlink": 0.5}, {"eyeSquint": 1}, {}, {"eyeWide": 1})
    ]
    assert shown == sorted(shown) and shown[1] > 0.1 and shown[4] > shown[3] + 0.1


def test_lids_stay_outside_the_ball(head):
    """In blink, squint and wide the lids' front edge is never under the visible surface of the eye."""
    centre = evaluate.joints_of(head)[3]
    radius = np.linalg.norm(head.template[head.parts["eye_left"]] - centre, axis=1).min()
    marks = head.landmarks["face68"][42:48]
    for mix in (
        {"eyeBlink": 1},
        {"eyeSquint": 1},
        {"eyeWide": 1},
        {"cheekSquint": 1},
        {"eyeBlink": 0.5},
        {"eyeLookDown": 1},
    ):
        verts = evaluate.vertices(head, *weights_of(**mix))[0]
        assert np.linalg.norm(verts[marks] - centre, axis=1).min() > radius, mix


def test_tongue_channels_go_where_they_are_named_for(head):
    tongue = head.parts["tongue"]
    tip = tongue[np.argmax(head.template[tongue, 2])]
    edge = head.template[head.landmarks["incisors_upper"]].mean(0)
    up = evaluate.vertices(head, *weights_of(jawOpen=0.2, tongueTipUp=1))[0]
    assert up[tip, 1] > edge[1] + 0.003 and up[tip, 2] < edge[2]
    between = evaluate.vertices(head, *weights_of(jawOpen=0.2, tongueBetweenTeeth=1))[0]
    lower = between[head.parts["teeth_lower"]]
    lower = lower[np.abs(lower[:, 0]) < 0.006][:, 1].max()
    assert between[tip, 2] > edge[2] and lower - 0.002 < between[tip, 1] < edge[1]
    back = evaluate.vertices(head, *weights_of(jawOpen=0.2, tongueBackUp=1))[0]
    rest = evaluate.vertices(head, *weights_of(jawOpen=0.2))[0]
    lift = (back - rest)[tongue, 1]
    assert lift.max() * MM > 10 and (back - rest)[tip, 1] * MM < 3


def test_lower_teeth_follow_the_jaw_and_the_upper_do_not(head):
    moved = head.shapes[head.shape_index["jawOpen"]]
    assert not moved[head.parts["teeth_upper"]].any()
    lower = moved[head.parts["teeth_lower"]]
    assert lower[:, 1].max() < -0.003 and lower[:, 1].min() * MM < -25


@pytest.mark.parametrize(
    "mix",
    [{"cheekSquint": 1, "mouthSmile": 1, "eyeSquint": 1}, {"cheekSquint": 1, "noseSneer": 1}, {"eyeSquint": 1},
     {"eyeWide": 1, "browDown": 1}, {"browDown": 1, "browMedialDown": 1, "eyeSquint": 1}],
)  # fmt: skip
def test_the_ball_shows_only_between_the_lids(head, mix):
    """Raised cheeks must not sink the lower lid's skin into the eye."""
    verts = evaluate.vertices(head, *weights_of(**mix))[0].astype(float)
    skin = head.parts["skin"]
    surface = Surface(verts[skin], head.faces[(head.faces < len(skin)).all(1)])
    ball = verts[head.parts["eye_left"]]
    ball = ball[ball[:, 2] > ball[:, 2].max() - 0.012]
    index, weight = surface.under(ball[:, :2])
    seen = ball[ball[:, 2] > np.einsum("nj,nj->n", weight, surface.rest[index][:, :, 2])]
    marks = verts[head.landmarks["face68"]]
    inner, outer = marks[42], marks[45]
    lower = np.interp(seen[:, 0], marks[[42, 47, 46, 45], 0], marks[[42, 47, 46, 45], 1])
    upper = np.interp(seen[:, 0], marks[[42, 43, 44, 45], 0], marks[[42, 43, 44, 45], 1])
    assert len(seen) > 50
    slack = 0.0022  # the marks' chords cut the lids' curves by up to this
    assert (seen[:, 1] > lower - slack).all() and (seen[:, 1] < upper + slack).all()
    assert seen[:, 0].min() > inner[0] - 0.001 and seen[:, 0].max() < outer[0] + 0.001
