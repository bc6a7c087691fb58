"""Pieces of a head under construction: geometry that knows which base vertices it follows."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Follow:
    """A sparse linear map: offsets [n, 3] of a piece from offsets [m, 3] of what it is attached to.

    index [n, j] int, weight [n, j] float: row i = sum over j of weight[i, j] * offsets[index[i, j]].
    """

    index: np.ndarray
    weight: np.ndarray

    def __call__(self, offsets: np.ndarray) -> np.ndarray:
        return np.einsum("nj,njc->nc", self.weight, offsets[self.index])

    @staticmethod
    def same(indices: np.ndarray) -> Follow:
        """Each vertex is one vertex of the other mesh."""
        return Follow(np.asarray(indices)[:, None], np.ones((len(indices), 1)))


@dataclass
class Piece:
    """One part of the head. Metres.

    rest [n, 3]; faces [f, 4] (-1 in the fourth column of a triangle); material [f] names; albedo [n, 3] linear;
    uv [w, 2] and uv_faces [f, 4] as faces; shapes: name -> [n, 3]; identity: name -> [n, 3].
    """

    name: str
    rest: np.ndarray
    faces: np.ndarray
    material: np.ndarray
    albedo: np.ndarray
    uv: np.ndarray
    uv_faces: np.ndarray
    shapes: dict[str, np.ndarray] = field(default_factory=dict)
    identity: dict[str, np.ndarray] = field(default_factory=dict)

    @staticmethod
    def plain(name: str, rest: np.ndarray, faces: np.ndarray, material: str, albedo: np.ndarray) -> Piece:
        """A piece of one material whose texture coordinates are a front view of itself."""
        low, high = rest[:, :2].min(0), rest[:, :2].max(0)
        uv = (rest[:, :2] - low) / np.maximum(high - low, 1e-9)
        colour = np.broadcast_to(albedo, rest.shape).astype(float)
        return Piece(name, rest, faces, np.full(len(faces), material), colour, uv, faces)


def affine_follow(anchors: np.ndarray, indices: np.ndarray, points: np.ndarray) -> Follow:
    """Follow the affine map that best (least squares) explains how `anchors` [m, 3] (vertices `indices`) move.

    Linear in the anchors' offsets, so it serves shapes and identity alike; exact for rigid and affine motion.
    """
    centre, scale = anchors.mean(0), anchors.std()
    inverse = np.linalg.pinv(np.c_[(anchors - centre) / scale, np.ones(len(anchors))])
    weight = np.c_[(points - centre) / scale, np.ones(len(points))] @ inverse
    return Follow(np.broadcast_to(indices, weight.shape), weight)


def grid_faces(rows: int, columns: int, closed: bool = False) -> np.ndarray:
    """[f, 4] quads of a rows x columns vertex grid (row-major), counter-clockwise when columns run to the right
    and rows run down; `closed` joins the last column to the first."""
    r = np.arange(rows - 1)[:, None]
    c = np.arange(columns if closed else columns - 1)[None]
    nxt = (c + 1) % columns
    return np.stack([r * columns + c, (r + 1) * columns + c, (r + 1) * columns + nxt, r * columns + nxt], -1).reshape(
        -1, 4
    )


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """[v, 3] unit normals, weighted by face area; triangles have -1 in the fourth column."""
    d = np.where(faces[:, 3] >= 0, faces[:, 3], faces[:, 2])
    face = np.cross(vertices[faces[:, 2]] - vertices[faces[:, 0]], vertices[d] - vertices[faces[:, 1]])
    triangle = np.cross(vertices[faces[:, 1]] - vertices[faces[:, 0]], vertices[faces[:, 2]] - vertices[faces[:, 0]])
    face = np.where((faces[:, 3] >= 0)[:, None], face, triangle)
    out = np.zeros_like(vertices)
    for k in range(4):
        use = faces[:, k] >= 0
        np.add.at(out, faces[use, k], face[use])
    return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)


class Topology:
    """Neighbours and edge loops of a quad mesh."""

    def __init__(self, faces: np.ndarray):
        self.faces = faces
        self.face_sets: dict[int, set[int]] = {}
        self.neighbours: dict[int, set[int]] = {}
        for i, face in enumerate(faces.tolist()):
            for k, v in enumerate(face):
                self.face_sets.setdefault(v, set()).add(i)
                self.neighbours.setdefault(v, set()).update((face[k - 1], face[(k + 1) % 4]))

    def loop(self, first: int, second: int) -> list[int]:
        """The edge loop that starts with this edge: at each 4-valent vertex leave by the opposite edge.

        Ends where it closes (the start is not repeated), at a pole or at a border.
        """
        out = [first, second]
        a, b = first, second
        while True:
            shared = self.face_sets[a] & self.face_sets[b]
            near = {v for f in shared for v in self.faces[f].tolist()}
            ahead = [v for v in self.neighbours[b] if v not in near]
            if len(ahead) != 1:
                return out
            a, b = b, ahead[0]
            if b == first:
                return out
            out.append(b)

    def flood(self, seed: int, walls: set[int]) -> set[int]:
        """Vertices reachable from `seed` without stepping on `walls`."""
        seen, stack = {seed}, [seed]
        while stack:
            for v in self.neighbours[stack.pop()]:
                if v not in seen and v not in walls:
                    seen.add(v)
                    stack.append(v)
        return seen
