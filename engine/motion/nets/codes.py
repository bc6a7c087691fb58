"""The control track as action-unit codes, for networks that hear every control that way (EmoTaG, EmoDiffTalk)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from engine.controls.modulate import speech_gain
from engine.core.control import ControlTrack
from engine.core.names import ARKIT_INDEX, ARTICULATION, ARTICULATION_INDEX, AU_INDEX, AUS, PAPER17
from engine.head.action_units import to_shapes
from engine.motion.direct import late
from engine.motion.life import living_au

CODES = 2 * len(AUS)
_LIPS = ("mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight")
_PAPER = [AU_INDEX[name] for name in PAPER17]


def asked(controls: Callable[[np.ndarray], ControlTrack], times: np.ndarray) -> np.ndarray:
    """The AUs that labels, valence-arousal, words and sliders ask for, living. times evenly spaced. [t, 36]."""
    return living_au(controls, times).reshape(len(times), CODES)


def spread(codes: np.ndarray) -> np.ndarray:
    """PAPER17 codes [t, 17] on both sides of the 18 AUs. [t, 18, 2]; AU20, which the paper lacks, is 0."""
    out = np.zeros((len(codes), len(AUS), 2), np.float32)
    out[:, _PAPER] = codes[:, :, None]
    return out


def gathered(au: np.ndarray) -> np.ndarray:
    """AUs [t, 18, 2] as PAPER17 codes, the mean of the sides. [t, 17]."""
    return au[:, _PAPER].mean(2)


def opening(weights: np.ndarray, articulation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AU25 [t, 2] and AU26 [t] that a speaking face shows (motion/perform.py states the same of a take).

    weights [t, 59]; articulation [t, 11].
    """
    closure = late(articulation[:, ARTICULATION_INDEX["lip_close"]])[:, None]
    jaw = weights[:, ARKIT_INDEX["jawOpen"]]
    lower = weights[:, [ARKIT_INDEX["mouthLowerDownLeft"], ARKIT_INDEX["mouthLowerDownRight"]]]
    parted = (1.0 - closure) * np.maximum(lower, np.minimum(2.0 * jaw, 1.0)[:, None])
    return parted.clip(0, 1).astype(np.float32), jaw.clip(0, 1).astype(np.float32)


def unsaid(weights: np.ndarray, track: ControlTrack, au: np.ndarray) -> np.ndarray:
    """Weights [t, 59] with the voice's opening of lips and jaw lowered where words deny it (AU25, AU26).

    The performances hold no such words, so networks cannot know them. au [t, 18, 2]: what the face is asked to show;
    its own opening stays.
    """
    if not track.prompt_level.any():
        return weights
    lips, jaw = (np.minimum(gain, 1.0) for gain in speech_gain(track))
    if min(lips.min(), jaw.min()) >= 1.0:
        return weights
    face, _ = to_shapes(au)
    out = weights.copy()
    for name, gain in (("jawOpen", jaw), *((name, lips) for name in _LIPS)):
        i = ARKIT_INDEX[name]
        out[:, i] = np.maximum(weights[:, i] * gain, np.minimum(face[:, i], weights[:, i]))
    return out


def heard_channels(speech: np.ndarray) -> np.ndarray:
    """The articulation of interface v1's rows [t, 75]. [t, 11]."""
    return speech[:, : len(ARTICULATION)]
