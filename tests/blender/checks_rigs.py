"""Characters built as production tools build them, each taken through My Character, a performance, save and reload."""

import math
import tempfile
from pathlib import Path

import bpy
import numpy as np
from in_blender import main
from mathutils import Matrix, Vector
from rig_tools import NAMES, drive, mesh_with, performance, reload, rig_with, shown, use, wanted, worst
from stage import fresh, stage_engine, vertices

import blender_addon

blender_addon.register()

from blender_addon.convert import mapping, visemes  # noqa: E402
from blender_addon.convert.mapping import Target  # noqa: E402
from blender_addon.convert.names import ARKIT  # noqa: E402
from blender_addon.scene import character, fcurves, find, nla, shapes, take  # noqa: E402

FRAMES = (1, 5, 10, 20)


def plays(control, made, keys, tolerance=1e-5):
    """Every (object, key) shows what the mapping asks, now and after save and reload; the control as reloaded."""
    values = wanted(control, made)
    names = [(ob.name, key) for ob, key in keys]
    for name, key in names:
        error = worst(bpy.data.objects[name, None], key, values[Target("KEY", key)])
        assert error < tolerance, (name, key, error)
    with tempfile.TemporaryDirectory() as folder:
        rows, name = character.rows_of(control), control.name
        reload(Path(folder, "shot.blend"))
        control = bpy.data.objects[name]
        assert character.rows_of(control) == rows
        for owner, key in names:
            error = worst(bpy.data.objects[owner, None], key, values[Target("KEY", key)])
            assert error < tolerance, (owner, key, error, "after reload")
    return control


def sphere(name, place):
    """A mesh object without keys: an eye, a row of teeth."""
    data = bpy.data.meshes.new(name)
    data.from_pydata([(0, 0, 0), (0.01, 0, 0), (0, 0.01, 0), (0, 0, 0.01)], [], [(0, 1, 2), (0, 2, 3)])
    ob = bpy.data.objects.new(name, data)
    ob.location = place
    bpy.context.scene.collection.objects.link(ob)
    return ob


def check_a_vrm_avatar_with_perfect_sync():
    fresh()
    keys = ["Fcl_ALL_Neutral", "Fcl_MTH_A", "Fcl_EYE_Close", *(n[0].upper() + n[1:] for n in ARKIT)]
    face, hair = mesh_with("Face", keys), sphere("Hair", (0, 0, 0.1))
    teeth, eye = sphere("Teeth", (0, -0.05, 0)), sphere("EyeIris", (0.03, -0.05, 0.05))
    rig = rig_with(["Root", "J_Bip_C_Hips", "J_Bip_C_Neck", "J_Bip_C_Head", "J_Adj_L_FaceEye", "J_Adj_R_FaceEye"])
    for ob in (face, hair, teeth, eye):
        ob.parent = rig
        ob.modifiers.new("Armature", "ARMATURE").object = rig
    before = {ob.name: (list(ob.keys()), ob.data.shape_keys) for ob in (hair, teeth, eye)}
    control = use(rig)
    assert find.head_of(control) == face and character.meshes_of(control) == [face]
    rows = character.rows_of(control)
    assert mapping.served(rows) == 52
    turns = {r.source: r.target.name for r in rows if r.target.kind == "BONE"}
    assert turns["neck"] == "J_Bip_C_Head", turns
    made = performance()
    assert not take.write(control, made)
    control = plays(control, made, [(face, "JawOpen"), (face, "MouthSmileLeft"), (face, "EyeBlinkRight")])
    for name, (own, data) in before.items():
        ob = bpy.data.objects[name]
        assert list(ob.keys()) == own and data is None and ob.data.shape_keys is None, (
            "untouched: they follow the bones"
        )
    rig = bpy.data.objects["rig"]
    bpy.context.scene.frame_set(7)
    head = rig.pose.bones["J_Bip_C_Head"]
    axis = Vector((made.pose[6, 3], -made.pose[6, 5], made.pose[6, 4]))
    truth = Matrix.Rotation(axis.length, 3, axis) @ head.bone.matrix_local.to_3x3()
    assert head.matrix.to_3x3().to_quaternion().rotation_difference(truth.to_quaternion()).angle < 1e-3


