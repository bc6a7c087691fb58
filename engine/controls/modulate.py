"""Words on a moving face: EmoDiffTalk's enhancement and suppression of AU codes, eq. 7.

    E' = E (1 + alpha y) - beta (1 - y) E          y: AUs that the words ask for; alpha, beta are not printed there

"paper" is that formula with binary y. Used literally it lowers every AU that is not named, speech's lips and jaw
included, and a neutral voice (E = 0) cannot obey at all. "soft" is the default and ours: words that name nothing change
nothing; y has strengths; only the part of the face that the words speak of is suppressed; AU25, 26 and 45 belong to
speech and blinking unless the words name them; and what is asked for is a floor.
"""

from __future__ import annotations

import numpy as np

from engine.core.control import ControlTrack
from engine.core.names import AU_INDEX, AUS

ALPHA, BETA = 0.5, 0.5  # soft
PAPER_ALPHA, PAPER_BETA = 1.0, 0.5  # ours to set
LEAST_SPEECH = 0.35  # a direction cannot take more of the voice's opening than this leaves: the words must stay legible
SPEECH = ("AU25", "AU26", "AU45")
REGIONS: tuple[tuple[str, ...], ...] = (
    ("AU01", "AU02", "AU04"),
    ("AU05", "AU07", "AU45"),
    ("AU06", "AU09", "AU10", "AU12", "AU14", "AU15", "AU17", "AU20", "AU23", "AU24", "AU25", "AU26"),
)


def _exempt() -> np.ndarray:
    return np.isin(AUS, SPEECH)


def gain(track: ControlTrack) -> np.ndarray:
    """What the words multiply each AU by. [t, 18, 2]; 1 where they say nothing."""
    level = track.prompt_level[:, None, None]
    if track.modulation == "paper":
        y = (track.prompt_activation > 0).astype(np.float32)
        return (1.0 + level * (PAPER_ALPHA * y - PAPER_BETA * (1.0 - y))).astype(np.float32)
    raised, denied = track.prompt_activation, track.prompt_suppress
    named = np.maximum(raised, denied)
    others = np.zeros_like(raised)
    for region in REGIONS:
        rows = [AU_INDEX[au] for au in region]
        others[:, rows] = raised[:, rows].max(axis=(1, 2), keepdims=True)  # how much the words speak of this region
    others = np.where(_exempt()[:, None], 0.0, np.maximum(others - named, 0.0))
    return ((1.0 + ALPHA * raised) * (1.0 - BETA * others) * (1.0 - denied)).astype(np.float32)


def modulate(code: np.ndarray, track: ControlTrack) -> np.ndarray:
    """AU codes [t, 18, 2] in [0, 1] as the words at those times want them, in [0, 1]."""
    out = code * gain(track)
    if track.modulation != "paper":
        out = np.maximum(out, track.prompt_floor)
    return np.clip(out, 0.0, 1.0).astype(np.float32)


def speech_gain(track: ControlTrack) -> tuple[np.ndarray, np.ndarray]:
    """What the words multiply the voice's own (lip opening AU25, jaw drop AU26) by. Two [t]."""
    factor = gain(track).mean(2)
    least = 0.0 if track.modulation == "paper" else LEAST_SPEECH
    lips, jaw = (np.maximum(factor[:, AU_INDEX[au]], least) for au in ("AU25", "AU26"))
    return lips, jaw
