"""Spherical harmonics of colours in numpy: the basis, and coefficients in turned axes."""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def basis(directions: Array, terms: int) -> Array:
    """Real spherical harmonics at unit directions [n, 3] -> [n, terms], terms in {1, 4, 9, 16} (3DGS's signs; the twin
    is render/reference.py's)."""
    x, y, z = np.asarray(directions, np.float64).T
    xx, yy, zz = x * x, y * y, z * z
    columns = [
        np.full_like(x, 0.28209479177387814),
        -0.4886025119029199 * y, 0.4886025119029199 * z, -0.4886025119029199 * x,
        1.0925484305920792 * x * y, -1.0925484305920792 * y * z, 0.31539156525252005 * (3 * zz - 1),
        -1.0925484305920792 * x * z, 0.5462742152960396 * (xx - yy),
        0.5900435899266435 * y * (yy - 3 * xx), 2.890611442640554 * x * y * z,
        0.4570457994644658 * y * (1 - 5 * zz), 0.3731763325901154 * z * (5 * zz - 3),
        0.4570457994644658 * x * (1 - 5 * zz), 1.445305721320277 * z * (xx - yy),
        0.5900435899266435 * x * (3 * yy - xx),
    ]  # fmt: skip
    return np.stack(columns[:terms], -1)


def turned(sh: Array, turn: Array) -> Array:
    """Coefficients [n, terms, 3] of the same colours in axes whose points are `turn` [3, 3] times ours.

    Each degree's functions turn into each other, so 64 directions determine the [terms, terms] matrix exactly.
    """
    terms = sh.shape[1]
    d = np.random.default_rng(0).normal(size=(64, 3))
    d /= np.linalg.norm(d, axis=1, keepdims=True)
    matrix = np.linalg.lstsq(basis(d @ np.asarray(turn, np.float64).T, terms), basis(d, terms), rcond=None)[0]
    return np.einsum("st,ntc->nsc", matrix.astype(np.float32), sh)
