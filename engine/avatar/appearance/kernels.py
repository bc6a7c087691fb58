"""The loops of apply.py, compiled."""

from __future__ import annotations

import numpy as np

from engine.avatar.compiled import strict

Array = np.ndarray


@strict
def gather(corners: Array, shares: Array, values: Array, out: Array) -> None:
    """out [m, k] = sum over three corners [m, 3] of shares [m, 3] times values [q, k]."""
    for i in range(len(corners)):
        a, b, c = np.uint64(corners[i, 0]), np.uint64(corners[i, 1]), np.uint64(corners[i, 2])
        p, q, r = shares[i, 0], shares[i, 1], shares[i, 2]
        for k in range(values.shape[1]):
            out[i, k] = p * values[a, k] + q * values[b, k] + r * values[c, k]


@strict
def scatter(corners: Array, shares: Array, gradient: Array, out: Array) -> None:
    """The way back of `gather`: out [q, k] grows by gradient [m, k]."""
    for i in range(len(corners)):
        for j in range(3):
            to, share = np.uint64(corners[i, j]), shares[i, j]
            for k in range(gradient.shape[1]):
                out[to, k] += share * gradient[i, k]
