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
    mean = weights.mean(0, dtype=np.float64)
    # In coordinates where the length of a vector is its root-mean-square displacement in mm:
    value, vector = np.linalg.eigh(gram)
    keep = value > 1e-12 * value.max()
    root = vector[:, keep] * np.sqrt(value[keep])
    back = vector[:, keep] / np.sqrt(value[keep])
    seen = (weights - mean) @ root
    power, axes = np.linalg.eigh(seen.T @ seen)
    axes = axes.T[np.argsort(-power, kind="stable")]
    for count in range(min(8, len(axes)), min(MOST, len(axes)) + 1):
        basis = Basis(*(a.astype(np.float32) for a in (mean, root @ axes[:count].T, axes[:count] @ back.T)))
        if left_out_mm(head, basis, weights) < ERROR_MM:
            return basis
    raise BadInput(f"{MOST} components leave out more than {ERROR_MM} mm of these faces")


def left_out_mm(head: Head, basis: Basis, weights: np.ndarray, looked_at: int = 400) -> float:
    """The largest distance in mm of any vertex of any face `weights` [n, 59] from what the basis makes of it.

    A bound (each weight's error times the farthest that its shape moves a vertex) picks the faces that are computed in
    full; where it is below ERROR_MM for every face it is the answer itself.
    """
    rows = shape_rows(head)
    missed = weights - basis.weights(basis.coefficients(weights))
    reach = np.linalg.norm(rows.reshape(CHANNELS, -1, 3), axis=2).max(1)
    bound = np.abs(missed) @ reach
    if bound.max() < ERROR_MM:
        return float(bound.max())
    worst = missed[np.argsort(bound)[-looked_at:]]
    return float(np.linalg.norm((worst @ rows).reshape(len(worst), -1, 3), axis=2).max())


def region_metric(head: Head, basis: Basis, mask: str) -> np.ndarray:
    """[k, r]: coefficients times it are the displacement of a region, its root mean square in mm."""
    region = np.flatnonzero(np.asarray(head.masks[mask]) >= 0.5)
    rows = shape_rows(head).reshape(CHANNELS, -1, 3)[:, region].reshape(CHANNELS, -1)
    moved = basis.out.astype(np.float64) @ rows / np.sqrt(len(region))
    value, vector = np.linalg.eigh(moved @ moved.T)
    return (vector * np.sqrt(np.maximum(value, 0.0))).astype(np.float32)
