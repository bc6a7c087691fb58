"""Compiled loops of avatar training: gradients into the triangles' frames and into planes of features, Adam, SSIM.

Twins in plain torch are in the tests: bind_reference and TriPlaneHash.plain through autograd, torch.optim.Adam, SSIM by
convolutions.
"""

from __future__ import annotations

import numpy as np

from engine.avatar.compiled import fast, strict

Array = np.ndarray

TAPS = 11  # of the window of SSIM (Wang et al. 2004), a Gaussian of 1.5 pixels
_HALF = TAPS // 2
_C1, _C2 = np.float32(0.01**2), np.float32(0.03**2)
_0, _1, _2 = np.float32(0), np.float32(1), np.float32(2)


def window() -> Array:
    """[TAPS] float32, sum 1."""
    x = np.arange(TAPS) - _HALF
    w = np.exp(-0.5 * (x / 1.5) ** 2)
    return (w / w.sum()).astype(np.float32)


WINDOW = window()


@strict
def to_local(
    triangle: Array, frame: Array, scales: Array, d_means: Array, d_quats: Array, d_scales: Array,
    means: Array, quats: Array, log_scales: Array,
) -> None:  # fmt: skip
    """Gradients in space [3, n], [4, n], [3, n] (of linear scales) -> of local means, unit local quaternions and local
    log-scales, into the last three; the way back of bind_kernels.place. frame [m, 8]; scales [3, n] in space."""
    for i in range(len(triangle)):
        f = frame[triangle[i]]
        size, w, x, y, z = f[3], f[4], -f[5], -f[6], -f[7]
        gx, gy, gz = d_means[0, i], d_means[1, i], d_means[2, i]
        cx, cy, cz = _2 * (y * gz - z * gy), _2 * (z * gx - x * gz), _2 * (x * gy - y * gx)
        means[0, i] = size * (gx + w * cx + y * cz - z * cy)
        means[1, i] = size * (gy + w * cy + z * cx - x * cz)
        means[2, i] = size * (gz + w * cz + x * cy - y * cx)
        a, b, c, d = d_quats[0, i], d_quats[1, i], d_quats[2, i], d_quats[3, i]
        quats[0, i] = w * a - x * b - y * c - z * d
        quats[1, i] = w * b + x * a + y * d - z * c
        quats[2, i] = w * c - x * d + y * a + z * b
        quats[3, i] = w * d + x * c - y * b + z * a
        for k in range(3):
            log_scales[k, i] = d_scales[k, i] * scales[k, i]


@strict
def adam(
    value: Array, gradient: Array, first: Array, second: Array, rate: float, b1: float, b2: float, at: int
) -> None:
    """One step of Adam (Kingma and Ba 2015) on flat float32 arrays, in place; `at` counts from 1. epsilon 1e-15, as
    3DGS has it: gradients of Gaussians are small."""
    unbias1, unbias2 = _1 / np.float32(1 - b1**at), _1 / np.float32(1 - b2**at)
    keep1, keep2 = np.float32(b1), np.float32(b2)
    for i in range(len(value)):
        g = gradient[i]
        m = keep1 * first[i] + (_1 - keep1) * g
        v = keep2 * second[i] + (_1 - keep2) * g * g
        first[i], second[i] = m, v
        value[i] -= np.float32(rate) * (m * unbias1) / (np.sqrt(v * unbias2) + np.float32(1e-15))


@strict
def normalise(quats: Array) -> None:
    """Quaternions [4, n] to length 1, in place."""
    for i in range(quats.shape[1]):
        a, b, c, d = quats[0, i], quats[1, i], quats[2, i], quats[3, i]
        k = _1 / np.sqrt(max(a * a + b * b + c * c + d * d, np.float32(1e-20)))
        quats[0, i], quats[1, i], quats[2, i], quats[3, i] = a * k, b * k, c * k, d * k


