"""Checks of brought characters inside Blender: mapping, drivers, bones, visemes, residual shapes."""

import tempfile
from pathlib import Path

import bpy
import numpy as np
from in_blender import main
from rig_tools import NAMES, drive, mesh_with, performance, reload, rig_with, shown, use, wanted, worst
from stage import fresh, stage_engine, vertices, write_voice

import blender_addon

blender_addon.register()

from blender_addon.convert import mapping, visemes  # noqa: E402
from blender_addon.convert.mapping import Row, Target  # noqa: E402
from blender_addon.convert.names import ARKIT, FACE_VALUES  # noqa: E402
from blender_addon.ops.character import preset_folder  # noqa: E402
from blender_addon.scene import SceneProblem, character, face_values, fcurves, find, nla, shapes, take  # noqa: E402
from blender_addon.ui import status  # noqa: E402


def check_a_character_of_several_meshes_speaks():
    fresh()
    body, teeth = mesh_with("body", ["Fat", *ARKIT]), mesh_with("teeth", ["jawOpen", "jawLeft"], seed=1)
    lashes = mesh_with("lashes", ["EyeBlinkLeft"], seed=2)
    body.data.shape_keys.key_blocks["Fat"].value = 0.7
    control = use(teeth, body, lashes)
    assert find.head_of(control) == body and character.meshes_of(control) == [body, teeth, lashes]
    assert mapping.served(character.rows_of(control)) == 52
    for ob in (body, teeth, lashes):
        assert not ob.keys() and not ob.data.keys() and ob.data.shape_keys.animation_data is None
    made = performance()
    notes = take.write(control, made)
    values = wanted(control, made)
    for ob, key in ((body, "mouthSmileLeft"), (body, "jawOpen"), (teeth, "jawOpen"), (teeth, "jawLeft")):
        assert worst(ob, key, values[Target("KEY", key)]) < 1e-5, (ob.name, key)
    assert worst(body, "eyeBlinkLeft", made.weights[:, 0]) < 1e-5
    assert shown(body, "Fat") == np.float32(0.7)
    assert not notes, notes
    assert take.clear(control) == 3
    assert shown(body, "jawOpen") == 0 and shown(body, "Fat") == np.float32(0.7), "only what was moved goes to rest"
    assert not any(nla.marked(ob.data.shape_keys, "take") for ob in (body, teeth, lashes))


def check_generate_runs_on_a_mapped_character():
    fresh().render.fps = 25
    stage_engine()
    body = mesh_with("body", [n.replace("Left", "_L").replace("Right", "_R") for n in ARKIT])
    control = use(body)
    with tempfile.TemporaryDirectory() as folder:
        assert bpy.ops.soliloquy.load_voice(filepath=str(write_voice(Path(folder, "v.wav"))), frame=1) == {"FINISHED"}
        assert bpy.ops.soliloquy.generate() == {"FINISHED"}
    assert len(nla.marked(body.data.shape_keys, "take", control)) == 1
    assert bpy.ops.soliloquy.clear() == {"FINISHED"}


def check_the_engine_is_told_what_a_mapped_face_does():
    """Keys by hand on a character's own names come back as ARKit's weights, muted keys as nothing."""
    fresh()
    body = mesh_with("body", [n.replace("Left", "_L").replace("Right", "_R") for n in ARKIT])
    use(body)
    sent = np.linspace(0.0, 0.9, len(ARKIT)).astype(np.float32)
    for block, value in zip(body.data.shape_keys.key_blocks[1:], sent, strict=True):
        block.value = value
    body.data.shape_keys.key_blocks["jawOpen"].mute = True
    sent[ARKIT.index("jawOpen")] = 0.0
    bpy.context.view_layer.update()
    told = face_values.read(body, bpy.context.evaluated_depsgraph_get())
    assert np.abs(told[: len(ARKIT)] - sent).max() < 1e-6 and not told[len(ARKIT) : 59].any()
    assert FACE_VALUES.index("AU01_L") == 59 and told[59:95].min() >= 0 and told[59:95].max() > 0.3
    assert told[FACE_VALUES.index("intensity")] == 1.0


