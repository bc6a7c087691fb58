"""What a mesh sequence does beyond the head's shapes: a few keys SOL_res_000 ... of our own, keyed with the take."""

from __future__ import annotations

import bpy
import numpy as np

from ..convert.axes import to_blender
from . import SceneProblem, fcurves
from .targets import Channel, key_path

PREFIX = "SOL_res_"
FARTHEST = 10.0  # Blender's own limit of a slider
TOLERANCE = 0.002  # of a weight's range


def own_keys(mesh: bpy.types.Object) -> list[bpy.types.ShapeKey]:
    """The mesh's residual keys, in order."""
    keys = mesh.data.shape_keys
    return [b for b in keys.key_blocks if b.name.startswith(PREFIX)] if keys is not None else []


def channels(mesh: bpy.types.Object, shapes: np.ndarray, weights: np.ndarray, notes: list[str]) -> list[Channel]:
    """Put the residual shapes on the mesh and return their curves.

    shapes [k, v, 3] offsets in metres, engine axes; weights [t, k]. Only these keys' sliders are widened. SceneProblem
    if the mesh is linked, overridden or another one.
    """
    keys = mesh.data.shape_keys
    if mesh.data.library is not None or mesh.data.override_library is not None:
        raise SceneProblem(f"'{mesh.name}' comes from another file, so it cannot get shape keys: append it instead")
    if shapes.ndim != 3 or shapes.shape[1:] != (len(mesh.data.vertices), 3) or weights.shape[1:] != shapes.shape[:1]:
        raise SceneProblem(
            f"The performance is made for a mesh of {shapes.shape[1]} vertices, '{mesh.name}' has "
            f"{len(mesh.data.vertices)}"
        )
    # A slider ends at 10: shapes of larger weights are made larger instead.
    scale = np.maximum(np.abs(weights).max(0, initial=0.0) / FARTHEST, 1.0)
    shapes, weights = shapes * scale[:, None, None], weights / scale
    rest = np.empty(3 * len(mesh.data.vertices), np.float32)
    keys.reference_key.data.foreach_get("co", rest)
    out: list[Channel] = []
    for i, (shape, weight) in enumerate(zip(shapes, weights.T, strict=True)):
        name = f"{PREFIX}{i:03d}"
        block = keys.key_blocks.get(name) or mesh.shape_key_add(name=name, from_mix=False)
        block.data.foreach_set("co", rest + to_blender(np.asarray(shape, np.float32)).ravel())
        block.slider_min = float(min(weight.min(initial=0.0), 0.0))
        block.slider_max = float(max(weight.max(initial=0.0), 1e-3))
        block.value, block.mute = 0.0, False
        slack = max(TOLERANCE * float(np.ptp(weight)), 1e-6)
        out.append((key_path(name), 0, np.asarray(weight, np.float64), slack))
    remove(mesh, first=len(shapes))
    mesh.data.update()
    return out


def remove(mesh: bpy.types.Object, first: int = 0) -> int:
    """Remove residual keys from number `first` on, except those that the animator has keyed; how many went."""
    if mesh.data.library is not None or mesh.data.override_library is not None:
        return 0
    blocks = own_keys(mesh)[first:]
    keyed = fcurves.own_curves(mesh.data.shape_keys) if blocks else {}
    gone = [b for b in blocks if (key_path(b.name), 0) not in keyed]
    for block in gone:
        mesh.shape_key_remove(block)
    return len(gone)
