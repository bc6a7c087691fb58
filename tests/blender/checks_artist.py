"""Checks inside Blender that takes leave the artist's own work alone, on the synthetic head."""

import tempfile
from fractions import Fraction
from pathlib import Path

import bpy
from in_blender import main
from stage import character, fresh, performance, write_voice

from blender_addon.convert.frames import VoiceClock
from blender_addon.scene import SceneProblem, control_empty, fcurves, find, nla, sample, take, voice


def refused(step, *words):
    """The sentence with which `step` refuses."""
    try:
        step()
    except SceneProblem as problem:
        assert all(word in str(problem) for word in words), str(problem)
        return str(problem)
    raise AssertionError("it did not refuse")


def check_clear_leaves_what_the_take_did_not_drive():
    control, mesh, rig = character()
    mine = mesh.shape_key_add(name="freckles", from_mix=False)
    mine.value = 0.4
    bone = rig.pose.bones["neck"]
    bone.scale = (1.1, 1.1, 1.1)
    bone.location = (0.0, 0.01, 0.0)
    take.write(control, performance(10))
    bpy.context.scene.frame_set(5)
    take.clear(control)
    assert abs(mine.value - 0.4) < 1e-6 and mesh.data.shape_keys.key_blocks["jawOpen"].value == 0.0
    assert abs(bone.location.y - 0.01) < 1e-6 and abs(bone.scale.x - 1.1) < 1e-6
    assert tuple(bone.rotation_quaternion) == (1.0, 0.0, 0.0, 0.0)


def check_clear_leaves_a_rig_without_a_take():
    control, mesh, rig = character()
    mesh.modifiers[0].object = None
    take.write(control, performance(10))
    mesh.modifiers[0].object = rig
    rig.pose.bones["neck"].rotation_quaternion = (0.8, 0.6, 0.0, 0.0)
    assert take.clear(control) == 1
    assert abs(rig.pose.bones["neck"].rotation_quaternion.x - 0.6) < 1e-6


def check_a_still_take_leaves_an_artists_rig_to_the_artist():
    control, _mesh, rig = character()
    assert rig["soliloquy_rig"] == 1, "ours is marked"
    still = performance(6)
    still.pose[:] = still.translation[:] = 0.0
    take.write(control, still)
    assert nla.marked(rig, "take"), "on our own rig rest is part of the performance"
    take.clear(control)
    rig.animation_data_clear()
    del rig["soliloquy_rig"]
    rig.pose.bones["root"].location.z = 0.02
    rig.pose.bones["jaw"].rotation_quaternion = (0.8, 0.6, 0.0, 0.0)
    nodding = performance(6)
    nodding.pose[:, 6:] = 0.0  # root and neck turn
    take.write(control, nodding)
    [(_, strip)] = nla.marked(rig, "take")
    assert {c.data_path for c in fcurves.all_curves(strip.action)} == {'pose.bones["neck"].rotation_quaternion'}
    take.write(control, still)
    assert not nla.marked(rig, "take"), "the earlier nod does not stay"
    bpy.context.scene.frame_set(4)
    assert abs(rig.pose.bones["root"].location.z - 0.02) < 1e-6
    assert abs(rig.pose.bones["jaw"].rotation_quaternion.x - 0.6) < 1e-6
    assert tuple(rig.pose.bones["neck"].rotation_quaternion) == (1.0, 0.0, 0.0, 0.0)


def delete(*objects):
    """As the X key does: custom properties that point at them keep them in the file."""
    for ob in bpy.context.view_layer.objects:
        ob.select_set(ob in objects)
    bpy.ops.object.delete()
    assert all(ob.name in bpy.data.objects for ob in objects)


def check_a_deleted_head_is_gone():
    control, mesh, _rig = character()
    assert find.head_of(control) == mesh
    delete(mesh)
    assert find.head_of(control) is None
    refused(lambda: take.write(control, performance(3)), "drives no head")


def check_a_deleted_gaze_target_can_be_made_again():
    control, _mesh, rig = character()
    target = control_empty.add_gaze_target(control, rig)
    clock = VoiceClock(Fraction(25), 1)
    assert sample.read(bpy.context.scene, control, clock, 5).gaze
    delete(target)
    assert not sample.read(bpy.context.scene, control, clock, 5).gaze, "nobody looks at what is gone"
    again = control_empty.add_gaze_target(control, rig)
    for name in ("eye.L", "eye.R"):
        assert [c.target for c in rig.pose.bones[name].constraints] == [again]
    assert len(rig.animation_data.drivers) == 2


def check_strips_of_a_deleted_control_are_anybodys():
    control, mesh, _ = character()
    take.write(control, performance(3))
    other = control_empty.create("Other", mesh, bpy.context.scene.collection)
    keys = mesh.data.shape_keys
    assert len(nla.marked(keys, "take", control)) == 1 and not nla.marked(keys, "take", other)
    delete(control)
    assert len(nla.marked(keys, "take", other)) == 1


def check_two_controls_on_one_face_are_refused():
    control, mesh, _ = character()
    take.write(control, performance(3))
    twin = mesh.copy()  # another object, the same mesh and shape keys
    bpy.context.scene.collection.objects.link(twin)
    other = control_empty.create("Other", twin, bpy.context.scene.collection)
    for one, two in ((control, "Other"), (other, "Control")):
        refused(lambda one=one: take.write(one, performance(3)), f"'{two}' drives the same face")
    twin.data = mesh.data.copy()
    take.write(other, performance(3))
    twin.data = mesh.data
    delete(other)
    take.write(control, performance(3))


def check_driven_keys_are_named():
    control, mesh, _ = character()
    names = list(performance(1).shape_names[:7])
    for name in names[:1]:
        mesh.data.shape_keys.key_blocks[name].driver_add("value")
    [note] = take.write(control, performance(3))
    assert names[0] in note and "win over the take" in note and "..." not in note
    for name in names[1:]:
        mesh.data.shape_keys.key_blocks[name].driver_add("value")
    mesh.data.shape_keys.driver_add("eval_time")
    [note] = take.write(control, performance(3))
    assert ", ".join(names[:5]) + " ..." in note and names[5] not in note


def check_a_linked_control_is_not_written_on():
    control, mesh, rig = character()
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "shot.blend"))
        bpy.ops.wm.save_as_mainfile(filepath=path, check_existing=False)
        fresh()
        with bpy.data.libraries.load(path, link=True) as (_, wanted):
            wanted.objects = ["Control"]
        control = bpy.data.objects["Control"]
        bpy.context.scene.collection.objects.link(control)
        mesh = find.head_of(control)
        rig = find.armature_of(mesh)
        before = len(bpy.data.objects)
        voice_file = write_voice(Path(folder, "voice.wav"))
        for step in (
            lambda: take.write(control, performance(3)),
            lambda: control_empty.add_gaze_target(control, rig),
            lambda: voice.load(bpy.context.scene, control, voice_file, 1),
        ):
            refused(step, "The control 'Control' is linked")
        assert len(bpy.data.objects) == before and not voice.strips_of(bpy.context.scene)


main(globals())
