"""Closest points on triangle meshes, and values carried from one mesh to another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_CANDIDATES = 24


@dataclass(frozen=True)
class Foot:
    """Where points lie on a mesh: corners [n, 3] vertex rows, share [n, 3] barycentric, triangle [n], distance [n]."""

    corners: np.ndarray
    share: np.ndarray
    triangle: np.ndarray
    distance: np.ndarray

    def carry(self, values: np.ndarray) -> np.ndarray:
        """Values [v, ...] of the mesh's vertices at the points: [n, ...]."""
        return np.einsum("nk,nk...->n...", self.share, np.asarray(values)[self.corners])


def normals(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """[n, 3] unit vertex normals, weighted by area."""
    face = face_normals(points, triangles)
    out = np.zeros_like(points)
    for k in range(3):
        np.add.at(out, triangles[:, k], face)
    return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)


def face_normals(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """[m, 3], as long as twice the triangle's area."""
    a, b, c = (points[triangles[:, k]] for k in range(3))
    return np.cross(b - a, c - a)


def barycentric(p: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Shares [..., 3] of the corners in the closest point of each triangle to p, all [..., 3].

    Inside: the projection. Outside: the best of the three edges' closest points.
    """
    ab, ac, ap = b - a, c - a, p - a
    d00, d01, d11 = (ab * ab).sum(-1), (ab * ac).sum(-1), (ac * ac).sum(-1)
    d20, d21 = (ap * ab).sum(-1), (ap * ac).sum(-1)
    area = np.maximum(d00 * d11 - d01 * d01, 1e-30)
    v, w = (d11 * d20 - d01 * d21) / area, (d00 * d21 - d01 * d20) / area
    inside = np.stack([1 - v - w, v, w], -1)
    best, least = inside, np.where((inside >= 0).all(-1), -1.0, np.inf)
    for i, j in ((0, 1), (1, 2), (2, 0)):
        corner = (a, b, c)
        along = corner[j] - corner[i]
        t = np.clip(((p - corner[i]) * along).sum(-1) / np.maximum((along**2).sum(-1), 1e-30), 0, 1)
        share = np.zeros_like(inside)
        share[..., i], share[..., j] = 1 - t, t
        gap = ((p - corner[i] - t[..., None] * along) ** 2).sum(-1)
        best = np.where((gap < least)[..., None], share, best)
        least = np.minimum(gap, least)
    return best


def closest(
    points: np.ndarray, mesh: np.ndarray, triangles: np.ndarray, facing: np.ndarray | None = None
) -> Foot:  # fmt: skip
    """The closest point of a mesh to each of `points` [n, 3].

    facing [n, 3]: unit normals of the points; triangles that look the other way count as four times as far, so that
    a lid's outside is not taken for its inside.
    """
    from scipy.spatial import cKDTree

    corner = mesh[triangles]
    k = min(_CANDIDATES, len(triangles))
    near = cKDTree(corner.mean(1)).query(points, k=k)[1].reshape(len(points), k)
    a, b, c = (corner[near, i] for i in range(3))
    share = barycentric(points[:, None], a, b, c)
    place = share[..., :1] * a + share[..., 1:2] * b + share[..., 2:] * c
    gap = np.linalg.norm(points[:, None] - place, axis=-1)
    cost = gap
    if facing is not None:
        unit = face_normals(mesh, triangles)[near]
        unit /= np.maximum(np.linalg.norm(unit, axis=-1, keepdims=True), 1e-12)
        agree = (unit * facing[:, None]).sum(-1)
        cost = (gap + 1e-4) * np.where(agree < 0, 4.0, 1.0)
    best = cost.argmin(1)
    rows = np.arange(len(points))
    found = near[rows, best]
    return Foot(triangles[found], share[rows, best], found, gap[rows, best])
