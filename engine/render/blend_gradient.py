"""The way back of blend.py: from gradients of the picture to gradients of the packed records (kernels).

The lists are replayed front to back, and nothing is stored but the picture. With transmittance T before a Gaussian,
v the gradient of the pixel's sums and `rest` = what lies behind it, times v (Kerbl et al. 2023, appendix B):

    dL/dalpha = T (c . v) - (rest - T_final v_alpha) / (1 - alpha),    dL/dsigma = -alpha dL/dalpha

A pixel gives nothing to a Gaussian that is below 1/255, clamped at 0.999, or behind the one that finished the pixel.
All gradients of the ellipse follow from six moments of dL/dsigma over the pixels. Twin: autograd through reference.py.
"""

from __future__ import annotations

import numpy as np

from engine.avatar.compiled import fast
from engine.render import blend, order
from engine.render.blend import (
    _ALPHA_MAX,
    _ALPHA_MIN,
    _P1,
    _P2,
    _P3,
    _P4,
    _P5,
    _R_A,
    _R_B,
    _R_BLUE,
    _R_C,
    _R_DEPTH,
    _R_GREEN,
    _R_NX,
    _R_NY,
    _R_NZ,
    _R_OPACITY,
    _R_RED,
    _R_ROW0,
    _R_ROW1,
    _R_Y,
    _T_LOW,
    _T_MIN,
    _U1,
    _U16,
    _0,
    _1,
    _alive,
    _blend_tile,
    _empty_tile,
)  # fmt: skip

Array = np.ndarray

SUMS = 8  # planes of a finished tile: transmittance, red, green, blue[, depth, normal]
GRADIENT = 16  # floats per record in the gradient buffer
# Its entries: position, sigma's three coefficients, opacity, colour[, depth, normal].
G_X, G_Y, G_A, G_B, G_C, G_OPACITY, G_RED, G_GREEN, G_BLUE, G_DEPTH, G_NX, G_NY, G_NZ = range(13)

# Planes of the work tile after the transmittance: rest, gradients of the sums, column and row of each pixel. Every
# access is one index plus a constant into one buffer, so that the compiler sees no overlap.
_REST, _VR, _VG, _VB, _VD, _VX, _VY, _VZ, _COLUMN, _ROW = (np.uint64(256 * k) for k in range(1, 11))
_WORK = 256 * 11
_U2, _U3, _U4, _U256 = (np.uint64(k) for k in (2, 3, 4, 256))
_2, _MINUS_8 = np.float32(2), np.float32(-8)


@fast
def blend_sums(
    part: int, parts: int, row_from: int, row_to: int, columns: int, records: Array, lists: Array, offsets: Array,
    width: int, height: int, tiles: Array, rgba: Array, geometry: Array | None,
) -> None:  # fmt: skip
    """Blend this part's tiles as blend.blend does and keep them: tiles [tiles, 8 * 256] float32 (see SUMS).

    rgba [4 * pixels]: colour sums and alpha; geometry [4 * pixels]: sums of weight times depth and normal, or None.
    """
    planes = np.uint64(4) if geometry is None else np.uint64(8)
    base = offsets[row_from * columns]
    for row in range(row_from, row_to):
        top = row * 16
        rows = min(16, height - top)
        for column in range((part - row) % parts, columns, parts):
            left = column * 16
            count = np.uint64(min(16, width - left))
            index = row * columns + column
            begin, end = np.uint64(offsets[index] - base), np.uint64(offsets[index + 1] - base)
            tile = tiles[index]
            _empty_tile(tile, planes)
            if end > begin:
                edge, head = np.float32(left), np.float32(top)
                _blend_tile(tile, records, lists, begin, end, edge, head, geometry, geometry)
            for line in range(rows):
                to = _U4 * np.uint64((top + line) * width + left)
                first = np.uint64(line) * _U16
                for k in range(count):
                    rgba[to + _U4 * k] = tile[blend._W + first + k]
                    rgba[to + _U4 * k + _U1] = tile[blend._G + first + k]
                    rgba[to + _U4 * k + _U2] = tile[blend._B + first + k]
                    rgba[to + _U4 * k + _U3] = _1 - abs(tile[first + k])
                if geometry is not None:
                    for plane in range(_U4):
                        at = blend._D + plane * _U256 + first
                        for k in range(count):
                            geometry[to + _U4 * k + plane] = tile[at + k]


