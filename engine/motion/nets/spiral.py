"""Spiral convolutions on a face (Bouritsas et al. 2019, Neural 3DMM): levels of points, their spirals, pooling.

A spiral lists a point's neighbours by ring and angle, so that one linear layer over them is a convolution. Levels are
farthest-point samples of the moving skin around the landmarks; pooling takes the mean of the three nearest points,
weighted by distance.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from engine.core.anatomy import Head
from engine.head.points import face_points, farthest

COUNTS = (256, 64, 16)  # of them up to 68 landmarks; 768 points cost six times as much
LENGTH = 12  # points of a spiral, its own included
NEAREST = 3


@dataclass(frozen=True)
class Levels:
    """vertices [n0]: head vertices of the finest level. spirals: [n_l, LENGTH] per level; down, up: (index [m, 3],
    weight [m, 3]) from level l to l + 1 and back."""

    vertices: np.ndarray
    spirals: tuple[np.ndarray, ...]
    down: tuple[tuple[np.ndarray, np.ndarray], ...]
    up: tuple[tuple[np.ndarray, np.ndarray], ...]


def levels_of(head: Head, counts: tuple[int, ...] = COUNTS) -> Levels:
    """The levels of this head's face, landmarks among the points of the finest; the same head gives the same levels."""
    vertices = face_points(head, counts[0], np.unique(head.landmarks["face68"]))
    points = [head.template[vertices].astype(np.float64)]
    for count in counts[1:]:
        points.append(points[-1][farthest(points[-1], count)])
    pairs = list(itertools.pairwise(points))
    return Levels(
        vertices,
        tuple(spirals(p) for p in points),
        tuple(_nearest(fine, coarse) for fine, coarse in pairs),
        tuple(_nearest(coarse, fine) for fine, coarse in pairs),
    )


def spirals(points: np.ndarray, length: int = LENGTH) -> np.ndarray:
    """For each point [n, 3]: itself, then its nearest neighbours, ring by ring and within a ring by angle. [n, length].

    Angles are taken about the axis from the face's middle through the point, from the direction that points up.
    """
    from scipy.spatial import cKDTree

    count = min(length, len(points))
    _, near = cKDTree(points).query(points, k=count)
    near = near.reshape(len(points), count)
    outward = points - points.mean(0)
    outward /= np.linalg.norm(outward, axis=1, keepdims=True) + 1e-9
    up = np.array([0.0, 1.0, 0.0]) - outward * outward[:, 1:2]
    up /= np.linalg.norm(up, axis=1, keepdims=True) + 1e-9
    side = np.cross(outward, up)
    offset = points[near] - points[:, None]
    angle = np.arctan2(np.einsum("nkc,nc->nk", offset, side), np.einsum("nkc,nc->nk", offset, up)) % (2 * np.pi)
    ring = np.minimum((np.arange(count) + 5) // 6, 9)[None].repeat(len(points), 0)  # 1 + 6 + 6 ... neighbours
    ring[:, 0] = -1
    order = np.argsort(ring * 10.0 + angle, axis=1, kind="stable")
    out = np.take_along_axis(near, order, 1)
    return np.pad(out, ((0, 0), (0, length - count)), mode="edge")


def _nearest(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each target point its three nearest source points and weights that sum to 1."""
    from scipy.spatial import cKDTree

    distance, index = cKDTree(source).query(target, k=NEAREST)
    weight = 1.0 / (distance + 1e-6)
    return index, (weight / weight.sum(1, keepdims=True)).astype(np.float32)


class SpiralConv(nn.Module):
    """[b, n, inputs] -> [b, n, outputs] over each point's spiral."""

    def __init__(self, spiral: np.ndarray, inputs: int, outputs: int):
        super().__init__()
        self.spiral: Tensor
        self.register_buffer("spiral", torch.from_numpy(spiral.astype(np.int64)), persistent=False)
        self.mix = nn.Linear(inputs * spiral.shape[1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        # index_select and not x[:, spiral]: its gradient takes half the time on a CPU.
        near = torch.index_select(x, 1, self.spiral.flatten())
        return self.mix(near.reshape(len(x), *self.spiral.shape, x.shape[2]).flatten(2))


class Pool(nn.Module):
    """[b, n, c] -> [b, m, c]: weighted mean of three points for each."""

    def __init__(self, table: tuple[np.ndarray, np.ndarray]):
        super().__init__()
        self.index: Tensor
        self.weight: Tensor
        self.register_buffer("index", torch.from_numpy(table[0].astype(np.int64)), persistent=False)
        self.register_buffer("weight", torch.from_numpy(table[1]), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return (x[:, self.index] * self.weight[..., None]).sum(2)
