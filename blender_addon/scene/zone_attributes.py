"""The engine's per-vertex zones as point attributes of a mesh.

Three columns go into one vector attribute: EEVEE reads at most 15 attributes in a material.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import bpy
import numpy as np

from ..convert.axes import to_blender

REST = "sol_rest"  # place in the neutral face, metres, Blender's axes: noise sticks to the skin that moves
# Attribute -> columns of the engine's zones (engine/head/zones.py).
PACKED: dict[str, tuple[str, ...]] = {
    "sol_zone": ("lip_m", "oily", "wet"),
    "sol_inside": ("deep", "scalp", "root"),
    "sol_forehead": ("forehead_inner", "forehead_outer", "forehead_u"),
    "sol_glabella": ("glabella", "glabella_u", "chin"),
    "sol_crow": ("crow", "crow_u", "under_eye"),
    "sol_cheek": ("nasolabial", "nasolabial_u", "under_eye_u"),
    "sol_nose": ("nose", "nose_u", ""),
    "sol_eye": ("eye_x", "eye_y", "eye_z"),
}


def write(mesh: bpy.types.Mesh, template: np.ndarray, names: Sequence[str], zones: np.ndarray) -> None:
    """template [v, 3] engine axes, metres; zones [v, z] with column names. Columns that are missing are 0."""
    columns: Mapping[str, np.ndarray] = {name: zones[:, k] for k, name in enumerate(names)}
    nothing = np.zeros(len(template), np.float32)
    _put(mesh, REST, to_blender(np.asarray(template, np.float32)))
    for name, parts in PACKED.items():
        _put(mesh, name, np.stack([columns.get(part, nothing) for part in parts], 1))


def _put(mesh: bpy.types.Mesh, name: str, values: np.ndarray) -> None:
    layer = mesh.attributes.new(name, "FLOAT_VECTOR", "POINT")
    layer.data.foreach_set("vector", np.ascontiguousarray(values, np.float32).ravel())


def place(column: str) -> tuple[str, int]:
    """(attribute, component) that holds a column."""
    return next((name, parts.index(column)) for name, parts in PACKED.items() if column in parts)