@fast
def _load_tile(
    work: Array, tile: Array, rows: int, count: int, at: int, stride: int, v: Array, u: Array | None
) -> None:
    """Fill the work tile: transmittance 1, gradients of the sums, and rest = sums . v - T_final v_alpha."""
    for k in range(_U256):
        work[k] = _1
    for k in range(_U256, _COLUMN):
        work[k] = _0
    for line in range(rows):
        first = np.uint64(line) * _U16
        start = _U4 * (at + np.uint64(line) * stride)
        for k in range(count):
            red, green, blue = v[start + _U4 * k], v[start + _U4 * k + _U1], v[start + _U4 * k + _U2]
            work[_VR + first + k], work[_VG + first + k], work[_VB + first + k] = red, green, blue
            work[_REST + first + k] = (
                red * tile[blend._W + first + k] + green * tile[blend._G + first + k]
                + blue * tile[blend._B + first + k] - abs(tile[first + k]) * v[start + _U4 * k + _U3]
            )  # fmt: skip
        if u is not None:
            for plane in range(_U4):
                to, of = _VD + plane * _U256 + first, blend._D + plane * _U256 + first
                for k in range(count):
                    value = u[start + _U4 * k + plane]
                    work[to + k] = value
                    work[_REST + first + k] += value * tile[of + k]


@fast
def _record_gradient(
    work: Array, records: Array, base: int, begin: int, end: int, left: float, gradients: Array, geometry: Array | None
) -> None:
    """One Gaussian on the pixels [begin, end) of a tile: add to its gradients, and go on behind it.

    One loop over whole rows of 16: the sums stay in vector registers and are added up once.
    """
    a, b, c = records[base + _R_A], records[base + _R_B], records[base + _R_C]
    x_off, y, opacity = left - records[base], records[base + _R_Y], records[base + _R_OPACITY]
    red, green, blue = records[base + _R_RED], records[base + _R_GREEN], records[base + _R_BLUE]
    if geometry is not None:
        z, nx = records[base + _R_DEPTH], records[base + _R_NX]
        ny, nz = records[base + _R_NY], records[base + _R_NZ]
    m00, m10, m20, m01, m11, m02 = _0, _0, _0, _0, _0, _0  # sums of g dx^i dy^j
    s_red, s_green, s_blue, s_z, s_x, s_y, s_n = _0, _0, _0, _0, _0, _0, _0
    for k in range(begin, end):
        dx, dy = work[_COLUMN + k] + x_off, work[_ROW + k] - y
        t = max((a * dx + b * dy) * dx + c * dy * dy, _T_LOW)
        e = _1 + t * (_P1 + t * (_P2 + t * (_P3 + t * (_P4 + t * _P5))))
        e *= e
        e *= e
        e *= e
        raw = opacity * e
        alpha = min(raw, _ALPHA_MAX)
        alpha = alpha if alpha >= _ALPHA_MIN else _0
        before = work[k]
        after = before - before * alpha
        live = after > _T_MIN
        weight = before * alpha if live else _0
        work[k] = after if live else -abs(before)
        vr, vg, vb = work[_VR + k], work[_VG + k], work[_VB + k]
        seen = red * vr + green * vg + blue * vb
        if geometry is not None:
            vz, vx, vy, vn = work[_VD + k], work[_VX + k], work[_VY + k], work[_VZ + k]
            seen += z * vz + nx * vx + ny * vy + nz * vn
            s_z += weight * vz
            s_x += weight * vx
            s_y += weight * vy
            s_n += weight * vn
        rest = work[_REST + k] - weight * seen
        work[_REST + k] = rest
        g = rest * alpha / (_1 - alpha) - weight * seen
        g = g if live and raw <= _ALPHA_MAX else _0
        gx, gy = g * dx, g * dy
        m00 += g
        m10 += gx
        m01 += gy
        m20 += gx * dx
        m11 += gx * dy
        m02 += gy * dy
        s_red += weight * vr
        s_green += weight * vg
        s_blue += weight * vb
    # Records hold sigma's coefficients times -1/8; d(dx)/d(position) = -1.
    a, b, c = _MINUS_8 * a, _MINUS_8 * b, _MINUS_8 * c
    gradients[base + np.uint64(G_X)] -= _2 * a * m10 + b * m01
    gradients[base + np.uint64(G_Y)] -= b * m10 + _2 * c * m01
    gradients[base + np.uint64(G_A)] += m20
    gradients[base + np.uint64(G_B)] += m11
    gradients[base + np.uint64(G_C)] += m02
    gradients[base + np.uint64(G_OPACITY)] -= m00 / opacity
    gradients[base + np.uint64(G_RED)] += s_red
    gradients[base + np.uint64(G_GREEN)] += s_green
    gradients[base + np.uint64(G_BLUE)] += s_blue
    if geometry is not None:
        gradients[base + np.uint64(G_DEPTH)] += s_z
        gradients[base + np.uint64(G_NX)] += s_x
        gradients[base + np.uint64(G_NY)] += s_y
        gradients[base + np.uint64(G_NZ)] += s_n


