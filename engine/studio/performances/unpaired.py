"""The two sets that EmoVOCA needs, which have no frame in common: inexpressive talking, and silent expressions."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from engine.controls.track import sample
from engine.core.anatomy import Head
from engine.core.control import Controls, Layer
from engine.core.names import EMOTIONS
from engine.head.action_units import to_shapes
from engine.motion.life import living_au
from engine.studio.performances import act
from engine.studio.performances.people import SPLITS, Person
from engine.studio.performances.script import Script, write

LEVELS = {"low": 1 / 3, "medium": 2 / 3, "high": 1.0}  # EmoVOCA's three intensities
REST_S = 0.15
SECONDS = (1.8, 3.2)  # of a silent expression: neutral, apex, neutral (Florence4D's form)


@dataclass(frozen=True)
class Silent:
    """A silent expression at 50 Hz. level [t] in [0, 1]: how far it has come; arkit [t, 52], extra [t, 7]."""

    label: str
    intensity: float
    level: np.ndarray
    arkit: np.ndarray
    extra: np.ndarray


def talking(person: Person, number: int, head: Head) -> act.Performance:
    """The person's clip of that number spoken without expression: no feeling, no blink, gaze or head motion."""
    written = write(person, number)
    plain = Script(
        person, tuple(dataclasses.replace(line, feeling="neutral") for line in written.lines), "plain", written.seed
    )  # fmt: skip
    return act.perform(plain, head)


def expression(person: Person, label: str, intensity: float, seed: int = 0) -> Silent:
    """Neutral -> apex -> neutral of one label by this person."""
    rng = np.random.default_rng([80, SPLITS.index(person.split), person.number, EMOTIONS.index(label), seed])
    length = float(rng.uniform(*SECONDS))
    rise, hold = 0.35 * length * person.haste**-0.5, 0.35 * length
    # An expression's first units come a little before its curve: the clip begins with a face at rest.
    keys = ((REST_S, 0.0), (REST_S + rise, 1.0), (REST_S + rise + hold, 1.0), (length, 0.0))
    controls = Controls(
        emotions={label: keys}, intensity=((0.0, intensity),), layers={"life": Layer()},
        seed=int(rng.integers(1 << 31)),
    )  # fmt: skip
    times = np.arange(int(length * act.RATE_HZ)) / act.RATE_HZ
    au = living_au(lambda at: sample(controls, at), times)
    au = np.clip(au * person.au_gain, 0.0, 1.0)
    arkit, extra = (np.clip(weights, 0.0, 1.0).astype(np.float32) for weights in to_shapes(au))
    seconds, values = zip(*keys, strict=True)
    return Silent(label, intensity, np.interp(times, seconds, values).astype(np.float32), arkit, extra)
