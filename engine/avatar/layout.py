"""How Gaussians lie in memory: [n, k] to the reader, [k, n] to the kernels, without a copy between."""

from __future__ import annotations

import numpy as np


def planes(values: np.ndarray) -> np.ndarray:
    """[n, k] -> [k, n], or [n, a, b] -> [a * b, n]; float32: a view of what `as_planes` made, else a copy."""
    n = len(values)
    flat = values.T if values.ndim == 2 else values.transpose(1, 2, 0).reshape(values.shape[1] * values.shape[2], n)
    return np.ascontiguousarray(flat, np.float32)


def as_planes(values: np.ndarray) -> np.ndarray:
    """The same array [n, ...] in float32, laid out so that `planes` of it is a view."""
    if values.ndim == 2:
        return np.ascontiguousarray(values.T, np.float32).T
    return np.ascontiguousarray(values.transpose(1, 2, 0), np.float32).transpose(2, 0, 1)
