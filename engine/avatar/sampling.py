"""Points spread evenly over a mesh, with a density that varies over it (weighted sample elimination)."""

from __future__ import annotations

import numpy as np

from engine.avatar.compiled import fast

Array = np.ndarray
CANDIDATES = 4  # times the points wanted
# A point disturbs those nearer than twice the radius of the densest packing; the power makes the nearest count most.
_POWER = 8


def spread(corners: Array, density: Array, group: Array, count: int, seed: int) -> tuple[Array, Array, Array]:
    """`count` points on triangles, `density` points per unit of area (up to a common factor), none close to another.

    corners [m, 3, 3]; density [m, 3] at the corners; group [m] int: points of different groups, or facing different
    ways, ignore each other (lips that touch). Returns triangle [count] int32 sorted, barycentric [count, 3] and
    spacing [count]: metres between neighbours at the density there. Yuksel 2015, "Sample Elimination for Generating
    Poisson Disk Sample Sets", with radii that vary.
    """
    rng = np.random.default_rng(seed)
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = 0.5 * np.linalg.norm(cross, axis=1)
    mass = area * density.mean(1)
    total = CANDIDATES * count
    # Systematic sampling along the triangles: every triangle gets its share to within one candidate.
    edges = np.cumsum(mass) / mass.sum()
    triangle = np.searchsorted(edges, (np.arange(total) + rng.random(total)) / total).clip(0, len(mass) - 1)
    bary = _barycentric(density[triangle], rng)
    points = np.einsum("nk,nkc->nc", bary, corners[triangle])
    normals = cross[triangle] / np.maximum(2 * area[triangle], 1e-20)[:, None]
    per_metre2 = np.einsum("nk,nk->n", bary, density[triangle]) * (count / mass.sum())
    spacing = np.sqrt(2 / np.sqrt(3) / per_metre2)
    cell = float(np.median(spacing))
    kept = _eliminate(
        points.astype(np.float32), normals.astype(np.float32), group[triangle].astype(np.int32),
        spacing.astype(np.float32), np.float32(cell), count,
    )  # fmt: skip
    index = np.flatnonzero(kept)
    return triangle[index].astype(np.int32), bary[index], spacing[index]


def _barycentric(density: Array, rng: np.random.Generator) -> Array:
    """One point in each triangle, with a probability that follows the corners' density. [n, 3]."""
    out = np.empty((len(density), 3))
    wanted = np.arange(len(density))
    while len(wanted):
        u = np.sqrt(rng.random(len(wanted)))
        v = rng.random(len(wanted))
        bary = np.stack([1 - u, u * (1 - v), u * v], 1)
        accept = (bary * density[wanted]).sum(1) >= rng.random(len(wanted)) * density[wanted].max(1)
        out[wanted[accept]] = bary[accept]
        wanted = wanted[~accept]
    return out