def rigify_face():
    """A face whose keys are driven by control bones, as face rigs built on Rigify do it."""
    fresh()
    body = mesh_with("body", list(ARKIT))
    rig = rig_with(["jaw_master", "lips.L", "lips.R", "lid.T.L", "lid.T.R", "brow.C", "cheek", "head"])
    body.modifiers.new("Armature", "ARMATURE").object = rig
    drive(body, "jawOpen", "SCRIPTED", "min(max(a * 2.5, 0), 1)", a=(rig, "jaw_master", "ROT_X"))
    drive(body, "jawLeft", "SCRIPTED", "clamp(x * 40)", x=(rig, "jaw_master", "LOC_X"))
    drive(body, "jawRight", "SCRIPTED", "clamp(-x * 40)", x=(rig, "jaw_master", "LOC_X"))
    drive(body, "mouthSmileLeft", "SCRIPTED", "var * 25 if var > 0 else 0", var=(rig, "lips.L", "LOC_Y"))
    drive(body, "mouthFrownLeft", "SCRIPTED", "var * -25 if var < 0 else 0", var=(rig, "lips.L", "LOC_Y"))
    drive(body, "mouthSmileRight", "SCRIPTED", "var / .04", var=(rig, "lips.R", "LOC_Y"))
    drive(body, "eyeBlinkLeft", "SCRIPTED", "1 - sy", sy=(rig, "lid.T.L", "SCALE_Y"))
    drive(body, "eyeBlinkRight", "AVERAGE", y=(rig, "lid.T.R", "LOC_Y"))
    curve = body.data.shape_keys.animation_data.drivers[-1]
    while curve.modifiers:  # Blender's own "driver curve" is a generator of slope 1
        curve.modifiers.remove(curve.modifiers[0])
    curve.keyframe_points.add(2 - len(curve.keyframe_points))
    for point, place in zip(curve.keyframe_points, ((0.0, 0.0), (-0.02, 1.0)), strict=True):
        point.co, point.interpolation = place, "LINEAR"
    curve.extrapolation = "LINEAR"
    curve.update()
    drive(body, "browInnerUp", "SCRIPTED", "z * 30 + 0.1", z=(rig, "brow.C", "LOC_Z"))
    drive(body, "cheekPuff", "SCRIPTED", "x * y", x=(rig, "cheek", "LOC_X"), y=(rig, "cheek", "LOC_Y"))
    drive(body, "noseSneerLeft", "SUM", x=(rig, "cheek", "LOC_X"), y=(rig, "cheek", "LOC_Z"))
    return body, rig


def check_a_face_rig_of_control_bones():
    body, rig = rigify_face()
    control = use(body)
    made = performance(contact=False)
    half = np.arange(20) < 10
    for name, on in (("mouthFrownLeft", half), ("mouthSmileLeft", ~half), ("jawLeft", half), ("jawRight", ~half)):
        made.weights[:, NAMES.index(name)] *= on  # one control shows one of two opposite shapes at a time
    notes = take.write(control, made)
    said = [n for n in notes if "left out" in n]
    assert len(said) == 2 and all("mixes 2 values" in n for n in said), notes
    assert {n.split("'")[1] for n in said} == {"cheekPuff", "noseSneerLeft"}
    bpy.context.scene.frame_set(5)
    assert abs(rig.pose.bones["lid.T.L"].scale.y - (1 - made.weights[4, NAMES.index("eyeBlinkLeft")])) < 1e-5
    assert rig.pose.bones["lid.T.R"].location.y < 0, "a curve that falls is turned round"
    values = wanted(control, made)
    lifted = np.maximum(values[Target("KEY", "browInnerUp")], 0.1)  # it shows a tenth by itself
    assert worst(body, "browInnerUp", lifted) < 1e-4
    keys = ("jawOpen", "jawLeft", "jawRight", "mouthSmileLeft", "mouthFrownLeft", "mouthSmileRight", "eyeBlinkLeft",
            "eyeBlinkRight", "mouthPucker")  # fmt: skip
    control = plays(control, made, [(body, key) for key in keys], 1e-4)
    take.clear(control)
    rig = bpy.data.objects["rig"]
    bpy.context.view_layer.update()
    for bone in rig.pose.bones:
        assert tuple(bone.location) == (0, 0, 0) and tuple(bone.scale) == (1, 1, 1), bone.name
    assert abs(rig.pose.bones["jaw_master"].rotation_euler.x) < 1e-7


