"""From Gaussians in space to ellipses with a colour on the image (kernels).

3D Gaussian Splatting (Kerbl et al. 2023, section 4 and appendix A) with gsplat's conventions: 0.3 px² on the
diagonal of the 2-D covariance, the Jacobian's x/z and y/z clamped to the image plus 15 % of its size, an
opacity-aware box (Radl et al. 2024, appendix B.2). Plain twin: reference.py.
"""

from __future__ import annotations

import numpy as np

from engine.avatar.compiled import strict

Array = np.ndarray

# Rows of the projected plane array [8, n].
X, Y, A, B, C, HALF_X, HALF_Y, OPACITY = range(8)

ALPHA_MIN = 1.0 / 255.0
NEAR_PLANE, FAR_PLANE, DILATION = 0.01, 1e10, 0.3
SHARE_MIN = 1e-12  # least ratio of areas before and after dilation that the anti-aliased mode uses

# numba computes in float64 as soon as one operand is a Python float: every constant is typed here.
_0, _1, _2, _3, _5, _255, _HALF = (np.float32(k) for k in (0, 1, 2, 3, 5, 255, 0.5))
_DILATION, _ALPHA_MIN = np.float32(DILATION), np.float32(ALPHA_MIN)
_TINY, _HUGE, _FAR = np.float32(1e-30), np.float32(1e30), np.float32(FAR_PLANE)
_LN2 = np.float32(0.69314718)
_23, _EXPONENT_BIAS, _MANTISSA, _ONE_BITS = (np.int32(k) for k in (23, 127, 0x7FFFFF, 0x3F800000))
_L1, _L2, _L3, _L4 = np.float32(1.4249), np.float32(-0.6645), np.float32(0.2867), np.float32(-0.0572)
_BOX_MARGIN = np.float32(0.02)
_SHARE_MIN = np.float32(SHARE_MIN)

# Work is done in blocks that fit the first-level cache, inside one scratch array with constant offsets: a loop over
# a dozen separate arrays is not vectorised (the compiler would have to test each pair for overlap).
_LANES = 256
_N, _2N, _3N, _4N, _5N, _6N, _7N, _8N, _9N = (np.uint64(k * _LANES) for k in range(1, 10))
_10N, _11N, _12N, _13N, _14N, _15N, _16N, _17N, _18N, _19N = (np.uint64(k * _LANES) for k in range(10, 20))
_BASIS, _SUM = np.uint64(3 * _LANES), np.uint64(19 * _LANES)

_S0, _S1 = np.float32(0.28209479177387814), np.float32(0.4886025119029199)
_S2A, _S2B, _S2C = np.float32(1.0925484305920792), np.float32(0.9461746957575601), np.float32(0.31539156525252005)
_S2D = np.float32(0.5462742152960396)
_S3A, _S3B = np.float32(0.5900435899266435), np.float32(1.445305721320277)
_S3C, _S3D, _S3E = np.float32(2.285228997322329), np.float32(0.4570457994644658), np.float32(1.865881662950577)
_S3F = np.float32(1.119528997770346)


@strict
def _load(scratch: Array, to: int, source: Array, start: int, count: int) -> None:
    for k in range(count):
        scratch[to + k] = source[start + k]


@strict
def _save(scratch: Array, at: int, target: Array, start: int, count: int) -> None:
    for k in range(count):
        target[start + k] = scratch[at + k]


@strict
def _depths(lo: int, hi: int, means: Array, view: Array, depth: Array) -> None:
    """Camera z. The order of drawing hangs on it: computed in float64, so that the reference rounds to the same."""
    x, y, z = means[0], means[1], means[2]
    a, b, c, d = view[2, 0], view[2, 1], view[2, 2], view[2, 3]
    for i in range(np.uint64(lo), np.uint64(hi)):
        depth[i] = np.float32(a * np.float64(x[i]) + b * np.float64(y[i]) + c * np.float64(z[i]) + d)