def check_gain_offset_and_many_targets():
    fresh()
    body = mesh_with("body", ["smile", "grin", "jaw"])
    control = use(body)
    character.set_rows(
        control,
        [
            Row("mouthSmileLeft", Target("KEY", "smile"), 0.5),
            Row("mouthSmileRight", Target("KEY", "smile"), 0.25, 0.1),
            Row("mouthSmileLeft", Target("KEY", "grin"), 0.3),
            Row("eyeWideLeft", Target("KEY", "jaw"), on=False),
            Row("eyeWideLeft", Target("KEY", "nowhere")),
        ],
    )
    made = performance()
    notes = take.write(control, made)
    left, right = (made.weights[:, NAMES.index(f"mouthSmile{s}")] for s in ("Left", "Right"))
    assert worst(body, "smile", 0.5 * left + 0.25 * right + 0.1) < 1e-5
    assert worst(body, "grin", 0.3 * left) < 1e-5
    paths = {c.data_path for c in fcurves.all_curves(nla.marked(body.data.shape_keys, "take")[0][1].action)}
    assert len(paths) == 2 and any("'nowhere' is left out" in note for note in notes), notes


def check_sliders_of_the_artist_are_not_widened():
    fresh()
    body = mesh_with("body", list(ARKIT))
    control = use(body)
    character.set_rows(control, [Row("jawOpen", Target("KEY", "jawOpen"), 2.0)])
    notes = take.write(control, performance())
    assert body.data.shape_keys.key_blocks["jawOpen"].slider_max == 1.0
    assert any("jawOpen: values beyond" in n for n in notes), notes


def check_a_mouth_of_visemes_closes_in_p_b_m():
    fresh()
    names = ["sil", "PP", "FF", "TH", "DD", "kk", "CH", "SS", "nn", "RR", "aa", "E", "I", "O", "U"]
    body = mesh_with(
        "body", [*(f"viseme_{n}" for n in names), "eyeBlinkLeft", "eyeBlinkRight", "mouthSmile", "jawOpen"]
    )
    control = use(body)
    rows = character.rows_of(control)
    assert visemes.set_in_use(rows) == "oculus" and len([r for r in rows if "viseme_" in r.source]) == 15
    assert {r.source for r in rows if "viseme_" not in r.source} == {"eyeBlinkLeft", "eyeBlinkRight"}
    take.write(control, performance())
    for frame in range(1, 21):
        bpy.context.scene.frame_set(frame)
        held = 9 <= frame <= 12
        assert shown(body, "viseme_PP") == (1.0 if held else 0.0)
        others = [shown(body, f"viseme_{n}") for n in names if n != "PP"]
        assert max(others) == 0 if held else max(others) > 0.02, frame


# Rigs with drivers


def check_driven_keys_are_reached_through_what_drives_them():
    fresh()
    body = mesh_with("body", list(ARKIT))
    rig = rig_with(["mouth", "jaw", "brow", "head"])
    rig["smile"], rig["blink"], rig["deep"] = 0.0, 0.0, 0.0
    drive(body, "mouthSmileLeft", smile=(rig, '["smile"]'))
    drive(body, "eyeBlinkLeft", "SCRIPTED", "blink * 2 + 0", blink=(rig, '["blink"]'))
    drive(body, "mouthFrownLeft", "SCRIPTED", "max(0, -y / 0.05)", y=(rig, "mouth", "LOC_Y"))
    drive(body, "mouthSmileRight", "SCRIPTED", "max(0, y / 0.05)", y=(rig, "mouth", "LOC_Y"))
    drive(body, "jawOpen", "SCRIPTED", "degrees(a) / 25", a=(rig, "jaw", "ROT_X"))
    drive(body, "browInnerUp", "SCRIPTED", "z * z", z=(rig, 'pose.bones["brow"].location[2]'))
    chain = rig.driver_add('["deep"]').driver
    chain.type = "SUM"
    variable = chain.variables.new()
    variable.targets[0].id, variable.targets[0].data_path = rig, 'pose.bones["head"].location.x'
    drive(body, "cheekPuff", "SCRIPTED", "d * 4", d=(rig, '["deep"]'))
    drive(body, "tongueOut", "SCRIPTED", "a + b", a=(rig, '["smile"]'), b=(rig, '["blink"]'))
    drive(body, "noseSneerLeft", "SCRIPTED", "frame / 10")
    control = use(body)
    made = performance()
    made.weights[:, NAMES.index("mouthFrownLeft")] = np.where(np.arange(20) < 10, 0.4, 0.0)
    made.weights[:, NAMES.index("mouthSmileRight")] = np.where(np.arange(20) < 10, 0.0, 0.8)
    notes = take.write(control, made)
    values = wanted(control, made)
    for key in ("mouthSmileLeft", "eyeBlinkLeft", "mouthFrownLeft", "mouthSmileRight", "jawOpen", "cheekPuff"):
        error = worst(body, key, values[Target("KEY", key)])
        assert error < 1e-4, (key, error)
    assert worst(body, "browInnerUp", values[Target("KEY", "browInnerUp")]) < 5e-3, "a square, turned round by samples"
    said = [n for n in notes if "left out" in n]
    assert len(said) == 2 and any("mixes 2 values (a, b)" in n for n in said), notes
    assert any("noseSneerLeft" in n for n in said)
    keyed = {(c.data_path, c.array_index) for c in fcurves.all_curves(nla.marked(rig, "take")[0][1].action)}
    assert {('["smile"]', 0), ('pose.bones["mouth"].location', 1), ('pose.bones["jaw"].rotation_euler', 0),
            ('pose.bones["head"].location', 0), ('pose.bones["brow"].location', 2)} <= keyed, keyed  # fmt: skip
    on_keys = fcurves.all_curves(nla.marked(body.data.shape_keys, "take")[0][1].action)
    assert not any("mouthSmileLeft" in c.data_path for c in on_keys), "a driven key is not keyed"
    take.clear(control)
    assert rig["smile"] == 0.0 and rig.pose.bones["jaw"].rotation_euler.x == 0.0


