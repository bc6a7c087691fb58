"""Cuts the body to a bust with one smooth border and closes it with a cap.

The border is where the skin meets a cylinder along z whose front view is a superellipse: straight over the
shoulders, rounded below, so that it looks cut on purpose. Faces that cross it are clipped; the new vertices lie on
mesh edges and interpolate everything (shapes, identity, texture) between the edge's two ends.
"""

from __future__ import annotations

import numpy as np

from engine.head.hm08 import BaseMesh
from engine.head.mesh import Follow, Piece, grid_faces

HALF_WIDTH = 0.178  # metres from the middle to the cut through the shoulders
BOTTOM = 0.155  # metres from the height of the chin's base down to the lowest point of the cut
ROUNDING = 0.085  # metres over which the lower corners turn
_INSET = 0.0004  # metres by which the cap stays behind the skin's edge
_SNAP = 0.05  # vertices this near to the border (in units of the level function) are moved onto it


def level(points: np.ndarray, chin_y: float) -> np.ndarray:
    """[n] > 0 inside the bust, 0 on the border; dimensionless."""
    x = np.abs(points[:, 0]) / HALF_WIDTH
    y = np.maximum(chin_y - BOTTOM + ROUNDING - points[:, 1], 0) / ROUNDING
    return 1 - (x**4 + y**4) ** 0.25


def _on_border(points: np.ndarray, chin_y: float) -> np.ndarray:
    """Points near the border, moved onto it along the gradient of `level` (two Newton steps)."""
    step = 1e-5
    for _ in range(2):
        g = level(points, chin_y)
        slope = np.stack([level(points + step * e, chin_y) - g for e in np.eye(3)], 1) / step
        points = points - slope * (g / np.maximum((slope**2).sum(1), 1e-9))[:, None]
    return points


def _clip(faces: np.ndarray, corners: np.ndarray, g: np.ndarray) -> tuple[list, list]:
    """Polygons of faces [f, 4] inside g >= 0: (vertex pairs, texture pairs), each a list of (a, b, t)."""
    polygons, texture = [], []
    for face, uv in zip(faces.tolist(), corners.tolist(), strict=True):
        if all(g[v] >= 0 for v in face):
            polygons.append([(v, v, 0.0) for v in face])
            texture.append([(w, w, 0.0) for w in uv])
            continue
        points, coords = [], []
        for k in range(4):
            a, b, ua, ub = face[k], face[(k + 1) % 4], uv[k], uv[(k + 1) % 4]
            if g[a] >= 0:
                points.append((a, a, 0.0))
                coords.append((ua, ua, 0.0))
            if (g[a] > 0 > g[b]) or (g[a] < 0 < g[b]):
                lo, hi, ulo, uhi = (a, b, ua, ub) if a < b else (b, a, ub, ua)
                t = g[lo] / (g[lo] - g[hi])
                points.append((lo, hi, t))
                coords.append((ulo, uhi, t))
        if len(points) >= 3:
            polygons.append(points)
            texture.append(coords)
    return polygons, texture


def _number(polygons: list) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Polygons of (a, b, t) -> faces [f, 4], index [n, 2], weight [n, 2]; 5 sides give two faces."""
    keys = sorted({p for polygon in polygons for p in polygon})
    number = {key: i for i, key in enumerate(keys)}
    faces = []
    for polygon in polygons:
        ids = [number[p] for p in polygon]
        faces.append([*ids, -1][:4])
        if len(ids) == 5:
            faces.append([ids[0], ids[3], ids[4], -1])
    table = np.array(keys)
    t = table[:, 2]
    return np.array(faces), table[:, :2].astype(int), np.stack([1 - t, t], 1)


def cut_body(base: BaseMesh, neutral: np.ndarray, chin_y: float) -> tuple[Piece, Follow, np.ndarray]:
    """The bust's skin as a piece (uncoloured), how it follows the base mesh, and [n] bool: on the border."""
    body = base.groups["body"]
    rows = body[(neutral[base.faces[body], 1] > chin_y - 0.3).any(1)]
    g = level(neutral, chin_y)
    near = np.abs(g) < _SNAP
    g = np.where(near, 0.0, g)
    polygons, texture = _clip(base.faces[rows], base.uv_faces[rows], g)
    faces, index, weight = _number(polygons)
    follow = Follow(index, weight)
    rest = follow(neutral)
    border = g[index].min(1) < 0
    snapped = near[index[:, 0]] & (index[:, 0] == index[:, 1])
    border |= snapped
    rest[border] = _on_border(rest[border], chin_y)
    uv_faces, uv_index, uv_weight = _number(texture)
    uv = np.einsum("nj,njc->nc", uv_weight, base.uv[uv_index])
    return (
        Piece("skin", rest, faces, np.full(len(faces), "skin", dtype="<U16"), np.zeros_like(rest), uv, uv_faces),
        follow,
        border,
    )


