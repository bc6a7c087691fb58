"""Action units as mixtures of shapes: regions, sides, AU04's frown, blinks, bad input."""

import numpy as np
import pytest

from engine.core.errors import BadFile, BadInput
from engine.core.names import ARKIT, ARKIT_INDEX, AU_INDEX, AUS, EXTRA
from engine.core.units import MM
from engine.head import action_units, evaluate, lips
from engine.head.library import load_head

# Where each unit must show: iBUG marks of the subject's left side (brow, lids, nose, lips, chin).
BROW, LIDS, NOSE, LIPS, CHIN = range(22, 27), range(42, 48), range(31, 36), range(48, 68), range(7, 10)
REGION = {
    "AU01": BROW, "AU02": BROW, "AU04": BROW, "AU05": LIDS, "AU06": LIDS, "AU07": LIDS, "AU09": NOSE, "AU10": LIPS,
    "AU12": LIPS, "AU14": LIPS, "AU15": LIPS, "AU17": LIPS, "AU20": LIPS, "AU23": LIPS, "AU24": LIPS, "AU25": LIPS,
    "AU26": CHIN, "AU45": LIDS,
}  # fmt: skip


@pytest.fixture(scope="module")
def head():
    return load_head("default")


def activation(**named):
    au = np.zeros((1, len(AUS), 2), np.float32)
    for name, value in named.items():
        unit, _, side = name.partition("_")
        au[0, AU_INDEX[unit], {"": slice(None), "L": 0, "R": 1}[side]] = value
    return au


def verts_of(head, **named):
    return evaluate.vertices(head, *action_units.to_shapes(activation(**named)))[0]


@pytest.mark.parametrize("unit", AUS)
def test_every_unit_moves_its_own_region(head, unit):
    moved = np.linalg.norm(verts_of(head, **{unit: 1}) - head.template, axis=1) * MM
    marks = moved[head.landmarks["face68"]]
    assert marks[list(REGION[unit])].max() > 1.5, marks.round(1)
    if REGION[unit] in (LIPS, CHIN):
        assert marks[list(BROW)].max() < 0.5
    if REGION[unit] is BROW:
        assert marks[list(LIPS)].max() < 0.5


@pytest.mark.parametrize(
    "unit", ["AU02", "AU04", "AU05", "AU06", "AU07", "AU09", "AU12", "AU14", "AU15", "AU20", "AU45"]
)
def test_one_side_moves_more_than_the_other(head, unit):
    moved = np.linalg.norm(verts_of(head, **{f"{unit}_L": 1}) - head.template, axis=1)
    left = head.template[:, 0] > 0.012
    right = head.template[:, 0] < -0.012
    assert moved[left].max() > 3 * moved[right].max()


def test_both_sides_mirror(head):
    left, extra_left = action_units.to_shapes(activation(AU12_L=0.7, AU04_L=1))
    right, extra_right = action_units.to_shapes(activation(AU12_R=0.7, AU04_R=1))
    for name in ARKIT:
        twin = action_units.other_side(name)
        assert left[0, ARKIT_INDEX[name]] == right[0, ARKIT_INDEX[twin]] or not name.endswith("Left")
    assert (extra_left[0, [0, 1]] == extra_right[0, [1, 0]]).all() and extra_left[0, 0] > 0


def test_au04_draws_the_inner_brow_down_more_than_the_outer(head):
    """A frown, not a worried look: browDown alone does the opposite on this mesh."""
    brow = head.landmarks["face68"][list(BROW)]
    drop = (head.template - verts_of(head, AU04=1))[brow, 1] * MM
    assert drop[0] > 5 and drop[0] > drop[4] + 1
    arkit = np.zeros((1, len(ARKIT)))
    arkit[0, [ARKIT_INDEX["browDownLeft"], ARKIT_INDEX["browDownRight"]]] = 1
    alone = (head.template - evaluate.vertices(head, arkit)[0])[brow, 1] * MM
    assert alone[0] < alone[2:].max()


def test_blink_fades_squint_and_wide(head):
    arkit, _ = action_units.to_shapes(activation(AU45=1, AU05=1, AU07=1))
    for name in ("eyeSquintLeft", "eyeWideLeft", "eyeSquintRight", "eyeWideRight"):
        assert arkit[0, ARKIT_INDEX[name]] == 0
    one, _ = action_units.to_shapes(activation(AU45_L=1, AU05=1))
    assert one[0, ARKIT_INDEX["eyeWideLeft"]] == 0 and one[0, ARKIT_INDEX["eyeWideRight"]] > 0.9


def test_au26_takes_the_larger_side_and_au25_leaves_the_jaw_shut(head):
    arkit, _ = action_units.to_shapes(activation(AU26_L=0.4, AU26_R=1.0))
    assert arkit[0, ARKIT_INDEX["jawOpen"]] == pytest.approx(0.5)
    arkit, _ = action_units.to_shapes(activation(AU25=1))
    assert arkit[0, ARKIT_INDEX["jawOpen"]] == 0
    assert lips.lip_gap(head, verts_of(head, AU25=1)[None])[0] * MM > 3


@pytest.mark.parametrize("unit", ["AU12", "AU14", "AU15", "AU17", "AU20", "AU23", "AU24", "AU06", "AU09"])
def test_units_that_keep_the_mouth_shut_do(head, unit):
    found = lips.lip_gaps(head, verts_of(head, **{unit: 1})[None])
    limit = 1.0 if unit in ("AU09", "AU17") else 0.5  # the sneer and the chin raiser lift the upper lip a little
    assert -0.8 < found.gap[0] * MM < limit and found.overlap[0] * MM < 1.2  # closed lips press into each other


def test_units_add_up_linearly_below_the_joins(head):
    a, e = action_units.to_shapes(activation(AU01=0.3, AU12=0.5))
    b, f = action_units.to_shapes(activation(AU01=0.3))
    c, g = action_units.to_shapes(activation(AU12=0.5))
    assert np.allclose(a, b + c, atol=1e-6) and np.allclose(e, f + g, atol=1e-6)
    assert a.shape == (1, len(ARKIT)) and e.shape == (1, len(EXTRA))


def test_bad_input_is_one_sentence():
    with pytest.raises(BadInput, match="18"):
        action_units.to_shapes(np.zeros((3, 17, 2)))


def test_damaged_table_is_one_sentence(tmp_path, monkeypatch):
    broken = tmp_path / "table.json"
    broken.write_text('{"units": {"AU99": {"jawOpen": 1}}, "join_max": [], "blink_hides": []}')
    monkeypatch.setattr(action_units, "TABLE", broken)
    action_units.table.cache_clear()
    with pytest.raises(BadFile, match="action units"):
        action_units.table()
    monkeypatch.undo()
    action_units.table.cache_clear()
