"""Picks points on a mesh as a person does: BLENDER --python pick_session.py -- OUT_FOLDER.

The test beside this file clicks where the files spot_N say. What happened is written to OUT_FOLDER/report.json.
"""

import json
import os
import sys
import traceback
from pathlib import Path

import bpy
from bpy_extras import view3d_utils
from mathutils import Vector

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
OUT = Path(sys.argv[sys.argv.index("--") + 1])
REPORT = {}

import blender_addon  # noqa: E402
from blender_addon.scene import find, shapes  # noqa: E402

# Where the test shall click: on a sphere of 0.1 m about the origin, x and z; the third lies beside it at first.
SPOTS = [(-0.04, 0.03), (0.04, 0.03), (0.3, 0.0), (0.0, 0.0), (-0.02, -0.04), (0.02, -0.04), (0.0, -0.07)]


def view():
    return next(a for a in bpy.context.window_manager.windows[0].screen.areas if a.type == "VIEW_3D")


def context():
    window, area = bpy.context.window_manager.windows[0], view()
    region = next(r for r in area.regions if r.type == "WINDOW")
    return bpy.context.temp_override(window=window, screen=window.screen, area=area, region=region)


def ask_for(name, x, y):
    part = OUT / f"{name}.part"
    part.write_text(f"{x} {y}")
    os.replace(part, OUT / name)


def steps():
    yield 1.0
    blender_addon.register()
    for ob in list(bpy.data.objects):
        bpy.data.objects.remove(ob)
    with context():
        bpy.ops.mesh.primitive_uv_sphere_add(radius=0.1, segments=64, ring_count=32)
        bpy.ops.view3d.view_axis(type="FRONT")
        bpy.ops.view3d.view_all()
        REPORT["used"] = sorted(bpy.ops.soliloquy.use_character())
        REPORT["make_before"] = bpy.ops.soliloquy.make_shapes.poll()
    yield 1.0
    control = find.active_control(bpy.context)
    with context():
        REPORT["pick"] = sorted(bpy.ops.soliloquy.pick_points("INVOKE_DEFAULT"))
    area = view()
    region = next(r for r in area.regions if r.type == "WINDOW")
    height = bpy.context.window_manager.windows[0].height
    for i, (x, z) in enumerate(SPOTS):
        at = view3d_utils.location_3d_to_region_2d(region, area.spaces[0].region_3d, Vector((x, -0.1, z)))
        ask_for(f"spot_{i}", int(at.x + region.x), int(height - at.y - region.y))
        yield 2.0
        REPORT.setdefault("counts", []).append(len(shapes.picks(control)))
        if i == 4:
            with context():
                bpy.ops.screen.screenshot(filepath=str(OUT / "picking.png"))
    REPORT["picks"] = {mark: place.tolist() for mark, place in shapes.picks(control).items()}
    with context():
        REPORT["make_after"] = bpy.ops.soliloquy.make_shapes.poll()
    REPORT["finished"] = True


run = steps()


def tick():
    try:
        return next(run)
    except StopIteration:
        pass
    except Exception:
        REPORT["failed"] = traceback.format_exc()
    (OUT / "report.json").write_text(json.dumps(REPORT))
    bpy.ops.wm.quit_blender()
    return None


bpy.context.preferences.view.show_splash = False
bpy.app.timers.register(tick, first_interval=0.5)
