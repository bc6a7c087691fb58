"""Checks of the operators inside Blender, with the stage engine (the real process, a synthetic head)."""

import json
import os
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import bpy
import numpy as np
from in_blender import main
from stage import ROOT, TOLERANCE_M, fresh, stage_engine, synthetic_head, to_blender, vertices, write_voice

import blender_addon

blender_addon.register()

from blender_addon.convert.names import ARKIT, EXTRA  # noqa: E402
from blender_addon.link import shared  # noqa: E402
from blender_addon.link.jobs import Stopped  # noqa: E402
from blender_addon.ops.head import SOLILOQUY_OT_add_head  # noqa: E402
from blender_addon.ops.performance import SOLILOQUY_OT_generate  # noqa: E402
from blender_addon.ops.tasks import EngineOperator, board  # noqa: E402
from blender_addon.scene import SceneProblem, fcurves, find, nla, prompts, voice  # noqa: E402

sys.path.insert(0, str(ROOT / "tests" / "fakes"))
FOLDER = tempfile.mkdtemp(prefix="soliloquy-test-")
VOICE = write_voice(Path(FOLDER, "voice.wav"))


def stage(fps=25, base=1.0, voiced=True):
    """A fresh file with head and voice through the operators; (scene, control, mesh)."""
    scene = fresh()
    stage_engine()
    scene.render.fps, scene.render.fps_base = fps, base
    assert bpy.ops.soliloquy.add_head() == {"FINISHED"}
    control = find.active_control(bpy.context)
    if voiced:
        assert bpy.ops.soliloquy.load_voice(filepath=str(VOICE), frame=1) == {"FINISHED"}
    return scene, control, find.head_of(control)


def expected(rate, first, row):
    """World vertices of the stage engine's performance, computed here at the frame's own time."""
    info, arrays = synthetic_head.answer(ARKIT, EXTRA)
    time_s = float(Fraction(row) / rate)
    phase = np.random.default_rng(0).uniform(0, 6, len(ARKIT) + len(EXTRA))
    weights = 0.5 + 0.5 * np.sin(5 * time_s + phase)
    pose, shift = 0.2 * np.sin(3 * time_s + phase[:15]), 0.01 * np.sin(2 * time_s + phase[:3])
    return to_blender(synthetic_head.posed(info, arrays, weights, pose, shift))


def raises(operator, *words, **options):
    """The sentence that the operator reports as an error."""
    try:
        operator(**options)
    except RuntimeError as error:
        assert all(word in str(error) for word in words), str(error)
        return str(error)
    raise AssertionError(f"{operator} did not refuse")


def check_enabling_is_quick_and_starts_nothing():
    """In a process of its own, because this one has loaded most of the add-on before."""
    script = """if True:
        import json, os, sys, time
        import bpy, numpy
        before, start = set(sys.modules), time.process_time()  # other work on the machine must not count
        import blender_addon
        blender_addon.register()
        seconds = time.process_time() - start
        from blender_addon.link import shared
        loaded = sorted({name.split(".")[0] for name in set(sys.modules) - before})
        print("\\nREPORT" + json.dumps([seconds, loaded, shared.current() is None]), flush=True)
        os._exit(0)
    """
    out = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    seconds, loaded, idle = json.loads(out.stdout.rpartition("REPORT")[2])
    assert "blender_addon" in loaded and seconds < 0.3, seconds
    assert not {"torch", "engine", "scipy", "numba"} & set(loaded)
    assert idle


def check_polls_say_what_to_do_next():
    fresh()
    assert not bpy.ops.soliloquy.generate.poll() and not bpy.ops.soliloquy.key_emotion.poll()
    raises(bpy.ops.soliloquy.generate, "Add a head first")
    stage(voiced=False)
    raises(bpy.ops.soliloquy.generate, "Load a voice first")
    raises(bpy.ops.soliloquy.clear, "Generate a performance first")
    raises(bpy.ops.soliloquy.turntable_film, "Generate a performance first")
    raises(bpy.ops.soliloquy.remove_prompt, "no direction yet")


