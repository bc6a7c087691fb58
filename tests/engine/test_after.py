"""Controls that a system does not obey are applied afterwards, under the same rules, and recorded."""

import dataclasses

import numpy as np
import pytest
from test_motion import CLOSURES, QUIET, gaps_mm, sound, voice

from engine.controls.track import sample
from engine.core.control import Controls, Layer, Prompt
from engine.core.names import ARKIT_INDEX, ARTICULATION_INDEX, AU_INDEX, EXTRA_INDEX
from engine.head.library import load_head
from engine.motion import base
from engine.motion.after import apply_rest, obeyed
from engine.motion.base import CONTROLS
from engine.motion.contacts import SEALED_M
from engine.motion.direct import Direct
from engine.motion.perform import perform, run_system, sampler

STILL = dataclasses.replace(QUIET, layers={**QUIET.layers, "life": Layer(on=False)})
FULL = dataclasses.replace(
    STILL,
    emotions={"sad": ((0.0, 0.8),)}, valence=((0.0, 0.4),), arousal=((0.0, 0.5),), au={"AU02_L": ((0.0, 0.5),)},
    prompts=(Prompt("x", 1.0, 3.0, activation={"AU12_L": 0.7, "AU12_R": 0.7}),),
)  # fmt: skip


class Deaf(Direct):
    """`direct` that obeys only some controls."""

    def __init__(self, supports):
        self.supports = frozenset(supports)

    def run(self, cache, controls, t0, t1, state=None):
        return super().run(cache, lambda at: obeyed(controls(at), self.supports), t0, t1, state)


@pytest.fixture(scope="module")
def head():
    return load_head()


def faces(supports, controls=FULL, heard=None):
    system, heard = Deaf(supports), heard or voice()
    motion = run_system(system, heard, controls)
    return motion, apply_rest(motion, sampler(heard, controls), system.supports)


def test_nothing_left_out_changes_nothing():
    before, after = faces(CONTROLS)
    assert after is before
    calm, same = faces(("labels",), STILL)
    assert np.array_equal(calm.arkit, same.arkit), "controls at rest have nothing to add"


@pytest.mark.parametrize("supports", [(), ("labels", "intensity"), ("labels", "intensity", "va", "prompt"), ("au",)])
def test_what_is_added_afterwards_is_close_to_what_would_be_obeyed(supports):
    truth, _ = faces(CONTROLS)
    deaf, after = faces(supports)
    missed = np.abs(deaf.arkit - truth.arkit).mean()
    left = np.abs(after.arkit - truth.arkit).mean()
    assert left < 0.35 * missed, (left, missed)
    assert np.allclose(after.au, truth.au, atol=1e-5)


def test_lips_tightened_afterwards_stay_open_in_speech():
    tight = dataclasses.replace(STILL, prompts=(Prompt("x", 0, 9, 0, 0, activation={"AU24_L": 1.0, "AU24_R": 1.0}),))
    together = EXTRA_INDEX["lipsTogether"]
    said = voice().articulation.copy()
    said[:50, ARTICULATION_INDEX["voice"]] = 0.0
    heard = dataclasses.replace(voice(), articulation=said)
    truth, _ = faces(CONTROLS, tight, heard)
    deaf, after = faces((), tight, heard)
    voiced, silent = truth.voice == 1, truth.voice == 0
    assert voiced.any() and silent.any() and truth.extra[voiced, together].max() == 0
    assert np.abs(after.extra - truth.extra)[:, together].max() < 1e-5
    assert (after.extra - deaf.extra)[silent, together][5:].min() > 0.3, "pressed in silence, once the word has come"


@pytest.mark.parametrize("name", [row["name"] for row in base.offered()])
def test_a_jaw_that_a_slider_opens_stays_open_through_small_sounds(name, head):
    said = voice()
    said.articulation[:, ARTICULATION_INDEX["jaw_open"]] = 0.1  # hardly opens of itself
    slid = dataclasses.replace(QUIET, au={"AU26_L": ((0.0, 0.8),), "AU26_R": ((0.0, 0.8),)})
    plain, opened = (perform(sound(), controls, motion=name, head=head, speech=said) for controls in (QUIET, slid))
    jaw = ARKIT_INDEX["jawOpen"]
    assert np.median(opened.arkit[:, jaw]) > 0.3 > np.median(plain.arkit[:, jaw]) + 0.1
    gap = gaps_mm(head, opened)
    for start, end in CLOSURES:
        near = (opened.times > start - 0.04) & (opened.times < end + 0.04)
        assert gap[near].min() < 1000 * SEALED_M + 0.25, "lips meet all the same"


def test_words_take_away_but_not_from_speech():
    shut = dataclasses.replace(STILL, prompts=(Prompt("x", 0, 9, 0, 0, activation={"AU25_L": -1.0, "AU25_R": -1.0}),))
    deaf, after = faces(("labels",), shut)
    lower = ARKIT_INDEX["mouthLowerDownLeft"]
    assert after.arkit[:, lower].mean() > 0.5 * deaf.arkit[:, lower].mean()


def test_a_take_records_it_and_lips_still_meet(head, monkeypatch):
    monkeypatch.setitem(base.SYSTEMS, "deaf", lambda: Deaf(("labels", "intensity")))
    take = perform(sound(), FULL, fps=50, motion="deaf", head=head, speech=voice())
    assert take.meta["obeyed"] == ["intensity", "labels"] and take.meta["applied_after"] == ["au", "prompt", "va"]
    assert take.au[100, AU_INDEX["AU12"]].min() > 0.6
    gap = gaps_mm(head, take)
    for start, end in CLOSURES:
        near = (take.times > start - 0.03) & (take.times < end + 0.03)
        assert gap[near].min() < 1000 * SEALED_M + 0.25


def test_controls_at_rest_are_the_default_controls():
    times = np.array([0.5, 2.0])
    rest, plain = obeyed(sample(FULL, times), frozenset()), sample(Controls(), times)
    for name in (
        "emotion",
        "va",
        "prompt_activation",
        "prompt_suppress",
        "prompt_floor",
        "prompt_level",
        "au_offset",
        "intensity",
    ):
        assert np.array_equal(getattr(rest, name), getattr(plain, name)), name
