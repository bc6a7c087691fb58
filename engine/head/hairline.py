"""Where hair grows on the default head: a mask of position alone, so that it is as fine as whoever asks samples it."""

from __future__ import annotations

import numpy as np

Array = np.ndarray

# The hairline over the eyes' height at each depth behind them, metres: forehead, temple, sideburn, ear, nape.
_DEPTH = np.array([-0.030, -0.010, 0.004, 0.014, 0.024, 0.036, 0.044, 0.0565, 0.061, 0.079, 0.092, 0.100, 0.112, 0.126])
_HEIGHT = np.array(
    [0.065, 0.064, 0.063, 0.061, 0.050, 0.026, -0.004, -0.012, 0.025, 0.025, 0.013, -0.020, -0.058, -0.074]
)
# Over how many metres the growth becomes full there.
_SOFT = np.array([0.009, 0.009, 0.009, 0.009, 0.010, 0.010, 0.011, 0.011, 0.005, 0.005, 0.006, 0.012, 0.022, 0.028])
_EAR_BOX = ((0.0695, -0.052, -0.100), (0.2, 0.034, -0.050))  # x from the middle, y and z from the eyes


def above_line(points: Array, eye: Array) -> Array:
    """[n] metres by which points [n, 3] lie above the hairline. eye [3]: the left eye's centre."""
    x, y, z = points[:, 0], points[:, 1] - eye[1], points[:, 2] - eye[2]
    line = np.interp(-z, _DEPTH, _HEIGHT)
    # No line is ruled: waves of about 40, 17 and 8 mm round the head, different on both sides; and a slight peak.
    way = 1.6 * z + 0.9 * np.abs(x) + np.where(x > 0, 0.013, 0.0)
    front = np.clip((z + 0.03) / 0.02, 0, 1)
    wave = 0.0012 * np.sin(2 * np.pi * way / 0.041) + 0.0009 * np.sin(2 * np.pi * way / 0.017 + 1)
    wave += 0.0006 * np.sin(2 * np.pi * (way + 0.3 * x) / 0.0083 + 2)
    peak = 0.0025 * np.exp(-0.5 * (x / 0.012) ** 2) - 0.004 * np.exp(-0.5 * ((np.abs(x) - 0.040) / 0.009) ** 2)
    return y - line + wave + front * peak


def ears(points: Array, eye: Array) -> Array:
    """[n] in [0, 1]: 1 on the ears, which stand out from the sides of the skull."""
    place = np.stack([np.abs(points[:, 0]), points[:, 1] - eye[1], points[:, 2] - eye[2]], 1)
    low, high = np.array(_EAR_BOX)
    inside = ((place[:, 1:] > low[1:]) & (place[:, 1:] < high[1:])).all(1)
    return np.where(inside, np.clip((place[:, 0] - low[0]) / 0.0015, 0, 1), 0.0)


def scalp(points: Array, eye: Array) -> Array:
    """[n] in [0, 1]: how densely hair grows at points [n, 3] of the head's surface.

    The line runs over the forehead, back at the temples, down before the ears, round them and across the nape.
    """
    soft = np.interp(eye[2] - points[:, 2], _DEPTH, _SOFT)
    t = np.clip(above_line(points, eye) / soft + 0.25, 0, 1)
    return t * t * (3 - 2 * t) * (1 - ears(points, eye))