def check_frame_f_of_the_voice_is_frame_f_of_the_face():
    for fps, base in ((25, 1.0), (30, 1.0), (24, 1.001)):
        scene, control, mesh = stage(fps, base)
        strip = voice.strip_of(scene, control)
        if strip is not None:
            strip.frame_start = 12
        else:
            control["voice_frame"] = 12
        assert bpy.ops.soliloquy.generate() == {"FINISHED"}
        rate = Fraction(fps) / Fraction(str(base))
        assert (scene.render.fps, round(scene.render.fps_base, 6)) == (fps, base)
        [(_, taken)] = nla.marked(mesh.data.shape_keys, "take")
        assert taken.frame_start == 12 and abs(taken.frame_end - (12 + 2 * float(rate) - 1)) < 1.01
        for row in (0, 1, 17, 40):
            scene.frame_set(12 + row)
            error = np.abs(vertices(mesh, world=True) - expected(rate, 12, row)).max()
            assert error < TOLERANCE_M, (fps, row, error)


def check_the_engine_hears_what_was_keyed():
    _scene, control, _mesh = stage()
    bpy.ops.soliloquy.key_emotion(emotion="happy", frame=26, ease=0.4)
    bpy.ops.soliloquy.add_prompt(text="smile", frame=11, seconds=1.0)
    raises(bpy.ops.soliloquy.add_prompt, "names no facial action", text="buy a boat")
    control["seed"] = 5
    bpy.ops.soliloquy.generate()
    heard = json.loads(Path(bpy.path.abspath(control["take"])).read_text())
    assert heard["emotions"]["happy"][-1][1] == 1.0 and heard["seed"] == 5
    times, values = np.array(heard["emotions"]["happy"]).T
    assert np.interp(1.0, times, values) > 0.999 and np.interp(0.55, times, values) < 0.1
    [prompt] = heard["prompts"]
    assert (prompt["text"], prompt["start"], prompt["end"]) == ("smile", 0.4, 1.4)
    assert abs(prompt["activation"]["AU12_L"] - 0.8) < 1e-6
    assert board.messages == ["made for tests"]


def check_a_voice_can_begin_at_frame_0_and_before():
    for first in (0, -7):
        scene, control, mesh = stage(voiced=False)
        scene.frame_start = 4
        assert bpy.ops.soliloquy.load_voice(filepath=str(VOICE), frame=first) == {"FINISHED"}
        assert voice.clock_of(scene, control).first == first
        bpy.ops.soliloquy.generate()
        [(_, taken)] = nla.marked(mesh.data.shape_keys, "take")
        assert taken.frame_start == first
        for row in (0, 10):
            scene.frame_set(first + row)
            assert np.abs(vertices(mesh, world=True) - expected(Fraction(25), first, row)).max() < TOLERANCE_M
    bpy.ops.soliloquy.load_voice(filepath=str(VOICE))
    assert voice.clock_of(scene, control).first == scene.frame_start, "unset: the scene's first frame"


def check_large_controls_travel_as_a_file():
    scene, control, _mesh = stage()
    rng = np.random.default_rng(0)
    for name in (
        "happy",
        "sad",
        "angry",
        "fear",
        "AU01_L",
        "AU02_L",
        "AU04_L",
        "AU05_L",
        "AU06_L",
        "AU07_L",
        "valence",
    ):
        for frame in range(1, 401):
            control[name] = float(rng.random())
            control.keyframe_insert(f'["{name}"]', frame=frame)
    scene.frame_end = 1000
    bpy.ops.soliloquy.generate()
    take = Path(bpy.path.abspath(control["take"]))
    assert take.with_suffix(".controls.json").stat().st_size > 48 * 1024
    assert len(json.loads(take.read_text())["emotions"]["sad"]) > 200


def check_each_take_is_a_new_file_beside_the_blend():
    _scene, control, _mesh = stage()
    bpy.ops.soliloquy.generate()
    assert Path(control["take"]).is_absolute(), "before the first save: Blender's temporary folder"
    bpy.ops.wm.save_as_mainfile(filepath=str(Path(FOLDER, "shot.blend")), check_existing=False)
    taken = {Path(control["take"]).name}
    for _ in range(2):
        bpy.ops.soliloquy.generate()
        assert control["take"].startswith("//takes/"), control["take"]
        taken.add(Path(control["take"]).name)
    assert len(taken) == 3 and taken == {p.name for p in Path(FOLDER, "takes").glob("*.npz")}


def _state(control, mesh):
    keys = mesh.data.shape_keys
    strips = [(t.name, s.name, s.action.name) for t, s in nla.marked(keys, "take")]
    return strips, sorted(a.name for a in bpy.data.actions), control.get("take"), bpy.context.scene.frame_end


