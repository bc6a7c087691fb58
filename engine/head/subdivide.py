"""A mesh with four triangles for each of its own: EmoTalk3D binds its points to such a mesh (its section 4.2).

The new vertices are the middles of the edges. A displacement field on the mesh's vertices is carried to them by the
mean of the two ends, so what the fine mesh does follows from what the coarse one does and nothing has to be stored.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.core.errors import BadInput


@dataclass(frozen=True)
class Quadrupled:
    """triangles [4 m, 3] of the fine mesh, the four of coarse triangle i being rows 4 i .. 4 i + 3 (its three corners,
    then the middle one), all turned as it is; edges [e, 2]: coarse vertices whose middle is fine vertex v + k; count:
    v, the coarse vertices, which are the first of the fine mesh."""

    triangles: np.ndarray
    edges: np.ndarray
    count: int

    def carry(self, values: np.ndarray) -> np.ndarray:
        """Positions or displacements [..., v, c] of the coarse vertices -> [..., v + e, c] of the fine ones."""
        if values.ndim < 2 or values.shape[-2] != self.count:
            raise BadInput(f"values must be [..., {self.count}, c] for this mesh, got {list(values.shape)}")
        middle = (values[..., self.edges[:, 0], :] + values[..., self.edges[:, 1], :]) / 2
        return np.concatenate([values, middle], -2)


def quadruple(triangles: np.ndarray, count: int) -> Quadrupled:
    """The fine mesh of triangles [m, 3] over `count` vertices; an edge that two triangles share has one middle."""
    tri = np.asarray(triangles)
    if tri.ndim != 2 or tri.shape[1] != 3 or (len(tri) and not 0 <= tri.min() <= tri.max() < count):
        raise BadInput(f"triangles must be [m, 3] numbers below {count}, got {list(tri.shape)}")
    pairs = np.sort(np.stack([tri, np.roll(tri, -1, 1)], 2).reshape(-1, 2), 1)
    edges, where = np.unique(pairs, axis=0, return_inverse=True)
    ab, bc, ca = (count + where.reshape(-1, 3)).T
    a, b, c = tri.T
    fine = np.stack([np.stack(t, 1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))], 1)
    return Quadrupled(fine.reshape(-1, 3).astype(np.int32), edges, count)
