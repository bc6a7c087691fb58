"""The way back of project.py: from gradients of ellipses and colours to gradients of Gaussians in space (kernels).

With M = J W R S (2 x 3), C = M Mᵀ + 0.3 I and P = C⁻¹: dL/dC = -P G P for the gradient G of P, dL/dM = 2 dL/dC M.
Twin: autograd through reference.py.
"""

from __future__ import annotations

import numpy as np

from engine.avatar.compiled import strict
from engine.render.blend_gradient import (
    G_A,
    G_B,
    G_BLUE,
    G_C,
    G_DEPTH,
    G_GREEN,
    G_NX,
    G_NY,
    G_NZ,
    G_OPACITY,
    G_RED,
    G_X,
    G_Y,
    GRADIENT,
)
from engine.render.project import _basis_block, _direction_block

Array = np.ndarray

_0, _1, _2, _3, _5, _HALF = (np.float32(k) for k in (0, 1, 2, 3, 5, 0.5))
_DILATION, _SHARE_MIN, _TINY = np.float32(0.3), np.float32(1e-12), np.float32(1e-20)
_LANES = 256
_N = np.uint64(_LANES)
_S0, _S1 = np.float32(0.28209479177387814), np.float32(0.4886025119029199)
_S2A, _S2B = np.float32(1.0925484305920792), np.float32(0.9461746957575601)
_S3A, _S3B = np.float32(0.5900435899266435), np.float32(1.445305721320277)
_S3D, _S3E = np.float32(0.4570457994644658), np.float32(1.865881662950577)
_S3F = np.float32(1.119528997770346)
# Scratch planes: unit direction 0-2 and the basis 3-17 (as project.py fills them), gradient of the colour, sums over
# the colour of coefficient times gradient, gradient of the direction.
_COLOUR, _SUM, _DIRECTION = (np.uint64(k * _LANES) for k in (18, 21, 37))
_SCRATCH = 40 * _LANES


