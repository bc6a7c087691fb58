"""Which Gaussians are drawn, in which order, and on which tiles (kernels).

One global sort by depth; then each Gaussian, front to back, is appended to the tiles of its box, so that every
tile's list comes out sorted without a sort per tile.
"""

from __future__ import annotations

import numpy as np

from engine.avatar.compiled import strict
from engine.render.project import HALF_X, HALF_Y, OPACITY, A, B, C, X, Y

Array = np.ndarray

TILE = 16
RECORD = 16  # floats per packed Gaussian: one cache line
# Entries of a record; conic times -1/8 (see blend.py), position in pixels less half a pixel.
R_X, R_Y, R_A, R_B, R_C, R_OPACITY, R_RED, R_GREEN, R_BLUE, R_ROW0, R_ROW1, R_DEPTH, R_NX, R_NY, R_NZ = range(15)

_0, _HALF, _EIGHTH = np.float32(0), np.float32(0.5), np.float32(-0.125)
_COLOUR_LIMIT = np.float32(1e30)
_RADIX, _MASK = 2048, np.uint32(2047)
_SIGN = np.uint32(0x80000000)
_ALL = np.uint32(0xFFFFFFFF)


@strict
def sort_by_depth(
    projected: Array, depth: Array, colour: Array, keys: Array, order: Array, keys_2: Array, order_2: Array
) -> int:
    """Number m of Gaussians to draw; order[:m] holds their indices front to back, equal depths by index.

    projected [8, n], depth [n], colour [3, n]: from project(). keys, keys_2 [n] uint32 and order, order_2 [n] int32:
    work space. Three passes of 11 bits over the float's bits, which sort like the numbers once the sign is folded.
    """
    half_x = projected[HALF_X]
    red, green, blue = colour[0], colour[1], colour[2]
    counts = np.zeros(3 * _RADIX, np.int64)
    m = 0
    for i in range(len(depth)):
        # Colours that are not finite are dropped here: their channels are never both >= 0 and below the limit.
        if half_x[i] > _0 and red[i] + green[i] + blue[i] < _COLOUR_LIMIT:
            bits = np.float32(depth[i]).view(np.uint32)
            key = bits ^ (_ALL if bits & _SIGN else _SIGN)
            keys[m] = key
            order[m] = i
            counts[key & _MASK] += 1
            counts[_RADIX + ((key >> np.uint32(11)) & _MASK)] += 1
            counts[2 * _RADIX + (key >> np.uint32(22))] += 1
            m += 1
    for digit in range(3):
        total = 0
        for b in range(digit * _RADIX, (digit + 1) * _RADIX):
            counts[b], total = total, total + counts[b]
    _pass(m, 0, counts, keys, order, keys_2, order_2)
    _pass(m, 1, counts, keys_2, order_2, keys, order)
    _pass(m, 2, counts, keys, order, keys_2, order_2)
    for i in range(m):
        order[i] = order_2[i]
    return m


@strict
def _pass(m: int, digit: int, counts: Array, keys: Array, order: Array, keys_out: Array, order_out: Array) -> None:
    shift = np.uint32(11 * digit)
    base = digit * _RADIX
    for i in range(m):
        slot = base + np.int64((keys[i] >> shift) & _MASK)
        to = counts[slot]
        counts[slot] = to + 1
        keys_out[to] = keys[i]
        order_out[to] = order[i]