def check_a_linked_face_rig_is_overridden_and_plays_after_a_reload():
    """Bones of a linked rig, and a property that its maker did not mark as overridable."""
    body, rig = rigify_face()
    rig["funnel"] = 0.0
    drive(body, "mouthFunnel", "SCRIPTED", "f * 2", f=(rig, '["funnel"]'))
    collection = bpy.data.collections.new("Actor")
    bpy.context.scene.collection.children.link(collection)
    for ob in (body, rig):
        bpy.context.scene.collection.objects.unlink(ob)
        collection.objects.link(ob)
    body.parent = rig
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "actor.blend")
        bpy.ops.wm.save_as_mainfile(filepath=str(path), check_existing=False)
        fresh()
        with bpy.data.libraries.load(str(path), link=True) as (_, into):
            into.collections = ["Actor"]
        bpy.context.scene.collection.children.link(bpy.data.collections["Actor"])
        control = use(bpy.data.collections["Actor"].objects["body"])
        assert bpy.ops.soliloquy.override_character() == {"FINISHED"}
        [body] = character.meshes_of(control)
        made = performance(contact=False)
        half = np.arange(20) < 10
        for name, on in (("mouthFrownLeft", half), ("mouthSmileLeft", ~half)):
            made.weights[:, NAMES.index(name)] *= on
        take.write(control, made)
        keys = ("jawOpen", "mouthSmileLeft", "mouthFrownLeft", "eyeBlinkLeft", "eyeBlinkRight", "mouthFunnel")
        control = plays(control, made, [(body, key) for key in keys], 1e-4)
        [body] = character.meshes_of(control)
        rig = find.armature_of(body)
        assert rig.override_library is not None and rig.library is None
        take.clear(control)
        assert rig["funnel"] == 0 and tuple(rig.pose.bones["lips.L"].location) == (0, 0, 0)


def check_sliders_on_the_armature_and_its_bones():
    fresh()
    body = mesh_with("body", list(ARKIT))
    rig = rig_with(["head", "props"])
    body.modifiers.new("Armature", "ARMATURE").object = rig
    for name in ARKIT:
        holder, path = (rig, "") if name < "j" else (rig.pose.bones["props"], 'pose.bones["props"]')
        holder[f"ctrl {name}"] = 0.0
        holder.id_properties_ui(f"ctrl {name}").update(min=0.0, max=100.0, default=0.0)
        drive(body, name, "SCRIPTED", "v / 100", v=(rig, f'{path}["ctrl {name}"]'))
    control = use(body)
    made = performance()
    notes = take.write(control, made)
    assert not [n for n in notes if "left out" in n], notes
    plays(
        control, made, [(body, "jawOpen"), (body, "browInnerUp"), (body, "eyeBlinkLeft"), (body, "mouthPucker")], 1e-4
    )
    assert bpy.data.objects["rig"]["ctrl browInnerUp"] > 1.0, "a slider of a hundred, not of one"


