"""Plays a file in a Blender that never saw the add-on and saves what it shows: FILE OUT MESH CONTROL."""

import os
import sys

import bpy
import numpy as np

blend, out, mesh_name, control_name = sys.argv[1:5]
assert not [name for name in sys.modules if "blender_addon" in name]
bpy.ops.wm.open_mainfile(filepath=blend)
ob, control = bpy.data.objects[mesh_name], bpy.data.objects[control_name]
rows = []
for frame in range(1, 13):
    bpy.context.scene.frame_set(frame)
    evaluated = ob.evaluated_get(bpy.context.evaluated_depsgraph_get())
    co = np.empty(3 * len(evaluated.data.vertices), np.float32)
    evaluated.data.vertices.foreach_get("co", co)
    rows.append(np.append(co.astype(np.float64), [control["happy"], control["prompt_AU12_L"]]))
np.save(out, np.array(rows))
os._exit(0)
