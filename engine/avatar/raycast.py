"""How much of the surroundings each point of a mesh sees: a bounding-volume tree and occlusion rays (kernels)."""

from __future__ import annotations

import numpy as np

from engine.avatar.compiled import fast

Array = np.ndarray
_LEAF = 4


class Occluder:
    """Triangles [m, 3] of vertices [v, 3] that block rays."""

    def __init__(self, vertices: Array, triangles: Array):
        corners = np.ascontiguousarray(np.asarray(vertices, np.float32)[triangles])
        nodes = 2 * len(corners) // 1 + 2
        self.order = np.arange(len(corners), dtype=np.int32)
        self.bounds = np.empty((nodes, 6), np.float32)
        self.links = np.empty((nodes, 2), np.int32)  # (left child, -1) or (first triangle, count)
        _build(corners, corners.mean(1), self.order, self.bounds, self.links)
        self.corners = corners[self.order]

    def visible(self, points: Array, normals: Array, directions: Array, reach: float, lift: float = 6e-4) -> Array:
        """[n, k] uint8: 1 where nothing lies within `reach` metres of points [n, 3] along directions [k, 3].

        Directions below the horizon of normals [n, 3] count as blocked. Rays start `lift` metres above the surface.
        """
        out = np.zeros((len(points), len(directions)), np.uint8)
        _visible(
            np.ascontiguousarray(points, np.float32), np.ascontiguousarray(normals, np.float32),
            np.ascontiguousarray(directions, np.float32), np.float32(reach), np.float32(lift),
            self.corners, self.bounds, self.links, out,
        )  # fmt: skip
        return out


def sphere_directions(count: int) -> Array:
    """[count, 3] unit directions spread evenly (spherical Fibonacci lattice)."""
    i = np.arange(count) + 0.5
    z, turn = 1 - 2 * i / count, np.pi * (1 + 5**0.5) * i
    r = np.sqrt(1 - z * z)
    return np.stack([r * np.cos(turn), r * np.sin(turn), z], 1)


@fast
def _build(corners: Array, centres: Array, order: Array, bounds: Array, links: Array) -> int:
    """Median splits along the longest side of the centres' box, breadth by an explicit stack."""
    stack = np.empty((256, 3), np.int64)
    stack[0, 0], stack[0, 1], stack[0, 2] = 0, 0, len(order)
    top, used = 1, 1
    while top:
        top -= 1
        node, first, last = stack[top, 0], stack[top, 1], stack[top, 2]
        low = np.full(3, np.float32(1e30))
        high = np.full(3, np.float32(-1e30))
        for k in range(first, last):
            for corner in range(3):
                for axis in range(3):
                    v = corners[order[k], corner, axis]
                    low[axis], high[axis] = min(low[axis], v), max(high[axis], v)
        bounds[node, :3], bounds[node, 3:] = low, high
        if last - first <= _LEAF:
            links[node, 0], links[node, 1] = first, last - first
            continue
        spread_low, spread_high = np.full(3, np.float32(1e30)), np.full(3, np.float32(-1e30))
        for k in range(first, last):
            for axis in range(3):
                v = centres[order[k], axis]
                spread_low[axis], spread_high[axis] = min(spread_low[axis], v), max(spread_high[axis], v)
        axis = np.argmax(spread_high - spread_low)
        keys = np.empty(last - first, np.float32)
        for k in range(first, last):
            keys[k - first] = centres[order[k], axis]
        order[first:last] = order[first:last][np.argsort(keys)]
        middle = (first + last) // 2
        links[node, 0], links[node, 1] = used, -1
        stack[top, 0], stack[top, 1], stack[top, 2] = used, first, middle
        stack[top + 1, 0], stack[top + 1, 1], stack[top + 1, 2] = used + 1, middle, last
        top += 2
        used += 2
    return used


@fast
def _blocked(
    ox: float, oy: float, oz: float, dx: float, dy: float, dz: float, reach: float,
    corners: Array, bounds: Array, links: Array, stack: Array,
) -> bool:  # fmt: skip
    one = np.float32(1)
    ix, iy, iz = one / dx, one / dy, one / dz
    stack[0] = 0
    top = 1
    while top:
        top -= 1
        node = stack[top]
        b = bounds[node]
        x0, x1 = (b[0] - ox) * ix, (b[3] - ox) * ix
        y0, y1 = (b[1] - oy) * iy, (b[4] - oy) * iy
        z0, z1 = (b[2] - oz) * iz, (b[5] - oz) * iz
        near = max(min(x0, x1), max(min(y0, y1), min(z0, z1)))
        far = min(max(x0, x1), min(max(y0, y1), max(z0, z1)))
        if far < max(near, np.float32(0)) or near > reach:
            continue
        if links[node, 1] < 0:
            stack[top], stack[top + 1] = links[node, 0], links[node, 0] + 1
            top += 2
            continue
        for t in range(links[node, 0], links[node, 0] + links[node, 1]):
            if _crosses(corners[t], ox, oy, oz, dx, dy, dz, reach):
                return True
    return False


@fast
def _crosses(t: Array, ox: float, oy: float, oz: float, dx: float, dy: float, dz: float, reach: float) -> bool:
    """Möller and Trumbore 1997, either side."""
    ax, ay, az = t[0, 0], t[0, 1], t[0, 2]
    ex, ey, ez = t[1, 0] - ax, t[1, 1] - ay, t[1, 2] - az
    fx, fy, fz = t[2, 0] - ax, t[2, 1] - ay, t[2, 2] - az
    px, py, pz = dy * fz - dz * fy, dz * fx - dx * fz, dx * fy - dy * fx
    det = ex * px + ey * py + ez * pz
    if abs(det) < np.float32(1e-14):
        return False
    inverse = np.float32(1) / det
    sx, sy, sz = ox - ax, oy - ay, oz - az
    u = (sx * px + sy * py + sz * pz) * inverse
    if u < 0 or u > 1:
        return False
    qx, qy, qz = sy * ez - sz * ey, sz * ex - sx * ez, sx * ey - sy * ex
    v = (dx * qx + dy * qy + dz * qz) * inverse
    if v < 0 or u + v > 1:
        return False
    distance = (fx * qx + fy * qy + fz * qz) * inverse
    return distance > np.float32(1e-6) and distance < reach


@fast
def _visible(
    points: Array, normals: Array, directions: Array, reach: float, lift: float,
    corners: Array, bounds: Array, links: Array, out: Array,
) -> None:  # fmt: skip
    stack = np.empty(128, np.int32)
    for i in range(len(points)):
        nx, ny, nz = normals[i, 0], normals[i, 1], normals[i, 2]
        ox, oy, oz = points[i, 0] + lift * nx, points[i, 1] + lift * ny, points[i, 2] + lift * nz
        for k in range(len(directions)):
            dx, dy, dz = directions[k, 0], directions[k, 1], directions[k, 2]
            if dx * nx + dy * ny + dz * nz > np.float32(0.02):
                out[i, k] = not _blocked(ox, oy, oz, dx, dy, dz, reach, corners, bounds, links, stack)