def check_a_world_space_driver_is_said():
    fresh()
    body, rig = mesh_with("body", list(ARKIT)), rig_with(["jaw"])
    curve = drive(body, "jawOpen", "SCRIPTED", "a", a=(rig, "jaw", "LOC_Z"))
    curve.driver.variables[0].targets[0].transform_space = "WORLD_SPACE"
    [note] = [n for n in take.write(use(body), performance()) if "jawOpen" in n]
    assert "world" in note, note


def check_a_bone_that_turns_by_quaternion_is_keyed_about_its_axis():
    fresh()
    body, rig = mesh_with("body", list(ARKIT)), rig_with(["jaw"], "QUATERNION")
    drive(body, "jawOpen", "SCRIPTED", "a * 2", a=(rig, "jaw", "ROT_X"))
    control = use(body)
    made = performance()
    take.write(control, made)
    assert worst(body, "jawOpen", wanted(control, made)[Target("KEY", "jawOpen")]) < 1e-4


def check_bones_properties_and_joints_are_targets():
    fresh()
    body, rig = mesh_with("body", ["a"]), rig_with(["jaw", "lip", "head", "neck2"])
    rig.pose.bones["head"].rotation_mode = "QUATERNION"
    rig["open"] = 0.25
    rig.id_properties_ui("open").update(default=0.25)
    rig.data["wide"] = 0.0
    control = use(body)
    character.set_rows(
        control,
        [
            Row("jawOpen", Target("BONE", "jaw", "rig", "ROT_X"), 0.4),
            Row("mouthFunnel", Target("BONE", "lip", "rig", "LOC_Y"), -0.02),
            Row("mouthPucker", Target("BONE", "lip", "rig", "SCALE_X"), -0.5),
            Row("eyeWideLeft", Target("PROP", '["open"]', "rig"), 0.5),
            Row("eyeWideRight", Target("PROP", 'data["wide"]', "rig"), 2.0),
            Row("eyeWideRight", Target("PROP", 'data.shape_keys.key_blocks["a"].value', "body"), 0.5),
            Row("neck", Target("BONE", "head", "rig", mapping.TURN)),
            Row("neck", Target("BONE", "neck2", "rig", mapping.TURN), 0.5),
            Row("jawOpen", Target("PROP", "location", "nobody")),
        ],
    )
    made = performance(contact=False)
    notes = take.write(control, made)
    assert any("its object is not chosen" in n for n in notes), notes
    at = {name: made.weights[:, i] for i, name in enumerate(NAMES)}
    jaw = wanted(control, made)[Target("BONE", "jaw", "rig", "ROT_X")]
    from mathutils import Quaternion, Vector

    for frame in (1, 7, 20):
        bpy.context.scene.frame_set(frame)
        i = frame - 1
        bones = rig.pose.bones
        assert abs(bones["jaw"].rotation_euler.x - jaw[i]) < 1e-5
        lips = wanted(control, made)[Target("BONE", "lip", "rig", "LOC_Y")][i]
        assert abs(bones["lip"].location.y - lips) < 1e-5
        assert abs(bones["lip"].scale.x - (1 - 0.5 * at["mouthPucker"][i])) < 1e-5
        assert abs(rig["open"] - (0.25 + 0.5 * at["eyeWideLeft"][i])) < 1e-5, "at rest it shows its default"
        assert abs(rig.data["wide"] - 2 * at["eyeWideRight"][i]) < 1e-5
        assert abs(shown(body, "a") - 0.5 * at["eyeWideRight"][i]) < 1e-5
        axis = Vector((made.pose[i, 3], -made.pose[i, 5], made.pose[i, 4]))
        for name, share in (("head", 1.0), ("neck2", 0.5)):
            turned = bones[name].matrix.to_quaternion()
            truth = Quaternion(axis, share * axis.length) @ bones[name].bone.matrix_local.to_quaternion()
            assert turned.rotation_difference(truth).angle < 1e-3, name
    assert {o.bl_rna.identifier for o in (rig, rig.data, body.data.shape_keys) if nla.marked(o, "take")} == {
        "Object", "Armature", "Key",
    }  # fmt: skip


