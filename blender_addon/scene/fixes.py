"""A head's correctives as shape keys with drivers: lips and lids that would pass through each other, lids that follow
a turned eye.

Each key's value is max(0, a linear function of other keys' values and of the turn of a bone), the same as in the engine
(engine/head/respond.py). Short plain formulas: Blender computes them without running Python, in any file, with the
add-on removed.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import Any

import bpy
import numpy as np

from ..convert.axes import TO_BLENDER, to_blender
from ..convert.names import BONES, JOINTS
from . import armature
from .correctives import ENTRIES

LONGEST = 255  # characters of a driver's formula
SLIDER_MAX = 10.0  # centimetres, or times
_NORM = "(w*w+x*x+y*y+z*z)"
_TURN_VARIABLES = "wxyz"
_NOTHING = 1e-6


def add(mesh: bpy.types.Object, rig: bpy.types.Object, specs: list[Mapping[str, Any]], offsets: np.ndarray) -> int:
    """Add the driven keys; returns how many. offsets [c, v, 3]: metres, engine axes, at value 1.

    specs: for each {"name", "drive": key -> factor, "turns": feature of R - I (0-35: neck, jaw, left eye, right eye,
    nine each, row by row) -> factor, "bias"}.
    """
    keys = mesh.data.shape_keys
    rest = np.empty(3 * len(mesh.data.vertices), np.float32)
    keys.reference_key.data.foreach_get("co", rest)
    for spec, moved in zip(specs, offsets, strict=True):
        block = mesh.shape_key_add(name=str(spec["name"]), from_mix=False)
        if np.any(moved):
            block.data.foreach_set("co", rest + to_blender(np.asarray(moved, np.float32)).ravel())
        block.slider_min, block.slider_max = 0.0, SLIDER_MAX
        _drive(block, keys, rig, spec)
    return len(specs)


def _drive(
    block: bpy.types.ShapeKey, keys: bpy.types.Key, rig: bpy.types.Object, spec: Mapping[str, Any]
) -> None:  # fmt: skip
    driver = block.driver_add("value").driver
    driver.type = "SCRIPTED"
    turns = _turn_terms(rig, spec.get("turns") or {})
    letters = iter([c for c in string.ascii_letters if c not in _TURN_VARIABLES or not turns])
    terms = [number(float(spec["bias"]))]
    for name, factor in spec["drive"].items():
        if name not in keys.key_blocks:
            continue
        letter = next(letters)
        variable = driver.variables.new()
        variable.name, variable.type = letter, "SINGLE_PROP"
        target = variable.targets[0]
        target.id_type, target.id = "KEY", keys
        target.data_path = f'key_blocks["{bpy.utils.escape_identifier(name)}"].value'
        terms.append(f"{number(float(factor))}*{letter}")
    for bone, entry, factor in turns:
        terms.append(f"{number(factor)}*({ENTRIES[entry]})/{_NORM}")
        for name in _TURN_VARIABLES:
            if name not in driver.variables:
                _quaternion(driver, rig, bone, name)
    driver.expression = f"max(0,{''.join(terms)})"
    assert len(driver.expression) <= LONGEST, spec["name"]


def number(value: float) -> str:
    """A signed factor in as few characters as its digits allow: +.123, -2.5."""
    text = f"{value:+.4f}".rstrip("0").rstrip(".")
    return text.replace("+0.", "+.").replace("-0.", "-.")


def _turn_terms(rig: bpy.types.Object, turns: Mapping[Any, float]) -> list[tuple[str, int, float]]:
    """(bone, entry of its L - I in its own rest axes, factor) for factors of entries of R - I in the engine's axes."""
    out = []
    for feature, factor in turns.items():
        joint, entry = divmod(int(feature), 9)
        bone = BONES[JOINTS[1 + joint]]
        axes = TO_BLENDER.T @ armature.rest_axes(rig, bone).astype(np.float64)
        row, column = divmod(entry, 3)
        # R - I = M (L - I) M^T: the entry is a sum over L's entries, one of them where bones stand along the axes.
        shares = np.outer(axes[row], axes[column]).ravel()
        out += [(bone, k, float(factor) * float(s)) for k, s in enumerate(shares) if abs(s) > _NOTHING]
    return out


def _quaternion(driver: bpy.types.Driver, rig: bpy.types.Object, bone: str, name: str) -> None:
    """Let the driver read one part of a bone's own turn."""
    variable = driver.variables.new()
    variable.name, variable.type = name, "TRANSFORMS"
    target = variable.targets[0]
    target.id, target.bone_target = rig, bone
    target.transform_space, target.rotation_mode = "LOCAL_SPACE", "QUATERNION"
    target.transform_type = f"ROT_{name.upper()}"
