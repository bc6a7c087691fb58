"""Who the target is, as far as the source head can say it: its identity fitted to the target's surface.

A morphable model's fit before the free one (Blanz & Vetter 1999; Booth et al. 2016 for the surface form): size, turn,
place and the weights of the head's own identity directions by Gauss-Newton on point-to-plane distances. What is left
is small and smooth, so the free registration that follows has less room to slide along the surface.
"""

from __future__ import annotations

import numpy as np

from engine.core.progress import SILENT, Reporter
from engine.head.transfer.align import Similarity
from engine.head.transfer.surface import Surface

# (reach in metres, least cosine of the normals, rounds): from far to near.
SCHEDULE = ((0.030, 0.5, 4), (0.015, 0.6, 4), (0.008, 0.6, 6))
BEND_M = 0.015  # as in the registration
HOLD = 0.05  # weight of the distance along the surface, which nearest points do not know
MARK = 20.0  # a mark counts as much as this many vertices
NOISE_M = 0.002  # how far an honest fit may stay off: weighs the surface against the prior
SHARE = 0.05  # of the vertices that tell something of their own: neighbours repeat each other
LARGEST = 2.0  # identity weights beyond this are no person of this family


def fit_person(
    template: np.ndarray, identity: np.ndarray, triangles: np.ndarray, start: Similarity, target: Surface,
    trust: np.ndarray, mark_rows: np.ndarray, mark_places: np.ndarray, report: Reporter = SILENT,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """(points [n, 3] metres on the target, weights [i]): the person of template [n, 3] + identity [n, 3, i] @ weights
    that fits the target best, from the similarity `start` on.

    trust [n] in [0, 1]; mark_rows [k], mark_places [k, 3] as in `register`.
    """
    from scipy.spatial.transform import Rotation

    k = identity.shape[2]
    scale, turn, shift, weights = start.scale, start.turn, start.shift, np.zeros(k)
    total, done = sum(rounds for _, _, rounds in SCHEDULE), 0
    for reach, cosine, rounds in SCHEDULE:
        for _ in range(rounds):
            report.step("person", done, total)
            done += 1
            own = template + identity @ weights
            points = scale * own @ turn.T + shift
            moving = Surface(points, triangles)
            found, at, distance = target.nearest(points, moving.normals, cosine, BEND_M)
            goal = target.interpolate(target.points, found, at)
            normals = target.interpolate(target.normals, found, at)
            normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
            edge = (target.on_border[target.triangles[found]] & (at > 1e-6)).any(1)
            data = trust * (distance < reach) * ~edge
            middle = points.mean(0)
            step = _step(
                points - middle, scale * np.einsum("ab,nbk->nak", turn, identity), goal - points, normals, data,
                mark_rows, mark_places - points[mark_rows], weights,
            )  # fmt: skip
            by = Rotation.from_rotvec(step[:3]).as_matrix()
            grow = float(np.exp(np.clip(step[6], -0.1, 0.1)))
            shift = grow * by @ (shift - middle) + middle + step[3:6]
            turn, scale = by @ turn, scale * grow
            weights = np.clip(weights + step[7:], -LARGEST, LARGEST)
    report.step("person", total, total)
    return scale * (template + identity @ weights) @ turn.T + shift, weights


def _step(
    arm: np.ndarray, basis: np.ndarray, off: np.ndarray, normals: np.ndarray, data: np.ndarray, rows: np.ndarray,
    marks_off: np.ndarray, weights: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """[7 + i] change of turn (3), place (3), log size and weights: one Gauss-Newton step. arm [n, 3] from the middle,
    basis [n, 3, i] in place, off [n, 3] to the goals with normals [n, 3] and data [n]; marks_off [k, 3] of `rows`."""
    n, k = len(arm), basis.shape[2]
    jacobian = np.empty((n, 3, 7 + k))
    for axis in range(3):
        jacobian[:, :, axis] = np.cross(np.eye(3)[axis], arm)
        jacobian[:, :, 3 + axis] = np.eye(3)[axis]
    jacobian[:, :, 6] = arm
    jacobian[:, :, 7:] = basis
    along = np.einsum("na,nak->nk", normals, jacobian)
    flat = jacobian.reshape(3 * n, -1)
    spread = np.repeat(data, 3)[:, None] * HOLD
    normal = along.T @ (data[:, None] * along) * (1 - HOLD) + flat.T @ (spread * flat)
    right = along.T @ (data * (normals * off).sum(1)) * (1 - HOLD) + flat.T @ (spread[:, 0] * off.ravel())
    for row, away in zip(rows, marks_off, strict=True):
        normal += MARK * jacobian[row].T @ jacobian[row]
        right += MARK * jacobian[row].T @ away
    prior = np.zeros(7 + k)
    prior[7:] = SHARE * data.sum() * NOISE_M**2
    right[7:] -= prior[7:] * weights
    return np.linalg.solve(normal + np.diag(prior + 1e-12), right)
