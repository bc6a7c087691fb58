"""One linear basis of the face for every network: principal components of the face in vertex space.

A network's last layer gives coefficients; `weights` turns them into ARKit and extra weights. The basis is orthonormal
in millimetres over the default head's vertices, so a squared error of coefficients is a squared error of vertices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.core.anatomy import Head
from engine.core.errors import BadInput
from engine.core.names import ARKIT, EXTRA
from engine.core.units import MM

MOST = 160  # components
ERROR_MM = 0.1  # largest vertex error of what the basis leaves out
CHANNELS = len(ARKIT) + len(EXTRA)


@dataclass(frozen=True)
class Basis:
    """mean [59]; into [59, k]: weights less the mean -> coefficients (root mean square over the vertices, mm);
    out [k, 59]."""

    mean: np.ndarray
    into: np.ndarray
    out: np.ndarray

    @property
    def size(self) -> int:
        return int(self.out.shape[0])

    def coefficients(self, weights: np.ndarray) -> np.ndarray:
        """[t, 59] -> [t, k]."""
        return (weights - self.mean) @ self.into

    def weights(self, coefficients: np.ndarray) -> np.ndarray:
        """[t, k] -> [t, 59], not clipped."""
        return coefficients @ self.out + self.mean


def shape_rows(head: Head) -> np.ndarray:
    """What each ARKit and extra weight moves at 1, millimetres. [59, v * 3] float64; zero for shapes the head lacks."""
    rows = np.zeros((CHANNELS, head.template.size))
    for i, name in enumerate((*ARKIT, *EXTRA)):
        if (k := head.shape_index.get(name)) is not None:
            rows[i] = head.shapes[k].reshape(-1) * MM
    return rows


def fit(head: Head, weights: np.ndarray) -> Basis:
    """The basis of faces `weights` [n, 59] on this head: the fewest components that leave out less than ERROR_MM.

    Raises BadInput if MOST components do not suffice (they do: 59 weights span 59 dimensions).
    """
    if weights.ndim != 2 or weights.shape[1] != CHANNELS or len(weights) < 2:
        raise BadInput(f"a basis is fitted to [n, {CHANNELS}] weights, got {list(weights.shape)}")
    rows = shape_rows(head)
    gram = rows @ rows.T / len(head.template)
    mean = weights.mean(0).astype(np.float64)
    # In coordinates where the length of a vector is its root-mean-square displacement in mm:
    value, vector = np.linalg.eigh(gram)
    keep = value > 1e-12 * value.max()
    root = vector[:, keep] * np.sqrt(value[keep])
    back = vector[:, keep] / np.sqrt(value[keep])
    seen = (weights - mean) @ root
    _, _, axes = np.linalg.svd(seen[:: max(1, len(seen) // 20000)], full_matrices=False)
    for count in range(8, min(MOST, len(axes)) + 1):
        into, out = root @ axes[:count].T, axes[:count] @ back.T
        if _left_out_mm(weights[:: max(1, len(weights) // 400)], mean, into, out, rows) < ERROR_MM:
            break
    else:
        raise BadInput(f"{MOST} components leave out more than {ERROR_MM} mm of these faces")
    return Basis(mean.astype(np.float32), into.astype(np.float32), out.astype(np.float32))


def _left_out_mm(
    weights: np.ndarray, mean: np.ndarray, into: np.ndarray, out: np.ndarray, rows: np.ndarray
) -> float:  # fmt: skip
    missed = (weights - mean) - (weights - mean) @ into @ out
    moved = (missed @ rows).reshape(len(weights), -1, 3)
    return float(np.sqrt((moved**2).sum(2)).max())


def region_metric(head: Head, basis: Basis, mask: str) -> np.ndarray:
    """[k, r]: coefficients times it are the displacement of a region, its root mean square in mm."""
    region = np.flatnonzero(np.asarray(head.masks[mask]) >= 0.5)
    rows = shape_rows(head).reshape(CHANNELS, -1, 3)[:, region].reshape(CHANNELS, -1)
    moved = basis.out.astype(np.float64) @ rows / np.sqrt(len(region))
    value, vector = np.linalg.eigh(moved @ moved.T)
    return (vector * np.sqrt(np.maximum(value, 0.0))).astype(np.float32)
