"""The loops of bind.py, compiled."""

from __future__ import annotations

import numpy as np

from engine.avatar.compiled import strict

Array = np.ndarray

FRAME = 8  # floats per triangle: centroid, size, quaternion wxyz
LENGTH_MIN, AREA_MIN, SLIVER = 1e-9, 1e-15, 1e-5  # metres, metres², share of the edge's square

_LANES = 128
_N = np.uint64(_LANES)
_2N, _3N, _4N, _5N, _6N, _7N, _8N, _9N = (np.uint64(k * _LANES) for k in range(2, 10))
_10N, _11N, _12N, _13N, _14N, _15N, _16N, _17N = (np.uint64(k * _LANES) for k in range(10, 18))
_0, _1, _2, _HALF, _THIRD = (np.float32(k) for k in (0, 1, 2, 0.5, 1 / 3))
_LENGTH2, _AREA2, _SLIVER = np.float32(LENGTH_MIN**2), np.float32(AREA_MIN**2), np.float32(SLIVER)
_LENGTH_SAFE, _AREA_SAFE = np.float32(2 * LENGTH_MIN), np.float32(2 * AREA_MIN)

_LOG2E, _127, _23 = np.float32(1.4426950408889634), np.int32(127), np.int32(23)
_E_LOW, _E_HIGH = np.float32(-80.0), np.float32(80.0)
# 2^f for f in [-0.5, 0.5]: Taylor to the sixth power, 2e-7 relative.
_Q1, _Q2, _Q3 = np.float32(0.6931471805599453), np.float32(0.2402265069591007), np.float32(0.05550410866482158)
_Q4, _Q5, _Q6 = np.float32(0.009618129107628477), np.float32(0.0013333558146428443), np.float32(0.00015403530393381608)


@strict
def frames(triangles: Array, vertices: Array, out: Array) -> None:
    """out [m, 8] from triangles [m, 3] int32 and vertices [v, 3] float32; twin of bind.frames_reference."""
    for i in range(len(triangles)):
        a, b, c = triangles[i, 0], triangles[i, 1], triangles[i, 2]
        ax, ay, az = vertices[a, 0], vertices[a, 1], vertices[a, 2]
        ex, ey, ez = vertices[b, 0] - ax, vertices[b, 1] - ay, vertices[b, 2] - az
        sx, sy, sz = vertices[c, 0] - ax, vertices[c, 1] - ay, vertices[c, 2] - az
        out[i, 0], out[i, 1], out[i, 2] = ax + (ex + sx) * _THIRD, ay + (ey + sy) * _THIRD, az + (ez + sz) * _THIRD
        length = np.sqrt(ex * ex + ey * ey + ez * ez + _LENGTH2)
        nx, ny, nz = ey * sz - ez * sy, ez * sx - ex * sz, ex * sy - ey * sx
        area = np.sqrt(nx * nx + ny * ny + nz * nz + _AREA2)
        out[i, 3] = (length + area / length) * _HALF
        if length > _LENGTH_SAFE:
            ex, ey, ez = ex / length, ey / length, ez / length
        else:
            ex, ey, ez = _1, _0, _0
        if not (area > _AREA_SAFE and area > _SLIVER * length * length):
            # No area: the axis least along the edge gives a direction across it.
            if abs(ex) <= abs(ey) and abs(ex) <= abs(ez):
                nx, ny, nz = _0, ez, -ey
            elif abs(ey) <= abs(ez):
                nx, ny, nz = -ez, _0, ex
            else:
                nx, ny, nz = ey, -ex, _0
            area = np.sqrt(nx * nx + ny * ny + nz * nz)
        nx, ny, nz = nx / area, ny / area, nz / area
        along = nx * ex + ny * ey + nz * ez
        nx, ny, nz = nx - along * ex, ny - along * ey, nz - along * ez
        k = _1 / np.sqrt(nx * nx + ny * ny + nz * nz)
        nx, ny, nz = nx * k, ny * k, nz * k
        _quaternion(out[i], ex, ey, ez, nx, ny, nz)