def check_mouths_of_mirrored_visemes():
    from blender_addon.convert.visemes import tables

    for which, pick in (("oculus", lambda names: names[0]), ("microsoft", lambda names: names[-1])):
        fresh()
        names = [pick(entry["names"]) for entry in tables()[which].values()]
        body = mesh_with("body", [f"{n}_{side}" for n in names for side in "LR"])
        control = use(body)
        rows = character.rows_of(control)
        assert visemes.set_in_use(rows) == which, which
        assert len(rows) == 2 * len(names), (which, len(rows))
        made = performance()
        take.write(control, made)
        closing = [n for n, e in zip(names, tables()[which].values(), strict=True) if e.get("closure")]
        for frame in (3, 10, 11):
            bpy.context.scene.frame_set(frame)
            for name in names:
                assert shown(body, f"{name}_L") == shown(body, f"{name}_R")
            if 9 <= frame <= 12:
                assert max(shown(body, f"{n}_L") for n in closing) == 1.0, frame
        plays(control, made, [(body, f"{names[0]}_L"), (body, f"{names[-1]}_R")])


def check_names_with_other_cases_prefixes_and_duplicates():
    fresh()
    junk = []
    for i, name in enumerate(ARKIT):
        side = name.replace("Left", "_L").replace("Right", "_R")
        junk.append((f"Face_blendShape1.{name}", f"head_geo.{side}", name.upper(), f"{name}.001")[i % 4])
    body = mesh_with("body", [*junk, "body_blendShape.breathe", "jawOpen_old", "smile.L.002", "mouthSmile_corrective"])
    control = use(body)
    rows = character.rows_of(control)
    assert mapping.served(rows) == 52, [n for n in ARKIT if n not in mapping.sources(rows)]
    assert {r.target.name for r in rows} >= set(junk)
    made = performance()
    take.write(control, made)
    plays(control, made, [(body, key) for key in junk[:20]])
    fresh()
    twice = mesh_with("body", ["jawOpen", "Face_blendShape1.jawOpen", "JawOpen.001", "MOUTHSMILELEFT", "mouthSmile_L"])
    aimed = [(r.source, r.target.name) for r in character.rows_of(use(twice)) if r.source in ARKIT]
    assert ("jawOpen", "jawOpen") in aimed and len([s for s, _ in aimed if s == "jawOpen"]) == 1, aimed


def check_a_character_in_centimetres_under_turned_parents():
    fresh()
    stage_engine()
    top = bpy.data.objects.new("shot", None)
    top.location, top.rotation_euler = (1.0, -2.0, 0.5), (0.0, 0.0, math.radians(70))
    scale = bpy.data.objects.new("fbx", None)
    scale.scale, scale.rotation_euler = (0.01, 0.01, 0.01), (math.radians(90), 0, 0)
    for ob in (top, scale):
        bpy.context.scene.collection.objects.link(ob)
    scale.parent = top
    rng = np.random.default_rng(0)
    data = bpy.data.meshes.new("bare")
    data.from_pydata(rng.normal(0, 10.0, (30, 3)).tolist(), [], [(i, i + 1, i + 2) for i in range(28)])  # centimetres
    ob = bpy.data.objects.new("bare", data)
    ob.parent = scale
    bpy.context.scene.collection.objects.link(ob)
    control = use(ob)
    for i, mark in enumerate(shapes.MARKS):
        shapes.set_pick(control, mark, data.vertices[i].co)
    assert bpy.ops.soliloquy.make_shapes() == {"FINISHED"}, "the engine hears points that lie on its mesh, in metres"
    assert bpy.ops.soliloquy.apply_shapes() == {"FINISHED"}
    made = performance(contact=False)
    take.write(control, made)
    control = plays(control, made, [(ob, "jawOpen"), (ob, "mouthSmileLeft")])
    ob = bpy.data.objects["bare"]
    rest = np.array([v.co for v in ob.data.vertices], np.float64)
    values = wanted(control, made)
    for frame in FRAMES:
        bpy.context.scene.frame_set(frame)
        # The stage engine's shape k lifts by k + 1 millimetres in the world, whatever parents stand above the mesh.
        lift = sum(0.001 * (k + 1) * np.clip(values[Target("KEY", n)][frame - 1], 0, 1) for k, n in enumerate(ARKIT))
        m = np.array(ob.matrix_world)
        moved = (vertices(ob) - rest) @ m[:3, :3].T
        assert np.abs(moved - [0, 0, lift]).max() < 2e-5 * max(1.0, lift), frame  # float32 of centimetres


