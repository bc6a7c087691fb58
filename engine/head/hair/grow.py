"""The recipe of a short textured crop: roots, lie, length, volume, locks and loose hairs, from one seed.

A strand is traced along the surface of the skull in the direction that hair lies there (a whorl at the crown, forward
over the top and to one side, down the sides and the back), and stands off that surface by a height that rises from the
root and falls towards the tip. Strands lean into the locks they belong to, towards their tips most of all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.core.anatomy import Head
from engine.core.errors import BadInput
from engine.head.evaluate import joints_of
from engine.head.hair.strands import CLEARANCE, Hair, frames
from engine.head.hairline import above_line, ears, scalp

Array = np.ndarray


@dataclass(frozen=True)
class Style:
    """What a groom can be told. Lengths in metres, angles in radians; see the functions that use them."""

    strands: int = 9000
    points: int = 8
    locks: int = 420
    top: float = 0.052  # length on the top of the head
    fringe: float = 0.040
    lowest: float = 0.005  # length at the sideburns and the nape
    sweep: float = 0.6  # how far the top lies to the subject's left rather than forward
    volume: float = 0.34  # height of the top over the scalp, as a part of its length
    clump: float = 0.74
    loose: float = 0.05  # part of the strands that belong to no lock
    radius: float = 0.00013  # at the root
    rgb: tuple[float, float, float] = (0.0165, 0.0074, 0.0035)
    seed: int = 11


CROP = Style()
LONGEST = 1.2  # strands are cut at this many times the length on top
_CLOUD = 40_000  # points that stand for the skull's surface
_CROWN = np.array([-0.010, 0.092, -0.128])  # the whorl, from the point between the eyes


class _Skull:
    """The head without its ears as a dense cloud of points and normals: nearest surface in one look-up."""

    def __init__(self, head: Head, rng: np.random.Generator):
        from scipy.spatial import cKDTree

        self.head, self.eyes = head, joints_of(head)[3:5].mean(0)
        skin = np.asarray(head.masks["skin"], float)
        rows = np.flatnonzero((skin[head.triangles] > 0.5).all(1))
        corners = head.template[head.triangles[rows]].astype(np.float64)
        self.rows, self.corners = rows, corners
        cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        self.area = 0.5 * np.linalg.norm(cross, axis=1)
        at, bary = self.sample(_CLOUD, np.ones(len(rows)), rng)
        points = np.einsum("nk,nkc->nc", bary, corners[at])
        kept = (ears(points, self.eyes) < 0.01) & (points[:, 1] > self.eyes[1] - 0.12)
        self.cloud = points[kept]
        self.normals = np.einsum("nk,nkc->nc", bary, self._vertex_normals()[head.triangles[rows[at]]])[kept]
        self.normals /= np.linalg.norm(self.normals, axis=1, keepdims=True)
        self.tree = cKDTree(self.cloud)

    def _vertex_normals(self) -> Array:
        cross = np.cross(self.corners[:, 1] - self.corners[:, 0], self.corners[:, 2] - self.corners[:, 0])
        out = np.zeros_like(self.head.template, dtype=np.float64)
        for k in range(3):
            np.add.at(out, self.head.triangles[self.rows, k], cross)
        return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-20)

    def sample(self, count: int, weight: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        """Places spread evenly by area x weight [m]: rows of `corners` [count] and barycentric [count, 3]."""
        edges = np.cumsum(self.area * weight)
        at = np.searchsorted(edges / edges[-1], (np.arange(count) + rng.random(count)) / count).clip(0, len(edges) - 1)
        u, v = np.sqrt(rng.random(count)), rng.random(count)
        return at, np.stack([1 - u, u * (1 - v), u * v], 1)

    def onto(self, points: Array) -> tuple[Array, Array]:
        """The surface below points [n, 3] and its normal there, smoothed over the nearest places of the cloud."""
        distance, near = self.tree.query(points, 6)
        weight = 1 / (distance + 1e-3)
        weight /= weight.sum(1, keepdims=True)
        normal = np.einsum("nk,nkc->nc", weight, self.normals[near])
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        place = np.einsum("nk,nkc->nc", weight, self.cloud[near])
        return points - ((points - place) * normal).sum(1, keepdims=True) * normal, normal


def grow(head: Head, style: Style = CROP) -> Hair:
    """Strands for the default head (any identity of it has the same triangles). Same inputs, same hair.

    Raises BadInput for a head without a painted scalp.
    """
    names = [material.name for material in head.materials]
    if "skin" not in head.masks or "scalp" not in names or not (head.face_material == names.index("scalp")).any():
        raise BadInput(f"the head '{head.name}' has no scalp that hair could grow on; hair is for the default head")
    rng = np.random.default_rng(style.seed)
    skull = _Skull(head, rng)
    at, bary = _roots(skull, style, rng)
    root = np.einsum("nk,nkc->nc", bary, skull.corners[at])
    lock, loose = _locks(root, style, rng)
    strands = _traced(skull, root, lock, loose, style, rng)
    strands = _locked(strands, root, lock, loose, skull, style)
    strands += _frizz(root, strands, style, rng)
    strands[:, 1:] = _outside(skull, strands[:, 1:])
    turn = frames(skull.corners[at])
    offsets = np.einsum("nkc,njc->nkj", strands - root[:, None], turn)
    taper = np.interp(np.linspace(0, 1, style.points), [0, 0.12, 0.7, 1], [0.8, 1.0, 0.8, 0.12])
    radius = style.radius * rng.uniform(0.8, 1.2, (len(root), 1)) * taper
    tint = np.exp(rng.normal(0, 0.16, len(root)) + rng.normal(0, 0.14, style.locks)[lock])
    return Hair(
        skull.rows[at].astype(np.int32), bary.astype(np.float32), offsets.astype(np.float32),
        radius.astype(np.float32), tint.astype(np.float32), style.rgb, head.topology_sha256,
    )  # fmt: skip


def _roots(skull: _Skull, style: Style, rng: np.random.Generator) -> tuple[Array, Array]:
    """Rows of skull.corners and barycentric weights of the roots: by area and by how densely hair grows; denser where
    it is short, because long hair covers more than its own ground."""
    middle = skull.corners.mean(1)
    coarse = (middle[:, 1] > skull.eyes[1] - 0.10) * 1.0
    at, bary = skull.sample(30 * style.strands, coarse, rng)
    points = np.einsum("nk,nkc->nc", bary, skull.corners[at])
    density = scalp(points, skull.eyes) * np.interp(_length(points, skull.eyes, style), [0.006, 0.03], [1.5, 0.85])
    edges = np.cumsum(density)
    pick = np.searchsorted(edges / edges[-1], (np.arange(style.strands) + rng.random(style.strands)) / style.strands)
    return at[pick], bary[pick]


def _length(root: Array, eyes: Array, style: Style) -> Array:
    """[n] metres: short at the lower edges, long on top, a little shorter at the fringe."""
    above = np.maximum(above_line(root, eyes), 0)
    high = root[:, 1] - eyes[1]
    sides = np.interp(above, [0.0, 0.02, 0.05, 0.085], [style.lowest, style.lowest + 0.003, 0.015, 0.036])
    sides = np.minimum(sides, np.interp(high, [0.02, 0.06, 0.085], [0.011, 0.028, style.top]))
    front = np.clip((root[:, 2] - eyes[2] + 0.045) / 0.03, 0, 1) * np.clip((high - 0.052) / 0.012, 0, 1)
    fringe = np.interp(above, [0.0, 0.008, 0.03], [0.7 * style.fringe, style.fringe, style.top])
    return sides + front * (fringe - sides)


def _lie(place: Array, normal: Array, eyes: Array, style: Style) -> Array:
    """[n, 3] unit tangents: which way hair lies at places on the skull."""
    rel = place - eyes
    away = rel - _CROWN
    distance = np.linalg.norm(away, axis=1, keepdims=True)
    away = away / np.maximum(distance, 1e-6)
    swirl = np.cross(normal, away)
    top = np.clip((rel[:, 1:2] - 0.055) / 0.03, 0, 1)
    ahead = np.clip((rel[:, 2:] + 0.09) / 0.05, 0, 1)
    down = np.array([0.0, -1.0, -0.18])
    flow = away + 1.1 * np.exp(-((distance / 0.022) ** 2)) * swirl
    flow = flow + top * ahead * np.array([style.sweep, 0, 0.35])
    flow = flow + (1 - top) * 0.9 * down
    flow -= (flow * normal).sum(1, keepdims=True) * normal
    return flow / np.maximum(np.linalg.norm(flow, axis=1, keepdims=True), 1e-9)


def _locks(root: Array, style: Style, rng: np.random.Generator) -> tuple[Array, Array]:
    """Which lock [n] every strand belongs to, and which strands [n] are loose. A lock's first strand is its middle."""
    from scipy.spatial import cKDTree

    middle = rng.permutation(len(root))[: style.locks]
    lock = cKDTree(root[middle]).query(root + rng.normal(0, 0.0012, root.shape))[1]
    lock[middle] = np.arange(style.locks)
    return lock, rng.random(len(root)) < style.loose


