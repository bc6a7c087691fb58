"""How deep parts of a face pass through each other: lips, teeth and lips, lids and eyeballs, measured on surfaces.

A point is inside flesh where the nearest point of the skin faces away from it; the depth is the distance to that
point. Places whose nearest point lies on the border of the patch looked at do not count (the surface goes on there).
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass

import numpy as np

from engine.core.anatomy import Head
from engine.head.mesh import vertex_normals

LIP_REACH_M = 0.016  # how far from the line between the lips skin counts as lip
QUERY_REACH_M = 0.0075  # vertices so near to that line are looked at
FRONT_TEETH_M = 0.021  # teeth whose middle lies within this of the midline: incisors, canines, first premolars
_CANDIDATES = 14


@dataclass(frozen=True)
class Patch:
    """A piece of skin. triangles [n, 3] head vertices; border [v] bool: on the patch's rim."""

    triangles: np.ndarray
    border: np.ndarray


@dataclass(frozen=True)
class MouthParts:
    """What is compared: patches ("upper", "lower", "both") and query vertices of each lip, crowns of each row."""

    patch: dict[str, Patch]
    query: dict[str, np.ndarray]
    teeth: dict[str, np.ndarray]


def _patch(triangles: np.ndarray, rows: np.ndarray, count: int) -> Patch:
    chosen = np.zeros(count, bool)
    chosen[rows] = True
    kept = triangles[chosen[triangles].all(1)]
    edges = np.sort(np.concatenate([kept[:, [0, 1]], kept[:, [1, 2]], kept[:, [2, 0]]]), axis=1)
    unique, times = np.unique(edges, axis=0, return_counts=True)
    border = np.zeros(count, bool)
    border[unique[times == 1].ravel()] = True
    return Patch(kept, border)


def mouth_parts(head: Head) -> MouthParts:
    """The head's lips and front teeth, found from its lip pairs and parts in the neutral face."""
    rest, skin = head.template.astype(np.float64), head.parts["skin"]
    line = rest[head.lip_pairs].mean(1)
    order = np.argsort(line[:, 0])
    height = np.interp(rest[skin, 0], line[order, 0], line[order, 1])
    distance = np.linalg.norm(rest[skin][:, None] - line[None], axis=2).min(1)
    pairs = {"upper": head.lip_pairs[:, 0], "lower": head.lip_pairs[:, 1]}
    above = rest[skin, 1] > height
    patch, query = {}, {}
    for name, side in (("upper", above), ("lower", ~above)):
        other = np.setdiff1d(pairs["lower" if name == "upper" else "upper"], pairs[name])
        corners = np.intersect1d(pairs["upper"], pairs["lower"])
        own = np.union1d(skin[side & (distance < LIP_REACH_M)], pairs[name])
        own = np.setdiff1d(own, other)
        patch[name] = _patch(head.triangles, own, len(rest))
        lip = np.maximum(head.masks["lips"], head.masks["mouth_inside"])[skin] > 0.3
        near = np.union1d(skin[side & lip & (distance < QUERY_REACH_M)], pairs[name])
        query[name] = np.setdiff1d(near, np.union1d(other, corners))
    patch["both"] = _patch(head.triangles, skin[distance < LIP_REACH_M], len(rest))
    teeth = {}
    for name in ("upper", "lower"):
        rows = head.parts[f"teeth_{name}"]
        teeth[name] = rows[np.abs(rest[rows, 0]) < FRONT_TEETH_M]
    return MouthParts(patch, query, teeth)


_parts: dict[int, MouthParts] = {}


def _parts_of(head: Head) -> MouthParts:
    found = _parts.get(id(head))
    if found is None:
        found = _parts[id(head)] = mouth_parts(head)
        weakref.finalize(head, _parts.pop, id(head), None)
    return found


def depth_in(points: np.ndarray, patch: Patch, verts: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """[n] metres: how deep points [n, 3] lie under the patch's surface in verts [v, 3]; 0 outside."""
    from scipy.spatial import cKDTree

    from engine.head.transfer.surface import closest_barycentric

    corners = verts[patch.triangles]
    _, near = cKDTree(corners.mean(1)).query(points, k=min(_CANDIDATES, len(corners)))
    best = np.full(len(points), np.inf)
    signed, rim = np.zeros(len(points)), np.zeros(len(points), bool)
    for column in near.T:
        weights = closest_barycentric(points, corners[column])
        away = points - np.einsum("nk,nkc->nc", weights, corners[column])
        distance = np.linalg.norm(away, axis=1)
        better = distance < best
        up = np.einsum("nk,nkc->nc", weights, normals[patch.triangles[column]])
        best = np.where(better, distance, best)
        signed = np.where(better, np.einsum("nc,nc->n", away, up), signed)
        on_rim = (patch.border[patch.triangles[column]] | (weights < 1e-9)).all(1)
        rim = np.where(better, on_rim, rim)
    return np.where((signed < 0) & ~rim, best, 0.0)


def mouth_crossing(head: Head, verts: np.ndarray) -> dict[str, float]:
    """{"lips", "teeth"}: deepest passage in metres of one lip through the other, of crowns into lips; verts [v, 3]."""
    it = _parts_of(head)
    verts = np.asarray(verts, np.float64)
    normals = vertex_normals(verts, head.faces)
    lips = max(
        float(depth_in(verts[it.query[a]], it.patch[b], verts, normals).max())
        for a, b in (("upper", "lower"), ("lower", "upper"))
    )
    crowns = np.concatenate([verts[rows] for rows in it.teeth.values()])
    teeth = depth_in(crowns, it.patch["both"], verts, normals)
    return {"lips": lips, "teeth": float(teeth.max())}


def lid_gaps(head: Head, verts: np.ndarray, side: str) -> np.ndarray:
    """[t, 13] metres between facing places of the lids' edges along the face's up axis; below 0: passed each other.

    verts [t, v, 3] of a head that looks straight up the y axis (unposed); side: "left" or "right".
    """
    return verts[:, head.landmarks[f"lid_upper_{side}"], 1] - verts[:, head.landmarks[f"lid_lower_{side}"], 1]


def lid_depth(head: Head, verts: np.ndarray, side: str) -> float:
    """Metres by which the lids' edges lie under the eyeball's surface at most, in verts [v, 3]; 0 outside.

    The ball is its vertices' surface seen from its centre: the cornea counts where it looks.
    """
    ball = verts[head.parts[f"eye_{side}"]].astype(np.float64)
    outer = ball[len(ball) // 2 :]  # rings away from the cornea lie on the sphere
    system = np.c_[2 * outer, np.ones(len(outer))]
    centre = np.linalg.lstsq(system, (outer**2).sum(1), rcond=None)[0][:3]
    rows = np.concatenate([head.landmarks[f"lid_{edge}_{side}"] for edge in ("upper", "lower")])
    spoke = verts[rows].astype(np.float64) - centre
    distance = np.linalg.norm(spoke, axis=1)
    out = ball - centre
    radius = np.linalg.norm(out, axis=1)
    near = (spoke / distance[:, None]) @ (out / radius[:, None]).T
    surface = radius[near.argmax(1)]
    return float(np.maximum(surface - distance, 0).max())