def check_a_rig_whose_sliders_are_properties_is_mapped_by_name():
    fresh()
    body, rig = mesh_with("body", ["corrective_01"]), rig_with(["face_controls", "head"])
    body.modifiers.new("Armature", "ARMATURE").object = rig
    for name in ARKIT[:20]:
        rig.pose.bones["face_controls"][name] = 0.0
    for name in ARKIT[20:]:
        rig[name] = 0.0
    rig["rig_id"] = "text"
    control = use(rig)
    rows = character.rows_of(control)
    assert mapping.served(rows) == 52 and all(r.target.kind == "PROP" for r in rows if r.source in ARKIT)
    made = performance()
    notes = take.write(control, made)
    assert not notes, notes
    bpy.context.scene.frame_set(7)
    blink = made.weights[6, NAMES.index("eyeBlinkLeft")]
    assert abs(rig.pose.bones["face_controls"]["eyeBlinkLeft"] - blink) < 1e-5
    assert abs(rig["browOuterUpLeft"] - made.weights[6, NAMES.index("browOuterUpLeft")]) < 1e-5
    take.clear(control)
    assert rig["browOuterUpLeft"] == 0 and rig.pose.bones["face_controls"]["eyeBlinkLeft"] == 0


def check_an_edited_mapping_leaves_nothing_behind():
    fresh()
    body, rig = mesh_with("body", ["jawOpen"]), rig_with(["jaw"])
    control = use(body)
    rows = character.rows_of(control)
    character.set_rows(control, [Row("jawOpen", Target("BONE", "jaw", "rig", "ROT_X"), 0.4)])
    take.write(control, performance())
    bpy.context.scene.frame_set(15)
    assert rig.pose.bones["jaw"].rotation_euler.x != 0
    character.set_rows(control, rows)
    take.write(control, performance())
    assert not nla.marked(rig, "take") and rig.pose.bones["jaw"].rotation_euler.x == 0
    assert nla.marked(body.data.shape_keys, "take")


def check_two_characters_do_not_touch_each_other():
    fresh()
    one, two = mesh_with("one", list(ARKIT)), mesh_with("two", list(ARKIT), seed=5)
    first, second = use(one), use(two)
    take.write(first, performance())
    take.write(second, performance(seed=2))
    take.clear(second)
    assert nla.marked(one.data.shape_keys, "take", first) and not nla.marked(two.data.shape_keys, "take")


def check_the_artists_action_on_the_rig_is_kept():
    fresh()
    body, rig = mesh_with("body", list(ARKIT)), rig_with(["jaw", "hand"])
    rig.pose.bones["hand"].keyframe_insert("location", frame=1)
    own = rig.animation_data.action
    control = use(body)
    character.set_rows(control, [Row("jawOpen", Target("BONE", "jaw", "rig", "ROT_X"), 0.4)])
    notes = take.write(control, performance())
    assert rig.animation_data.action == own and not notes, "it has no key where the take has"
    rig.pose.bones["jaw"].keyframe_insert("rotation_euler", frame=1)
    notes = take.write(control, performance())
    assert any(own.name in n for n in notes)


# Table, presets, files


