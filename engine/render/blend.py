"""Blending of sorted Gaussians tile by tile, and the image write in the same loop (kernels).

For each Gaussian of a tile's list and each of its pixel rows, 16 pixels at once (one AVX-512 register):
sigma = ½ dᵀ conic d, alpha = min(0.999, opacity exp(-sigma)), nothing below 1/255; a pixel is finished when the
transmittance would fall to 1e-4 or below (Kerbl et al. 2023; constants as in gsplat). Plain twin: reference.py.

The way back replays the same lists front to back from the finished image: blend_gradient.py.
"""

from __future__ import annotations

import numpy as np

from engine.avatar.compiled import fast
from engine.render import order

Array = np.ndarray

AS_BLENDED, TO_LINEAR, TO_DISPLAY = 0, 1, 2  # what the image write does to the colour
DISPLAY_MAX = 4.0  # display values above this are clamped before they are made linear
FAR_DEPTH = 1e10

_TABLE_STEPS = 4096
_STEPS = np.float32(_TABLE_STEPS / DISPLAY_MAX)
_U1, _U2, _U3, _U4, _U16, _U256 = (np.uint64(k) for k in (1, 2, 3, 4, 16, 256))
# Planes of a tile after the transmittance, and entries of a record (order.py): unsigned, because a signed index is
# tested for being negative at each access.
_W, _G, _B, _D, _NX, _NY, _NZ = (np.uint64(256 * k) for k in range(1, 8))
_R_Y, _R_A, _R_B, _R_C, _R_OPACITY, _R_RED, _R_GREEN, _R_BLUE = (
    np.uint64(k) for k in range(order.R_Y, order.R_BLUE + 1)
)
_R_ROW0, _R_ROW1, _R_DEPTH, _R_NX, _R_NY, _R_NZ = (np.uint64(k) for k in range(order.R_ROW0, order.R_NZ + 1))
_0, _1, _HALF, _255 = np.float32(0), np.float32(1), np.float32(0.5), np.float32(255)
_ALPHA_MIN, _ALPHA_MAX, _T_MIN = np.float32(1.0 / 255.0), np.float32(0.999), np.float32(1e-4)
_FAR, _TINY, _NORMAL_MIN = np.float32(FAR_DEPTH), np.float32(1e-12), np.float32(1e-4)

# exp(-sigma) = p(t)^8 with t = -sigma / 8. alpha >= 1/255 bounds sigma by ln 255 = 5.54, so t >= -0.6927; there the
# relative error of p^8 is 2.1e-6 (minimax fit with p(0) = 1). Smaller t are clamped: alpha is below 1/255 anyway.
_T_LOW = np.float32(-0.73)
_P1, _P2, _P3 = np.float32(0.9999947547912598), np.float32(0.4998997747898102), np.float32(0.16602841019630432)
_P4, _P5 = np.float32(0.039848312735557556), np.float32(0.005885254126042128)


def _decode_table() -> np.ndarray:
    """Display value -> linear light (IEC 61966-2-1) at 4097 points of [0, 4]; straight lines between are 4e-7 off."""
    v = np.linspace(0.0, DISPLAY_MAX, _TABLE_STEPS + 1)
    linear = np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
    return np.append(linear, linear[-1]).astype(np.float32)


DECODE = _decode_table()


@fast
def _to_linear(value: float, table: Array) -> float:
    position = min(max(value, _0) * _STEPS, np.float32(_TABLE_STEPS))
    index = np.int32(position)
    low = table[np.uint64(index)]
    return low + (position - np.float32(index)) * (table[np.uint64(index) + _U1] - low)


@fast
def _to_display(value: float) -> float:
    if value <= np.float32(0.0031308):
        return np.float32(12.92) * max(value, _0)
    return np.float32(1.055) * value ** np.float32(1 / 2.4) - np.float32(0.055)


@fast
def _empty_tile(tile: Array, planes: int) -> None:
    for k in range(_U256):
        tile[k] = _1
    for k in range(_U256, planes * _U256):
        tile[k] = _0


@fast
def _alive(tile: Array, row: int) -> bool:
    base, top = row * _U16, _0
    for k in range(_U16):
        top = max(top, tile[base + k])
    return top > _0


@fast
def _blend_tile(
    tile: Array,
    records: Array,
    lists: Array,
    begin: int,
    end: int,
    left: float,
    top: float,
    depth: Array | None,
    normal: Array | None,
) -> None:
    """Fill `tile`: planes of 256 floats: transmittance (negative where finished), red, green, blue[, depth, normal]."""
    first, last = np.uint64(0), _U16  # rows that are not finished
    since = np.uint64(0)
    for entry in range(begin, end):
        base = np.uint64(lists[entry]) * _U16
        x, y = records[base], records[base + _R_Y]
        a, b, c = records[base + _R_A], records[base + _R_B], records[base + _R_C]
        opacity = records[base + _R_OPACITY]
        red, green, blue = records[base + _R_RED], records[base + _R_GREEN], records[base + _R_BLUE]
        low, high = records[base + _R_ROW0] - top, records[base + _R_ROW1] - top + _1
        row_from = max(first, np.uint64(max(low, _0)))
        row_to = min(last, np.uint64(max(high, _0)))
        if depth is not None:
            z = records[base + _R_DEPTH]
        if normal is not None:
            nx, ny, nz = records[base + _R_NX], records[base + _R_NY], records[base + _R_NZ]
        x_off = left - x
        for row in range(row_from, row_to):
            dy = top + np.float32(row) - y
            by, cy = b * dy, c * dy * dy
            at = row * _U16
            for k in range(_U16):
                dx = np.float32(np.int32(k)) + x_off
                t = max((a * dx + by) * dx + cy, _T_LOW)
                e = _1 + t * (_P1 + t * (_P2 + t * (_P3 + t * (_P4 + t * _P5))))
                e *= e
                e *= e
                e *= e
                alpha = min(opacity * e, _ALPHA_MAX)
                alpha = alpha if alpha >= _ALPHA_MIN else _0
                before = tile[at + k]
                after = before - before * alpha
                live = after > _T_MIN
                weight = before * alpha if live else _0
                tile[at + k] = after if live else -abs(before)
                tile[_W + at + k] += weight * red
                tile[_G + at + k] += weight * green
                tile[_B + at + k] += weight * blue
                if depth is not None:
                    tile[_D + at + k] += weight * z
                if normal is not None:
                    tile[_NX + at + k] += weight * nx
                    tile[_NY + at + k] += weight * ny
                    tile[_NZ + at + k] += weight * nz
        since += _U1
        if since == np.uint64(8):
            since = np.uint64(0)
            while first < last and not _alive(tile, first):
                first += _U1
            while last > first and not _alive(tile, last - _U1):
                last -= _U1
            if first >= last:
                return


