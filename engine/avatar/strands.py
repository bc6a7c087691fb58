"""Long thin Gaussians: along a head's hairs of geometry (brows, lashes), and as cropped hair on a painted scalp."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.avatar.surface import HAIR, Surface, material_ids
from engine.core.anatomy import Head
from engine.head.lashes import POINTS, RINGS, SIDES

Array = np.ndarray

# A hair is thinner than a pixel of most pictures, and the rasteriser widens it to one: less opacity keeps its weight.
BLADE_WIDTH = 0.30  # of the blade's, as a standard deviation
OPACITY = {"brow": 0.48, "lash": 0.075}
CROP_LENGTH, CROP_WIDTH, CROP_OPACITY = 0.0020, 0.00022, 0.45  # metres: standard deviations
CROP_LIFT = 0.0008


@dataclass(frozen=True)
class Strands:
    """triangle [n], barycentric [n, 3], points [n, 3], axes [n, 3, 3] (first: along), scales [n, 3] metres,
    opacity [n], tint [n]: factor of the albedo."""

    triangle: Array
    bary: Array
    points: Array
    axes: Array
    scales: Array
    opacity: Array
    tint: Array

    def __len__(self) -> int:
        return len(self.triangle)


def blades(head: Head, count: int) -> Strands:
    """Strands along the faces of brow and lash hairs, three to a face, or one if that took over 10 % of `count`; along
    fewer faces, and wider, if that did too.

    A blade's triangle runs from the middle of its shortest side to the opposite corner, its quad from the middle of one
    of its two short sides to the middle of the other.
    """
    hair = _one_side(head, np.flatnonzero(np.isin(head.face_material, material_ids(head, HAIR))))
    each = 3 if 3 * len(hair) < 0.1 * count else 1
    every = max(1, -(-len(hair) * each // max(1, int(0.1 * count))))
    hair = hair[::every]
    ends = _ends(head, hair)  # weights of the face's four corners
    faces = np.where(head.faces[hair] >= 0, head.faces[hair], head.faces[hair, :1])
    corners = head.template[faces].astype(np.float64)
    root, tip = np.einsum("enk,nkc->enc", ends, corners)
    length = np.maximum(np.linalg.norm(tip - root, axis=1), 1e-6)
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    along = (tip - root) / length[:, None]
    normal -= (normal * along).sum(1, keepdims=True) * along
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    area = 0.5 * np.linalg.norm(np.cross(corners[:, 2] - corners[:, 0], corners[:, 1] - corners[:, 0]), axis=1)
    width = BLADE_WIDTH * every * 2 * area / length
    scales = np.stack([0.55 * length / each, 0.5 * width, width], -1)
    t = ((np.arange(each) + 0.5) / each)[None, :, None]
    # Colour and binding use the face's first triangle; the fourth corner's share goes to its neighbour.
    weights = ends[:, :, :3] + ends[:, :, 3:] * [0, 0, 1]
    names = [head.materials[i].name for i in head.face_material[hair]]
    first = np.searchsorted(head.triangle_face, hair).astype(np.int32)
    return Strands(
        np.repeat(first, each), ((1 - t) * weights[0][:, None] + t * weights[1][:, None]).reshape(-1, 3),
        ((1 - t) * root[:, None] + t * tip[:, None]).reshape(-1, 3), np.repeat(axes_along(along, normal), each, 0),
        np.repeat(scales, each, 0), np.repeat([OPACITY[name] for name in names], each), np.ones(len(hair) * each),
    )  # fmt: skip


def _one_side(head: Head, hair: Array) -> Array:
    """The faces of hairs without the other sides of lashes that are tubes."""
    lash = [rows for name, rows in head.parts.items() if name.startswith("lashes")]
    tubes = np.zeros(len(head.template), bool)
    for rows in lash:
        tubes[rows] = len(rows) % POINTS == 0
    on_tube = tubes[head.faces[hair, 0]]
    if on_tube.sum() != SIDES * RINGS * (tubes.sum() // POINTS):
        return hair
    return np.concatenate([hair[~on_tube], hair[on_tube][::SIDES]])


def _ends(head: Head, hair: Array) -> Array:
    """[2, n, 4]: weights of each face's corners that give the two ends of the line along it."""
    faces, rows = head.faces[hair], np.arange(len(hair))
    quad = faces[:, 3] >= 0
    corners = head.template[np.where(faces >= 0, faces, faces[:, :1])].astype(np.float64)
    sides = np.linalg.norm(np.roll(corners, -1, 1) - corners, axis=2)  # side k: corner k to k + 1
    out = np.zeros((2, len(hair), 4))
    k = np.where(quad, np.where(sides[:, 0] + sides[:, 2] <= sides[:, 1] + sides[:, 3], 0, 1), sides[:, :3].argmin(1))
    size = np.where(quad, 4, 3)
    out[0, rows, k] = out[0, rows, (k + 1) % size] = 0.5
    out[1, rows, (k + 2) % size] += np.where(quad, 0.5, 1)
    out[1, rows[quad], (k[quad] + 3) % 4] = 0.5
    return out


def cropped(head: Head, surface: Surface, count: int, rng: np.random.Generator) -> Strands:
    """`count` short hairs on the scalp (none if the head has none), lying away from the crown."""
    corners = head.template[head.triangles].astype(np.float64)
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    mass = np.linalg.norm(cross, axis=1) * surface.scalp[head.triangles].min(1)
    if mass.sum() < 1e-4:  # square metres, twice the area
        count = 0
        mass = mass + 1
    edges = np.cumsum(mass) / mass.sum()
    triangle = np.searchsorted(edges, (np.arange(count) + rng.random(count)) / max(count, 1)).clip(0, len(mass) - 1)
    u, v = np.sqrt(rng.random(count)), rng.random(count)
    bary = np.stack([1 - u, u * (1 - v), u * v], 1)
    index = head.triangles[triangle]
    normal = np.einsum("nk,nkc->nc", bary, surface.normals[index])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    points = np.einsum("nk,nkc->nc", bary, corners[triangle]) + CROP_LIFT * normal
    top = head.template[:, 1].max()
    crown = np.array([0.012, top - 0.01, head.template[head.template[:, 1] > top - 0.03, 2].mean() - 0.03])
    lean = points - crown + rng.normal(0, 0.018, points.shape)
    lean -= (lean * normal).sum(1, keepdims=True) * normal
    lean /= np.maximum(np.linalg.norm(lean, axis=1, keepdims=True), 1e-9)
    along = lean + rng.uniform(0.1, 0.5, (count, 1)) * normal
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    across = np.cross(along, normal)
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-9)
    scales = np.array([CROP_LENGTH, CROP_WIDTH, CROP_WIDTH]) * rng.uniform(0.7, 1.2, (count, 1))
    return Strands(
        triangle.astype(np.int32), bary, points, axes_along(along, np.cross(across, along)), scales,
        np.full(count, CROP_OPACITY), np.exp(rng.normal(-0.55, 0.45, count)),
    )  # fmt: skip


def axes_along(along: Array, normal: Array) -> Array:
    """Rotations [n, 3, 3] with columns along, normal and their cross product (det +1 for unit, orthogonal input)."""
    return np.stack([along, normal, np.cross(along, normal)], -1)
