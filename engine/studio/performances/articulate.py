"""Exact phones -> articulation of one saying: coarticulated, each phone a little larger or smaller than the last time.

Coarticulation blends phones by dominance (engine/core/phones.py), which leaves three things to be said outright,
because an eye reads them: a contact lasts, and begins in the phone's own time; the phone beside it is seen open (an n
before a p is an n); and a sound that needs the teeth near each other (s, sh, t) keeps them so, whatever its neighbours
or the mood open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from engine.core.names import ARTICULATION, ARTICULATION_INDEX
from engine.core.phones import CHANNELS, PhoneClass, Segment, is_pause, split, targets
from engine.core.spans import runs
from engine.speech.events import curve
from engine.studio.speech_corpus.labels import RATE_HZ as LABEL_HZ
from engine.studio.speech_corpus.labels import event_labels

RATE_HZ = 50
SIZE, DRIFT = 0.12, 0.10  # a phone's size varies by this from saying to saying; a slower change of effort
RAMP_S = 0.03
EARLY_S = 0.02  # lips are together before it is heard; they part with the burst
HELD_S = {"lip_close": (0.095, 0.115), "labiodental": (0.06, 0.08)}  # least length of a contact
CORE = 0.35  # a phone's own shape is seen from 35 % to 65 % of its length
# Most of the jaw channel in a class's core. Sibilants, stops and close vowels are said with teeth or lips near each
# other in any mood: 0.1 parts the teeth of the default head by about 3 mm.
JAW_MOST = {
    "sibilant": 0.10, "postalveolar": 0.12, "alveolopalatal": 0.12, "labiodental": 0.12, "bilabial_stop": 0.2,
    "bilabial_nasal": 0.2, "alveolar": 0.18, "dental": 0.2, "palatal": 0.22, "velar": 0.28, "rhotic": 0.24,
    "labiovelar": 0.16, "close_back_rounded": 0.22, "close_front_rounded": 0.22, "close_front": 0.28,
    "near_close_back": 0.32, "close_central": 0.28, "close_central_rounded": 0.22,
}  # fmt: skip
JAW_PER_S = 12.0  # how fast that limit falls away on both sides
# Least of what opens a tongue's consonant in its core: beside p b m it would else be seen as one of them.
TONGUE = ("alveolar", "velar", "dental", "lateral", "tap", "sibilant", "palatal", "uvular")
OPEN_LEAST = {"jaw_open": 0.12, "lower_lip_drop": 0.32}
CLOSE_MOST, CLOSE_PER_S = 0.15, 60.0  # most of a contact in a neighbour's core: all of it from 14 ms away
_FREE = 1.5  # no limit


def most(segments: Sequence[Segment], times: np.ndarray, level: Mapping[str, float], per_s: float) -> np.ndarray:
    """Upper limit at `times` [t]: a class's `level` in its phones' cores, rising by `per_s` a second away from them.

    [t]; 1.5 where no phone limits anything.
    """
    out = np.full(len(times), _FREE)
    for cls, first, last in split(segments):
        if cls.name not in level:
            continue
        a, b = first + CORE * (last - first), last - CORE * (last - first)
        reach = (_FREE - level[cls.name]) / per_s
        rows = slice(*np.searchsorted(times, [a - reach, b + reach]))
        away = np.maximum(np.maximum(a - times[rows], times[rows] - b), 0.0)
        out[rows] = np.minimum(out[rows], level[cls.name] + per_s * away)
    return out


def jaw_most(segments: Sequence[Segment], times: np.ndarray) -> np.ndarray:
    """Most of the jaw channel at `times` [t] seconds that the phones allow. [t]."""
    return most(segments, times, JAW_MOST, JAW_PER_S)


def _apart(cls: PhoneClass) -> bool:
    return not cls.event


def contacts(segments: Sequence[Segment], times: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Lips together, lower lip on the teeth: two [t] in [0, 1]. A mouth does one of them at a time."""
    labels = event_labels(segments, round(len(times) * LABEL_HZ / RATE_HZ))
    out = []
    for column, (shortest, longest) in enumerate(HELD_S.values()):
        found = []
        for first, last in runs(labels[:, column] > 0):
            start, end = first / LABEL_HZ - EARLY_S + rng.normal(0, 0.006), last / LABEL_HZ
            found.append((min(start, end - rng.uniform(shortest, longest)), end))
        out.append(curve(found, times, RAMP_S))
    beside = {cls.name: CLOSE_MOST for cls, _, _ in split(segments) if _apart(cls)}
    limit = most(segments, times, beside, CLOSE_PER_S)
    close, bite = (np.minimum(level, limit) for level in out)
    return close, bite * (1.0 - close)


def _since(spoken: np.ndarray) -> np.ndarray:
    """Seconds to the nearest spoken row. [t]."""
    from scipy.ndimage import distance_transform_edt

    return distance_transform_edt(spoken < 0.5) / RATE_HZ if spoken.any() else np.full(len(spoken), 9.0)


def varied(segments: tuple[Segment, ...], rows: int, rng: np.random.Generator) -> np.ndarray:
    """Articulation [rows, 11] in [0, 1] of one saying at 50 Hz. rng: another draw is another saying."""
    times = np.arange(rows) / RATE_HZ
    out = np.zeros((rows, len(ARTICULATION)), np.float32)
    size = np.interp(times, [0.5 * (a + b) for _, a, b in segments], rng.lognormal(0, SIZE, len(segments)))
    knots = np.arange(0, times[-1] + 2.0, 0.7) if rows else np.zeros(1)
    effort = 1.0 + DRIFT * np.interp(times, knots, rng.normal(0, 1, len(knots)))
    level = targets(segments, times) * (size * effort)[:, None]
    for i, channel in enumerate(CHANNELS):
        out[:, ARTICULATION_INDEX[channel]] = level[:, i]
    _kept(out, segments, times)
    for name, contact in zip(HELD_S, contacts(segments, times, rng), strict=True):
        out[:, ARTICULATION_INDEX[name]] = contact
    spoken = np.zeros(rows, np.float32)
    for symbol, a, b in segments:
        if not is_pause(symbol):
            spoken[int(a * RATE_HZ) : int(np.ceil(b * RATE_HZ))] = 1.0
    out[:, ARTICULATION_INDEX["voice"]] = spoken
    quiet = spoken < 0.5
    out[quiet] *= np.exp(-_since(spoken)[quiet] / 0.1)[:, None]
    return np.clip(out, 0.0, 1.0)


def _kept(out: np.ndarray, segments: Sequence[Segment], times: np.ndarray) -> None:
    """Limits on articulation [t, 11], in place: the jaw's most, and the least opening of the tongue's consonants."""
    jaw = ARTICULATION_INDEX["jaw_open"]
    out[:, jaw] = np.minimum(out[:, jaw], jaw_most(segments, times))
    for name, least in OPEN_LEAST.items():
        # A lower limit is an upper one upside down.
        floor = -most(segments, times, dict.fromkeys(TONGUE, -least), JAW_PER_S)
        out[:, ARTICULATION_INDEX[name]] = np.maximum(out[:, ARTICULATION_INDEX[name]], floor)