def check_the_table_is_edited_saved_and_loaded():
    fresh()
    body = mesh_with("body", list(ARKIT))
    rig = rig_with(["jaw"])
    control = use(body)
    settings = character.settings_of(control)
    settings.row_index = 3
    bpy.ops.soliloquy.add_map_row()
    assert settings.row_index == 4 and settings.rows[4].source == settings.rows[3].source
    settings.rows[4].kind, settings.rows[4].object, settings.rows[4].name = "BONE", rig, "jaw"
    settings.rows[4].channel, settings.rows[4].gain = "ROT_Z", 0.25
    rows = character.rows_of(control)
    assert bpy.ops.soliloquy.save_mapping(name="My rig") == {"FINISHED"}
    assert preset_folder().is_dir() and (preset_folder() / "My_rig.json").is_file()
    bpy.ops.soliloquy.remove_map_row()
    bpy.ops.soliloquy.auto_map()
    assert len(character.rows_of(control)) == len(rows) - 1
    assert bpy.ops.soliloquy.load_mapping(name="My_rig") == {"FINISHED"}
    assert character.rows_of(control) == rows
    assert bpy.ops.soliloquy.remove_mapping(name="My_rig") == {"FINISHED"}
    try:
        bpy.ops.soliloquy.load_mapping(name="My_rig")
    except RuntimeError as error:
        assert "cannot be read" in str(error)
    else:
        raise AssertionError("a preset that is gone was loaded")


def check_a_saved_file_keeps_table_and_performance():
    fresh()
    body, teeth = mesh_with("body", list(ARKIT)), mesh_with("teeth", ["jawOpen"], seed=4)
    control = use(body, teeth)
    made = performance()
    take.write(control, made)
    rows = character.rows_of(control)
    values = wanted(control, made)
    with tempfile.TemporaryDirectory() as folder:
        reload(Path(folder, "a.blend"))
        control = find.controls(bpy.context.scene)[0]
        assert character.rows_of(control) == rows
        assert [m.name for m in character.meshes_of(control)] == ["body", "teeth"]
        for ob in character.meshes_of(control):
            assert worst(ob, "jawOpen", values[Target("KEY", "jawOpen")]) < 1e-5


def check_residual_shapes_are_keyed_on_our_own_keys():
    from stage import NAMES as OWN
    from stage import character as own_head
    from stage import performance as own_performance
    from stage import to_blender, truth, vertices

    control, mesh, _ = own_head()
    rng = np.random.default_rng(0)
    shapes = rng.normal(0, 0.002, (3, len(mesh.data.vertices), 3)).astype(np.float32)
    weights = rng.normal(0, 8.0, (20, 3)).astype(np.float32)  # beyond what a slider can show
    made = own_performance(20)
    still = np.zeros_like(made.pose)
    made = take.TakeArrays(made.weights, OWN, still, np.zeros((20, 3), np.float32), 1, "x.npz",
                           residual=(shapes, weights))  # fmt: skip
    ranges = {b.name: b.slider_min for b in mesh.data.shape_keys.key_blocks}
    take.write(control, made)
    for row in (0, 9, 19):
        bpy.context.scene.frame_set(1 + row)
        wanted_now = truth(made, row) + to_blender(np.tensordot(weights[row], shapes, 1))
        assert np.abs(vertices(mesh) - wanted_now).max() < 1e-5, row
    blocks = mesh.data.shape_keys.key_blocks
    assert [b.name for b in blocks if b.name.startswith("SOL_res_")] == ["SOL_res_000", "SOL_res_001", "SOL_res_002"]
    assert all(b.slider_min == ranges[b.name] for b in blocks if b.name in ranges)
    fewer = take.TakeArrays(
        made.weights, OWN, still, made.translation, 1, "x.npz", residual=(shapes[:1], weights[:, :1])
    )
    take.write(control, fewer)
    assert "SOL_res_001" not in blocks and "SOL_res_000" in blocks
    take.write(control, own_performance(5))
    assert not [b.name for b in blocks if b.name.startswith("SOL_res_")]
    bad = take.TakeArrays(made.weights, OWN, still, made.translation, 1, "x.npz", residual=(shapes[:, :5], weights))
    try:
        take.write(control, bad)
    except SceneProblem as problem:
        assert "5 vertices" in str(problem)
    else:
        raise AssertionError("shapes of another mesh were taken")


def check_choosing_says_what_to_select():
    fresh()
    try:
        bpy.ops.soliloquy.use_character()
    except RuntimeError as error:
        assert "Select a mesh" in str(error)
    else:
        raise AssertionError("nothing was chosen")
    body, rig = mesh_with("body", list(ARKIT)), rig_with(["jaw", "head"])
    body.modifiers.new("Armature", "ARMATURE").object = rig
    control = use(rig)
    assert find.head_of(control) == body, "an armature stands for its meshes"
    [turn] = [r for r in character.rows_of(control) if r.target.channel == mapping.TURN]
    assert (turn.source, turn.target.name, turn.target.object) == ("neck", "head", "rig")


