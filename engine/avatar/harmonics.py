"""Spherical harmonics of colours: the basis, of numpy's arrays or torch's tensors, and coefficients in turned axes."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray
Y0 = 0.28209479177387814  # the constant function: what a colour of degree 0 is multiplied by


def columns(x: Any, y: Any, z: Any) -> list[Any]:
    """The 16 real spherical harmonics of degree 0 to 3 at unit directions (x, y, z), 3DGS's signs and order.

    x, y, z: arrays or tensors of one shape (or single numbers); each function of that shape, in their precision.
    """
    xx, yy, zz = x * x, y * y, z * z
    return [
        Y0 + 0.0 * x,
        -0.4886025119029199 * y, 0.4886025119029199 * z, -0.4886025119029199 * x,
        1.0925484305920792 * x * y, -1.0925484305920792 * y * z, 0.31539156525252005 * (3 * zz - 1),
        -1.0925484305920792 * x * z, 0.5462742152960396 * (xx - yy),
        0.5900435899266435 * y * (yy - 3 * xx), 2.890611442640554 * x * y * z,
        0.4570457994644658 * y * (1 - 5 * zz), 0.3731763325901154 * z * (5 * zz - 3),
        0.4570457994644658 * x * (1 - 5 * zz), 1.445305721320277 * z * (xx - yy),
        0.5900435899266435 * x * (3 * yy - xx),
    ]  # fmt: skip


def basis(directions: Array, terms: int) -> Array:
    """Real spherical harmonics at unit directions [n, 3] -> [n, terms] float64, terms in {1, 4, 9, 16}."""
    return np.stack(columns(*np.asarray(directions, np.float64).T)[:terms], -1)


def turned(sh: Array, turn: Array) -> Array:
    """Coefficients [n, terms, 3] of the same colours in axes whose points are `turn` [3, 3] times ours.

    Each degree's functions turn into each other, so 64 directions determine the [terms, terms] matrix exactly.
    """
    terms = sh.shape[1]
    d = np.random.default_rng(0).normal(size=(64, 3))
    d /= np.linalg.norm(d, axis=1, keepdims=True)
    matrix = np.linalg.lstsq(basis(d @ np.asarray(turn, np.float64).T, terms), basis(d, terms), rcond=None)[0]
    return np.einsum("st,ntc->nsc", matrix.astype(np.float32), sh)
