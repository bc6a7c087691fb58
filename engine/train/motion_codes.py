"""AU codes of performances as a network hears them when it runs: what was asked of the face, without the person's
habits."""

from __future__ import annotations

import re

import numpy as np

from engine.core.errors import BadInput
from engine.core.names import ARKIT_INDEX, ARTICULATION, ARTICULATION_INDEX, AU_INDEX, AUS
from engine.head.action_units import to_shapes
from engine.motion.direct import blend_share
from engine.motion.nets.codes import CODES, gathered, heard_channels, opening
from engine.studio.performances.people import Person, person
from engine.train.motion_data import Pool

DEAF, HUSH = 0.15, 0.1  # share of crops without the encoder's features, and noise on them (they spread by about 0.9)


def person_of(name: str) -> Person:
    """The made-up person called so in a set. Raises BadInput."""
    found = re.fullmatch(r"(train|valid|test)(\d\d)", name)
    if not found:
        raise BadInput(f"'{name}' is no person of a performance set (they are called train00, test07, ...)")
    return person(found[1], int(found[2]))


def clips_of(pool: Pool, who: str) -> list[int]:
    """Numbers of a person's clips."""
    return [i for i in range(len(pool)) if pool.people[pool.person[i]] == who]


def rows_of(pool: Pool, clip: int) -> slice:
    """A clip's rows in the pool's columns."""
    return slice(int(pool.first[clip]), int(pool.first[clip] + pool.length[clip]))


def asked_of(pool: Pool) -> np.ndarray:
    """The living AUs that the controls asked for, [n, 36] half precision: acted AUs with the person's gain and rest
    undone (engine.studio.performances.act: acted = asked * gain + rest * (1 - asked))."""
    out = np.empty((len(pool.au), CODES), np.float16)
    for clip in range(len(pool)):
        rows, who = rows_of(pool, clip), person_of(pool.people[pool.person[clip]])
        acted = pool.au[rows].astype(np.float32).reshape(-1, len(AUS), 2)
        asked = np.clip((acted - who.rest) / (who.au_gain - who.rest), 0.0, 1.0)
        out[rows] = asked.reshape(-1, CODES)
    return out


def shown_codes(pool: Pool) -> np.ndarray:
    """PAPER17 codes of the whole face, speech included: the truth of speech-to-AU. [n, 17] half precision."""
    au = pool.au.reshape(-1, len(AUS), 2).copy()
    lips, jaw = opening(pool.weights.astype(np.float32), heard_channels(pool.speech).astype(np.float32))
    au[:, AU_INDEX["AU25"]] = lips
    au[:, AU_INDEX["AU26"]] = jaw[:, None]
    return gathered(au)


def worn(speech: np.ndarray, rng: np.random.Generator, deaf: float = DEAF) -> np.ndarray:
    """Speech inputs [b, t, 75] with the features left out of a share `deaf` of the clips and noise on all: a voice of
    flesh is heard differently from a synthesiser's, the articulation less so. float32."""
    out = speech.astype(np.float32)
    features = out[..., len(ARTICULATION) :]
    features += rng.standard_normal(features.shape, np.float32) * np.float32(HUSH)
    features *= rng.random((len(out), 1, 1)) >= deaf
    return out


def slid(codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Codes [t, 36] with one to three AUs moved as an animator's sliders would, on one side or both, for the whole time
    or a part of it: what performances hold too little of."""
    rows = len(codes)
    out = codes.reshape(rows, len(AUS), 2).astype(np.float32)
    for au in rng.choice(len(AUS), int(rng.integers(1, 4)), replace=False):
        level = float(rng.uniform(0.3, 1.0)) * (-1.0 if rng.random() < 0.25 else 1.0)
        sides = [0, 1] if rng.random() < 0.6 else [int(rng.integers(2))]
        at, over = float(rng.uniform(-1.0, 1.0)) * rows, float(rng.uniform(8, 30))
        rise = np.clip((np.arange(rows) - at) / over, 0.0, 1.0)
        rise = (1.0 - rise if rng.random() < 0.5 else rise) if at > 0 else np.ones(rows)
        out[:, au, sides] += (level * rise * rise * (3.0 - 2.0 * rise))[:, None]
    return np.clip(out, 0.0, 1.0).reshape(rows, CODES)


def slid_weights(
    weights: np.ndarray,
    before: np.ndarray,
    after: np.ndarray,
    contact: np.ndarray,
    talking: np.ndarray,
    articulation: np.ndarray,
) -> np.ndarray:
    """The performed weights [t, 59] had `after` been asked for instead of `before` (codes [t, 36]), by the rule that
    made them (engine.motion.direct.blend_share). contact [t, 3] and talking [t] as in Pool, articulation [t, 11].

    Two things cannot be told from a stored performance: where `before` opens the jaw further than speech, how far
    speech wanted it, so that it stays; and the limit that single phones set (engine.studio.performances.act.face_of),
    which only a jaw that is asked to open wide would meet.
    """
    old, new = (np.concatenate(to_shapes(codes.reshape(-1, len(AUS), 2)), 1) for codes in (before, after))
    jaw_open, lips, funnel = (articulation[:, ARTICULATION_INDEX[name]] for name in ("jaw_open", "round", "funnel"))
    closure, bite, voice = contact.T
    share = blend_share(closure, bite, voice, talking, np.maximum(lips, funnel), jaw_open)
    out, jaw = weights + (new - old) * share, ARKIT_INDEX["jawOpen"]
    out[:, jaw] = np.maximum(weights[:, jaw], (new * share)[:, jaw])
    return np.clip(out, 0.0, 1.0)
