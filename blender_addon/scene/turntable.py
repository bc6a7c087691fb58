"""A camera that circles the head: an Empty at the head's middle, turned once, with a camera on an arm."""

from __future__ import annotations

import math

import bpy
import numpy as np
from mathutils import Vector

from ..convert.curves import Keys
from . import fcurves

MARGIN = 1.25  # empty space round the head, as a factor of its half height


def build(
    scene: bpy.types.Scene, mesh: bpy.types.Object, first: int, last: int, lens_mm: float = 85.0
) -> bpy.types.Object:
    """The camera. One whole turn over frames [first, last + 1), so that a loop does not stutter."""
    corners = np.array([mesh.matrix_world @ Vector(corner) for corner in mesh.bound_box])
    low, high = corners.min(0), corners.max(0)
    middle, half = (low + high) / 2, float(np.linalg.norm(high - low)) / 2
    pivot = bpy.data.objects.new(f"{mesh.name} turntable", None)
    pivot.empty_display_size = half / 3
    pivot.location = middle
    data = bpy.data.cameras.new(f"{mesh.name} turntable")
    data.lens = lens_mm
    camera = bpy.data.objects.new(f"{mesh.name} turntable camera", data)
    for ob in (pivot, camera):
        scene.collection.objects.link(ob)
    camera.parent = pivot
    width, height = scene.render.resolution_x, scene.render.resolution_y
    narrow = min(width, height) / max(width, height)  # the lens's angle is that of the longer side
    distance = MARGIN * half / (math.tan(data.angle / 2) * narrow)
    camera.location = (0.0, -distance, 0.0)
    camera.rotation_euler = (math.pi / 2, 0.0, 0.0)
    action, slot = fcurves.new_action(f"{mesh.name} turntable", pivot)
    turn = Keys(np.array([first, last + 1.0]), np.array([0.0, 2 * math.pi]), "LINEAR")
    fcurves.write_keys(fcurves.curves(action, slot), "rotation_euler", 2, turn)
    fcurves.assign(pivot, action, slot)
    scene.camera = camera
    return camera