@strict
def pack(
    part: int,
    parts: int,
    m: int,
    order: Array,
    projected: Array,
    depth: Array,
    colour: Array,
    width: int,
    height: int,
    records: Array,
    boxes: Array,
) -> None:
    """Records [m, 16] in drawing order, and tile boxes [4, m] int16: first and last column, first and last row."""
    last_x, last_y = np.float32(width - 1), np.float32(height - 1)
    for k in range(m * part // parts, m * (part + 1) // parts):
        i = order[k]
        # Pixel centres lie at .5: with half a pixel off, pixel j is at coordinate j.
        x, y = projected[X, i] - _HALF, projected[Y, i] - _HALF
        hx, hy = projected[HALF_X, i], projected[HALF_Y, i]
        x0, x1 = max(_0, np.ceil(x - hx)), min(last_x, np.floor(x + hx))
        y0, y1 = max(_0, np.ceil(y - hy)), min(last_y, np.floor(y + hy))
        record = records[k]
        record[R_X], record[R_Y], record[R_OPACITY] = x, y, projected[OPACITY, i]
        record[R_A], record[R_B] = _EIGHTH * projected[A, i], _EIGHTH * projected[B, i]
        record[R_C], record[R_DEPTH] = _EIGHTH * projected[C, i], depth[i]
        record[R_RED], record[R_GREEN], record[R_BLUE] = colour[0, i], colour[1, i], colour[2, i]
        record[R_ROW0], record[R_ROW1] = y0, y1
        if x1 >= x0 and y1 >= y0:
            boxes[0, k], boxes[1, k] = np.int16(np.int32(x0) // TILE), np.int16(np.int32(x1) // TILE)
            boxes[2, k], boxes[3, k] = np.int16(np.int32(y0) // TILE), np.int16(np.int32(y1) // TILE)
        else:  # between two pixel centres
            boxes[0, k], boxes[1, k], boxes[2, k], boxes[3, k] = 0, -1, 0, -1


@strict
def pack_normals(
    part: int,
    parts: int,
    m: int,
    order: Array,
    quats: Array,
    scales: Array,
    given: Array,
    means: Array,
    eye: Array,
    constant: bool,
    records: Array,
) -> None:
    """Add unit normals to the records: `given` [3, n] if it has columns, else the shortest axis; facing the camera."""
    for k in range(m * part // parts, m * (part + 1) // parts):
        i = order[k]
        if given.shape[1]:
            nx, ny, nz = given[0, i], given[1, i], given[2, i]
        else:
            w, x, y, z = quats[0, i], quats[1, i], quats[2, i], quats[3, i]
            a, b, c = scales[0, i], scales[1, i], scales[2, i]
            if a <= b and a <= c:
                nx, ny, nz = (
                    w * w + x * x - y * y - z * z,
                    np.float32(2) * (x * y + w * z),
                    np.float32(2) * (x * z - w * y),
                )
            elif b <= c:
                nx, ny, nz = (
                    np.float32(2) * (x * y - w * z),
                    w * w - x * x + y * y - z * z,
                    np.float32(2) * (y * z + w * x),
                )
            else:
                nx, ny, nz = (
                    np.float32(2) * (x * z + w * y),
                    np.float32(2) * (y * z - w * x),
                    w * w - x * x - y * y + z * z,
                )
        if constant:
            facing = nx * eye[0] + ny * eye[1] + nz * eye[2]
        else:
            facing = nx * (means[0, i] - eye[0]) + ny * (means[1, i] - eye[1]) + nz * (means[2, i] - eye[2])
        size = np.sqrt(nx * nx + ny * ny + nz * nz)
        scale = (np.float32(-1) if facing > _0 else np.float32(1)) / max(size, np.float32(1e-20))
        record = records[k]
        record[R_NX], record[R_NY], record[R_NZ] = nx * scale, ny * scale, nz * scale


@strict
def count_tiles(m: int, boxes: Array, columns: int, rows: Array, offsets: Array) -> None:
    """offsets [rows * columns + 1] int64: where each tile's list begins; the last is the number of entries."""
    stride = columns + 1
    grid = np.zeros((rows + 1) * stride, np.int32)
    for k in range(m):
        x0, x1 = np.int64(boxes[0, k]), np.int64(boxes[1, k]) + 1
        y0, y1 = np.int64(boxes[2, k]) * stride, (np.int64(boxes[3, k]) + 1) * stride
        grid[y0 + x0] += 1
        grid[y0 + x1] -= 1
        grid[y1 + x0] -= 1
        grid[y1 + x1] += 1
    total = 0
    for row in range(rows):
        run = 0
        for column in range(columns):
            run += grid[row * stride + column]
            above = grid[(row - 1) * stride + column] if row else np.int32(0)
            grid[row * stride + column] = run + above
            offsets[row * columns + column] = total
            total += run + above
    offsets[rows * columns] = total


@strict
def fill_tiles(
    part: int, parts: int, m: int, boxes: Array, columns: int, row_from: int, row_to: int, offsets: Array, lists: Array
) -> None:
    """Append each Gaussian to the lists of its tiles in tile rows [row_from, row_to); lists begin at row_from's.

    Parts own bands of rows with about equal numbers of entries: no locks, and the lists stay in depth order.
    """
    base = offsets[row_from * columns]
    total = offsets[row_to * columns] - base
    first, last = row_from, row_to
    while first < row_to and (offsets[first * columns] - base) * parts < total * part:
        first += 1
    last = first
    while last < row_to and (part == parts - 1 or (offsets[last * columns] - base) * parts < total * (part + 1)):
        last += 1
    if first >= last:
        return
    cursor = np.empty((last - first) * columns, np.int64)
    for t in range(len(cursor)):
        cursor[t] = offsets[first * columns + t] - base
    for k in range(m):
        y0, y1 = max(np.int64(boxes[2, k]), first), min(np.int64(boxes[3, k]) + 1, last)
        x0, x1 = np.int64(boxes[0, k]), np.int64(boxes[1, k]) + 1
        for row in range(y0, y1):
            for t in range((row - first) * columns + x0, (row - first) * columns + x1):
                to = cursor[t]
                lists[to] = k
                cursor[t] = to + 1
