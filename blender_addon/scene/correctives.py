"""FLAME's pose correctives in Blender: shape keys that follow the bones by drivers.

The corrective is linear in R - I of neck, jaw and eyes. A driver sees a bone's turn L in the bone's own rest axes;
with M the rest axes seen from the engine's, R - I = M (L - I) M^T, so the offsets are turned over once, when the head
is built, into offsets linear in L - I. Each entry of L is a short formula of the bone's quaternion, which Blender
computes without running Python: the correctives work in any file, with the add-on removed, under any pose of the rig.
"""

from __future__ import annotations

import bpy
import numpy as np

from ..convert.axes import TO_BLENDER, to_blender
from ..convert.names import BONES, JOINTS
from . import armature

PREFIX = "pose_"
NOTHING_M = 1e-7  # a corrective that moves no vertex further than this at a full turn is left out
_NORM = "(w*w+x*x+y*y+z*z)"
# Entries of L - I for the quaternion (w, x, y, z), row by row (Diebel, "Representing attitude", 2006, equation 125).
ENTRIES = (
    "-2*(y*y+z*z)", "2*(x*y-w*z)", "2*(x*z+w*y)",
    "2*(x*y+w*z)", "-2*(x*x+z*z)", "2*(y*z-w*x)",
    "2*(x*z-w*y)", "2*(y*z+w*x)", "-2*(x*x+y*y)",
)  # fmt: skip


def add(mesh: bpy.types.Object, rig: bpy.types.Object, posedirs: np.ndarray) -> int:
    """Add the driven keys; returns how many. posedirs [36, v, 3]: offsets in metres, engine axes, of R - I of neck,
    jaw, left and right eye (nine each, row by row)."""
    rest = np.empty(3 * len(mesh.data.vertices), np.float32)
    keys = mesh.data.shape_keys
    keys.reference_key.data.foreach_get("co", rest)
    count = 0
    for j, joint in enumerate(JOINTS[1:]):
        bone = BONES[joint]
        for entry, offsets in enumerate(in_bone_axes(posedirs[9 * j : 9 * j + 9], armature.rest_axes(rig, bone))):
            if np.abs(offsets).max() < NOTHING_M:
                continue
            block = mesh.shape_key_add(name=f"{PREFIX}{bone}_{entry}", from_mix=False)
            block.data.foreach_set("co", rest + to_blender(offsets).astype(np.float32).ravel())
            block.slider_min, block.slider_max = -2.0, 2.0  # what L - I can reach
            _drive(block, rig, bone, entry)
            count += 1
    return count


def in_bone_axes(posedirs: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """[9, v, 3] offsets linear in L - I (bone's axes) from those linear in R - I (engine axes); rest [3, 3]."""
    turn = TO_BLENDER.T @ np.asarray(rest, np.float64)
    both = np.einsum("ik,jl->ijkl", turn, turn).reshape(9, 9)
    return np.tensordot(both.T, np.asarray(posedirs, np.float64), 1)


def _drive(block: bpy.types.ShapeKey, rig: bpy.types.Object, bone: str, entry: int) -> None:
    """Let an entry of the bone's turn drive the key."""
    driver = block.driver_add("value").driver
    driver.type = "SCRIPTED"
    for name in "wxyz":
        variable = driver.variables.new()
        variable.name, variable.type = name, "TRANSFORMS"
        target = variable.targets[0]
        target.id, target.bone_target = rig, bone
        target.transform_space, target.rotation_mode = "LOCAL_SPACE", "QUATERNION"
        target.transform_type = f"ROT_{name.upper()}"
    driver.expression = f"{ENTRIES[entry]}/{_NORM}"
