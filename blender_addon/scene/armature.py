"""The head's joints as bones: root, neck, jaw, eye.L, eye.R.

Bones stand at the joints; the eyes' bones look forward along their own Y, so that a constraint can aim them.
A pose bone turns in its rest axes, which `convert.axes.bone_quaternions` takes from `rest_axes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import bpy
import numpy as np

from ..convert.axes import to_blender
from ..convert.names import BONES

# Direction of each bone in Blender's axes (the head faces -Y), and its drawn length in metres: short, to leave
# the face in sight.
DIRECTIONS = {
    "root": ((0.0, 0.0, 1.0), 0.05), "neck": ((0.0, 0.0, 1.0), 0.05), "jaw": ((0.0, -1.0, -0.35), 0.05),
    "eye.L": ((0.0, -1.0, 0.0), 0.03), "eye.R": ((0.0, -1.0, 0.0), 0.03),
}  # fmt: skip
MARK = "soliloquy_rig"  # on the rigs that are made here: every bone of theirs is the performance's
DEFAULT = ((0.0, 0.0, 1.0), 0.05)


def build(name: str, info: Mapping[str, Any], joints: np.ndarray, collection: bpy.types.Collection) -> bpy.types.Object:
    """info: joint_names, parents (index or -1); joints [j, 3] metres, engine axes. Bones are added in edit mode,
    because Blender offers no other way.
    """
    data = bpy.data.armatures.new(f"{name} rig")
    rig = bpy.data.objects.new(f"{name} rig", data)
    collection.objects.link(rig)
    rig[MARK] = 1
    data.display_type = "STICK"
    rig.show_in_front = True
    view = bpy.context.view_layer
    before = view.objects.active
    if before is not None and before.mode != "OBJECT":
        bpy.ops.object.mode_set(mode="OBJECT")
    view.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    try:
        bones = []
        for joint, place in zip(info["joint_names"], to_blender(joints.astype(np.float64)), strict=True):
            bone = data.edit_bones.new(BONES.get(joint, joint))
            direction, length = DIRECTIONS.get(bone.name, DEFAULT)
            unit = np.asarray(direction) / np.linalg.norm(direction)
            bone.head, bone.tail, bone.roll = place, place + unit * length, 0.0
            bones.append(bone)
        for bone, parent in zip(bones, info["parents"], strict=True):
            if parent >= 0:
                bone.parent = bones[parent]
    finally:
        bpy.ops.object.mode_set(mode="OBJECT")
        view.objects.active = before
    for bone in rig.pose.bones:
        bone.rotation_mode = "QUATERNION"
    return rig


def rest_axes(rig: bpy.types.Object, bone: str) -> np.ndarray:
    """Rest axes of a bone as columns, in armature space. [3, 3]."""
    return np.array(rig.data.bones[bone].matrix_local.to_3x3())
