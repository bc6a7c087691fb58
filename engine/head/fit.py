"""A mesh sequence -> shape weights and pose of a head, or FLAME parameters, with the error in millimetres.

Pose first (what moves rigidly says how the joints turn), then weights by least squares in a box (boxls.py). On an
imported FLAME model expression, jaw and pose are solved together (fit_flame.py).
"""

from __future__ import annotations

import time
import weakref
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.core.anatomy import Head
from engine.core.errors import BadInput
from engine.core.names import ARKIT, ARKIT_INDEX, AUS, EXTRA, JOINTS, SIDES
from engine.core.progress import SILENT, Reporter
from engine.core.take import FlameTrack, Take
from engine.core.units import MM
from engine.head import action_units, evaluate, respond
from engine.head.boxls import solve_box
from engine.head.unpose import STILL_M, Pose, find_pose, offsets

if TYPE_CHECKING:
    from engine.head.residual import Residual

# Parts of a shape's own stiffness: enough to settle weights that the mesh does not decide, too little to be seen
# (in-span motion stays within a few hundredths of a millimetre).
SMOOTH, SPARSE = 1e-3, 1e-5
SETTLING, SETTLED = 6, 2e-3  # rounds at most, and the change of a corrective (centimetres) that ends them
BLOCK = 64


@dataclass(frozen=True)
class Fit:
    """weights [t, k] in the order of head.shape_names, pose [t, 15] and translation [t, 3] as `evaluate.vertices` takes
    them (jaw 0); expression [t, e] and `flame_pose` on a FLAME model, else None; error [t, 2] mm: mean and largest
    vertex distance of each frame; seconds."""

    weights: np.ndarray
    pose: np.ndarray
    translation: np.ndarray
    error: np.ndarray
    seconds: float
    expression: np.ndarray | None = None

    def figures(self, head: Head) -> dict[str, Any]:
        """The figures of `head fit --json`: error_mm, seconds, frames, and each used shape's largest weight."""
        top = self.weights.max(0, initial=0.0)
        return {
            "error_mm": {
                "mean": round(float(self.error[:, 0].mean()), 5), "max": round(float(self.error[:, 1].max()), 5),
            },
            "seconds": round(self.seconds, 3),
            "frames": len(self.error),
            "shapes": {n: round(float(w), 4) for n, w in zip(head.shape_names, top, strict=True) if w > 1e-3},
        }  # fmt: skip


@dataclass(frozen=True)
class _Normal:
    """rows [n]: vertices that shapes move; basis [k, n * 3] float32; normal [k, k]."""

    rows: np.ndarray
    basis: np.ndarray
    normal: np.ndarray


_normals: dict[int, _Normal] = {}


def _normal(head: Head) -> _Normal:
    """The head's normal matrix, made once and forgotten with it."""
    found = _normals.get(id(head))
    if found is None:
        rows = np.flatnonzero(np.abs(head.shapes).max((0, 2)) >= STILL_M)
        basis = np.ascontiguousarray(head.shapes[:, rows], np.float32).reshape(len(head.shapes), -1)
        # Shapes of other names have no channel in a take: they are left at 0, and what they would show is an error.
        own = [k for k, name in enumerate(head.shape_names) if name not in ARKIT and name not in EXTRA]
        basis[own] = 0
        wide = basis.astype(np.float64)
        found = _normals[id(head)] = _Normal(rows, basis, wide @ wide.T)
        weakref.finalize(head, _normals.pop, id(head), None)
    return found


def checked(head: Head, verts: np.ndarray) -> np.ndarray:
    """verts as [t, v, 3] of this head. Raises BadInput for another vertex count, no frames or values not finite."""
    verts = np.asarray(verts)
    if verts.ndim != 3 or verts.shape[1:] != head.template.shape:
        raise BadInput(
            f"the sequence is {list(verts.shape)}, but head '{head.name}' has {len(head.template)} vertices; "
            "fit it on the head whose mesh it is"
        )
    if not len(verts):
        raise BadInput("the sequence holds no frames")
    if not np.isfinite(verts).all():
        raise BadInput("the sequence holds vertices that are not finite")
    return verts


def fit_sequence(
    head: Head, verts: np.ndarray, smooth: float = SMOOTH, sparse: float = SPARSE, upper: float = 1.0,
    report: Reporter = SILENT,
) -> Fit:  # fmt: skip
    """Weights and pose of verts [t, v, 3] metres on `head`'s mesh. Raises BadInput (`checked`; a head without shapes).

    smooth, sparse: see boxls. upper: largest weight allowed.
    """
    start = time.perf_counter()
    verts = checked(head, verts)
    if head.is_flame:
        from engine.head.fit_flame import fit_flame

        return fit_flame(head, verts, report)
    if not len(head.shape_names):
        raise BadInput(f"head '{head.name}' has no shapes to fit; make them with `head transfer`")
    it = _normal(head)
    where = find_pose(head, verts)
    right = np.empty((len(verts), len(head.shape_names)))
    for at in range(0, len(verts), BLOCK):
        report.step("fit", at, len(verts))
        part = Pose(where.pose[at : at + BLOCK], where.translation[at : at + BLOCK])
        moved = offsets(head, verts[at : at + BLOCK], part, it.rows)
        right[at : at + BLOCK] = moved.reshape(len(moved), -1) @ it.basis.T
    weights = _settled(head, it, right, where, (smooth, sparse, upper))
    error = _error(head, verts, weights, where)
    report.step("fit", len(verts), len(verts))
    return Fit(weights, where.pose, where.translation, error, time.perf_counter() - start)