def border_loop(faces: np.ndarray, border: np.ndarray) -> np.ndarray:
    """[n] vertex indices of the border's loop in order. The border is one closed loop by construction."""
    count: dict[tuple[int, int], int] = {}
    for face in faces.tolist():
        ids = [v for v in face if v >= 0]
        for a, b in zip(ids, ids[1:] + ids[:1], strict=True):
            if border[a] and border[b]:
                count[(a, b)] = count.get((a, b), 0) + 1
    after = {a: b for (a, b) in count if (b, a) not in count}
    start = next(iter(after))
    loop = [start]
    while (v := after[loop[-1]]) != start:
        loop.append(v)
    return np.array(loop)


def cap(skin: Piece, loop: np.ndarray, chin_y: float, rows: int = 8) -> tuple[Piece, Follow]:
    """A smooth sheet across the cut, from the front half of the border to the back half; it follows the skin piece.

    Every border vertex has its place on the sheet's rim, so nothing shows between skin and cap.
    """
    points = skin.rest[loop]
    angle = np.arctan2(points[:, 0], chin_y - 0.02 - points[:, 1])  # 0 below the middle, grows to the left shoulder
    left, right = int(np.argmax(angle)), int(np.argmin(angle))
    ahead = np.arange(left, left + len(loop)) % len(loop)
    split = int(np.flatnonzero(ahead == right)[0])
    halves = [ahead[: split + 1], np.r_[ahead[split:], left][::-1]]
    halves.sort(key=lambda chain: -float(points[chain, 2].mean()))  # front, back: both from left to right
    runs = []
    for chain in halves:
        lengths = np.r_[0, np.cumsum(np.linalg.norm(np.diff(points[chain, :2], axis=0), axis=1))]
        runs.append(lengths / lengths[-1])
    where = np.unique(np.round(np.concatenate(runs), 6))
    index, weight = [], []
    for chain, run in zip(halves, runs, strict=True):
        i = np.clip(np.searchsorted(run, where, side="right") - 1, 0, len(chain) - 2)
        t = np.clip((where - run[i]) / np.maximum(run[i + 1] - run[i], 1e-12), 0, 1)
        index.append(np.stack([loop[chain[i]], loop[chain[i + 1]]], 1))
        weight.append(np.stack([1 - t, t], 1))
    part = np.linspace(0, 1, rows)[:, None, None]
    weights = np.concatenate([(1 - part) * weight[0], part * weight[1]], -1).reshape(-1, 4)
    indices = np.broadcast_to(np.concatenate(index, -1), (rows, len(where), 4)).reshape(-1, 4)
    follow = Follow(indices, weights)
    rest = follow(skin.rest)
    centre = np.array([0.0, chin_y - 0.02, points[:, 2].mean()])
    rest += _INSET * (centre - rest) / np.linalg.norm(centre - rest, axis=1, keepdims=True)
    faces = grid_faces(rows, len(where))
    normal = np.cross(rest[faces[:, 1]] - rest[faces[:, 0]], rest[faces[:, 2]] - rest[faces[:, 0]])
    if (((rest[faces[:, 0]] - centre) * normal).sum(1) < 0).mean() > 0.5:
        faces = faces[:, ::-1].copy()
    return Piece.plain("cap", rest, faces, "cap", np.array([0.06, 0.06, 0.065])), follow