def check_a_stop_leaves_everything_as_it_was():
    scene, control, mesh = stage()
    bpy.ops.soliloquy.generate()
    before = _state(control, mesh)
    scene.soliloquy.motion = "slow"

    class Operator:  # the operator's own task, driven step by step as the modal timer does
        report = staticmethod(lambda *_: None)
        task = SOLILOQUY_OT_generate.task

    task = Operator().task(bpy.context)
    next(task)
    end = time.monotonic() + 5
    steps = 0
    while time.monotonic() < end:
        step = task.send(False)
        steps += 1
        if step.stage == "motion" and step.fraction > 0.02:
            break
        time.sleep(0.01)
    asked = time.monotonic()
    try:
        while True:
            task.send(True)
            time.sleep(0.01)
    except Stopped:
        pass
    assert time.monotonic() - asked < 0.5 and steps > 2
    assert _state(control, mesh) == before
    scene.soliloquy.motion = "direct"
    assert bpy.ops.soliloquy.generate() == {"FINISHED"}, "the engine goes on after a stop"


def check_an_engine_error_is_its_sentence_and_changes_nothing():
    scene, control, mesh = stage()
    bpy.ops.soliloquy.generate()
    before = _state(control, mesh)
    scene.soliloquy.motion = "fails"
    raises(bpy.ops.soliloquy.generate, "the voice holds no sound; record it again")
    assert _state(control, mesh) == before and board.error and board.running is None
    bpy.ops.soliloquy.dismiss()
    assert not board.error
    shared.current().kill()
    scene.soliloquy.motion = "direct"
    assert bpy.ops.soliloquy.generate() == {"FINISHED"}, "a dead engine is started again"


def check_a_control_removed_meanwhile_is_reported():
    _scene, control, _mesh = stage()
    task = SOLILOQUY_OT_generate.task(type("Operator", (), {"report": None})(), bpy.context)
    next(task)
    bpy.data.objects.remove(control)
    try:
        while True:
            task.send(False)
            time.sleep(0.01)
    except Exception as problem:
        assert type(problem).__name__ == "SceneProblem" and "removed or renamed" in str(problem)


def check_a_head_is_added_whole_or_not_at_all():
    scene = fresh()
    stage_engine()
    kinds = (bpy.data.objects, bpy.data.collections, bpy.data.meshes, bpy.data.armatures)

    def while_it_is_made(change):
        """Add Head, with a change of the person's in between: whether it refuses in one sentence."""
        operator = type("Operator", (), {"report": None, "head": "default", "_warn": None})()
        task = SOLILOQUY_OT_add_head.task(operator, bpy.context)
        shared.current().kill()  # so that it has to start first, and the change comes in time
        next(task)
        change()
        counts = [len(kind) for kind in kinds]
        try:
            while True:
                task.send(False)
                time.sleep(0.01)
        except StopIteration:
            return False
        except SceneProblem as problem:
            assert "add the head again" in str(problem)
        assert [len(kind) for kind in kinds] == counts, "half a head stands there"
        return True

    def edit():
        bpy.ops.mesh.primitive_cube_add()
        bpy.ops.object.mode_set(mode="EDIT")

    assert while_it_is_made(edit)
    bpy.ops.object.mode_set(mode="OBJECT")
    other = bpy.data.scenes.new("Other")

    def go(to):
        bpy.context.window_manager.windows[0].scene = to

    if bpy.context.window_manager.windows:
        assert while_it_is_made(lambda: go(other))
        go(scene)
    assert not while_it_is_made(lambda: None)


def check_edit_mode_is_left_first():
    _scene, control, mesh = stage()
    steps = (bpy.ops.soliloquy.generate, bpy.ops.soliloquy.add_prompt, bpy.ops.soliloquy.clear)
    bpy.ops.soliloquy.generate()
    for active, mode, allowed in ((mesh, "EDIT", False), (mesh, "SCULPT", False), (mesh.parent, "POSE", True)):
        bpy.context.view_layer.objects.active = active
        bpy.ops.object.mode_set(mode=mode)
        assert [step.poll() for step in steps] == [allowed] * 3, mode
        if not allowed:
            raises(bpy.ops.soliloquy.generate, "Go to object or pose mode first")
        bpy.ops.object.mode_set(mode="OBJECT")
    assert control is not None


def check_only_what_can_be_adjusted_offers_it():
    for name in [n for n in dir(bpy.types) if n.startswith("SOLILOQUY_OT_") and n != "SOLILOQUY_OT_use_character"]:
        cls = getattr(bpy.types, name)
        if {"REGISTER", "UNDO"} <= getattr(cls, "bl_options", set()):
            assert [p for p in cls.bl_rna.properties if p.identifier != "rna_type"], name