@fast
def _eliminate(points: Array, normals: Array, group: Array, spacing: Array, cell: float, count: int) -> Array:
    """[n] bool: the `count` points that remain after removing, again and again, the most crowded one."""
    n = len(points)
    start, members, cells, shape = _grid(points, cell)
    weight = np.zeros(n, np.float32)
    near = np.empty(4096, np.int32)
    for i in range(n):
        found = _near(i, points, normals, group, spacing, start, members, cells, shape, cell, near)
        for k in range(found):
            weight[i] += _push(i, near[k], points, spacing)
    heap, place = np.arange(n).astype(np.int32), np.arange(n).astype(np.int32)
    for i in range(n // 2, -1, -1):
        _sink(heap, place, weight, i, n)
    kept = np.ones(n, np.bool_)
    size = n
    while size > count:
        worst = heap[0]
        kept[worst] = False
        size -= 1
        _swap(heap, place, 0, size)
        _sink(heap, place, weight, 0, size)
        found = _near(worst, points, normals, group, spacing, start, members, cells, shape, cell, near)
        for k in range(found):
            j = near[k]
            if kept[j]:
                weight[j] -= _push(worst, j, points, spacing)
                _sink(heap, place, weight, place[j], size)
    return kept


@fast
def _grid(points: Array, cell: float) -> tuple[Array, Array, Array, Array]:
    """Points sorted into cubes: members[start[c]:start[c + 1]] lie in cube c; cells [n, 3] is each point's cube."""
    low = np.array([points[:, 0].min(), points[:, 1].min(), points[:, 2].min()])
    n = len(points)
    cells = np.empty((n, 3), np.int32)
    for i in range(n):
        for axis in range(3):
            cells[i, axis] = np.int32((points[i, axis] - low[axis]) / cell)
    shape = np.array([cells[:, 0].max() + 1, cells[:, 1].max() + 1, cells[:, 2].max() + 1])
    start = np.zeros(shape[0] * shape[1] * shape[2] + 1, np.int32)
    for i in range(n):
        start[(cells[i, 0] * shape[1] + cells[i, 1]) * shape[2] + cells[i, 2] + 1] += 1
    for c in range(len(start) - 1):
        start[c + 1] += start[c]
    cursor = start.copy()
    members = np.empty(n, np.int32)
    for i in range(n):
        c = (cells[i, 0] * shape[1] + cells[i, 1]) * shape[2] + cells[i, 2]
        members[cursor[c]] = i
        cursor[c] += 1
    return start, members, cells, shape


@fast
def _near(
    i: int, points: Array, normals: Array, group: Array, spacing: Array,
    start: Array, members: Array, cells: Array, shape: Array, cell: float, out: Array,
) -> int:  # fmt: skip
    """Write the points that i disturbs into out; their number."""
    found = 0
    # Neighbours may be a little sparser than i; much sparser ones push it less than anyone near.
    wide = np.int32(np.float32(1.25) * spacing[i] / cell) + 1
    for x in range(max(cells[i, 0] - wide, 0), min(cells[i, 0] + wide + 1, shape[0])):
        for y in range(max(cells[i, 1] - wide, 0), min(cells[i, 1] + wide + 1, shape[1])):
            z0, z1 = max(cells[i, 2] - wide, 0), min(cells[i, 2] + wide + 1, shape[2])
            row = (x * shape[1] + y) * shape[2]
            for m in range(start[row + z0], start[row + z1]):
                j = members[m]
                if j == i or group[j] != group[i]:
                    continue
                dx, dy, dz = points[j, 0] - points[i, 0], points[j, 1] - points[i, 1], points[j, 2] - points[i, 2]
                reach = np.float32(0.5) * (spacing[i] + spacing[j])
                if dx * dx + dy * dy + dz * dz >= reach * reach:
                    continue
                facing = normals[i, 0] * normals[j, 0] + normals[i, 1] * normals[j, 1] + normals[i, 2] * normals[j, 2]
                if facing > np.float32(0.2) and found < len(out):
                    out[found] = j
                    found += 1
    return found


@fast
def _push(i: int, j: int, points: Array, spacing: Array) -> float:
    dx, dy, dz = points[j, 0] - points[i, 0], points[j, 1] - points[i, 1], points[j, 2] - points[i, 2]
    reach = np.float32(0.5) * (spacing[i] + spacing[j])
    w = np.float32(1) - np.sqrt(dx * dx + dy * dy + dz * dz) / reach
    return max(w, np.float32(0)) ** _POWER


@fast
def _swap(heap: Array, place: Array, a: int, b: int) -> None:
    heap[a], heap[b] = heap[b], heap[a]
    place[heap[a]], place[heap[b]] = a, b


@fast
def _sink(heap: Array, place: Array, weight: Array, at: int, size: int) -> None:
    """Restore the heap (largest weight first) below `at`."""
    while True:
        child = 2 * at + 1
        if child >= size:
            return
        if child + 1 < size and weight[heap[child + 1]] > weight[heap[child]]:
            child += 1
        if weight[heap[child]] <= weight[heap[at]]:
            return
        _swap(heap, place, at, child)
        at = child
