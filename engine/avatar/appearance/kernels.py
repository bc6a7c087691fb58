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


_0, _1, _2, _HALF = (np.float32(k) for k in (0, 1, 2, 0.5))
_C2, _C4, _C6 = np.float32(-1 / 8), np.float32(1 / 384), np.float32(-1 / 46080)  # cos(a / 2) by powers of a²
_S2, _S4, _S6 = np.float32(-1 / 48), np.float32(1 / 3840), np.float32(-1 / 645120)  # sin(a / 2) / a


@strict
def _turn(c: Array, at: int, w: float, x: float, y: float, z: float) -> None:
    """c[at : at + 3] turned by the unit quaternion, in place."""
    px, py, pz = c[at], c[at + 1], c[at + 2]
    cx, cy, cz = _2 * (y * pz - z * py), _2 * (z * px - x * pz), _2 * (x * py - y * px)
    c[at] = px + w * cx + y * cz - z * cy
    c[at + 1] = py + w * cy + z * cx - x * cz
    c[at + 2] = pz + w * cz + x * cy - y * cx


@strict
def _turn_quaternion(quats: Array, r: int, x: float, y: float, z: float) -> None:
    """quats[:, r] turned by a rotation vector of less than pi (series: 1e-5 at a turn of 2); lengths may change by as
    much, which binding takes out."""
    square = x * x + y * y + z * z
    w = _1 + square * (_C2 + square * (_C4 + square * _C6))
    s = _HALF + square * (_S2 + square * (_S4 + square * _S6))
    x, y, z = s * x, s * y, s * z
    a, b, c, d = quats[0, r], quats[1, r], quats[2, r], quats[3, r]
    quats[0, r] = w * a - x * b - y * c - z * d
    quats[1, r] = w * b + x * a + y * d - z * c
    quats[2, r] = w * c - x * d + y * a + z * b
    quats[3, r] = w * d + x * c - y * b + z * a


@strict
def apply(
    rows: Array, corners: Array, shares: Array, frames: Array, values: Array, at: Array, means: Array, quats: Array,
    log_scales: Array, opacity: Array, sh: Array,
) -> None:  # fmt: skip
    """Add interpolated changes (values [q, k]) to the Gaussians `rows`, in place; twin of apply.changed_reference.

    at [5] int64: first column of means, turns, log_scales, logits and sh in values, -1 where there is none. means
    [3, n], quats [4, n], log_scales [3, n], opacity [n], sh [3 terms, n]; what `at` leaves out is not touched.
    """
    width = values.shape[1]
    c = np.empty(width, np.float32)
    for i in range(len(rows)):
        r = rows[i]
        first, second, third = corners[i, 0], corners[i, 1], corners[i, 2]
        p, q, s = shares[i, 0], shares[i, 1], shares[i, 2]
        for k in range(width):
            c[k] = p * values[first, k] + q * values[second, k] + s * values[third, k]
        w, x, y, z = frames[i, 4], -frames[i, 5], -frames[i, 6], -frames[i, 7]
        if at[0] >= 0:
            _turn(c, at[0], w, x, y, z)
            for k in range(3):
                means[k, r] += c[at[0] + k] / frames[i, 3]
        if at[1] >= 0:
            _turn(c, at[1], w, x, y, z)
            _turn_quaternion(quats, r, c[at[1]], c[at[1] + 1], c[at[1] + 2])
        if at[2] >= 0:
            for k in range(3):
                log_scales[k, r] += c[at[2]]
        if at[3] >= 0:
            inside = min(max(opacity[r], np.float32(1e-4)), np.float32(1 - 1e-4))
            opacity[r] = inside / (inside + (_1 - inside) * np.exp(-c[at[3]]))
        if at[4] >= 0:
            for k in range(len(sh)):
                sh[k, r] += c[at[4] + k]


@strict
def triplane(unit: Array, table: Array, sizes: Array, out: Array) -> None:
    """Features out [n, 3 * levels * width] of points unit [n, 3] in [0, 1] from hash tables [3, levels, rows, width];
    twin of triplane.TriPlaneHash."""
    levels, rows, width = table.shape[1], np.int64(table.shape[2]), table.shape[3]
    for plane in range(3):
        first, second = (0, 0, 1)[plane], (1, 2, 2)[plane]
        for level in range(levels):
            size = sizes[level]
            dense, features = size * size <= rows, table[plane, level]
            column = (plane * levels + level) * width
            for i in range(len(unit)):
                x, y = unit[i, first] * np.float32(size - 1), unit[i, second] * np.float32(size - 1)
                a, b = min(np.int64(x), size - 2), min(np.int64(y), size - 2)
                u, v = x - np.float32(a), y - np.float32(b)
                for k in range(width):
                    out[i, column + k] = _0
                for j in range(4):
                    p, q = a + j // 2, b + j % 2
                    row = p * size + q if dense else (p ^ (q * np.int64(2654435761))) % rows
                    weight = (u if j // 2 else _1 - u) * (v if j % 2 else _1 - v)
                    for k in range(width):
                        out[i, column + k] += weight * features[row, k]