def _traced(skull: _Skull, root: Array, lock: Array, loose: Array, style: Style, rng: np.random.Generator) -> Array:
    """Strands [n, k, 3] before they are drawn into locks."""
    n, k = len(root), style.points
    front = np.clip((root[:, 2] - skull.eyes[2] + 0.045) / 0.03, 0, 1)
    turn = rng.normal(0, 0.32, style.locks)[lock] * (1 - 0.45 * front) + rng.normal(0, 0.11, n)
    curl = rng.normal(0, 0.35, style.locks)[lock] * (1 - 0.3 * front)
    length = _length(root, skull.eyes, style) * np.exp(rng.normal(0, 0.15, style.locks)[lock])
    length = np.minimum(length * rng.uniform(0.78, 1.06, n), LONGEST * style.top)
    high = np.clip((root[:, 1] - skull.eyes[1] - 0.045) / 0.04, 0, 1)
    share = (0.16 + (style.volume - 0.16) * high) * np.exp(rng.normal(0, 0.30, style.locks)[lock])
    # At the whorl hair parts to all sides; standing up there it would look like a tuft.
    crown = 1 - 0.55 * np.exp(-((np.linalg.norm(root - skull.eyes - _CROWN, axis=1) / 0.03) ** 2))
    height = length * share * crown * rng.uniform(0.25, 1.0, n) * np.where(loose, 1.25, 1.0) + 0.0006
    along = np.linspace(0, 1, k)
    rise = np.sin(0.5 * np.pi * np.minimum(along / 0.55, 1)) * np.interp(along, [0.55, 1], [1, 0.72])
    place, normal = skull.onto(root)
    place = root
    out = [root]
    for i in range(1, k):
        lie = _lie(place, normal, skull.eyes, style)
        angle = (turn + curl * along[i])[:, None]
        lie = np.cos(angle) * lie + np.sin(angle) * np.cross(normal, lie)
        climb = height * (rise[i] - rise[i - 1])
        step = np.sqrt(np.maximum((length / (k - 1)) ** 2 - climb**2, (0.3 * length / (k - 1)) ** 2))
        place, normal = skull.onto(place + step[:, None] * lie)
        out.append(place + (height * rise[i])[:, None] * normal)
    return np.stack(out, 1)


