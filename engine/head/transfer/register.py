"""Non-rigid registration: bend one mesh onto another surface.

Amberg, Romdhani, Vetter, "Optimal step nonrigid ICP algorithms for surface registration" (CVPR 2007): an affine map per
vertex, neighbours alike (stiffness, equation 3), nearest points (equation 2), marks (equation 4); solved as sparse
normal equations for each stiffness from stiff to soft. Here with the distance to the tangent plane instead of the point
(Chen & Medioni 1992) where the surface is smooth, which couples the coordinates: conjugate gradients, preconditioned
with the factored point-to-point system.
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
    Step(10.0, 3.0, 0.015, 0.6, 2),
    Step(4.0, 1.0, 0.010, 0.6, 2),
    Step(1.5, 0.3, 0.006, 0.6, 3),
    Step(0.7, 0.1, 0.004, 0.6, 4),
    Step(0.3, 0.1, 0.004, 0.6, 4),
)
BEND = 0.015  # metres: a unit of difference between normals counts as much as this distance
# A nearest point says where the surface is, not which of its points is meant: across the normal it holds a vertex by
# SLIDE only (point to plane), but by HOLD on rims and creases, which do say where they are.
SLIDE, HOLD = 0.05, 1.0
FLAT, SHARP = 50.0, 200.0  # curvature, 1 / metres, from which and up to which holding rises
PRECONDITION = 0.3
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
            found, weights, distance = target.nearest(out, moving.normals, step.cosine, BEND)
            goal = target.interpolate(target.points, found, weights)
            on_border = (target.on_border[target.triangles[found]] & (weights > 1e-6)).any(1)
            data = trust * (distance < step.reach) * ~on_border
            before = out
            normals = target.interpolate(target.normals, found, weights)
            normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
            out = system.solve(step, before, data, goal, normals)
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
        sharp = np.clip((curvature(points, triangles) - FLAT) / (SHARP - FLAT), 0, 1)
        self.hold = SLIDE + (HOLD - SLIDE) * sharp
        self.state = np.tile(np.eye(4)[:, :3], (n, 1)).ravel()

    def solve(self, step: Step, now: np.ndarray, data: np.ndarray, goal: np.ndarray, normals: np.ndarray) -> np.ndarray:
        """New places [n, 3] metres. data [n] weights of goal [n, 3], whose distance counts fully along normals [n, 3]
        and SLIDE of it across: a vertex may slide on the surface to where its neighbours want it."""
        from scipy.sparse import diags
        from scipy.sparse.linalg import LinearOperator, cg, splu

        n = len(self.rest)
        hold = self.hold[:, None]
        marks = np.zeros(n)
        np.add.at(marks, self.rows, step.marks)
        pull = data[:, None] * (hold * goal + (1 - hold) * normals * (normals * goal).sum(1, keepdims=True)) / _UNIT
        np.add.at(pull, self.rows, step.marks * self.places)
        tiny = 1e-9  # a piece without data or marks has no equation of its own: this keeps it where it is
        stiff = (step.stiffness**2 * self.smooth + tiny * diags(np.ones(4 * n))).tocsr()

        def apply(flat: np.ndarray) -> np.ndarray:
            x = flat.reshape(4 * n, 3)
            y = self.place @ x
            along = normals * (normals * y).sum(1, keepdims=True)
            z = data[:, None] * (hold * y + (1 - hold) * along) + marks[:, None] * y
            return (stiff @ x + self.place.T @ z).ravel()

        rough = stiff + self.place.T @ diags(PRECONDITION * data + marks) @ self.place
        factor: Any = splu(
            rough.tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
        )
        start = np.tile(np.eye(4)[:, :3], (n, 1))
        right = (self.place.T @ pull + tiny * start).ravel()
        size = 12 * n
        inverse = LinearOperator((size, size), lambda r: factor.solve(r.reshape(4 * n, 3)).ravel(), dtype=float)
        self.state, _ = cg(
            LinearOperator((size, size), apply, dtype=float), right, self.state, rtol=1e-4, maxiter=40, M=inverse
        )
        return (self.place @ self.state.reshape(4 * n, 3)) * _UNIT


def curvature(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """[n] 1 / metres: how fast the normal turns along the edges of each vertex, their mean."""
    normals = Surface(points, triangles).normals
    edges = edges_of(triangles)
    length = np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1)
    rate = np.linalg.norm(normals[edges[:, 0]] - normals[edges[:, 1]], axis=1) / np.maximum(length, 1e-9)
    total = np.bincount(edges.ravel(), np.repeat(rate, 2), len(points))
    return total / np.maximum(np.bincount(edges.ravel(), minlength=len(points)), 1)