@strict
def gather(part: int, parts: int, m: int, order: Array, gradients: Array, colour: Array, out: Array) -> None:
    """Sums over the threads' buffers, back in the Gaussians' own order: out [n, 16] (zeros before), from gradients
    [threads, 16 m]. A colour that was clamped at 0 (colour [3, n] of project()) gives nothing back."""
    for k in range(m * part // parts, m * (part + 1) // parts):
        row = out[order[k]]
        for j in range(GRADIENT):
            row[j] = gradients[0, k * GRADIENT + j]
        for t in range(1, len(gradients)):
            for j in range(GRADIENT):
                row[j] += gradients[t, k * GRADIENT + j]
        for channel in range(3):
            if colour[channel, order[k]] <= _0:
                row[G_RED + channel] = _0


@strict
def _rotation(w: float, x: float, y: float, z: float, r: Array) -> None:
    """Rows of the rotation of a unit quaternion into r [9]."""
    r[0], r[1], r[2] = _1 - _2 * (y * y + z * z), _2 * (x * y - w * z), _2 * (x * z + w * y)
    r[3], r[4], r[5] = _2 * (x * y + w * z), _1 - _2 * (x * x + z * z), _2 * (y * z - w * x)
    r[6], r[7], r[8] = _2 * (x * z - w * y), _2 * (y * z + w * x), _1 - _2 * (x * x + y * y)


@strict
def _quaternion_gradient(w: float, x: float, y: float, z: float, norm: float, g: Array, quats: Array, i: int) -> None:
    """Gradient g [9] of the rotation of the unit quaternion -> of the quaternion of length `norm`, into quats[:, i]."""
    gw = _2 * (x * (g[7] - g[5]) + y * (g[2] - g[6]) + z * (g[3] - g[1]))
    gx = _2 * (w * (g[7] - g[5]) + y * (g[1] + g[3]) + z * (g[2] + g[6]) - _2 * x * (g[4] + g[8]))
    gy = _2 * (w * (g[2] - g[6]) + x * (g[1] + g[3]) + z * (g[5] + g[7]) - _2 * y * (g[0] + g[8]))
    gz = _2 * (w * (g[3] - g[1]) + x * (g[2] + g[6]) + y * (g[5] + g[7]) - _2 * z * (g[0] + g[4]))
    along = gw * w + gx * x + gy * y + gz * z
    quats[0, i], quats[1, i] = (gw - along * w) / norm, (gx - along * x) / norm
    quats[2, i], quats[3, i] = (gy - along * y) / norm, (gz - along * z) / norm


@strict
def _covariance_gradient(row: Array, c: Array, f: Array, opacity: float, antialiased: float, gc: Array) -> float:
    """gc [3]: gradient of the dilated covariance (xx, xy, yy; xy counted once per place) from a gradient row and M's
    rows c, f [3]. Returns the factor that the anti-aliased mode put on the opacity."""
    xx = c[0] * c[0] + c[1] * c[1] + c[2] * c[2]
    yy = f[0] * f[0] + f[1] * f[1] + f[2] * f[2]
    xy = c[0] * f[0] + c[1] * f[1] + c[2] * f[2]
    n0, n1, n2 = c[1] * f[2] - c[2] * f[1], c[2] * f[0] - c[0] * f[2], c[0] * f[1] - c[1] * f[0]
    sharp = n0 * n0 + n1 * n1 + n2 * n2
    inverse = _1 / (sharp + _DILATION * (xx + yy) + _DILATION * _DILATION)
    p00, p01, p11 = (yy + _DILATION) * inverse, -xy * inverse, (xx + _DILATION) * inverse
    # The coefficients of sigma are p00 / 2, p01 and p11 / 2, and p01 stands in two places.
    g00, g01, g11 = _HALF * row[G_A], _HALF * row[G_B], _HALF * row[G_C]
    u00, u01 = p00 * g00 + p01 * g01, p00 * g01 + p01 * g11
    u10, u11 = p01 * g00 + p11 * g01, p01 * g01 + p11 * g11
    gc[0], gc[1], gc[2] = -(u00 * p00 + u01 * p01), -(u00 * p01 + u01 * p11), -(u10 * p01 + u11 * p11)
    share = _1
    if antialiased > _0:
        ratio = sharp * inverse
        share = np.sqrt(max(ratio, _SHARE_MIN))
        if ratio > _SHARE_MIN:
            scale = _HALF * row[G_OPACITY] * opacity
            add, cut = scale * inverse / share, scale * share
            gc[0] += add * yy - cut * p00
            gc[1] += -add * xy - cut * p01
            gc[2] += add * xx - cut * p11
    return share


@strict
def _normal_gradient(
    row: Array, r: Array, scales: Array, i: int, toward: Array, given: Array, given_out: Array, gr: Array
) -> None:
    """Gradient of the unit normal: onto the shortest axis (gr [9] grows), or onto the given normal."""
    gx, gy, gz = row[G_NX], row[G_NY], row[G_NZ]
    if given.shape[1]:
        nx, ny, nz = given[0, i], given[1, i], given[2, i]
    else:
        a, b, c = scales[0, i], scales[1, i], scales[2, i]
        axis = 0 if a <= b and a <= c else (1 if b <= c else 2)
        nx, ny, nz = r[axis], r[3 + axis], r[6 + axis]
    if nx * toward[0] + ny * toward[1] + nz * toward[2] > _0:
        gx, gy, gz = -gx, -gy, -gz
    if given.shape[1]:
        length = max(np.sqrt(nx * nx + ny * ny + nz * nz), _TINY)
        nx, ny, nz = nx / length, ny / length, nz / length
        along = nx * gx + ny * gy + nz * gz
        given_out[0, i], given_out[1, i] = (gx - along * nx) / length, (gy - along * ny) / length
        given_out[2, i] = (gz - along * nz) / length
    else:
        gr[axis] += gx
        gr[3 + axis] += gy
        gr[6 + axis] += gz


@strict
def _slope_gradient(
    ga: Array, line: Array, third: Array, focal: float, slope: float, low: float, high: float, perspective: float,
    inverse: float,
) -> tuple[float, float]:  # fmt: skip
    """Of one row of the Jacobian, focal / z (line - clamped slope * third): gradients of the slope and of 1 / z."""
    clamped = max(low, min(high, slope)) * perspective
    on_line = ga[0] * line[0] + ga[1] * line[1] + ga[2] * line[2]
    on_third = ga[0] * third[0] + ga[1] * third[1] + ga[2] * third[2]
    free = perspective if low <= slope <= high else _0
    return -focal * inverse * on_third * free, focal * (on_line - clamped * on_third)


@strict
def _gaussian(
    i: int, row: Array, means: Array, quats: Array, scales: Array, opacity: Array, view: Array, lens: Array,
    toward: Array, given: Array, s: Array, d_means: Array, d_quats: Array, d_scales: Array, d_opacity: Array,
    d_given: Array,
) -> None:  # fmt: skip
    """One Gaussian that was drawn; s: scratch [5, 9], view [3, 4] float32."""
    perspective = lens[10]
    x, y, z = means[0, i], means[1, i], means[2, i]
    xc = view[0, 0] * x + view[0, 1] * y + view[0, 2] * z + view[0, 3]
    yc = view[1, 0] * x + view[1, 1] * y + view[1, 2] * z + view[1, 3]
    zc = view[2, 0] * x + view[2, 1] * y + view[2, 2] * z + view[2, 3]
    inverse = _1 / (zc * perspective + _1 - perspective)
    u, v = xc * inverse, yc * inverse
    su = max(lens[4], min(lens[5], u)) * perspective
    sv = max(lens[6], min(lens[7], v)) * perspective
    w, p, q, o = quats[0, i], quats[1, i], quats[2, i], quats[3, i]
    norm = np.sqrt(w * w + p * p + q * q + o * o)
    w, p, q, o = w / norm, p / norm, q / norm, o / norm
    r, gr, m, gm, gc = s[0], s[1], s[2], s[3], s[4]  # rotation; its gradient; M and the Jacobian's rows; theirs
    _rotation(w, p, q, o, r)
    for k in range(3):
        m[k] = lens[0] * inverse * (view[0, k] - su * view[2, k])
        m[3 + k] = lens[1] * inverse * (view[1, k] - sv * view[2, k])
    a, b = m[0:3], m[3:6]
    c, f = gm[0:3], gm[3:6]
    for j in range(3):
        c[j] = scales[j, i] * (a[0] * r[j] + a[1] * r[3 + j] + a[2] * r[6 + j])
        f[j] = scales[j, i] * (b[0] * r[j] + b[1] * r[3 + j] + b[2] * r[6 + j])
    strength = min(opacity[i], _1)
    share = _covariance_gradient(row, c, f, strength, lens[12], gc)
    d_opacity[i] = row[G_OPACITY] * share if opacity[i] <= _1 else _0
    ga, gb = gc[3:6], gc[6:9]  # gradients of the Jacobian's rows
    for k in range(6):
        gc[3 + k] = _0
    for j in range(3):
        gcj, gfj = _2 * (gc[0] * c[j] + gc[1] * f[j]), _2 * (gc[1] * c[j] + gc[2] * f[j])
        e = scales[j, i]
        along_a = a[0] * r[j] + a[1] * r[3 + j] + a[2] * r[6 + j]
        along_b = b[0] * r[j] + b[1] * r[3 + j] + b[2] * r[6 + j]
        d_scales[j, i] = gcj * along_a + gfj * along_b
        for k in range(3):
            gr[3 * k + j] = e * (gcj * a[k] + gfj * b[k])
            ga[k] += e * gcj * r[3 * k + j]
            gb[k] += e * gfj * r[3 * k + j]
    if row[G_NX] != _0 or row[G_NY] != _0 or row[G_NZ] != _0:
        _normal_gradient(row, r, scales, i, toward, given, d_given, gr)
    _quaternion_gradient(w, p, q, o, norm, gr, d_quats, i)
    gu, gi_u = _slope_gradient(ga, view[0], view[2], lens[0], u, lens[4], lens[5], perspective, inverse)
    gv, gi_v = _slope_gradient(gb, view[1], view[2], lens[1], v, lens[6], lens[7], perspective, inverse)
    gu, gv = gu + lens[0] * row[G_X], gv + lens[1] * row[G_Y]
    g_inverse = gi_u + gi_v + gu * xc + gv * yc
    gx, gy = gu * inverse, gv * inverse
    gz = row[G_DEPTH] - perspective * g_inverse * inverse * inverse
    for k in range(3):
        d_means[k, i] = view[0, k] * gx + view[1, k] * gy + view[2, k] * gz


@strict
def project_gradient(
    part: int, parts: int, rows: Array, drawn: Array, means: Array, quats: Array, scales: Array, opacity: Array,
    view: Array, lens: Array, eye: Array, constant: bool, given: Array, d_means: Array, d_quats: Array,
    d_scales: Array, d_opacity: Array, d_given: Array,
) -> None:  # fmt: skip
    """This part's share: gradients [k, n] of means, quats, linear scales, opacity [n] and given normals (zeros before).

    rows [n, 16] from `gather`; drawn [n] bool; inputs as project()'s, view [3, 4] float32; given [3, n] or [3, 0].
    """
    n = len(opacity)
    s = np.empty((5, 9), np.float32)
    toward = np.empty(3, np.float32)
    for i in range(n * part // parts, n * (part + 1) // parts):
        if drawn[i]:
            for k in range(3):
                toward[k] = eye[k] if constant else means[k, i] - eye[k]
            _gaussian(
                i, rows[i], means, quats, scales, opacity, view, lens, toward, given, s, d_means, d_quats, d_scales,
                d_opacity, d_given,
            )  # fmt: skip


@strict
def _sum_block(s: Array, start: int, count: int, term: int, sh: Array, d_sh: Array) -> None:
    """Gradient of one term's three coefficients, and the sum over the colour of coefficient times gradient."""
    to, basis = _SUM + np.uint64(term) * _N, np.uint64(2 + term) * _N
    for i in range(count):
        s[to + i] = _0
    for channel in range(3):
        source, target = sh[3 * term + channel], d_sh[3 * term + channel]
        at = _COLOUR + np.uint64(channel) * _N
        for i in range(count):
            target[start + i] = s[basis + i] * s[at + i]
            s[to + i] += source[start + i] * s[at + i]


@strict
def _direction_gradient_block(s: Array, count: int, terms: int) -> None:
    """Gradient of the unit direction into its planes: sums times the derivative of each basis function."""
    w1, w2, w3 = _SUM + np.uint64(1) * _N, _SUM + np.uint64(2) * _N, _SUM + np.uint64(3) * _N
    w4, w5, w6 = _SUM + np.uint64(4) * _N, _SUM + np.uint64(5) * _N, _SUM + np.uint64(6) * _N
    w7, w8, w9 = _SUM + np.uint64(7) * _N, _SUM + np.uint64(8) * _N, _SUM + np.uint64(9) * _N
    w10, w11, w12 = _SUM + np.uint64(10) * _N, _SUM + np.uint64(11) * _N, _SUM + np.uint64(12) * _N
    w13, w14, w15 = _SUM + np.uint64(13) * _N, _SUM + np.uint64(14) * _N, _SUM + np.uint64(15) * _N
    gx, gy, gz = _DIRECTION, _DIRECTION + _N, _DIRECTION + _N + _N
    for i in range(count):
        s[gx + i], s[gy + i], s[gz + i] = -_S1 * s[w3 + i], -_S1 * s[w1 + i], _S1 * s[w2 + i]
    if terms > 4:
        for i in range(count):
            x, y, z = s[i], s[_N + i], s[_N + _N + i]
            a, b, c, d, e = s[w4 + i], s[w5 + i], s[w6 + i], s[w7 + i], s[w8 + i]
            s[gx + i] += _S2A * (a * y - d * z + e * x)
            s[gy + i] += _S2A * (a * x - b * z - e * y)
            s[gz + i] += _2 * _S2B * c * z - _S2A * (b * y + d * x)
    if terms > 9:
        for i in range(count):
            x, y, z = s[i], s[_N + i], s[_N + _N + i]
            xx, yy, zz = x * x, y * y, z * z
            a, b, c, d = s[w9 + i], s[w10 + i], s[w11 + i], s[w12 + i]
            e, f, g = s[w13 + i], s[w14 + i], s[w15 + i]
            five = _S3D * (_1 - _5 * zz)
            s[gx + i] += -_3 * _2 * _S3A * a * x * y + _2 * _S3B * b * y * z + five * e
            s[gx + i] += _2 * _S3B * f * x * z + _3 * _S3A * g * (yy - xx)
            s[gy + i] += _3 * _S3A * a * (yy - xx) + _2 * _S3B * b * x * z + five * c
            s[gy + i] += -_2 * _S3B * f * y * z + _3 * _2 * _S3A * g * x * y
            s[gz + i] += _2 * _S3B * b * x * y - _2 * _5 * _S3D * z * (c * y + e * x)
            s[gz + i] += d * (_3 * _S3E * zz - _S3F) + _S3B * f * (xx - yy)


@strict
def _still_where_undrawn(s: Array, count: int) -> None:
    """No direction where no gradient comes in: what is not drawn may lie anywhere, and 0 times NaN is NaN."""
    for i in range(count):
        asked = (s[_COLOUR + i] != _0) | (s[_COLOUR + _N + i] != _0) | (s[_COLOUR + _N + _N + i] != _0)
        s[i] = s[i] if asked else _0
        s[_N + i] = s[_N + i] if asked else _0
        s[_N + _N + i] = s[_N + _N + i] if asked else _0


@strict
def colour_gradient(
    part: int, parts: int, rows: Array, means: Array, sh: Array, terms: int, eye: Array, constant: bool,
    d_sh: Array, d_means: Array,
) -> None:  # fmt: skip
    """d_sh [3 * terms, n] (written), and d_means [3, n] grows by the turn of the view direction; rows from `gather`."""
    n = sh.shape[1]
    blocks = (n + _LANES - 1) // _LANES
    s = np.empty(_SCRATCH, np.float32)
    for at in range(blocks * part // parts * _LANES, min(n, blocks * (part + 1) // parts * _LANES), _LANES):
        start, count = np.uint64(at), np.uint64(min(_LANES, n - at))
        for i in range(count):
            s[_COLOUR + i] = rows[start + i, G_RED]
            s[_COLOUR + _N + i] = rows[start + i, G_GREEN]
            s[_COLOUR + _N + _N + i] = rows[start + i, G_BLUE]
        for channel in range(3):
            target, of = d_sh[channel], _COLOUR + np.uint64(channel) * _N
            for i in range(count):
                target[start + i] = _S0 * s[of + i]
        if terms == 1:
            continue
        _direction_block(s, start, count, means, eye, constant)
        _still_where_undrawn(s, count)
        _basis_block(s, count, terms)
        for term in range(1, terms):
            _sum_block(s, start, count, term, sh, d_sh)
        if constant:
            continue
        _direction_gradient_block(s, count, terms)
        ex, ey, ez = eye[0], eye[1], eye[2]
        for i in range(count):
            x, y, z = s[i], s[_N + i], s[_N + _N + i]
            gx, gy, gz = s[_DIRECTION + i], s[_DIRECTION + _N + i], s[_DIRECTION + _N + _N + i]
            along = gx * x + gy * y + gz * z
            dx, dy, dz = means[0, start + i] - ex, means[1, start + i] - ey, means[2, start + i] - ez
            k = _1 / np.sqrt(dx * dx + dy * dy + dz * dz + _TINY)
            if s[_COLOUR + i] != _0 or s[_COLOUR + _N + i] != _0 or s[_COLOUR + _N + _N + i] != _0:
                d_means[0, start + i] += (gx - along * x) * k
                d_means[1, start + i] += (gy - along * y) * k
                d_means[2, start + i] += (gz - along * z) * k
