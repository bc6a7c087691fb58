"""Runs in a Blender window (`blender ... --python viewport_script.py -- FOLDER`); writes pictures and facts.json."""

import gc
import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path

import bpy
import numpy as np
from mathutils import Euler

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(sys.argv[sys.argv.index("--") + 1])
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "fakes")]

from dots import COLOURS, places  # noqa: E402

from blender_addon.convert.arrays import open_arrays  # noqa: E402
from blender_addon.link import live, shared  # noqa: E402
from blender_addon.link.client import Engine  # noqa: E402
from blender_addon.link.jobs import call, drive_blocking  # noqa: E402
from blender_addon.ops import render_engine, viewport_clock  # noqa: E402
from blender_addon.scene import head as scene_head  # noqa: E402

facts = {"version": bpy.app.version_string}
drawing_ms = []
window = bpy.context.window_manager.windows[0]
area = next(a for a in window.screen.areas if a.type == "VIEW_3D")
space, view = area.spaces[0], area.spaces[0].region_3d


def timed(view_draw):
    """`view_draw` that notes how long it holds Blender's window."""

    def wrapped(self, context, depsgraph):
        began = time.perf_counter()
        view_draw(self, context, depsgraph)
        drawing_ms.append(1000 * (time.perf_counter() - began))

    return wrapped


def shot(name):
    with bpy.context.temp_override(window=window, screen=window.screen, area=area):
        bpy.ops.screen.screenshot_area(filepath=str(FOLDER / f"{name}.png"))


def settled(seconds=20.0):
    """Wait until the viewport shows the engine's newest picture."""
    yield 0.15
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        views = list(viewport_clock._views)
        if views and all(v.picture is not None and not v.waiting for v in views):
            break
        yield 0.05
    area.tag_redraw()
    yield 0.25


def build():
    """The default head from the real engine, which also has the avatar "dots"."""
    command = [os.environ["SOLILOQUY_ENGINE_PYTHON"], str(ROOT / "tests" / "fakes" / "serve_dots.py")]
    shared._engine = Engine(command, cwd=str(ROOT), log_dir=FOLDER)
    shared.engine = lambda: shared._engine
    answer = drive_blocking(call(shared.engine(), "head", {"head": "default"}))
    arrays = open_arrays(answer["arrays"], shared.engine().session, scene_head.ARRAYS)
    arrays = {name: np.array(a) for name, a in arrays.items()}
    ob, rig = scene_head.build(answer, arrays, bpy.context.scene.collection)
    rig.hide_set(True)
    return ob, places(arrays["template"], arrays["faces"])[1]


def look(rotation=(1.45, 0.0, 0.35), distance=0.9, kind="PERSP", lens=50):
    view.view_perspective = kind
    view.view_rotation, view.view_location, view.view_distance = Euler(rotation).to_quaternion(), (0, 0, 0), distance
    space.lens = lens


def through_camera(scene):
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    scene.collection.objects.link(camera)
    camera.location, camera.rotation_euler = (0.3, -1.0, 0.1), (1.45, 0.02, 0.3)
    camera.data.shift_x, camera.data.shift_y = 0.1, -0.05
    scene.camera = camera
    view.view_perspective, view.view_camera_zoom, view.view_camera_offset = "CAMERA", 12.0, (0.03, -0.04)


def landmarks(ob, corners):
    """The same views drawn by the engine (dots) and by Workbench (balls at the same places)."""
    scene = bpy.context.scene
    ob["soliloquy_avatar"] = "dots"
    ob.data.shape_keys.key_blocks["jawOpen"].value = 0.7
    bpy.context.view_layer.update()
    evaluated = ob.evaluated_get(bpy.context.evaluated_depsgraph_get())
    shown = np.array([evaluated.matrix_world @ v.co for v in evaluated.data.vertices])
    balls = []
    for three, colour in zip(corners, COLOURS, strict=True):
        bpy.ops.mesh.primitive_uv_sphere_add(segments=32, ring_count=16, radius=0.007, location=shown[three].mean(0))
        balls.append(bpy.context.object)
        balls[-1].color = (*colour, 1.0)
        balls[-1].select_set(False)
    shading = space.shading
    # Workbench smooths with jittered pictures, the first of which lies a quarter of a pixel off.
    bpy.context.preferences.system.viewport_aa = "OFF"
    for name, place in {
        "perspective": lambda: look(),
        "wide": lambda: look((1.3, 0.1, -0.4), 0.6, lens=28),
        "orthographic": lambda: look(kind="ORTHO"),
        "camera": lambda: through_camera(scene),
    }.items():
        place()
        shading.type = "SOLID"
        shading.light, shading.color_type = "FLAT", "OBJECT"
        shading.background_type, shading.background_color = "VIEWPORT", (0, 0, 0)
        ob.hide_set(True)
        yield 0.4
        shot(f"balls_{name}")
        ob.hide_set(False)
        shading.type = "RENDERED"
        yield from settled()
        shot(f"dots_{name}")
    for ball in balls:
        bpy.data.objects.remove(ball)
    ob["soliloquy_avatar"] = "default"
    ob.data.shape_keys.key_blocks["jawOpen"].value = 0.0


