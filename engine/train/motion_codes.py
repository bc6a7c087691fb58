"""AU codes of performances as a network hears them when it runs: what was asked of the face, without the person's
habits."""

from __future__ import annotations

import re

import numpy as np

from engine.core.errors import BadInput
from engine.core.names import ARTICULATION, AU_INDEX, AUS
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


def worn(speech: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Speech inputs [b, t, 75] with the features left out of some clips and noise on all: a voice of flesh is heard
    differently from a synthesiser's, the articulation less so. float32."""
    out = speech.astype(np.float32)
    features = out[..., len(ARTICULATION) :]
    features += rng.standard_normal(features.shape, np.float32) * np.float32(HUSH)
    features *= rng.random((len(out), 1, 1)) >= DEAF
    return out
