"""The engine's list of motion systems as the panel shows it."""

import pytest

from blender_addon.convert.systems import systems_of, title, told
from engine.motion.base import CONTROLS, offered


def test_what_the_engine_offers_is_understood():
    rows = offered()
    found = systems_of({"systems": rows})
    assert [s.name for s in found] == [r["name"] for r in rows] and found[0].name == "direct"
    for system in found:
        assert system.about and set(system.obeys) | set(system.after) == set(CONTROLS)
        assert not set(system.obeys) & set(system.after)
        assert "_" not in told(CONTROLS), "controls are said in words"


@pytest.mark.parametrize("hello", [None, {}, {"systems": None}, {"systems": "direct"}, {"systems": [1, {"about": 2}]}])
def test_an_engine_that_says_nothing_offers_nothing(hello):
    assert systems_of(hello) == []


def test_words_for_a_button():
    assert title("direct") == "direct" and "own" in title("emotalk3d@/a/b.safetensors")
    assert told([]) == "nothing" and told(["va", "au"]) == "valence and arousal, action units"
    assert systems_of({"systems": [{"name": "new"}]})[0].obeys == ()