def _locked(strands: Array, root: Array, lock: Array, loose: Array, skull: _Skull, style: Style) -> Array:
    """Strands drawn towards the middle of their lock, the tips most; short hair and loose hair hardly."""
    order = np.argsort(np.linalg.norm(root - _means(root, lock)[lock], axis=1), kind="stable")
    first = np.full(lock.max() + 1, -1)
    first[lock[order[::-1]]] = order[::-1]  # the strand nearest to the lock's middle
    leader = strands[first[lock]]
    size = np.linalg.norm(strands[:, -1] - root, axis=1)
    pull = style.clump * np.interp(size, [0.008, 0.025], [0.15, 1.0]) * np.where(loose, 0.15, 1.0)
    amount = pull[:, None] * np.linspace(0, 1, strands.shape[1]) ** 0.9
    return strands + amount[..., None] * (leader - strands)


def _means(points: Array, label: Array) -> Array:
    count = np.maximum(np.bincount(label), 1)
    return np.stack([np.bincount(label, points[:, c]) / count for c in range(3)], 1)


def _frizz(root: Array, strands: Array, style: Style, rng: np.random.Generator) -> Array:
    """Small bends of single hairs, growing towards the tip."""
    n, k = strands.shape[:2]
    size = np.linalg.norm(strands[:, -1] - root, axis=1)
    along = np.linspace(0, 1, k)
    phase, pace = rng.uniform(0, 2 * np.pi, (n, 1, 3)), rng.uniform(0.6, 1.6, (n, 1, 3))
    bend = np.sin(2 * np.pi * pace * along[None, :, None] + phase) - np.sin(phase)
    return 0.016 * size[:, None, None] * along[None, :, None] * bend


def _outside(skull: _Skull, points: Array) -> Array:
    """Points [n, k, 3] moved out to CLEARANCE above the skull where they are nearer."""
    flat = points.reshape(-1, 3)
    place, normal = skull.onto(flat)
    short = np.maximum(CLEARANCE - ((flat - place) * normal).sum(1), 0)
    return (flat + short[:, None] * normal).reshape(points.shape)