@fast
def _convert_row(tile: Array, base: int, count: int, how: int, table: Array) -> None:
    """Colour of one row of a tile, in place: straight colour is converted, then premultiplied again."""
    if how == TO_LINEAR:
        for k in range(count):
            alpha = _1 - abs(tile[base + k])
            inverse = _1 / max(alpha, _TINY)
            for plane in (_W, _G, _B):
                tile[plane + base + k] = alpha * _to_linear(tile[plane + base + k] * inverse, table)
    elif how == TO_DISPLAY:
        for k in range(count):
            alpha = _1 - abs(tile[base + k])
            inverse = _1 / max(alpha, _TINY)
            for plane in (_W, _G, _B):
                tile[plane + base + k] = alpha * _to_display(tile[plane + base + k] * inverse)


@fast
def _write_row(
    tile: Array,
    base: int,
    count: int,
    at: int,
    colour: Array | None,
    colour_u8: Array | None,
    depth: Array | None,
    normal: Array | None,
) -> None:
    """One row of a tile to the images (flat arrays; None where not wanted) from pixel `at` on."""
    if colour is not None:
        for k in range(count):
            to = _U4 * (at + k)
            colour[to] = tile[_W + base + k]
            colour[to + _U1] = tile[_G + base + k]
            colour[to + _U2] = tile[_B + base + k]
            colour[to + _U3] = _1 - abs(tile[base + k])
    if colour_u8 is not None:
        for k in range(count):
            to = _U4 * (at + k)
            colour_u8[to] = np.uint8(np.int32(min(tile[_W + base + k], _1) * _255 + _HALF))
            colour_u8[to + _U1] = np.uint8(np.int32(min(tile[_G + base + k], _1) * _255 + _HALF))
            colour_u8[to + _U2] = np.uint8(np.int32(min(tile[_B + base + k], _1) * _255 + _HALF))
            colour_u8[to + _U3] = np.uint8(np.int32((_1 - abs(tile[base + k])) * _255 + _HALF))
    if depth is not None:
        for k in range(count):
            alpha = _1 - abs(tile[base + k])
            depth[at + k] = tile[_D + base + k] / max(alpha, _TINY) if alpha >= _HALF else _FAR
    if normal is not None:
        for k in range(count):
            x, y, z = tile[_NX + base + k], tile[_NY + base + k], tile[_NZ + base + k]
            length = np.sqrt(x * x + y * y + z * z)
            scale = _1 / length if length > _NORMAL_MIN else _0
            to = np.uint64(3) * (at + k)
            normal[to], normal[to + _U1], normal[to + _U2] = x * scale, y * scale, z * scale


@fast
def blend(
    part: int,
    parts: int,
    row_from: int,
    row_to: int,
    columns: int,
    records: Array,
    lists: Array,
    offsets: Array,
    width: int,
    height: int,
    flip: bool,
    how: int,
    table: Array,
    colour: Array | None,
    colour_u8: Array | None,
    depth: Array | None,
    normal: Array | None,
) -> None:
    """Blend and write this part's tiles of tile rows [row_from, row_to).

    records [16 m] float32 and lists [entries] int32: flat; offsets [tiles + 1] int64, lists begin at row_from's first.
    flip: write image row 0 at the bottom. how: AS_BLENDED, TO_LINEAR or TO_DISPLAY; table: `DECODE`.
    colour [4 * pixels] float32, colour_u8 [4 * pixels] uint8, depth [pixels], normal [3 * pixels]: flat, each may be
    None (a variant without it is compiled, so that it costs nothing).
    """
    planes = _U4 if depth is None and normal is None else np.uint64(8)
    tile = np.empty(8 * 256, np.float32)
    base = offsets[row_from * columns]
    for tile_row in range(row_from, row_to):
        top = tile_row * 16
        rows = min(16, height - top)
        for tile_column in range((part - tile_row) % parts, columns, parts):
            left = tile_column * 16
            count = np.uint64(min(16, width - left))
            index = tile_row * columns + tile_column
            begin, end = np.uint64(offsets[index] - base), np.uint64(offsets[index + 1] - base)
            _empty_tile(tile, planes)
            if end > begin:
                _blend_tile(tile, records, lists, begin, end, np.float32(left), np.float32(top), depth, normal)
            for row in range(rows):
                line = height - 1 - (top + row) if flip else top + row
                at = np.uint64(line * width + left)
                first = np.uint64(row) * _U16
                if end > begin and how != AS_BLENDED:
                    _convert_row(tile, first, count, how, table)
                _write_row(tile, first, count, at, colour, colour_u8, depth, normal)