def check_undo_takes_the_whole_step_back():
    _scene, control, mesh = stage()
    name, mesh_name = control.name, mesh.name
    bpy.ops.ed.undo_push(message="before")
    bpy.ops.soliloquy.generate()
    bpy.ops.ed.undo_push(message="Generate Performance")
    assert bpy.data.objects[mesh_name].data.shape_keys.animation_data is not None
    bpy.ops.ed.undo()
    keys = bpy.data.objects[mesh_name].data.shape_keys
    assert keys.animation_data is None or not nla.marked(keys, "take")
    assert "take" not in bpy.data.objects[name]
    bpy.ops.ed.redo()
    assert nla.marked(bpy.data.objects[mesh_name].data.shape_keys, "take")
    for cls in ("add_head", "load_voice", "generate", "clear", "key_emotion", "add_prompt", "turntable_camera"):
        assert "UNDO" in getattr(bpy.types, f"SOLILOQUY_OT_{cls}").bl_options, cls


def check_alembic_read_back_equals_the_take():
    scene, control, mesh = stage()
    control.location.x = 3.0
    find.armature_of(mesh).location = (0.1, 0.2, 0.3)
    bpy.ops.soliloquy.generate()
    path = Path(FOLDER, "head.abc")
    assert bpy.ops.soliloquy.export_alembic(filepath=str(path)) == {"FINISHED"}
    assert not list(Path(FOLDER).glob(".*part*"))
    world = {}
    for frame in (1, 2, 20, 50):
        scene.frame_set(frame)
        world[frame] = vertices(mesh, world=True)
        truth = expected(Fraction(25), 1, frame - 1) + [0.1, 0.2, 0.3]
        assert np.abs(world[frame] - truth).max() < TOLERANCE_M
    faces = [tuple(p.vertices) for p in mesh.data.polygons]
    fresh().render.fps = 25
    bpy.ops.wm.alembic_import(filepath=str(path), as_background_job=False)
    [back] = [ob for ob in bpy.context.scene.objects if ob.type == "MESH"]
    assert [tuple(p.vertices) for p in back.data.polygons] == faces
    for frame, truth in world.items():
        bpy.context.scene.frame_set(frame)
        error = np.abs(vertices(back, world=True) - truth).max()
        assert error < TOLERANCE_M, (frame, error)


def check_export_needs_a_place():
    _scene, _control, _mesh = stage()
    bpy.ops.soliloquy.generate()
    assert not bpy.data.filepath
    raises(bpy.ops.soliloquy.export_alembic, "Save the file first")


def check_directions_can_be_read_again_and_removed():
    scene, control, _mesh = stage()
    bpy.ops.soliloquy.add_prompt(text="smile", frame=5, seconds=1.0)
    action = prompts.strips(control)[0].action
    action["text"] = "raise the brows"
    bpy.ops.soliloquy.read_prompt()
    assert prompts.activation_of(action).keys() == {"AU01_L", "AU01_R"}
    assert bpy.ops.soliloquy.go_to_prompt(index=0) == {"FINISHED"} and scene.frame_current == 5
    bpy.ops.soliloquy.remove_prompt()
    assert prompts.strips(control) == [] and len(control.animation_data.nla_tracks) == 0


def check_own_character_and_clear():
    stage()
    mesh = find.head_of(find.active_control(bpy.context))
    raises(bpy.ops.soliloquy.use_character, "Select a mesh")
    bpy.context.view_layer.objects.active = mesh
    raises(bpy.ops.soliloquy.use_character, "already has a control")
    bpy.ops.soliloquy.generate()
    assert bpy.ops.soliloquy.clear() == {"FINISHED"}
    assert not nla.marked(mesh.data.shape_keys, "take")
    for control in find.controls(bpy.context.scene):
        bpy.data.objects.remove(control)
    bpy.context.view_layer.objects.active = mesh
    assert bpy.ops.soliloquy.use_character() == {"FINISHED"}
    assert find.head_of(find.active_control(bpy.context)) == mesh


def check_two_heads_need_a_choice():
    stage()
    bpy.ops.soliloquy.add_head()
    bpy.context.view_layer.objects.active = None
    raises(bpy.ops.soliloquy.generate, "select the head or its control")
    first, second = find.controls(bpy.context.scene)
    bpy.context.view_layer.objects.active = find.head_of(first)
    assert find.active_control(bpy.context) == first
    bpy.context.view_layer.objects.active = find.armature_of(find.head_of(second))
    assert find.active_control(bpy.context) == second


