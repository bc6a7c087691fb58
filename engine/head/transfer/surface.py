"""A triangle mesh that answers: which point of it is nearest, and how does a field on it change from place to place."""

from __future__ import annotations

from typing import Any

import numpy as np

_CENTROIDS = 10  # candidate triangles by their middle; those round the nearest vertex are tried as well
_RING = 8


class Surface:
    """Points [v, 3] and triangles [m, 3]. Triangles without area are left out: they have no normal and no gradient.

    normals [v, 3] unit, area-weighted; on_border [v]: vertices on an edge that only one triangle has.
    """

    def __init__(self, points: np.ndarray, triangles: np.ndarray):
        from scipy.spatial import cKDTree

        points = np.asarray(points, np.float64)
        corner = points[triangles]
        cross = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
        double = np.linalg.norm(cross, axis=1)
        size = np.linalg.norm(np.ptp(corner, axis=1), axis=1)
        fine = double > 1e-9 * np.maximum(size, 1e-12) ** 2
        self.points, self.triangles = points, np.ascontiguousarray(triangles[fine])
        self.area = 0.5 * double[fine]
        self.face_normals = cross[fine] / double[fine, None]
        self.normals = self._vertex_normals(cross[fine])
        self.on_border = border_vertices(self.triangles, len(points))
        self._middle = cKDTree(corner[fine].mean(1))
        self._used = np.unique(self.triangles)
        self._vertex = cKDTree(points[self._used])
        self._ring = self._rings()
        self._bent: dict[float, Any] = {}  # trees of middles and normals, by the normals' weight

    def _vertex_normals(self, cross: np.ndarray) -> np.ndarray:
        out = np.zeros_like(self.points)
        for k in range(3):
            np.add.at(out, self.triangles[:, k], cross)
        return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-20)

    def _rings(self) -> np.ndarray:
        """[v, _RING] triangles round each vertex, the first repeated where there are fewer."""
        owner = self.triangles.ravel()
        order = np.argsort(owner, kind="stable")
        start = np.searchsorted(owner[order], np.arange(len(self.points)))
        count = np.bincount(owner, minlength=len(self.points))
        step = np.arange(_RING)[None]
        at = start[:, None] + np.where(step < count[:, None], step, 0)
        return (order[np.minimum(at, len(order) - 1)] // 3).astype(np.int64)

    def nearest(
        self, query: np.ndarray, normals: np.ndarray | None = None, least_cosine: float = -1.0, bend: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(triangle [n], barycentric [n, 3], distance [n]) of the nearest point of the surface to query [n, 3].

        normals [n, 3]: only places whose interpolated normal makes at least `least_cosine` with it count; where no
        candidate does, the distance is infinite. bend (metres): what a unit of difference between the normals weighs
        against distance, so that the front of a lid or lip finds a front.
        """
        best = np.full(len(query), np.inf)
        cost = np.full(len(query), np.inf)
        which = np.zeros(len(query), np.int64)
        where = np.tile([1.0, 0.0, 0.0], (len(query), 1))
        for column in self._candidates(query, normals, bend).T:
            corners = self.points[self.triangles[column]]
            weights = closest_barycentric(query, corners)
            distance = np.linalg.norm(np.einsum("nk,nkc->nc", weights, corners) - query, axis=1)
            price = distance**2
            if normals is not None:
                here = np.einsum("nk,nkc->nc", weights, self.normals[self.triangles[column]])
                here /= np.maximum(np.linalg.norm(here, axis=1, keepdims=True), 1e-12)
                price += bend**2 * ((here - normals) ** 2).sum(1)
                price = np.where((here * normals).sum(1) >= least_cosine, price, np.inf)
            better = price < cost
            cost[better], best[better] = price[better], distance[better]
            which[better], where[better] = column[better], weights[better]
        return which, where, best

    def _candidates(self, query: np.ndarray, normals: np.ndarray | None, bend: float) -> np.ndarray:
        """[n, c] triangles that may hold the nearest point."""
        from scipy.spatial import cKDTree

        k = min(_CENTROIDS, len(self.triangles))
        out = [self._middle.query(query, k=k)[1].reshape(len(query), -1)]
        out.append(self._ring[self._used[self._vertex.query(query)[1]]])
        if normals is not None and bend > 0:
            if bend not in self._bent:
                middle = self.points[self.triangles].mean(1)
                self._bent[bend] = cKDTree(np.c_[middle, bend * self.face_normals])
            out.append(self._bent[bend].query(np.c_[query, bend * normals], k=k)[1].reshape(len(query), -1))
        return np.concatenate(out, 1)

    def interpolate(self, values: np.ndarray, triangle: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Values [v, ...] of the vertices at places given by triangle [n] and barycentric weights [n, 3]."""
        return np.einsum("nk,nk...->n...", weights, values[self.triangles[triangle]])

    def gradient_operator(self) -> Any:
        """Sparse [3 m, v]: rows 3 t + a give the derivative along axis a of a vertex field inside triangle t."""
        from scipy.sparse import csr_matrix

        corner = self.points[self.triangles]
        height = np.empty_like(corner)
        for k in range(3):
            edge = corner[:, (k + 2) % 3] - corner[:, (k + 1) % 3]
            height[:, k] = np.cross(self.face_normals, edge) / (2 * self.area)[:, None]
        m = len(self.triangles)
        rows = np.repeat(np.arange(3 * m).reshape(m, 3), 3, axis=0).reshape(m, 3, 3)  # [t, corner, axis]
        columns = np.broadcast_to(self.triangles[:, :, None], (m, 3, 3))
        return csr_matrix((height.ravel(), (rows.ravel(), columns.ravel())), shape=(3 * m, len(self.points)))


def border_vertices(triangles: np.ndarray, count: int) -> np.ndarray:
    """[count] bool: on an edge that belongs to one triangle only."""
    edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    unique, times = np.unique(edges, axis=0, return_counts=True)
    out = np.zeros(count, bool)
    out[unique[times == 1].ravel()] = True
    return out


def edges_of(triangles: np.ndarray) -> np.ndarray:
    """[e, 2] every edge once."""
    edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    return np.unique(edges, axis=0)


def components(triangles: np.ndarray, count: int) -> np.ndarray:
    """[count] number of the connected piece that each vertex belongs to (vertices without triangles: one each)."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    edges = edges_of(triangles)
    graph = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count))
    return connected_components(graph, directed=False)[1]


def closest_barycentric(query: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """[n, 3] barycentric weights of the point of triangle corners [n, 3, 3] nearest to query [n, 3].

    Ericson, "Real-Time Collision Detection" (2005), 5.1.5, with all seven regions computed and the right one chosen.
    """
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    ab, ac, ap, bp, cp = b - a, c - a, query - a, query - b, query - c

    def dot(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.einsum("nc,nc->n", x, y)

    d1, d2, d3, d4, d5, d6 = dot(ab, ap), dot(ac, ap), dot(ab, bp), dot(ac, bp), dot(ab, cp), dot(ac, cp)
    va, vb, vc = d3 * d6 - d5 * d4, d5 * d2 - d1 * d6, d1 * d4 - d3 * d2
    zero, one = np.zeros_like(d1), np.ones_like(d1)

    def ratio(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.clip(x / np.where(np.abs(y) > 1e-30, y, 1), 0, 1)

    t_ab, t_ac, t_bc = ratio(d1, d1 - d3), ratio(d2, d2 - d6), ratio(d4 - d3, (d4 - d3) + (d5 - d6))
    whole = va + vb + vc
    v, w = ratio(vb, whole), ratio(vc, whole)
    choices = [
        ((d1 <= 0) & (d2 <= 0), (one, zero, zero)),
        ((d3 >= 0) & (d4 <= d3), (zero, one, zero)),
        ((d6 >= 0) & (d5 <= d6), (zero, zero, one)),
        ((vc <= 0) & (d1 >= 0) & (d3 <= 0), (1 - t_ab, t_ab, zero)),
        ((vb <= 0) & (d2 >= 0) & (d6 <= 0), (1 - t_ac, zero, t_ac)),
        ((va <= 0) & (d4 >= d3) & (d5 >= d6), (zero, 1 - t_bc, t_bc)),
    ]
    conditions = [condition for condition, _ in choices]
    return np.stack(
        [np.select(conditions, [x[k] for _, x in choices], inside) for k, inside in enumerate((1 - v - w, v, w))], -1
    )
