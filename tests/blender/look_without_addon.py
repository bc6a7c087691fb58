"""Opens a file in a Blender that never saw the add-on and renders it at rest and with raised brows: FILE OUT MESH."""

import json
import os
import sys
import tempfile
from pathlib import Path

import bpy
import numpy as np

blend, out, name = sys.argv[1:4]
assert not [module for module in sys.modules if "blender_addon" in module]
bpy.ops.wm.open_mainfile(filepath=blend, use_scripts=False)
scene, ob = bpy.context.scene, bpy.data.objects[name]


def picture():
    scene.render.filepath = str(Path(tempfile.gettempdir(), f"soliloquy-look-{os.getpid()}.exr"))
    bpy.ops.render.render(write_still=True)
    image = bpy.data.images.load(scene.render.filepath)
    pixels = np.empty(len(image.pixels), np.float32)
    image.pixels.foreach_get(pixels)
    bpy.data.images.remove(image)
    Path(scene.render.filepath).unlink()
    return pixels


scene.frame_set(6)
tree = next(group for group in bpy.data.node_groups if group.name.endswith(" wrinkles"))
value = tree.evaluated_get(bpy.context.evaluated_depsgraph_get()).nodes["brow inner"].outputs[0].default_value
change = []
scene.render.image_settings.file_format = "OPEN_EXR"
for frame in (1, 11):
    scene.frame_set(frame)
    rows = []
    for on in (True, False):
        ob["wrinkles"] = on
        ob.update_tag()
        rows.append(picture())
    change.append(float(np.abs(rows[0] - rows[1]).mean()))
Path(out).write_text(json.dumps({"value": value, "change": change}))
os._exit(0)