@fast
def _tile_gradient(
    work: Array, records: Array, lists: Array, begin: int, end: int, left: float, top: float, gradients: Array,
    geometry: Array | None,
) -> None:  # fmt: skip
    first, last = np.uint64(0), _U16  # rows that are not finished
    since = np.uint64(0)
    for entry in range(begin, end):
        base = np.uint64(lists[entry]) * _U16
        low, high = records[base + _R_ROW0] - top, records[base + _R_ROW1] - top + _1
        row_from = max(first, np.uint64(max(low, _0)))
        row_to = min(last, np.uint64(max(high, _0)))
        if row_from < row_to:
            _record_gradient(work, records, base, row_from * _U16, row_to * _U16, left, gradients, geometry)
        since += _U1
        if since == np.uint64(8):
            since = np.uint64(0)
            while first < last and not _alive(work, first):
                first += _U1
            while last > first and not _alive(work, last - _U1):
                last -= _U1
            if first >= last:
                return


@fast
def blend_gradient(
    part: int, parts: int, row_from: int, row_to: int, columns: int, records: Array, lists: Array, offsets: Array,
    width: int, height: int, tiles: Array, v: Array, u: Array | None, gradients: Array,
) -> None:  # fmt: skip
    """Add this part's tiles' share to gradients[part] ([parts, 16 m] float32, entries G_X...).

    v [4 * pixels]: gradients of the colour sums and alpha; u [4 * pixels]: of the depth and normal sums, or None.
    tiles: what `blend_sums` kept.
    """
    work = np.empty(_WORK, np.float32)
    for k in range(256):
        work[_COLUMN + np.uint64(k)] = np.float32(k % 16)
    base = offsets[row_from * columns]
    for row in range(row_from, row_to):
        top = row * 16
        rows = min(16, height - top)
        for column in range((part - row) % parts, columns, parts):
            left = column * 16
            index = row * columns + column
            begin, end = np.uint64(offsets[index] - base), np.uint64(offsets[index + 1] - base)
            if end > begin:
                at, count = np.uint64(top * width + left), np.uint64(min(16, width - left))
                _load_tile(work, tiles[index], rows, count, at, np.uint64(width), v, u)
                edge, head = np.float32(left), np.float32(top)
                for k in range(_U256):
                    work[_ROW + k] = head + np.float32(np.int32(k) // np.int32(16))
                _tile_gradient(work, records, lists, begin, end, edge, head, gradients[part], u)


assert order.TILE == 16 and order.RECORD == GRADIENT
