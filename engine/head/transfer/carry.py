"""Deformations from a registered source to another mesh.

Sumner & Popović, "Deformation transfer for triangle meshes" (SIGGRAPH 2004), in the gradient form of Botsch, Sumner,
Pauly, Gross, "Deformation transfer for detail-preserving surface editing" (VMV 2006): the deformation gradient of each
source triangle is asked of the target triangles that correspond to it, and one sparse least-squares system gives the
target's offsets. The system is screened by the offsets carried from corresponding places, so that no drift builds up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.core.progress import SILENT, Reporter
from engine.head.transfer.surface import Surface, components

SCREEN_M = 0.001  # metres over which the carried offsets rule; details below it come from the gradients
SURE_M, LOST_M = 0.002, 0.008  # distance to the registered source: trusted up to the first, not at all past the second
COSINE = 0.3
BEND_M = 0.003
QUIET = 0.004  # part of a shape's largest offset below which the source counts as still


@dataclass(frozen=True)
class Correspondence:
    """Where each target vertex and triangle lies on the registered source.

    vertex_triangle [v], vertex_weights [v, 3]: place on the source; trust [v] in [0, 1]; face_triangle [m]: the source
    triangle of each target triangle's middle, face_trust [m].
    """

    vertex_triangle: np.ndarray
    vertex_weights: np.ndarray
    trust: np.ndarray
    face_triangle: np.ndarray
    face_trust: np.ndarray


def correspond(registered: Surface, target: Surface, allowed: np.ndarray) -> Correspondence:
    """Nearest places of alike direction on the registered source; only for target vertices allowed [v] bool."""

    def trust_of(distance: np.ndarray) -> np.ndarray:
        return np.clip((LOST_M - distance) / (LOST_M - SURE_M), 0, 1)

    on, weights, distance = registered.nearest(target.points, target.normals, COSINE, BEND_M)
    middle = target.points[target.triangles].mean(1)
    face_on, _, face_distance = registered.nearest(middle, target.face_normals, COSINE, BEND_M)
    return Correspondence(
        on, weights, trust_of(distance) * allowed, face_on,
        trust_of(face_distance) * allowed[target.triangles].all(1),
    )  # fmt: skip


def frames(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """[m, 3, 3] columns: two edges and the scaled normal of each triangle (Sumner & Popović, equations 1-2)."""
    corner = points[triangles]
    first, second = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
    normal = np.cross(first, second)
    normal /= np.sqrt(np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-18))
    return np.stack([first, second, normal], -1)


def deformation_gradients(points: np.ndarray, moved: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """[m, 3, 3] of each triangle: the linear map that takes its frame to the moved one's (equation 4)."""
    return frames(moved, triangles) @ np.linalg.inv(frames(points, triangles))


class Transfer:
    """The factored system of one target; `offsets` then gives a shape at the price of a back substitution."""

    def __init__(self, target: Surface, to: Correspondence):
        from scipy.sparse import diags
        from scipy.sparse.linalg import splu

        self.target, self.to = target, to
        self.gradient = target.gradient_operator()
        # Where nothing corresponds the field is to be as even as it can: zero gradient, at a tenth of the weight.
        self.face_weight = target.area * np.maximum(to.face_trust, 0.1)
        around = np.zeros(len(target.points))
        for k in range(3):
            np.add.at(around, target.triangles[:, k], target.area / 3)
        self.screen = to.trust * around / SCREEN_M**2
        spread = diags(np.repeat(self.face_weight, 3))
        matrix = self.gradient.T @ spread @ self.gradient + diags(self.screen)
        # Pieces that correspond to nothing would leave the system singular; they stay where they are.
        floor = 1e-9 * float(matrix.diagonal().max())
        self.solver: Any = splu(
            (matrix + diags(np.full(len(target.points), floor))).tocsc(), permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0, options={"SymmetricMode": True},
        )  # fmt: skip
        self.piece = components(target.triangles, len(target.points))

    def offsets(self, source: Surface, moved: np.ndarray, carried: np.ndarray) -> np.ndarray:
        """[v, 3] offsets on the target of one shape.

        source: the source's neutral surface, aligned; moved [n, 3] its offsets there; carried [n, 3] the offsets that
        corresponding places should have (the same, unless the sizes differ).
        """
        to, _target = self.to, self.target
        gradient = deformation_gradients(source.points, source.points + moved, source.triangles) - np.eye(3)
        wanted = gradient[to.face_triangle] * to.face_trust[:, None, None]
        weights = carried[source.triangles[to.vertex_triangle]]
        there = np.einsum("nk,nkc->nc", to.vertex_weights, weights)
        # wanted[t, c, a] = derivative of component c along axis a; the operator's rows are 3 t + a.
        right = (
            self.gradient.T @ (np.moveaxis(wanted, 1, 2).reshape(-1, 3) * np.repeat(self.face_weight, 3)[:, None])
            + self.screen[:, None] * there
        )
        out = self.solver.solve(right)
        return out * self._moving(carried, source, out)[:, None]

    def _moving(self, carried: np.ndarray, source: Surface, out: np.ndarray) -> np.ndarray:
        """[v] in [0, 1]: 0 where the source is still, so that the far field is exactly at rest."""
        size = np.linalg.norm(carried, axis=1)
        if not size.max() > 0:
            return np.zeros(len(out))
        level = np.clip(size / (QUIET * size.max()) - 1, 0, 1)
        on = np.einsum("nk,nk->n", self.to.vertex_weights, level[source.triangles[self.to.vertex_triangle]])
        known = self.to.trust > 0
        return np.where(known, on, 1.0)


def transfer_shapes(
    source: Surface, registered: Surface, target: Surface, shapes: np.ndarray, allowed: np.ndarray,
    report: Reporter = SILENT,
) -> tuple[np.ndarray, Correspondence]:  # fmt: skip
    """(offsets [k, v, 3] on the target, correspondence) of shapes [k, n, 3] on the aligned source."""
    to = correspond(registered, target, allowed)
    system = Transfer(target, to)
    out = np.zeros((len(shapes), len(target.points), 3))
    for k, shape in enumerate(shapes):
        report.step("shapes", k, len(shapes))
        if np.abs(shape).max(initial=0.0) > 0:
            out[k] = system.offsets(source, shape, shape)
    report.step("shapes", len(shapes), len(shapes))
    return out, to