def _settled(
    head: Head, it: _Normal, right: np.ndarray, where: Pose, options: tuple[float, float, float]
) -> np.ndarray:
    """Weights [t, k] float32 of the normal equations' right side [t, k], on heads whose correctives add to the shapes:
    what they add is taken off and the rest solved again until it settles."""
    if not len(head.corrective_names):
        return solve_box(it.normal, right, *options).astype(np.float32)
    moved = head.correctives[:, it.rows].reshape(len(head.correctives), -1).astype(np.float64) @ it.basis.T
    turn = evaluate.pose_features(where.pose)
    weights, active = np.zeros(right.shape), np.zeros((len(right), len(head.corrective_names)))
    for k in range(SETTLING):
        before, active = active, respond.responses(head, weights, turn)
        if k > 0 and np.abs(active - before).max(initial=0) < SETTLED:
            break
        weights = solve_box(it.normal, right - active @ moved, *options, start=weights if k else None)
    return weights.astype(np.float32)


def channels(head: Head, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(arkit [t, 52], extra [t, 7]) of weights [t, k] in the order of head.shape_names; shapes of other names go."""
    arkit, extra = (np.zeros((len(weights), len(names)), np.float32) for names in (ARKIT, EXTRA))
    for names, out in ((ARKIT, arkit), (EXTRA, extra)):
        for i, name in enumerate(names):
            if name in head.shape_index:
                out[:, i] = weights[:, head.shape_index[name]]
    return arkit, extra


def rebuilt(head: Head, fit: Fit, rows: slice = slice(None)) -> np.ndarray:
    """Vertices [t, v, 3] float32 of a fit: what the head shows of the sequence."""
    if fit.expression is not None:
        verts = evaluate.flame_vertices(head, None, fit.expression[rows], fit.pose[rows])
        return (verts + fit.translation[rows, None]).astype(np.float32)
    return _posed(head, fit.weights[rows], Pose(fit.pose[rows], fit.translation[rows]))


def _posed(head: Head, weights: np.ndarray, where: Pose) -> np.ndarray:
    arkit, extra = channels(head, weights)
    return evaluate.vertices(head, arkit, extra, where.pose, where.translation)


def _error(head: Head, verts: np.ndarray, weights: np.ndarray, where: Pose) -> np.ndarray:
    out = np.empty((len(verts), 2))
    for at in range(0, len(verts), BLOCK):
        block = slice(at, at + BLOCK)
        near = _posed(head, weights[block], Pose(where.pose[block], where.translation[block]))
        near -= verts[block]
        distance = np.sqrt(np.einsum("tvc,tvc->tv", near, near)) * MM
        out[block, 0], out[block, 1] = distance.mean(1), distance.max(1)
    return out


def action_units_of(arkit: np.ndarray, extra: np.ndarray) -> np.ndarray:
    """[t, 18, 2]: the AU values in [0, 1] whose shapes come nearest to arkit [t, 52] and extra [t, 7]."""
    units = np.eye(len(AUS) * len(SIDES), dtype=np.float32).reshape(-1, len(AUS), len(SIDES))
    basis = np.concatenate(action_units.to_shapes(units), 1).astype(np.float64)
    wanted = np.concatenate([arkit, extra], 1).astype(np.float64)
    found = solve_box(basis @ basis.T, wanted @ basis.T)
    return found.reshape(-1, len(AUS), len(SIDES)).astype(np.float32)


def take_of(
    head: Head, fit: Fit, fps: Fraction, first_frame: int = 1, source: str = "", residual: Residual | None = None
) -> Take:
    """The fit as a take: authority "arkit", or "flame" on a FLAME model. source: name of the sequence, for its meta.

    With residual shapes the authority is "vertices": they are part of the take, and play with it.
    """
    arkit, extra = channels(head, fit.weights)
    if fit.expression is not None:
        expression, pose = fit.expression, fit.pose
    else:
        column = {n: fit.weights[:, i] for i, n in enumerate(head.shape_names)}
        expression = np.stack([column.get(n, np.zeros(len(arkit), np.float32)) for n in head.expression_names], 1)
        pose = fit.pose.copy()
        pose[:, 3 * JOINTS.index("jaw")] += arkit[:, ARKIT_INDEX["jawOpen"]] * head.jaw_open_rad
    lids = arkit[:, [ARKIT_INDEX["eyeBlinkLeft"], ARKIT_INDEX["eyeBlinkRight"]]]
    flame = FlameTrack(
        head.flame_version, np.zeros(0, np.float32), expression.astype(np.float32), pose.astype(np.float32),
        fit.translation.astype(np.float32), lids,
    )  # fmt: skip
    return Take(
        fps=fps, first_frame=first_frame, au=action_units_of(arkit, extra), arkit=arkit, extra=extra, flame=flame,
        authority="flame" if fit.expression is not None else "arkit" if residual is None else "vertices",
        residual_shapes=None if residual is None else residual.shapes,
        residual_weights=None if residual is None else residual.weights,
        residual_mm={
            "sequence": round(float(fit.error[:, 1].max()), 4),
            **({} if residual is None else {"residual": residual.error_mm}),
        },
        meta={
            "head": head.name, "topology_sha256": head.topology_sha256, "system": "fit", "sequence": source,
            "seed": 0, "native_fps": float(fps),
        },
    )  # fmt: skip