@strict
def triplane_back(unit: Array, given: Array, sizes: Array, table: Array) -> None:
    """Adds to gradients table [3, levels, rows, width] those that given [n, 3 * levels * width] sends back: the way
    back of appearance/kernels.triplane, at points unit [n, 3] in [0, 1]."""
    levels, rows, width = table.shape[1], np.int64(table.shape[2]), table.shape[3]
    for plane in range(3):
        first, second = (0, 0, 1)[plane], (1, 2, 2)[plane]
        for level in range(levels):
            size = sizes[level]
            dense, to = size * size <= rows, table[plane, level]
            column = (plane * levels + level) * width
            for i in range(len(unit)):
                x, y = unit[i, first] * np.float32(size - 1), unit[i, second] * np.float32(size - 1)
                a, b = min(np.int64(x), size - 2), min(np.int64(y), size - 2)
                u, v = x - np.float32(a), y - np.float32(b)
                for j in range(4):
                    p, q = a + j // 2, b + j % 2
                    row = p * size + q if dense else (p ^ (q * np.int64(2654435761))) % rows
                    weight = (u if j // 2 else _1 - u) * (v if j % 2 else _1 - v)
                    for k in range(width):
                        to[row, k] += weight * given[i, column + k]


@fast
def blur(source: Array, taps: Array, spare: Array, out: Array) -> None:
    """Separable convolution of [h, w] with TAPS taps, nothing beyond the edges; symmetric, so its own transpose."""
    h, w = source.shape
    half = np.uint64(_HALF)
    for y in range(np.uint64(h)):
        row, to = source[y], spare[y]
        for x in range(np.uint64(w)):
            to[x] = _0
        for k in range(np.uint64(TAPS)):
            tap = taps[k]
            first = half - k if k < half else np.uint64(0)
            last = np.uint64(w) if k <= half else np.uint64(w) - (k - half)
            for x in range(first, last):
                to[x] += tap * row[x + k - half]
    for y in range(np.uint64(h)):
        to = out[y]
        for x in range(np.uint64(w)):
            to[x] = _0
        for k in range(np.uint64(TAPS)):
            if y + k < half or y + k - half >= np.uint64(h):
                continue
            tap, row = taps[k], spare[y + k - half]
            for x in range(np.uint64(w)):
                to[x] += tap * row[x]


@fast
def ssim_maps(x: Array, y: Array, mx: Array, my: Array, xx: Array, yy: Array, xy: Array, weight: float) -> float:
    """Sum of SSIM over [h, w] from blurred x, y, x², y², xy; mx, xx and xy are overwritten by `weight` times the
    derivatives by the blurred x, x² and xy (Wang et al. 2004, eq. 13 with C3 = C2 / 2)."""
    total = 0.0
    h, w = x.shape
    for row in range(np.uint64(h)):
        a, b, aa, bb, ab = mx[row], my[row], xx[row], yy[row], xy[row]
        part = _0
        for k in range(np.uint64(w)):
            p, q = a[k], b[k]
            up1, up2 = _2 * p * q + _C1, _2 * (ab[k] - p * q) + _C2
            low1, low2 = p * p + q * q + _C1, (aa[k] - p * p) + (bb[k] - q * q) + _C2
            both = _1 / (low1 * low2)
            s = up1 * up2 * both
            by_xy, by_xx = _2 * up1 * both, -s / low2
            part += s
            a[k] = weight * (_2 * q * up2 * both - s * _2 * p / low1 - _2 * p * by_xx - q * by_xy)
            aa[k], ab[k] = weight * by_xx, weight * by_xy
        total += part
    return total


@fast
def products(x: Array, y: Array, xx: Array, yy: Array, xy: Array) -> None:
    """x², y² and xy of [h, w]."""
    h, w = x.shape
    for row in range(np.uint64(h)):
        p, q, a, b, c = x[row], y[row], xx[row], yy[row], xy[row]
        for k in range(np.uint64(w)):
            a[k], b[k], c[k] = p[k] * p[k], q[k] * q[k], p[k] * q[k]


@fast
def collect(x: Array, y: Array, d_mean: Array, d_square: Array, d_product: Array, l1: float, out: Array) -> float:
    """Gradient of the loss by x into out [h, w], from the blurred derivatives; the sum of |x - y| comes back."""
    total = 0.0
    h, w = x.shape
    for row in range(np.uint64(h)):
        p, q, a, b, c, to = x[row], y[row], d_mean[row], d_square[row], d_product[row], out[row]
        part = _0
        for k in range(np.uint64(w)):
            gap = p[k] - q[k]
            part += abs(gap)
            sign = _1 if gap > _0 else (-_1 if gap < _0 else _0)
            to[k] = l1 * sign + a[k] + _2 * p[k] * b[k] + q[k] * c[k]
        total += part
    return total