def check_the_artists_action_and_tracks_on_the_keys_are_kept():
    fresh()
    body = mesh_with("body", [*ARKIT, "Fat"])
    keys = body.data.shape_keys
    blocks = keys.key_blocks
    blocks["Fat"].value = 0.3
    blocks["Fat"].keyframe_insert("value", frame=1)
    strip_action = keys.animation_data.action
    strip_action.name = "walk face"
    track = keys.animation_data.nla_tracks.new()
    track.name = "mine"
    strip = track.strips.new("walk", 1, strip_action)
    if hasattr(strip, "action_slot") and strip.action_slot is None:
        strip.action_slot = strip_action.slots[0]
    keys.animation_data.action = None
    blocks["tongueOut"].value = 0.5
    blocks["tongueOut"].keyframe_insert("value", frame=1)
    own, own_name = keys.animation_data.action, keys.animation_data.action.name
    before = [(c.data_path, [tuple(p.co) for p in c.keyframe_points]) for c in fcurves.own_curves(keys).values()]
    control = use(body)
    made = performance()
    notes = take.write(control, made)
    assert any("tongueOut" in n or own_name in n for n in notes), notes
    anim = keys.animation_data
    assert anim.action == own and [t.name for t in anim.nla_tracks if t.name == "mine"]
    after = [(c.data_path, [tuple(p.co) for p in c.keyframe_points]) for c in fcurves.own_curves(keys).values()]
    assert before == after
    control = plays(control, made, [(body, "jawOpen"), (body, "mouthSmileRight")])
    keys = bpy.data.objects["body"].data.shape_keys
    assert abs(keys.key_blocks["Fat"].value - 0.3) < 1e-6, "their strip still plays"
    take.write(control, performance(seed=3))
    take.clear(control)
    names = [t.name for t in keys.animation_data.nla_tracks]
    assert names == ["mine"] and keys.animation_data.action.name == own_name and not nla.marked(keys, "take")


def check_edit_and_sculpt_mode_are_left_first():
    fresh()
    body = mesh_with("body", list(ARKIT))
    control = use(body)
    bare = sphere("bare", (0, 0, 0))
    second = use(bare)
    for mark in shapes.MARKS:
        shapes.set_pick(second, mark, (0, 0, 0))
    ops = bpy.ops.soliloquy
    table = (ops.auto_map, ops.add_map_row, ops.remove_map_row, ops.add_character_meshes, ops.override_character)
    for mode in ("EDIT", "SCULPT"):
        bpy.context.view_layer.objects.active = body
        bpy.ops.object.mode_set(mode=mode)
        assert not any(op.poll() for op in table), mode
        try:
            ops.auto_map()
        except RuntimeError as error:
            assert f"Leave {mode.lower()} mode of 'body' first" in str(error), error
        bpy.ops.object.mode_set(mode="OBJECT")
        assert all(op.poll() for op in table)
        bpy.context.view_layer.objects.active = bare
        assert ops.pick_points.poll() and ops.make_shapes.poll()
        bpy.ops.object.mode_set(mode=mode)
        assert not (ops.pick_points.poll() or ops.make_shapes.poll() or ops.use_character.poll())
        bpy.ops.object.mode_set(mode="OBJECT")
    assert control is not None


main(globals())