@strict
def _ellipse_block(s: Array, count: int, view: Array, lens: Array) -> None:
    """Planes of `s`: in 0-2 mean, 3-6 quaternion, 7-9 scales, 10 opacity, 11 depth; out 12-19 rows of `project`."""
    v00, v01, v02, v03 = np.float32(view[0, 0]), np.float32(view[0, 1]), np.float32(view[0, 2]), np.float32(view[0, 3])
    v10, v11, v12, v13 = np.float32(view[1, 0]), np.float32(view[1, 1]), np.float32(view[1, 2]), np.float32(view[1, 3])
    v20, v21, v22 = np.float32(view[2, 0]), np.float32(view[2, 1]), np.float32(view[2, 2])
    fx, fy, cx, cy = lens[0], lens[1], lens[2], lens[3]  # see cpu.lens_of
    x_min, x_max, y_min, y_max = lens[4], lens[5], lens[6], lens[7]
    width, height, perspective, near = lens[8], lens[9], lens[10], lens[11]
    flat, antialiased = _1 - perspective, lens[12]
    as_given = _1 - antialiased
    for i in range(count):
        x, y, z, far = s[i], s[_N + i], s[_2N + i], s[_11N + i]
        # Orthographic: divide by 1. A far of 0 gives infinity, which the near plane then drops.
        inverse = _1 / (far * perspective + flat)
        u = (v00 * x + v01 * y + v02 * z + v03) * inverse
        v = (v10 * x + v11 * y + v12 * z + v13) * inverse
        su = max(x_min, min(x_max, u)) * perspective
        sv = max(y_min, min(y_max, v)) * perspective
        # Rows of Jacobian times rotation, in world axes.
        gx, gy = fx * inverse, fy * inverse
        a0, a1, a2 = gx * (v00 - su * v20), gx * (v01 - su * v21), gx * (v02 - su * v22)
        b0, b1, b2 = gy * (v10 - sv * v20), gy * (v11 - sv * v21), gy * (v12 - sv * v22)
        w, p, q, r = s[_3N + i], s[_4N + i], s[_5N + i], s[_6N + i]
        norm = w * w + p * p + q * q + r * r
        k = _2 / norm
        r00, r01, r02 = _1 - k * (q * q + r * r), k * (p * q - w * r), k * (p * r + w * q)
        r10, r11, r12 = k * (p * q + w * r), _1 - k * (p * p + r * r), k * (q * r - w * p)
        r20, r21, r22 = k * (p * r - w * q), k * (q * r + w * p), _1 - k * (p * p + q * q)
        e0, e1, e2 = s[_7N + i], s[_8N + i], s[_9N + i]
        c0, f0 = e0 * (a0 * r00 + a1 * r10 + a2 * r20), e0 * (b0 * r00 + b1 * r10 + b2 * r20)
        c1, f1 = e1 * (a0 * r01 + a1 * r11 + a2 * r21), e1 * (b0 * r01 + b1 * r11 + b2 * r21)
        c2, f2 = e2 * (a0 * r02 + a1 * r12 + a2 * r22), e2 * (b0 * r02 + b1 * r12 + b2 * r22)
        xx, yy, xy = c0 * c0 + c1 * c1 + c2 * c2, f0 * f0 + f1 * f1 + f2 * f2, c0 * f0 + c1 * f1 + c2 * f2
        # det(M M^T + d I) by the cross product of M's rows: xx * yy - xy² cancels for long thin ellipses.
        n0, n1, n2 = c1 * f2 - c2 * f1, c2 * f0 - c0 * f2, c0 * f1 - c1 * f0
        sharp = n0 * n0 + n1 * n1 + n2 * n2
        det = sharp + _DILATION * (xx + yy) + _DILATION * _DILATION
        xx, yy = xx + _DILATION, yy + _DILATION
        t = _1 / det
        o = min(s[_10N + i], _1) * (as_given + antialiased * np.sqrt(max(sharp * t, _SHARE_MIN)))
        # ln(255 o) through the float's exponent and a quartic in its mantissa (error < 1e-3, covered by the margin).
        bits = np.float32(_255 * o).view(np.int32)
        mantissa = np.int32((bits & _MANTISSA) | _ONE_BITS).view(np.float32) - _1
        log2 = np.float32(np.int32(bits >> _23) - _EXPONENT_BIAS) + mantissa * (
            _L1 + mantissa * (_L2 + mantissa * (_L3 + mantissa * _L4))
        )
        reach = max(_2 * _LN2 * log2, _0) + _BOX_MARGIN
        hx, hy = np.sqrt(reach * xx), np.sqrt(reach * yy)
        px, py = fx * u + cx, fy * v + cy
        # Every comparison is false for NaN, so a Gaussian with one is not drawn.
        seen = (
            (o >= _ALPHA_MIN) & (far > near) & (far < _FAR) & (norm > _TINY) & (norm < _HUGE)
            & (det < _HUGE) & (xx + yy < _HUGE)
            & (px + hx > _0) & (px - hx < width) & (py + hy > _0) & (py - hy < height)
        )  # fmt: skip
        s[_12N + i], s[_13N + i] = px, py
        s[_14N + i], s[_15N + i], s[_16N + i] = _HALF * yy * t, -xy * t, _HALF * xx * t
        s[_17N + i], s[_18N + i], s[_19N + i] = hx if seen else -_1, hy, o


