"""Non-rigid registration: bend one mesh onto another surface.

Amberg, Romdhani, Vetter, "Optimal step nonrigid ICP algorithms for surface registration" (CVPR 2007): an affine map per
vertex, neighbours alike (stiffness, equation 3), nearest points (equation 2), marks (equation 4); solved as sparse
normal equations for each stiffness from stiff to soft.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.core.progress import SILENT, Reporter
from engine.head.transfer.surface import Surface, edges_of


@dataclass(frozen=True)
class Step:
    """One level: stiffness against data, weight of the marks, how far (metres) and how alike in direction a
    corresponding point may be, and how often correspondences are found anew."""

    stiffness: float
    marks: float
    reach: float
    cosine: float
    rounds: int


SCHEDULE = (
    Step(60.0, 10.0, 0.040, 0.5, 3),
    Step(25.0, 8.0, 0.025, 0.6, 3),
    Step(10.0, 5.0, 0.015, 0.7, 3),
    Step(4.0, 2.0, 0.010, 0.7, 3),
    Step(1.5, 1.0, 0.006, 0.7, 4),
    Step(0.7, 0.5, 0.004, 0.7, 4),
    Step(0.35, 0.2, 0.003, 0.7, 4),
)
_UNIT = 0.1  # metres: coordinates are counted in this, so that the affine's linear part and its shift weigh alike


def register(
    points: np.ndarray, triangles: np.ndarray, target: Surface, trust: np.ndarray, mark_rows: np.ndarray,
    mark_places: np.ndarray, schedule: tuple[Step, ...] = SCHEDULE, report: Reporter = SILENT,
) -> np.ndarray:  # fmt: skip
    """Points [n, 3] metres bent onto the target surface.

    trust [n] in [0, 1]: how much a vertex is to follow the surface at all (0 inside the mouth: it follows its
    neighbours). mark_rows [k], mark_places [k, 3]: vertices and where they should go (soft). Nearest points on the
    target's border and of another direction do not count.
    """
    out = points.astype(np.float64).copy()
    system = _System(out, triangles, mark_rows, mark_places)
    done, total = 0, sum(step.rounds for step in schedule)
    for step in schedule:
        for _ in range(step.rounds):
            report.step("registration", done, total)
            done += 1
            moving = Surface(out, triangles)
            found, weights, distance = target.nearest(out, moving.normals, step.cosine)
            goal = target.interpolate(target.points, found, weights)
            on_border = (target.on_border[target.triangles[found]] & (weights > 1e-6)).any(1)
            data = trust * (distance < step.reach) * ~on_border
            before = out
            out = system.solve(step, data, np.where(np.isfinite(distance)[:, None], goal, 0))
            if np.abs(out - before).max() < 1e-5:
                done += 0
                break
    report.step("registration", total, total)
    return out


class _System:
    """The normal equations: (stiffness² MᵀM ⊗ I + Dᵀ W² D + marks) X = right side."""

    def __init__(self, points: np.ndarray, triangles: np.ndarray, rows: np.ndarray, places: np.ndarray):
        from scipy.sparse import coo_matrix, csr_matrix, identity, kron

        n = len(points)
        self.rest = points / _UNIT
        edges = edges_of(triangles)
        e = np.arange(len(edges))
        incidence = coo_matrix(
            (np.r_[-np.ones(len(e)), np.ones(len(e))], (np.r_[e, e], np.r_[edges[:, 0], edges[:, 1]])),
            shape=(len(edges), n),
        ).tocsr()
        self.smooth = kron(incidence.T @ incidence, identity(4), "csc")
        homogeneous = np.c_[self.rest, np.ones(n)]
        at = np.arange(n)
        self.place = csr_matrix(
            (homogeneous.ravel(), (np.repeat(at, 4), np.arange(4 * n))), shape=(n, 4 * n)
        )  # D of equation 8
        self.rows, self.places = rows, places / _UNIT

    def solve(self, step: Step, data: np.ndarray, goal: np.ndarray) -> np.ndarray:
        from scipy.sparse import diags
        from scipy.sparse.linalg import splu

        weight = data.copy()
        pull = data[:, None] * goal / _UNIT
        np.add.at(weight, self.rows, step.marks)
        np.add.at(pull, self.rows, step.marks * self.places)
        matrix = step.stiffness**2 * self.smooth + self.place.T @ diags(weight) @ self.place
        # A vertex without data in a piece without data has no equation of its own: this keeps it where it is.
        tiny = 1e-9
        matrix = (matrix + tiny * diags(np.ones(matrix.shape[0]))).tocsc()
        solver: Any = splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
        start = np.tile(np.eye(4)[:, :3], (len(self.rest), 1))
        return (self.place @ solver.solve(self.place.T @ pull + tiny * start)) * _UNIT