# A mesh without keys


def check_shapes_are_made_looked_at_and_applied():
    fresh()
    stage_engine()
    rng = np.random.default_rng(0)
    data = bpy.data.meshes.new("bare")
    data.from_pydata(rng.normal(0, 0.1, (30, 3)).tolist(), [], [(i, i + 1, i + 2) for i in range(28)])
    ob = bpy.data.objects.new("bare", data)
    bpy.context.scene.collection.objects.link(ob)
    ob.location, ob.rotation_euler, ob.scale = (1.0, 2.0, 3.0), (0.0, 0.0, 0.4), (0.5, 0.5, 0.5)
    control = use(ob)
    assert character.rows_of(control) == () and not bpy.ops.soliloquy.make_shapes.poll()
    try:
        bpy.ops.soliloquy.make_shapes()
    except RuntimeError as error:
        assert "Pick the outer corner" in str(error)
    for i, mark in enumerate(shapes.MARKS):
        shapes.set_pick(control, mark, data.vertices[i].co)
    assert bpy.ops.soliloquy.make_shapes() == {"FINISHED"}
    preview = shapes.preview_of(control)
    assert data.shape_keys is None and ob.hide_get() and len(preview.data.shape_keys.key_blocks) == 53
    bpy.context.view_layer.update()
    world = np.array(ob.matrix_world)
    rest = np.array([v.co for v in data.vertices], np.float64)
    # The stage engine answers (k + 1) mm up for shape k, and heard the picks where they are in the world.
    jaw = ARKIT.index("jawOpen")
    settings = character.settings_of(control)
    settings.preview_shape, settings.preview_value = "jawOpen", 0.5
    assert status.next_step(bpy.context)[0].startswith("Look at the new shapes"), "the box says what comes next"
    moved = vertices(preview) @ world[:3, :3].T + world[:3, 3]
    lift = moved - (rest @ world[:3, :3].T + world[:3, 3])
    assert np.abs(lift - [0, 0, 0.0005 * (jaw + 1)]).max() < 1e-6
    assert bpy.ops.soliloquy.discard_shapes() == {"FINISHED"}
    assert shapes.preview_of(control) is None and not ob.hide_get() and data.shape_keys is None
    bpy.ops.soliloquy.make_shapes()
    assert bpy.ops.soliloquy.apply_shapes() == {"FINISHED"}
    assert [b.name for b in data.shape_keys.key_blocks][1:] == list(ARKIT)
    assert mapping.served(character.rows_of(control)) == 52 and not ob.hide_get()
    assert len(bpy.data.meshes) == 1 and shapes.preview_of(control) is None
    take.write(control, performance())
    assert not bpy.ops.soliloquy.make_shapes.poll(), "a mesh with keys is left alone"


def check_a_linked_mesh_gets_no_keys():
    with tempfile.TemporaryDirectory() as folder:
        fresh()
        data = bpy.data.meshes.new("bare")
        data.from_pydata([(0, 0, 0), (1, 0, 0), (0, 1, 0)], [], [(0, 1, 2)])
        ob = bpy.data.objects.new("bare", data)
        bpy.context.scene.collection.objects.link(ob)
        path = Path(folder, "a.blend")
        bpy.ops.wm.save_as_mainfile(filepath=str(path), check_existing=False)
        fresh()
        with bpy.data.libraries.load(str(path), link=True) as (_, into):
            into.objects = ["bare"]
        linked = bpy.data.objects["bare"]
        bpy.context.scene.collection.objects.link(linked)
        control = use(linked)
        for mark in shapes.MARKS:
            shapes.set_pick(control, mark, (0, 0, 0))
        try:
            bpy.ops.soliloquy.make_shapes()
        except RuntimeError as error:
            assert "append it instead" in str(error)
        else:
            raise AssertionError("a linked mesh was taken")
        assert linked.data.shape_keys is None
        name = control.name
        reload(Path(folder, "shot.blend"))
        control = bpy.data.objects[name]
        assert control.library is None and character.meshes_of(control)[0].data.shape_keys is None
        assert len(shapes.picks(control)) == len(shapes.MARKS), "the points are on our control, not on the mesh"


main(globals())