@strict
def _basis_block(s: Array, count: int, terms: int) -> None:
    """Planes of the SH basis 1..terms-1 at the directions in planes 0-2; real basis as in 3DGS and gsplat."""
    for i in range(count):
        x, y, z = s[i], s[_N + i], s[_2N + i]
        b = _BASIS + i
        s[b], s[b + _N], s[b + _2N] = -_S1 * y, _S1 * z, -_S1 * x
    if terms > 4:
        for i in range(count):
            x, y, z = s[i], s[_N + i], s[_2N + i]
            b = _BASIS + i
            s[b + _3N], s[b + _4N], s[b + _6N] = _S2A * x * y, -_S2A * y * z, -_S2A * x * z
            s[b + _5N], s[b + _7N] = _S2B * z * z - _S2C, _S2D * (x * x - y * y)
    if terms > 9:
        for i in range(count):
            x, y, z = s[i], s[_N + i], s[_2N + i]
            xx, yy, zz = x * x, y * y, z * z
            five = _S3D * (_1 - _5 * zz)
            b = _BASIS + i
            s[b + _8N], s[b + _14N] = _S3A * y * (yy - _3 * xx), _S3A * x * (_3 * yy - xx)
            s[b + _9N], s[b + _13N] = _2 * _S3B * x * y * z, _S3B * z * (xx - yy)
            s[b + _10N], s[b + _12N], s[b + _11N] = five * y, five * x, z * (_S3E * zz - _S3F)


@strict
def _direction_block(s: Array, start: int, count: int, means: Array, eye: Array, constant: bool) -> None:
    ex, ey, ez = eye[0], eye[1], eye[2]
    if constant:
        for i in range(count):
            s[i], s[_N + i], s[_2N + i] = ex, ey, ez
        return
    for axis in range(3):
        _load(s, np.uint64(axis) * _N, means[axis], start, count)
    for i in range(count):
        x, y, z = s[i] - ex, s[_N + i] - ey, s[_2N + i] - ez
        k = _1 / np.sqrt(x * x + y * y + z * z + _TINY)
        s[i], s[_N + i], s[_2N + i] = x * k, y * k, z * k


@strict
def _weighted(s: Array, source: Array, start: int, count: int, basis: Array) -> None:
    for i in range(count):
        s[_SUM + i] += s[basis + i] * source[start + i]


@strict
def _colour_block(
    s: Array, start: int, count: int, means: Array, sh: Array, terms: int, eye: Array, constant: bool, out: Array
) -> None:
    if terms > 1:
        _direction_block(s, start, count, means, eye, constant)
        _basis_block(s, count, terms)
    for channel in range(3):
        first, target = sh[channel], out[channel]
        for i in range(count):
            s[_SUM + i] = _HALF + _S0 * first[start + i]
        for term in range(1, terms):
            _weighted(s, sh[3 * term + channel], start, count, _BASIS + np.uint64(term - 1) * _N)
        for i in range(count):
            # Not max(): a NaN must stay one, so that order.py can drop the Gaussian.
            target[start + i] = _0 if s[_SUM + i] < _0 else s[_SUM + i]


@strict
def project(
    part: int,
    parts: int,
    means: Array,
    quats: Array,
    scales: Array,
    opacity: Array,
    sh: Array,
    terms: int,
    view: Array,
    lens: Array,
    eye: Array,
    constant: bool,
    out: Array,
    depth: Array,
    colour: Array,
) -> None:
    """This part's share of all Gaussians.

    means [3, n], quats [4, n] wxyz, scales [3, n], opacity [n], sh [3 * terms, n] float32, row = 3 * term + channel;
    view [3, 4] float64; lens [13] and eye [3] float32: the camera's position, or with `constant` the one direction of
    all rays. Out, float32: out [8, n] (row names above; HALF_X is -1 where nothing is to be drawn), depth [n],
    colour [3, n] = max(0, 0.5 + SH).
    """
    n = len(opacity)
    # Whole blocks, so that the same Gaussians fall into the same vectors whatever the number of threads: a block's
    # remainder is rounded differently, and pictures would differ in the last bit.
    blocks = (n + _LANES - 1) // _LANES
    lo, hi = blocks * part // parts * _LANES, min(n, blocks * (part + 1) // parts * _LANES)
    _depths(lo, hi, means, view, depth)
    s = np.empty(20 * _LANES, np.float32)
    for at in range(lo, hi, _LANES):
        start, count = np.uint64(at), np.uint64(min(_LANES, hi - at))
        for k in range(3):
            _load(s, np.uint64(k) * _N, means[k], start, count)
            _load(s, np.uint64(7 + k) * _N, scales[k], start, count)
        for k in range(4):
            _load(s, np.uint64(3 + k) * _N, quats[k], start, count)
        _load(s, _10N, opacity, start, count)
        _load(s, _11N, depth, start, count)
        _ellipse_block(s, count, view, lens)
        for k in range(8):
            _save(s, np.uint64(12 + k) * _N, out[k], start, count)
        _colour_block(s, start, count, means, sh, terms, eye, constant, colour)