def check_a_hand_turn_of_the_neck_is_combined():
    scene, _control, mesh = stage()
    bpy.ops.soliloquy.generate()
    rig = find.armature_of(mesh)
    scene.frame_set(20)
    before = rig.pose.bones["neck"].matrix_basis.to_quaternion().copy()
    from mathutils import Quaternion

    extra = Quaternion((0, 0, 1), 0.3)
    bone = rig.pose.bones["neck"]
    bone.rotation_quaternion = before @ extra
    rig.keyframe_insert('pose.bones["neck"].rotation_quaternion', frame=20)
    bpy.ops.soliloquy.generate()
    scene.frame_set(19)
    scene.frame_set(20)
    now = rig.pose.bones["neck"].matrix_basis.to_quaternion()
    assert now.rotation_difference(before @ extra).angle < 1e-3
    assert len(fcurves.own_curves(rig)) == 4


def check_disabling_during_a_task_closes_it():
    scene, _control, _mesh = stage()
    scene.soliloquy.motion = "slow"

    class Operator(EngineOperator):  # what the modal timer drives
        title, task, report = "Generate", SOLILOQUY_OT_generate.task, lambda *_: None

    running = Operator()
    running._begin()
    running._task = running.task(bpy.context)
    assert running._advance(bpy.context, first=True) is None and board.running is not None
    [job] = shared.current()._open.values()
    blender_addon.unregister()
    assert board.running is None and board.operator is None and job.cancel_by is not None
    assert running._task.gi_frame is None, "the task is closed"
    blender_addon.register()
    stage()
    assert bpy.ops.soliloquy.generate() == {"FINISHED"}, "other tasks can run"


def check_the_persons_own_variable_comes_back():
    name = "SOLILOQUY_CONFIG"
    entry = bpy.context.preferences.addons.new()
    entry.module = "blender_addon"
    chosen = entry.preferences
    try:
        for own in (None, "/own/config.json"):
            chosen.config_path = ""
            os.environ.pop(name, None)
            if own:
                os.environ[name] = own
            chosen.config_path = ""
            assert os.environ.get(name) == own, "an empty field takes nothing away"
            for path in ("/a/config.json", "/b/config.json"):
                chosen.config_path = path
                assert os.environ[name] == path
            chosen.config_path = ""
            assert os.environ.get(name) == own
            chosen.config_path = "/a/config.json"
            blender_addon.unregister()
            assert os.environ.get(name) == own, "nothing stays when the add-on goes"
            blender_addon.register()
            chosen = entry.preferences
            assert os.environ[name] == "/a/config.json"
    finally:
        entry.preferences.config_path = ""
        os.environ.pop(name, None)
        bpy.context.preferences.addons.remove(entry)


def check_panels_of_other_add_ons_are_left_alone():
    class Theirs(bpy.types.Panel):
        bl_space_type, bl_region_type, bl_label = "PROPERTIES", "WINDOW", "Theirs"
        COMPAT_ENGINES = ("BLENDER_RENDER", "SOLILOQUY")

    class Set(bpy.types.Panel):
        bl_space_type, bl_region_type, bl_label = "PROPERTIES", "WINDOW", "Set"
        COMPAT_ENGINES = {"BLENDER_RENDER"}

    blender_addon.unregister()
    blender_addon.register()
    assert Theirs.COMPAT_ENGINES == ("BLENDER_RENDER", "SOLILOQUY")
    assert "SOLILOQUY" in Set.COMPAT_ENGINES
    assert "SOLILOQUY" in bpy.types.SOLILOQUY_PT_render.COMPAT_ENGINES, "our own still show the second time"
    blender_addon.unregister()
    assert {"BLENDER_RENDER"} == Set.COMPAT_ENGINES
    blender_addon.register()


def check_unregister_leaves_a_playing_file():
    scene, _control, mesh = stage()
    bpy.ops.soliloquy.generate()
    scene.frame_set(20)
    before = vertices(mesh)
    shared.stop()
    blender_addon.unregister()
    scene.frame_set(5)
    scene.frame_set(20)
    assert np.abs(vertices(mesh) - before).max() == 0
    assert not [name for name in dir(bpy.types) if name.startswith("SOLILOQUY_")]
    assert not hasattr(bpy.types.Scene, "soliloquy")
    blender_addon.register()
    assert bpy.ops.soliloquy.generate.poll()
    blender_addon.unregister()


main(globals())
