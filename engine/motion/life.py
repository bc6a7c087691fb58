"""How an expression arrives, is held and goes: the curves of the controls are obeyed, and a held face still lives.

Rules of ours on known findings: the upper face moves first and spontaneous expressions are slightly uneven in time
between the sides (Ekman & Friesen 1982; Schmidt & Cohn 2003); an apex is not held at full but settles. (How they
follow the voice is accents.py.) All of it is a function of time in seconds and of the seed, without state, so any
window, any length and any frame rate give the same face; every step is linear in the controls' level, so more
intensity never shows less. The layer "life" scales it, 0 shows the curves as keyed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from engine.controls.track import expression_au
from engine.core.control import ControlTrack
from engine.core.names import AU_INDEX, AUS

# Seconds that AUs come before the keyed curve. Never later than it: a key means "arrived".
LEAD_S = {
    0.07: ("AU01", "AU02", "AU04", "AU05"),
    0.04: ("AU06", "AU07", "AU09", "AU10", "AU45"),
    0.0: ("AU12", "AU14", "AU15", "AU17", "AU20", "AU23", "AU24", "AU25", "AU26"),
}
SIDE_LEAD_S = 0.02  # one side, drawn by the seed, is this much earlier still
SETTLE, SETTLE_S = 0.08, (0.5, 1.0, 1.5)  # share that a held apex gives up, and how long ago it must have been held
SWAY = 0.12  # slow variation of a hold
_SWAY_HZ = (0.07, 0.16, 0.31)
_RNG_STREAM = 41  # apart from those of blink, gaze and head


def _sway(times: np.ndarray, seed: int) -> np.ndarray:
    """Slow variation of each AU, sides mostly together. [t, 18, 2] in [-1, 1]."""
    rng = np.random.default_rng([seed, _RNG_STREAM])
    shape = (len(_SWAY_HZ), len(AUS), 1)
    rate = np.array(_SWAY_HZ)[:, None, None] * rng.uniform(0.8, 1.25, shape)
    phase = rng.uniform(0.0, 2 * np.pi, shape) + rng.uniform(-0.5, 0.5, (len(_SWAY_HZ), 1, 2))
    waves = np.sin(2 * np.pi * rate * times[:, None, None, None] + phase)
    return waves.mean(1)


def _leads(seed: int, life: float) -> np.ndarray:
    """Seconds by which each AU and side comes early. [18, 2]."""
    first = int(np.random.default_rng([seed, _RNG_STREAM, 1]).integers(2))
    out = np.zeros((len(AUS), 2))
    for lead, group in LEAD_S.items():
        out[[AU_INDEX[au] for au in group]] = lead
    out[:, first] += SIDE_LEAD_S
    return out * min(life, 1.0)


def _ahead(grid: np.ndarray, first: int, count: int, shift: np.ndarray) -> np.ndarray:
    """Rows first.. of grid [n, 18, 2], each AU and side read `shift` [18, 2] rows later, linearly between rows."""
    whole = np.floor(shift).astype(int)
    share = (shift - whole).astype(grid.dtype)
    out = np.empty((count, *grid.shape[1:]), grid.dtype)
    for au, side in np.ndindex(*shift.shape):
        start, part = first + whole[au, side], share[au, side]
        column = grid[:, au, side]
        out[:, au, side] = column[start : start + count] * (1 - part) + column[start + 1 : start + 1 + count] * part
    return out


def living_au(controls: Callable[[np.ndarray], ControlTrack], times: np.ndarray) -> np.ndarray:
    """The AUs of a living face at `times` [t] seconds, evenly spaced. [t, 18, 2] in [0, 1].

    controls: samples the control track at any seconds.
    """
    track = controls(times[:1])
    life, seed, count = track.life, track.seed, len(times)
    if life <= 0 or not count:
        return expression_au(controls(times))
    step = float(times[-1] - times[0]) / (count - 1) if count > 1 else 0.02
    lead = _leads(seed, life) / step
    before, after = int(np.ceil(SETTLE_S[-1] / step)), int(lead.max()) + 2
    grid = expression_au(controls(times[0] + step * np.arange(-before, count + after)))
    au = _ahead(grid, before, count, lead)
    earlier = (_ahead(grid, before - round(ago / step), count, lead) for ago in SETTLE_S)
    au = au - min(SETTLE * life, 0.5) * np.minimum.reduce([au, *earlier])
    swell = 1.0 + 0.5 * SWAY * life * _sway(times, seed)
    return np.clip(au * np.maximum(swell, 0.0), 0.0, 1.0).astype(np.float32)
