"""What a head's shapes cannot show of a mesh sequence, as a few shapes more (`SOL_res_000` …) with keyed weights."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from engine.core.anatomy import Head
from engine.core.errors import BadFile, BadInput
from engine.core.files import read_archive, write_archive
from engine.core.progress import SILENT, Reporter
from engine.core.units import MM
from engine.head.fit import BLOCK, Fit, checked
from engine.head.unpose import Pose, offsets

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
    if not bound_mm > 0:
        raise BadInput(f"the error bound must be positive, not {bound_mm} mm")
    if fit.expression is not None:
        raise BadInput("residual shapes are made on heads with shape keys; a FLAME model has an expression basis")
    rest = np.empty((len(verts), head.template.size), np.float32)
    every = np.arange(len(head.template))
    for at in range(0, len(verts), BLOCK):
        report.step("residual", at, len(verts))
        block = slice(at, at + BLOCK)
        moved = offsets(head, verts[block], Pose(fit.pose[block], fit.translation[block]), every)
        rest[block] = moved.reshape(len(moved), -1) - fit.weights[block] @ head.shapes.reshape(len(head.shapes), -1)
    limit = bound_mm / MM
    k, weights, shapes = 0, np.zeros((len(rest), 0)), np.zeros((0, rest.shape[1]))
    left = _largest(rest)
    if left > limit:
        # Frames are far fewer than coordinates: the eigenvectors of the small product give the same factors.
        product = rest.astype(np.float64) @ rest.T.astype(np.float64)
        values, vectors = np.linalg.eigh(product)
        order = np.argsort(values)[::-1]
        vectors = vectors[:, order]
        while left > limit:
            k = min(max(k + 1, int(1.15 * k)), len(rest))
            if k > most:
                raise BadInput(f"{most} shapes leave {left * MM:.3f} mm; allow a larger error than {bound_mm:g} mm")
            weights = vectors[:, :k]
            shapes = weights.T @ rest
            left = _largest(rest - (weights @ shapes).astype(np.float32))
            report.step("residual", k, most)
            if k == len(rest):
                break
    scale = np.maximum(np.abs(weights).max(0, initial=0.0), 1e-12) if k else np.ones(0)
    made = (shapes * scale[:, None]).reshape(k, *head.template.shape).astype(np.float32)
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
