"""Teeth, gums, tongue and the mouth's lining for a FLAME head, which has none: our own head's, fitted behind its lips.

They come after FLAME's own vertices, so that those keep their numbers. The upper row hangs on the neck joint, the
lower row on the jaw; the lining follows the skin that it lies behind, and the nearer row further in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.core.anatomy import Head
from engine.head.flame.file import FlameModel
from engine.head.flame.lay import Layer
from engine.head.transfer.surface import Surface

PARTS = ("teeth_upper", "gums_upper", "teeth_lower", "gums_lower", "tongue")
TONGUE_SHAPES = ("tongueOut", "tongueTipUp", "tongueBetweenTeeth", "tongueBackUp")
_REACH_M = 0.013  # how far from the skin the lining still follows it
_NEIGHBOURS = 8
_BEHIND_M = 0.001  # the lining is drawn back by this where it is next to skin, so that it never shows through
_CLEAR_M = 0.0008  # least distance of the teeth from the inside of the closed lips


@dataclass(frozen=True)
class Inside:
    """What is appended: points [n, 3]; faces [f, 4] (rows of the appended points); rows [n]: our head's vertices that
    they are; our_faces [f]: our head's faces; weights [n, 5]; follow_index [n, j] and follow_share [n, j]: FLAME
    vertices whose basis and correctives a vertex shares, by follow [n] in [0, 1]; parts: name -> rows."""

    points: np.ndarray
    faces: np.ndarray
    rows: np.ndarray
    our_faces: np.ndarray
    weights: np.ndarray
    follow_index: np.ndarray
    follow_share: np.ndarray
    follow: np.ndarray
    parts: dict[str, np.ndarray]

    def carry(self, values: np.ndarray) -> np.ndarray:
        """A FLAME field [5023, ...] on the appended vertices, faded as they follow it."""
        there = np.einsum("nk,nk...->n...", self.follow_share, values[self.follow_index])
        return there * self.follow.reshape(-1, *(1,) * (there.ndim - 1))


def inside(head: Head, model: FlameModel, layer: Layer) -> Inside:
    """The inner mouth of `head` (ours) fitted to a template on which `layer` lies."""
    lining, faces = _lining(head)
    solid = np.concatenate([head.parts[name] for name in PARTS])
    rows = np.concatenate([lining, solid])
    number = np.full(len(head.template), -1)
    number[rows] = np.arange(len(rows))
    hard = np.flatnonzero(np.isin(head.faces[:, 0], solid))
    our_faces = np.concatenate([faces, hard])
    table = head.faces[our_faces]
    points = _placed(head, layer, rows, len(lining))
    weights = head.weights[rows].astype(np.float64)
    index, share, near = _neighbours(layer, points, weights[:, 2] > 0.5)
    follow = np.exp(-0.5 * (near / _REACH_M) ** 2)
    follow[len(lining) :] = 0
    outwards = np.zeros_like(model.template)
    outwards[layer.skin] = Surface(layer.points, layer.skin_triangles).normals
    points -= _BEHIND_M * follow[:, None] * np.einsum("nk,nkc->nc", share, outwards[index])
    for names, joint in ((("teeth_upper", "gums_upper"), 1), (("teeth_lower", "gums_lower"), 2)):
        for name in names:
            weights[number[head.parts[name]]] = np.eye(5)[joint]
    there = np.einsum("nk,nkj->nj", share, model.weights[index])
    weights = follow[:, None] * there + (1 - follow[:, None]) * weights
    parts = {name: number[head.parts[name]] for name in PARTS} | {"mouth": np.arange(len(lining))}
    return Inside(
        points, np.where(table >= 0, number[table], -1), rows, our_faces,
        weights / weights.sum(1, keepdims=True), index, share, follow, parts,
    )  # fmt: skip


def _lining(head: Head) -> tuple[np.ndarray, np.ndarray]:
    """(vertices, faces) of our head's mouth bag, its rim on the lips included."""
    bag = head.masks["mouth_inside"] > 0.5
    skin = np.zeros(len(bag), bool)
    skin[head.parts["skin"]] = True
    bag &= skin
    corner = np.where(head.faces >= 0, head.faces, head.faces[:, :1])
    faces = np.flatnonzero(bag[corner].any(1) & skin[corner].all(1))
    return np.unique(corner[faces]), faces


def _placed(head: Head, layer: Layer, rows: np.ndarray, lining: int) -> np.ndarray:
    """Points [n, 3]: the lining's rim on the lips' border, the rest moved with the mouth as a whole."""
    aligned = layer.place(head.template[rows])
    border = _border(head, layer)
    moved = layer.registered[border] - layer.aligned[border]
    points = aligned + moved.mean(0)  # teeth keep their form: they are only moved with the lips
    points[lining:, 2] -= _press(layer, points[lining:], border)
    apart = np.linalg.norm(aligned[:lining, None] - layer.aligned[border][None], axis=2)
    near = apart.min(1)
    share = np.exp(-0.5 * (apart**2 - near[:, None] ** 2) / 0.003**2)
    share /= share.sum(1, keepdims=True)
    fade = np.exp(-0.5 * (near / _REACH_M) ** 2)[:, None]
    points[:lining] += fade * (share @ (moved - moved.mean(0)))
    return points


def _neighbours(layer: Layer, points: np.ndarray, lower: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(FLAME vertices [n, j], shares [n, j], distance [n]) of the skin next to each point, on its side of the lips."""
    from scipy.spatial import cKDTree

    index = np.zeros((len(points), _NEIGHBOURS), np.int64)
    apart = np.zeros((len(points), _NEIGHBOURS))
    for side in (False, True):
        rows, skin = np.flatnonzero(lower == side), np.flatnonzero(layer.lower == side)
        apart[rows], found = cKDTree(layer.points[skin]).query(points[rows], k=_NEIGHBOURS)
        index[rows] = layer.skin[skin[found]]
    share = 1 / np.maximum(apart, 2e-4) ** 3
    return index, share / share.sum(1, keepdims=True), apart[:, 0]


def _border(head: Head, layer: Layer) -> np.ndarray:
    """Rows of the layer's skin on the lips' contact, where the lining begins."""
    lining, _ = _lining(head)
    return np.flatnonzero(np.isin(layer.rows, lining))


def _press(layer: Layer, points: np.ndarray, border: np.ndarray) -> float:
    """Metres by which the teeth must go back so that none stands before the lips' border at its own width."""
    rim = layer.registered[border]
    front = points[np.abs(points[:, 0] - rim[:, 0].mean()) < 0.9 * np.ptp(rim[:, 0]) / 2]
    nearest = np.abs(front[:, None, 0] - rim[None, :, 0]).argmin(1)
    return max(0.0, float((front[:, 2] - rim[nearest, 2]).max() + _CLEAR_M))