def raised_brows(ob):
    """The same face by an avatar with colour channels and by one without."""
    look((1.5, 0.0, 0.0))
    brows = [ob.data.shape_keys.key_blocks[name] for name in ("browInnerUp", "browOuterUpLeft", "browOuterUpRight")]
    for name in ("folded", "default"):
        ob["soliloquy_avatar"] = name
        for value in (0.0, 1.0):
            for key in brows:
                key.value = value
            yield from settled()
            shot(f"brows_{name}_{value:.0f}")
    for key in brows:
        key.value = 0.0
    look()
    yield from settled()


def stage():
    """An empty scene, drawn by the engine, with the head in it: (the head, corners of its dots)."""
    scene = bpy.context.scene
    for ob in list(bpy.data.objects):
        bpy.data.objects.remove(ob)
    engine = render_engine.SoliloquyRenderEngine
    engine.view_draw = timed(engine.view_draw)
    render_engine.register()
    ob, corners = build()
    scene.render.engine = render_engine.ENGINE_ID
    scene.view_settings.view_transform = "Standard"
    scene.world.use_nodes = False
    scene.world.color = (0, 0, 0)
    space.overlay.show_overlays = space.show_gizmo = space.show_region_toolbar = False
    return ob, corners


def frames(key):
    """An animated jaw: frame 1, frame 10, frame 1 again."""
    for frame, value in ((1, 0.0), (10, 1.0)):
        key.value = value
        key.keyframe_insert("value", frame=frame)
    for frame, name in ((1, "frame_1"), (10, "frame_10"), (1, "frame_1_again")):
        bpy.context.scene.frame_set(frame)
        yield from settled()
        shot(name)


def passes():
    """What the menu of passes shows."""
    for which in ("DEPTH", "NORMAL", "ALPHA", "COMBINED"):
        bpy.context.scene.soliloquy_render.viewport_pass = which
        area.tag_redraw()
        yield from settled()
        shot(f"pass_{which}")


def edit_mode(ob):
    bpy.context.view_layer.objects.active = ob
    bpy.ops.object.mode_set(mode="EDIT")
    yield 0.4
    shot("edit")
    bpy.ops.object.mode_set(mode="OBJECT")
    yield from settled()


def note_drawing(name):
    """Into the facts: median, largest and number of milliseconds since the list was cleared."""
    facts[name] = [float(np.median(drawing_ms)), max(drawing_ms), len(drawing_ms)]


def orbit():
    drawing_ms.clear()
    for i in range(25):
        view.view_rotation = Euler((1.45, 0, 0.35 + 0.02 * i)).to_quaternion()
        yield 0.01
    note_drawing("orbit_draw_ms")
    look()
    yield from settled()
    facts["round_trip_ms"] = 1000 * next(iter(viewport_clock._views)).round_trip_s


def hang(key):
    """An engine that hangs, and goes on."""
    os.kill(shared.engine().pid, signal.SIGSTOP)
    drawing_ms.clear()
    for i in range(10):
        key.value = i / 10
        yield 0.05
    note_drawing("hung_draw_ms")
    key.value = 1.0
    os.kill(shared.engine().pid, signal.SIGCONT)
    yield from settled()
    shot("after_hang")


def death(key):
    """An engine that dies, and the one after it."""
    generation = shared.engine().generation
    os.kill(shared.engine().pid, signal.SIGKILL)
    key.value = 0.0
    yield 0.3
    shot("at_death")
    yield from settled()
    yield 0.5
    shot("after_death")
    facts["sentence"] = shared.engine().last_error
    facts["restarts"] = shared.engine().generation - generation


def steps():
    ob, corners = stage()
    yield 0.5
    yield from landmarks(ob, corners)

    look()
    key = ob.data.shape_keys.key_blocks["jawOpen"]
    yield from frames(key)
    yield from raised_brows(ob)
    from blender_addon.ui import drawing

    facts["packing"] = drawing.kit().packing_works
    yield from passes()
    yield from edit_mode(ob)
    yield from orbit()
    shot("before_death")
    yield from hang(key)
    yield from death(key)

    space.shading.type = "SOLID"
    yield 0.5
    gc.collect()
    facts["views_left"] = sum(isinstance(o, live.LiveView) for o in gc.get_objects())
    facts["blocks_left"] = [p.name for p in Path("/dev/shm").glob("soliloquy-*") if p.stat().st_uid == os.getuid()]
    facts["finished"] = True


_run = steps()


def tick():
    try:
        return next(_run)
    except StopIteration:
        pass
    except Exception:
        facts["trouble"] = traceback.format_exc()
    (FOLDER / "facts.json").write_text(json.dumps(facts))
    shared.stop()
    os._exit(0)  # a registered render engine can hang Blender's exit


bpy.context.preferences.view.show_splash = False
bpy.app.timers.register(tick, first_interval=0.5)
