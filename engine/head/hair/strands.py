"""`Hair`: strands of a head, and where they are when the head has moved."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from engine.core.anatomy import Head
from engine.core.errors import BadInput

Array = np.ndarray


@dataclass(frozen=True)
class Hair:
    """n strands of k points. Metres; engine axes.

    triangle [n] int32: row of `Head.triangles` under each root; bary [n, 3] float32: where in it.
    offsets [n, k, 3] float32: points from the root, in the triangle's frame (first edge, normal x edge, normal).
    radius [n, k] float32: of the hair; tint [n] float32: factor of the colour, about 1. rgb: linear base colour.
    topology_sha256: of the head that it was grown on.
    """

    triangle: Array
    bary: Array
    offsets: Array
    radius: Array
    tint: Array
    rgb: tuple[float, float, float]
    topology_sha256: str

    def __len__(self) -> int:
        return len(self.triangle)

    def points(self, triangles: Array, vertices: Array) -> Array:
        """[n, k, 3] float32 on a head with these triangles [m, 3] and vertices [v, 3]: every strand is carried rigidly
        by the triangle under its root. Raises BadInput if the triangles are another head's."""
        if len(triangles) <= int(self.triangle.max(initial=-1)):
            raise BadInput("this hair was grown on another head; grow it again for this one")
        corners = np.asarray(vertices, np.float64)[triangles[self.triangle]]
        root = np.einsum("nk,nkc->nc", self.bary, corners)
        return (root[:, None] + self.offsets @ frames(corners)).astype(np.float32)


def frames(corners: Array) -> Array:
    """[n, 3, 3]: rows are the axes of triangles [n, 3, 3]: first edge, normal x edge, normal."""
    edge = corners[:, 1] - corners[:, 0]
    normal = np.cross(edge, corners[:, 2] - corners[:, 0])
    edge = edge / np.maximum(np.linalg.norm(edge, axis=1, keepdims=True), 1e-12)
    normal = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-20)
    return np.stack([edge, np.cross(normal, edge), normal], 1)


CLEARANCE = 0.0003  # metres between any hair's axis and the skin


def fitted(hair: Hair, head: Head) -> Hair:
    """The same hair on another person with these triangles: what the new skull would swallow is moved out of it."""
    from engine.head.transfer.surface import Surface

    points = hair.points(head.triangles, head.template).astype(np.float64)
    skin = np.asarray(head.masks["skin"]) > 0.5
    near = skin[head.triangles].all(1) & (head.template[head.triangles, 1].max(1) > points[..., 1].min() - 0.02)
    surface = Surface(head.template, head.triangles[near])
    flat = points[:, 1:].reshape(-1, 3)
    triangle, bary, _ = surface.nearest(flat)
    place = surface.interpolate(surface.points, triangle, bary)
    normal = surface.interpolate(surface.normals, triangle, bary)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    short = np.maximum(CLEARANCE - ((flat - place) * normal).sum(1), 0)
    points[:, 1:] = (flat + short[:, None] * normal).reshape(points[:, 1:].shape)
    turn = frames(head.template[head.triangles[hair.triangle]].astype(np.float64))
    return replace(hair, offsets=np.einsum("nkc,njc->nkj", points - points[:, :1], turn).astype(np.float32))
