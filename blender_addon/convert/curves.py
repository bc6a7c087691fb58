"""Dense samples -> few keys: linear and Bezier fits with a stated error bound, and stepped keys on 2s and 3s."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Keys:
    """Keys of one F-curve. frames, values [n]; handles: None, or left and right handle (frame, value) [n, 4].

    interpolation: "LINEAR", "BEZIER" or "CONSTANT".
    """

    frames: np.ndarray
    values: np.ndarray
    interpolation: str
    handles: np.ndarray | None = None


def thin_linear(x: np.ndarray, y: np.ndarray, tolerance: float) -> np.ndarray:
    """Indices [n] of samples whose straight joins stay within `tolerance` of every sample (Douglas-Peucker
    on the vertical distance). x [t] ascending, y [t]. Both ends are kept; samples that are all equal give one index.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if len(x) == 0:
        return np.zeros(0, np.int64)
    if len(x) == 1 or np.ptp(y) <= tolerance:
        return np.zeros(1, np.int64) if np.abs(y - y[0]).max() <= tolerance else np.array([0, len(x) - 1])
    keep = np.zeros(len(x), bool)
    keep[[0, -1]] = True
    spans = [(0, len(x) - 1)]
    while spans:
        a, b = spans.pop()
        if b - a < 2:
            continue
        line = y[a] + (y[b] - y[a]) * (x[a + 1 : b] - x[a]) / (x[b] - x[a])
        error = np.abs(y[a + 1 : b] - line)
        worst = int(error.argmax())
        if error[worst] > tolerance:
            middle = a + 1 + worst
            keep[middle] = True
            spans += [(a, middle), (middle, b)]
    return np.flatnonzero(keep)


def fit_bezier(frames: np.ndarray, values: np.ndarray, tolerance: float) -> Keys:
    """Smooth keys whose curve is within `tolerance` of every sample. frames [t] ascending whole numbers, values [t].

    Handles lie at a third of the distance to the neighbour, so time runs evenly along each piece and the piece is
    the cubic Hermite with the samples' own slopes; a piece that is too far off is split at its worst sample.
    """
    x, y = np.asarray(frames, np.float64), np.asarray(values, np.float64)
    if len(x) < 3 or np.ptp(y) <= 1e-12:
        index = thin_linear(x, y, 0.0)
        return _with_handles(x, y, np.zeros_like(y) if len(x) < 2 else np.gradient(y, x), index)
    slope = np.gradient(y, x)
    keep = np.zeros(len(x), bool)
    keep[[0, -1]] = True
    spans = [(0, len(x) - 1)]
    while spans:
        a, b = spans.pop()
        if b - a < 2:
            continue
        error = np.abs(_hermite(x[a : b + 1], y[a], y[b], slope[a], slope[b]) - y[a : b + 1])
        if error.max() > tolerance:
            middle = a + min(max(int(error.argmax()), 1), b - a - 1)
            keep[middle] = True
            spans += [(a, middle), (middle, b)]
    return _with_handles(x, y, slope, np.flatnonzero(keep))


def _hermite(x: np.ndarray, y0: float, y1: float, m0: float, m1: float) -> np.ndarray:
    """Cubic Hermite through (x[0], y0) and (x[-1], y1) with slopes m0, m1, at x [n]."""
    h = x[-1] - x[0]
    u = (x - x[0]) / h
    return (
        (1 + 2 * u) * (1 - u) ** 2 * y0
        + u * (1 - u) ** 2 * h * m0
        + u * u * (3 - 2 * u) * y1
        + u * u * (u - 1) * h * m1
    )


def _with_handles(x: np.ndarray, y: np.ndarray, slope: np.ndarray, index: np.ndarray) -> Keys:
    kx, ky, ks = x[index], y[index], slope[index]
    left = np.diff(kx, prepend=kx[:1] - 3.0) / 3
    right = np.diff(kx, append=kx[-1:] + 3.0) / 3
    handles = np.stack([kx - left, ky - ks * left, kx + right, ky + ks * right], -1)
    return Keys(kx, ky, "BEZIER", handles)


def held_indices(count: int, step: int, closure: np.ndarray | None = None) -> np.ndarray:
    """The sample that each held drawing shows, for animation on `step` frames. [ceil(count / step)] int.

    closure [t]: how firmly the lips shut. A drawing shows the frame of its group in which they shut most, because
    a p, b or m that falls on a dropped frame would be a mouth that never closes; without it, the group's first.
    """
    starts = np.arange(0, count, step)
    if closure is None:
        return starts
    closure = np.asarray(closure, np.float64)
    return np.array([s + int(np.argmax(closure[s : s + step])) for s in starts])


def reduce(frames: np.ndarray, values: np.ndarray, mode: str, tolerance: float, held: np.ndarray | None = None) -> Keys:
    """Keys of one channel. mode: "DENSE" (every frame), "SPARSE" (Bezier fit), "LINEAR" (thinned), "TWOS", "THREES".

    A channel that never moves gets one key. held: `held_indices` of the take, for the stepped modes.
    """
    frames, values = np.asarray(frames, np.float64), np.asarray(values, np.float64)
    if len(values) and np.ptp(values) == 0:
        return Keys(frames[:1], values[:1], "CONSTANT" if mode in ("TWOS", "THREES") else "LINEAR")
    if mode == "DENSE":
        return Keys(frames, values, "LINEAR")
    if mode == "SPARSE":
        return fit_bezier(frames, values, tolerance)
    if mode == "LINEAR":
        index = thin_linear(frames, values, tolerance)
        return Keys(frames[index], values[index], "LINEAR")
    if mode in ("TWOS", "THREES"):
        step = 2 if mode == "TWOS" else 3
        held = held_indices(len(values), step) if held is None else held
        return Keys(frames[::step], values[held], "CONSTANT")
    raise ValueError(f"keys are DENSE, SPARSE, LINEAR, TWOS or THREES, not {mode!r}")
