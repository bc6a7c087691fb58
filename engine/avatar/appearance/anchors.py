"""Where appearance nets are evaluated: at most 5,000 vertices of the face, and the share of three in each Gaussian."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from engine.avatar import bind_kernels
from engine.avatar.attach import rotate
from engine.avatar.bind import bind
from engine.core.anatomy import Head
from engine.core.errors import BadInput
from engine.core.files import sha256_of_arrays
from engine.core.splats import Avatar

if TYPE_CHECKING:
    from engine.avatar.appearance.base import Rest

Array = np.ndarray

MOST = 5000
FACE, MOUTH = "face", "inside_mouth"
HEAD_JOINT = 1  # FLAME's "neck" carries the skull


@dataclass(frozen=True)
class Anchors:
    """vertices [q] int32 of the head; rows [m] int32: the Gaussians that take part; corners [m, 3] int32 into the
    vertices with shares [m, 3] float32, sums 1; frames [m, 8]: those of their triangles on the neutral face
    (bind_kernels.frames); mouth [q] bool: inside the mouth; still [s] int: vertices of the head that expressions move
    least."""

    vertices: Array
    rows: Array
    corners: Array
    shares: Array
    frames: Array
    mouth: Array
    still: Array

    def __len__(self) -> int:
        return len(self.vertices)


def anchors_of(avatar: Avatar, head: Head, most: int = MOST) -> Anchors:
    """Anchors for the Gaussians of the avatar's face and mouth: the vertices of their triangles; where there are more
    than `most`, evenly chosen ones, with shares by the inverse of the distance to the three nearest of the same layer.

    Free Gaussians take no part. Raises BadInput where the avatar has no face or is not this head's.
    """
    if avatar.topology_sha256 != head.topology_sha256:
        raise BadInput(f"the avatar was made for the head '{avatar.head}', not for '{head.name}'")
    layers = [avatar.layers.index(name) for name in (FACE, MOUTH) if name in avatar.layers]
    taking = np.isin(avatar.layer, layers)
    if avatar.free is not None:
        taking[avatar.free.rows] = False
    rows = np.flatnonzero(taking).astype(np.int32)
    if not len(rows):
        raise BadInput("the avatar has no Gaussians on the face; appearance nets have nothing to change")
    triangles = np.ascontiguousarray(head.triangles, np.int32)
    corners = triangles[avatar.triangle[rows]]
    inside = np.zeros(len(head.template), bool)
    if MOUTH in avatar.layers:
        inside[triangles[avatar.triangle[avatar.layer == avatar.layers.index(MOUTH)]]] = True
    frames = np.empty((len(triangles), bind_kernels.FRAME), np.float32)
    bind_kernels.frames(triangles, np.ascontiguousarray(head.template, np.float32), frames)
    frames = frames[avatar.triangle[rows]]
    used = np.unique(corners)
    points = bind(avatar, head.triangles, head.template).means[rows]
    if len(used) <= most:
        index, shares = np.searchsorted(used, corners), _shares(points, head.template[corners])
    else:
        used = used[spread(head.template[used], most)]
        own = inside[corners].all(1)
        index, shares = _nearest(points, own, head.template[used], inside[used])
    return Anchors(
        used.astype(np.int32), rows, index.astype(np.int32), shares.astype(np.float32), frames, inside[used],
        still_vertices(head),
    )  # fmt: skip


def _shares(points: Array, corners: Array) -> Array:
    """Barycentric coordinates [m, 3] of points on their triangles [m, 3, 3], kept within it; thirds where it has no
    area."""
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    p = points - corners[:, 0]
    aa, ab, bb = (a * a).sum(1), (a * b).sum(1), (b * b).sum(1)
    pa, pb, det = (p * a).sum(1), (p * b).sum(1), aa * bb - ab * ab
    flat = det <= 1e-12 * np.maximum(aa * bb, 1e-30)
    safe = np.where(flat, 1, det)
    u, v = (bb * pa - ab * pb) / safe, (aa * pb - ab * pa) / safe
    out = np.clip(np.stack([1 - u - v, u, v], 1), 0, 1)
    out[flat] = 1 / 3
    return out / out.sum(1, keepdims=True)


def spread(points: Array, count: int) -> Array:
    """[count] rows of points [n, 3] that lie evenly: each next one is the farthest from those before."""
    chosen = np.zeros(count, np.int64)
    far = np.square(points - points[0]).sum(1)
    for i in range(1, count):
        chosen[i] = far.argmax()
        far = np.minimum(far, np.square(points - points[chosen[i]]).sum(1))
    return np.sort(chosen)


def _nearest(points: Array, inside: Array, anchors: Array, anchors_inside: Array) -> tuple[Array, Array]:
    from scipy.spatial import cKDTree

    index, shares = np.zeros((len(points), 3), np.int64), np.full((len(points), 3), 1 / 3)
    for side in (False, True):
        mine, theirs = np.flatnonzero(inside == side), np.flatnonzero(anchors_inside == side)
        if len(theirs) < 3:
            theirs = np.arange(len(anchors))
        if len(mine):
            away, found = cKDTree(anchors[theirs]).query(points[mine], 3)
            near = 1 / np.maximum(away, 1e-5)
            index[mine], shares[mine] = theirs[found], near / near.sum(1, keepdims=True)
    return index, shares


def rest_of(avatar: Avatar, head: Head, anchors: Anchors) -> Rest:
    """What the nets are told of the avatar at rest (torch)."""
    import torch

    from engine.avatar.appearance.base import Rest

    at_rest = bind(avatar, head.triangles, head.template)
    sh = avatar.sh[anchors.rows].reshape(len(anchors.rows), -1)
    quats, scales = np.asarray(at_rest.quats)[anchors.rows], np.asarray(at_rest.scales)[anchors.rows]
    short = rotate(quats.astype(np.float64), np.eye(3)[scales.argmin(1)])
    outward = rotate(anchors.frames[:, 4:].astype(np.float64), np.tile([0.0, 1.0, 0.0], (len(quats), 1)))
    short *= np.where((short * outward).sum(1, keepdims=True) < 0, -1, 1)
    mean = _means(anchors, np.concatenate([sh, short], 1))
    normals = mean[:, -3:] / np.maximum(np.linalg.norm(mean[:, -3:], axis=1, keepdims=True), 1e-9)
    values = (
        head.template[anchors.vertices], _uv(head)[anchors.vertices], mean[:, :-3].reshape(len(anchors), -1, 3),
        normals, anchors.mouth,
    )  # fmt: skip
    positions, uv, colour, axes, mouth = (torch.as_tensor(np.ascontiguousarray(a, np.float32)) for a in values)
    digest = sha256_of_arrays(anchors.vertices.astype(np.int32))
    return Rest(positions, uv, colour, axes, mouth, head.topology_sha256, digest)


def _means(anchors: Anchors, values: Array) -> Array:
    """Means [q, k] over the Gaussians near each anchor, by their shares, of values [m, k]."""
    out, total = np.zeros((len(anchors), values.shape[1])), np.zeros(len(anchors))
    for k in range(3):
        np.add.at(out, anchors.corners[:, k], anchors.shares[:, k, None] * values)
        np.add.at(total, anchors.corners[:, k], anchors.shares[:, k])
    return out / np.maximum(total, 1e-9)[:, None]


def _uv(head: Head) -> Array:
    """[v, 2] texture coordinates of vertices; of several, at a seam, the last."""
    out = np.zeros((len(head.template), 2), np.float32)
    real = (head.faces >= 0) & (head.uv_faces >= 0)
    out[head.faces[real]] = head.uv[head.uv_faces[real]]
    return out


def motion_of(head: Head, anchors: Anchors, vertices: Array) -> Array:
    """[q, 3] metres: how the anchors moved on a face [v, 3] without the head's own motion.

    The rigid part is that of the neutral vertices which expressions move least (least squares, Kabsch 1976), so it
    works for the posed meshes of any rig.
    """
    still = anchors.still
    a, b = head.template[still].astype(np.float64), np.asarray(vertices, np.float64)[still]
    turn = rigid(a, b)
    here = (np.asarray(vertices, np.float64)[anchors.vertices] - b.mean(0)) @ turn + a.mean(0)
    return (here - head.template[anchors.vertices]).astype(np.float32)


def still_vertices(head: Head, count: int = 400) -> Array:
    """[count] vertices that the shapes move least, among those that the head's joint carries."""
    moves = np.linalg.norm(head.shapes, axis=2).max(0, initial=0.0)
    other = head.weights[:, HEAD_JOINT] < 0.99
    return np.argsort(moves + other, kind="stable")[:count]


def rigid(a: Array, b: Array) -> Array:
    """[3, 3] rotation R that takes a [n, 3] to b in the least squares: b - mean = (a - mean) R^T."""
    u, _, vt = np.linalg.svd((a - a.mean(0)).T @ (b - b.mean(0)))
    flip = np.diag([1, 1, np.sign(np.linalg.det(u @ vt))])
    return (u @ flip @ vt).T
