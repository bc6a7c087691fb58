"""What a head's shapes cannot show of a mesh sequence, as a few shapes more (`SOL_res_000` …) with keyed weights."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from engine.core.anatomy import Head
from engine.core.errors import BadFile, BadInput
from engine.core.files import read_archive, write_archive
from engine.core.progress import SILENT, Reporter
from engine.core.take import Take
from engine.core.units import MM
from engine.head import lbs
from engine.head.evaluate import shape_offsets
from engine.head.fit import BLOCK, Fit, checked
from engine.head.replay import check_topology, left_over
from engine.head.unpose import Pose, offsets, unskin

KIND, FORMAT = "residual", 1
PREFIX = "SOL_res_"
BOUND_MM = 0.05
MOST = 256


@dataclass(frozen=True)
class Residual:
    """shapes [k, v, 3] metres at weight 1, weights [t, k] in [-1, 1] (each shape is scaled so that its largest weight
    is 1 in size: sliders need the range -1 to 1), error_mm: largest vertex distance left; names."""

    shapes: np.ndarray
    weights: np.ndarray
    error_mm: float

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{PREFIX}{i:03d}" for i in range(len(self.shapes)))


def residual_shapes(
    head: Head, verts: np.ndarray, fit: Fit, bound_mm: float = BOUND_MM, most: int = MOST, report: Reporter = SILENT
) -> Residual:
    """The fewest principal shapes that bring every vertex of every frame of verts [t, v, 3] within bound_mm of the fit.

    The residual is taken before skinning, so that the shapes add to the head's own and turn with it. Raises BadInput if
    the bound is not positive or `most` shapes do not reach it.
    """
    verts = checked(head, verts)
    if fit.expression is not None:
        raise BadInput("residual shapes are made on heads with shape keys; a FLAME model has an expression basis")
    rest = np.empty((len(verts), head.template.size), np.float32)
    every = np.arange(len(head.template))
    for at in range(0, len(verts), BLOCK):
        report.step("residual", at, len(verts))
        block = slice(at, at + BLOCK)
        moved = offsets(head, verts[block], Pose(fit.pose[block], fit.translation[block]), every)
        moved -= shape_offsets(head, fit.weights[block], fit.pose[block])
        rest[block] = moved.reshape(len(moved), -1)
    found = principal(rest, bound_mm, most, report)
    if found.error_mm > bound_mm:
        raise BadInput(f"{most} shapes leave {found.error_mm:.3f} mm; allow a larger error than {bound_mm:g} mm")
    return found


def take_residual(
    head: Head, take: Take, bound_mm: float = BOUND_MM, most: int = MOST, report: Reporter = SILENT
) -> Residual | None:
    """What a take of authority "vertices" shows beyond the head's shapes; None if that is nothing.

    A take's own residual shapes are used as they are; offsets of posed vertices are turned back and brought to the
    fewest shapes within bound_mm. Where `most` shapes do not reach it, a warning says what is left. Raises BadInput for
    another mesh.
    """
    shapes, weights = take.residual_shapes, take.residual_weights
    if take.authority != "vertices" or (take.offsets is None and shapes is None):
        return None
    check_topology(take, head)
    pose = take.flame.pose.copy()
    pose[:, 6:9] = 0.0  # ARKit form: the jaw is a shape
    if take.offsets is None and shapes is not None and weights is not None:
        left_over(take, head, np.arange(0), pose[:0])  # raises for another mesh
        return Residual(shapes, weights, float(take.residual_mm.get("residual", 0.0)))
    rest = np.empty((len(take), head.template.size), np.float32)
    joints = (head.joint_regressor.astype(np.float64) @ head.template)[None]
    for at in range(0, len(take), BLOCK):
        report.step("residual", at, len(take))
        rows = np.arange(at, min(at + BLOCK, len(take)))
        moved = left_over(take, head, rows, pose[rows])
        if pose[rows].any():
            turns = lbs.joint_transforms(joints, pose[rows], head.parents)
            turns[..., 3] = 0  # differences between places do not shift
            unskin(moved, turns, head.weights)
        rest[rows] = moved.reshape(len(rows), -1)
    found = principal(rest, bound_mm, most, report)
    if found.error_mm > bound_mm:
        report.warn(
            f"{len(found.shapes)} shapes show this motion to {found.error_mm:.2f} mm, asked were {bound_mm:g} mm"
        )
    return found if len(found.shapes) else None


def principal(rest: np.ndarray, bound_mm: float, most: int = MOST, report: Reporter = SILENT) -> Residual:
    """The fewest principal shapes of offsets rest [t, v * 3] metres that leave no vertex farther than bound_mm, or
    `most` of them. Raises BadInput if the bound is not positive."""
    if not bound_mm > 0:
        raise BadInput(f"the error bound must be positive, not {bound_mm} mm")
    limit = bound_mm / MM
    k, weights, shapes = 0, np.zeros((len(rest), 0)), np.zeros((0, rest.shape[1]))
    left = _largest(rest)
    if left > limit:
        # Frames are far fewer than coordinates: the eigenvectors of the small product give the same factors.
        product = rest.astype(np.float64) @ rest.T.astype(np.float64)
        values, vectors = np.linalg.eigh(product)
        vectors = vectors[:, np.argsort(values)[::-1]]
        while left > limit and k < min(most, len(rest)):
            k = min(max(k + 1, int(1.15 * k)), len(rest), most)
            weights = vectors[:, :k]
            shapes = weights.T @ rest
            left = _largest(rest - (weights @ shapes).astype(np.float32))
            report.step("residual", k, most)
    scale = np.maximum(np.abs(weights).max(0, initial=0.0), 1e-12) if k else np.ones(0)
    made = (shapes * scale[:, None]).reshape(k, rest.shape[1] // 3, 3).astype(np.float32)
    return Residual(made, (weights / scale).astype(np.float32), round(left * MM, 5))


def _largest(rest: np.ndarray) -> float:
    """Largest vertex length in rest [t, v * 3]."""
    flat = rest.reshape(len(rest), -1, 3)
    return float(np.sqrt(np.einsum("tvc,tvc->tv", flat, flat).max(initial=0.0)))


def write_residual(path: str | os.PathLike[str], residual: Residual) -> None:
    """Write shapes and weights to an .npz: "shapes" [k, v, 3] metres (Y up), "weights" [t, k], names and the error."""
    arrays = {"shapes": residual.shapes, "weights": residual.weights}
    write_archive(path, KIND, FORMAT, arrays, {"names": list(residual.names), "error_mm": residual.error_mm}, True)


def read_residual(path: str | os.PathLike[str]) -> Residual:
    """The residual shapes of a file that `write_residual` wrote. Raises BadFile."""
    arrays, meta = read_archive(path, KIND, FORMAT)
    try:
        return Residual(arrays["shapes"], arrays["weights"], float(meta["error_mm"]))
    except (KeyError, TypeError, ValueError) as error:
        raise BadFile(path, f"holds no residual shapes ({error})") from None