@strict
def _quaternion(out: Array, ex: float, ey: float, ez: float, nx: float, ny: float, nz: float) -> None:
    """Of the rotation with columns e, n, e x n, into out[4:8]; the largest component first (Shepperd 1978)."""
    tx, ty, tz = ey * nz - ez * ny, ez * nx - ex * nz, ex * ny - ey * nx
    trace = ex + ny + tz
    if trace >= max(ex, max(ny, tz)):
        r = np.sqrt(_1 + trace)
        h = _HALF / r
        w, x, y, z = _HALF * r, (nz - ty) * h, (tx - ez) * h, (ey - nx) * h
    elif ex >= ny and ex >= tz:
        r = np.sqrt(_1 + ex - ny - tz)
        h = _HALF / r
        w, x, y, z = (nz - ty) * h, _HALF * r, (ey + nx) * h, (tx + ez) * h
    elif ny >= tz:
        r = np.sqrt(_1 - ex + ny - tz)
        h = _HALF / r
        w, x, y, z = (tx - ez) * h, (ey + nx) * h, _HALF * r, (nz + ty) * h
    else:
        r = np.sqrt(_1 - ex - ny + tz)
        h = _HALF / r
        w, x, y, z = (ey - nx) * h, (tx + ez) * h, (nz + ty) * h, _HALF * r
    out[4], out[5], out[6], out[7] = w, x, y, z


@strict
def _exp(x: float) -> float:
    """exp for float32, without a call (so that loops vectorise); 4e-7 relative, clamped to e^-80..e^80."""
    y = min(max(x, _E_LOW), _E_HIGH) * _LOG2E
    whole = np.float32(np.int32(y + (_HALF if y >= _0 else -_HALF)))
    f = y - whole
    p = _1 + f * (_Q1 + f * (_Q2 + f * (_Q3 + f * (_Q4 + f * (_Q5 + f * _Q6)))))
    return p * np.int32((np.int32(whole) + _127) << _23).view(np.float32)


@strict
def _place_block(s: Array, count: int) -> None:
    """Planes of s: frame 0-7, local mean 8-10, quaternion 11-14, log-scale 15-17 -> the same planes 8-17 in space."""
    for i in range(count):
        size = s[_3N + i]
        w, x, y, z = s[_4N + i], s[_5N + i], s[_6N + i], s[_7N + i]
        px, py, pz = s[_8N + i] * size, s[_9N + i] * size, s[_10N + i] * size
        # v + 2 w (u x v) + 2 u x (u x v), u = (x, y, z)
        cx, cy, cz = _2 * (y * pz - z * py), _2 * (z * px - x * pz), _2 * (x * py - y * px)
        s[_8N + i] = s[i] + px + w * cx + y * cz - z * cy
        s[_9N + i] = s[_N + i] + py + w * cy + z * cx - x * cz
        s[_10N + i] = s[_2N + i] + pz + w * cz + x * cy - y * cx
        a, b = s[_11N + i], s[_12N + i]
        c, d = s[_13N + i], s[_14N + i]
        k = _1 / np.sqrt(a * a + b * b + c * c + d * d)
        a, b, c, d = a * k, b * k, c * k, d * k
        s[_11N + i] = w * a - x * b - y * c - z * d
        s[_12N + i] = w * b + x * a + y * d - z * c
        s[_13N + i] = w * c - x * d + y * a + z * b
        s[_14N + i] = w * d + x * c - y * b + z * a
    for i in range(count):
        size = s[_3N + i]
        s[_15N + i] = size * _exp(s[_15N + i])
        s[_16N + i] = size * _exp(s[_16N + i])
        s[_17N + i] = size * _exp(s[_17N + i])


@strict
def _load(s: Array, plane: int, source: Array, start: int, count: int) -> None:
    to = np.uint64(plane) * _N
    for i in range(count):
        s[to + i] = source[start + i]


@strict
def _save(s: Array, plane: int, target: Array, start: int, count: int) -> None:
    at = np.uint64(plane) * _N
    for i in range(count):
        target[start + i] = s[at + i]


@strict
def place(
    triangle: Array, frame: Array, local_means: Array, local_quats: Array, log_scales: Array,
    means: Array, quats: Array, scales: Array,
) -> None:  # fmt: skip
    """triangle [n] int32, frame [m, 8], locals [3, n], [4, n], [3, n] -> means [3, n], quats [4, n], scales [3, n]."""
    n = len(triangle)
    s = np.empty(18 * _LANES, np.float32)
    for at in range(0, n, _LANES):
        start, count = np.uint64(at), np.uint64(min(_LANES, n - at))
        for i in range(count):
            f = frame[triangle[start + i]]
            for k in range(FRAME):
                s[np.uint64(k) * _N + i] = f[k]
        for k in range(3):
            _load(s, 8 + k, local_means[k], start, count)
            _load(s, 15 + k, log_scales[k], start, count)
        for k in range(4):
            _load(s, 11 + k, local_quats[k], start, count)
        _place_block(s, count)
        for k in range(3):
            _save(s, 8 + k, means[k], start, count)
            _save(s, 15 + k, scales[k], start, count)
        for k in range(4):
            _save(s, 11 + k, quats[k], start, count)
