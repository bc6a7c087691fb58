"""The add-on's table of action units is the engine's."""

from pathlib import Path

import numpy as np

from blender_addon.convert import action_units as own
from blender_addon.convert.action_units import matrix, units_after
from engine.core.names import ARKIT, AUS, EXTRA
from engine.head import action_units as engines


def test_the_copy_is_the_engines_table():
    copy = Path(own.__file__).with_name("action_units.json")
    assert copy.read_bytes() == engines.TABLE.read_bytes()


def test_the_matrix_gives_what_the_engine_gives_for_one_unit():
    assert (*ARKIT, *EXTRA) == own.SHAPES
    for i, au in enumerate(AUS):
        for side in (0, 1):
            row = np.zeros((1, len(AUS), 2), np.float32)
            row[0, i, side] = 0.5
            engine = np.concatenate(engines.to_shapes(row), 1)
            ours = own.change(np.zeros_like(row), row, np.zeros(1))
            jaw = own.SHAPES.index("jawOpen")
            if au == "AU26":  # the engine takes the larger side, sliders add up: both sides together agree
                assert np.isclose(2 * ours[0, jaw], engine[0, jaw])
                ours[0, jaw] = engine[0, jaw]
            assert np.allclose(ours, engine, atol=1e-6), (au, side)


def test_a_closed_mouth_is_not_opened_but_may_be_closed_further():
    before, after = np.zeros((2, len(AUS), 2)), np.zeros((2, len(AUS), 2))
    after[:, AUS.index("AU25")] = 1.0
    shut = np.array([0.0, 1.0])
    opened = own.change(before, after, shut)[:, own.SHAPES.index("mouthLowerDownLeft")]
    assert opened[0] > 0.5 and opened[1] == 0
    closed = own.change(after, before, shut)[:, own.SHAPES.index("mouthLowerDownLeft")]
    assert np.allclose(closed, -opened[0])


def test_units_of_a_face_moved_by_hand():
    """Weights that a unit makes give that unit back; what is not moved keeps the take's units to the bit."""
    rng = np.random.default_rng(0)
    taken = rng.random((18, 2)).astype(np.float32)
    assert np.array_equal(units_after(taken, np.zeros(59)), taken)
    for unit in ("AU01", "AU04", "AU09", "AU12", "AU26"):
        asked = np.zeros((18, 2))
        asked[AUS.index(unit)] = 0.6, 0.3
        found = units_after(np.zeros((18, 2)), np.einsum("as,ask->k", asked, matrix()))
        shown = np.einsum("as,ask->k", found, matrix()) - np.einsum("as,ask->k", asked, matrix())
        assert np.abs(shown).max() < 0.05, "the ridge takes a few hundredths"
        assert found.min() >= 0 and found[AUS.index(unit)].mean() > 0.3
    assert units_after(taken, np.full(59, 9.0)).max() <= 1.0 and units_after(taken, np.full(59, -9.0)).min() >= 0.0
