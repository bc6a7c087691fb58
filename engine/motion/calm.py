"""Calms the mouth where it hardly moves, and where the ear is not sure: a held vowel should not tremble.

A net's channels are unsure by a few hundredths from row to row. Low-pass filtering everything alike would cost the
peaks of short vowels, so each row is smoothed the more, the slower its channel moves there (the idea of the 1-euro
filter, Casiez et al. 2012, but with a symmetric kernel: nothing is late).
"""

from __future__ import annotations

import numpy as np

from engine.core.names import ARTICULATION_INDEX

CALMED = ("jaw_open", "upper_lip_raise", "lower_lip_drop", "round", "funnel", "spread")  # contacts are left as decoded
SIGMA = 1.2  # rows of 20 ms; more calms little more and lowers the tops of short vowels
SLOW = 0.03  # change a row at which half of the smoothing is left: 1.5 a second, a jaw half open in a third of one
_SPEED_SIGMA = 1.5
# Rounding that is heard but not meant: 95 % of long spread and open vowels of recorded voices are heard below 0.27,
# three quarters of u, o, w and sh above 0.4 to 0.6.
DECIDED, DOUBTED = ("round", "funnel"), (0.05, 0.42)


def _gaussian(values: np.ndarray, sigma: float) -> np.ndarray:
    """values [t, c] convolved over t with a Gaussian, the ends held."""
    radius = int(np.ceil(3 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    padded = np.pad(values, ((radius, radius), (0, 0)), mode="edge")
    return np.stack([np.convolve(column, kernel, "valid") for column in padded.T], 1)


def calm(articulation: np.ndarray) -> np.ndarray:
    """articulation [t, 11] in [0, 1] at 50 Hz -> the same with CALMED smoothed where they are slow."""
    if len(articulation) < 2:
        return articulation
    columns = [ARTICULATION_INDEX[name] for name in CALMED]
    raw = articulation[:, columns].astype(np.float64)
    speed = np.abs(np.gradient(_gaussian(raw, _SPEED_SIGMA), axis=0))
    out = articulation.copy()
    out[:, columns] = raw + (_gaussian(raw, SIGMA) - raw) / (1.0 + (speed / SLOW) ** 2)
    return out


def decided(articulation: np.ndarray) -> np.ndarray:
    """articulation [t, 11] in [0, 1] -> the same with traces of rounding taken away, continuously: lips round or not.

    A net that is not sure says a little of everything; drawn as strongly as round lips must be, that would purse an a.
    """
    out = articulation.copy()
    low, high = DOUBTED
    for name in DECIDED:
        level = out[:, ARTICULATION_INDEX[name]]
        sure = np.clip((level - low) / (high - low), 0.0, 1.0)
        out[:, ARTICULATION_INDEX[name]] = level * sure * sure * (3.0 - 2.0 * sure)
    return out
