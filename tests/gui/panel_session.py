"""Drives a Blender window as a person does: BLENDER --python panel_session.py -- OUT_FOLDER [real VOICE].

It adds a head, loads a voice, keys emotions, types a direction, generates with the modal operator, stops one with
Escape, undoes, and photographs the side panel. What happened is written to OUT_FOLDER/report.json. With "real" the
engine of this computer is used, else the stage engine of the tests.
"""

import json
import sys
import time
import traceback
from pathlib import Path

import bpy

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "blender")]
OUT = Path(sys.argv[sys.argv.index("--") + 1])
REAL = "real" in sys.argv
REPORT = {"steps": []}

import stage  # noqa: E402

import blender_addon  # noqa: E402
from blender_addon.ops.tasks import EngineOperator, board  # noqa: E402
from blender_addon.scene import find, nla, prompts  # noqa: E402


def note(name, value=True):
    REPORT["steps"].append([name, value])
    (OUT / "report.json").write_text(json.dumps(REPORT, indent=1))


def window():
    return bpy.context.window_manager.windows[0]


def view():
    return next(a for a in window().screen.areas if a.type == "VIEW_3D")


def call(operator, *arguments, **options):
    """As a button does: with the 3D view as context and INVOKE."""
    area = view()
    region = next(r for r in area.regions if r.type == "WINDOW")
    with bpy.context.temp_override(window=window(), screen=window().screen, area=area, region=region):
        return operator("INVOKE_DEFAULT", *arguments, **options)


def photograph(name):
    with bpy.context.temp_override(window=window(), screen=window().screen, area=view()):
        bpy.ops.screen.screenshot(filepath=str(OUT / name))


def task_ends(limit=60.0):
    """Yield until no task is under way."""
    end = time.monotonic() + limit
    while board.running is not None and time.monotonic() < end:
        yield 0.02


def watch_steps():
    """Note how long the longest step of a modal task holds Blender (its redraws, slow in software GL, not counted)."""
    advance = EngineOperator._advance

    def watched(self, context, first=False):
        start = time.perf_counter()
        try:
            return advance(self, context, first)
        finally:
            REPORT["longest_step_s"] = max(REPORT.get("longest_step_s", 0.0), time.perf_counter() - start)

    EngineOperator._advance = watched


def steps():
    yield 1.5
    start = time.perf_counter()
    blender_addon.register()
    note("enabled", time.perf_counter() - start)
    watch_steps()
    if not REAL:
        stage.stage_engine()
    for ob in list(bpy.data.objects):
        bpy.data.objects.remove(ob)
    view().spaces[0].show_region_ui = True
    yield 0.5
    with bpy.context.temp_override(window=window(), screen=window().screen, area=view()):
        bpy.ops.screen.screen_full_area(use_hide_panels=False)
    yield 0.5
    (OUT / "click_tab").touch()  # 3.4 cannot choose a tab by script: the test clicks it
    yield 2.5
    photograph("1_empty.png")
    note("add_head", sorted(call(bpy.ops.soliloquy.add_head)))
    yield from task_ends()
    control = find.active_control(bpy.context)
    note("head", control is not None and find.head_of(control).name)
    voice = Path(sys.argv[-1]) if REAL else stage.write_voice(OUT / "voice.wav")
    bpy.ops.soliloquy.load_voice(filepath=str(voice), frame=1)
    scene = bpy.context.scene
    for frame, emotion in ((1, "neutral"), (20, "happy"), (40, "surprised")):
        scene.frame_set(frame)
        call(bpy.ops.soliloquy.key_emotion, emotion=emotion)
    scene.frame_set(10)
    scene.soliloquy.prompt = "smile"
    call(bpy.ops.soliloquy.add_prompt)
    yield from task_ends()
    note("prompts", [s.action["text"] for s in prompts.strips(control)])
    yield from generate_stop_and_undo()
    yield from pictures()
    bpy.ops.wm.save_as_mainfile(filepath=str(OUT / "session.blend"))
    note("longest_step_s", REPORT["longest_step_s"])
    note("finished")


def generate_stop_and_undo():
    scene = bpy.context.scene
    name = find.active_control(bpy.context).name
    mesh_name = find.head_of(bpy.data.objects[name]).name

    def strips():
        return len(nla.marked(bpy.data.objects[mesh_name].data.shape_keys, "take"))

    if not REAL:
        scene.soliloquy.motion = "slow"
        note("slow", sorted(call(bpy.ops.soliloquy.generate)))
        yield 1.0
        note("running", board.running is not None and board.running.fraction > 0)
        photograph("2_running.png")
        (OUT / "press_escape").touch()  # the test presses the real key
        yield from task_ends(20)
        note("stopped", [board.running is None, strips(), bool(board.error)])
        scene.soliloquy.motion = "direct"
    bpy.ops.ed.undo_push(message="before")
    note("generate", sorted(call(bpy.ops.soliloquy.generate)))
    yield from task_ends(120)
    note("generated", strips())
    yield 0.3
    if not REAL:
        bpy.ops.ed.undo()
        yield 0.3
        note("undone", strips())
        bpy.ops.ed.redo()
        yield 0.3
        note("redone", strips())


def pictures():
    """The whole panel, in as many pictures as its height needs."""
    area = view()
    bpy.context.scene.frame_set(24)
    area.spaces[0].shading.type, area.spaces[0].shading.color_type = "SOLID", "MATERIAL"
    region = next(r for r in area.regions if r.type == "WINDOW")
    with bpy.context.temp_override(window=window(), screen=window().screen, area=area, region=region):
        bpy.ops.view3d.view_axis(type="FRONT")
        bpy.ops.view3d.view_all()
        bpy.ops.view3d.zoom(delta=2)
    yield 1.0
    photograph("3_panel.png")


run = steps()


def tick():
    try:
        return next(run)
    except StopIteration:
        pass
    except Exception:
        note("failed", traceback.format_exc())
    from blender_addon.link import shared

    shared.stop()
    bpy.ops.wm.quit_blender()
    return None


OUT.mkdir(parents=True, exist_ok=True)
bpy.context.preferences.view.show_splash = False
bpy.app.timers.register(tick, first_interval=0.5)
