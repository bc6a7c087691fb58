"""A system's own rate -> the take's frame rate, without losing a lip closure.

Plain interpolation at 24 frames/s can step over a 40 ms closure: the lips then never meet. So each closure (and each
lip-to-teeth contact) that no frame falls into is moved onto the frame nearest to its middle.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from engine.core.spans import runs
from engine.motion.base import MotionSlice

HELD = 0.95  # a contact is held where its channel is at least this


def _interpolate(values: np.ndarray, left: np.ndarray, share: np.ndarray) -> np.ndarray:
    share = share.reshape(-1, *[1] * (values.ndim - 1)).astype(values.dtype)
    right = np.minimum(left + 1, len(values) - 1)
    return values[left] * (1 - share) + values[right] * share


def to_times(motion: MotionSlice, times: np.ndarray) -> MotionSlice:
    """`motion` at ascending `times` [n] seconds; held contacts of the source are held on at least one frame."""
    source = motion.times
    at = np.clip(np.interp(times, source, np.arange(len(source), dtype=np.float64)), 0, len(source) - 1)
    for channel in (motion.labiodental, motion.closure):  # closures last: they win a frame that both want
        _snap(at, times, source, channel)
    left = np.floor(at).astype(np.int64)
    share = at - left
    fields = {f.name: getattr(motion, f.name) for f in dataclasses.fields(motion) if f.name != "times"}
    return MotionSlice(times=np.asarray(times), **{k: _interpolate(v, left, share) for k, v in fields.items()})


def _snap(at: np.ndarray, times: np.ndarray, source: np.ndarray, channel: np.ndarray) -> None:
    """Point the frame nearest to each held run that has no frame inside at the run's middle (changes `at`)."""
    for start, end in runs(channel >= HELD):
        if ((at >= start) & (at <= end - 1)).any():
            continue
        middle = (start + end - 1) / 2
        frame = int(np.argmin(np.abs(times - np.interp(middle, np.arange(len(source)), source))))
        at[frame] = middle
