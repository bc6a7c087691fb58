"""Checks of linked, overridden and appended characters inside Blender."""

import tempfile
from pathlib import Path

import bpy
import numpy as np
from in_blender import main
from rig_tools import drive, mesh_with, performance, reload, rig_with, use, wanted, worst
from stage import fresh

import blender_addon

blender_addon.register()

from blender_addon.convert import mapping  # noqa: E402
from blender_addon.convert.curves import Keys  # noqa: E402
from blender_addon.convert.mapping import Target  # noqa: E402
from blender_addon.convert.names import ARKIT  # noqa: E402
from blender_addon.scene import SceneProblem, character, fcurves, find, nla, take  # noqa: E402


def _actor(folder, track=False):
    """A library file with a character (mesh, teeth, driven rig) in the collection Actor."""
    fresh()
    body, teeth = mesh_with("body", list(ARKIT)), mesh_with("teeth", ["jawOpen"], seed=4)
    rig = rig_with(["jaw", "head"])
    rig["smile"] = 0.0
    rig.property_overridable_library_set('["smile"]', True)
    drive(body, "mouthSmileLeft", smile=(rig, '["smile"]'))
    collection = bpy.data.collections.new("Actor")
    bpy.context.scene.collection.children.link(collection)
    for ob in (body, teeth, rig):
        bpy.context.scene.collection.objects.unlink(ob)
        collection.objects.link(ob)
        if ob != rig:
            ob.parent = rig
            ob.modifiers.new("Armature", "ARMATURE").object = rig
    if track:
        anim = body.data.shape_keys.animation_data_create()
        action, slot = fcurves.new_action("library", body.data.shape_keys)
        keys = Keys(np.array([1.0, 9.0]), np.ones(2), "LINEAR")
        fcurves.write_keys(fcurves.curves(action, slot), 'key_blocks["tongueOut"].value', 0, keys)
        strip = anim.nla_tracks.new().strips.new("library", 1, action)
        if slot is not None:
            strip.action_slot = slot
    path = Path(folder, "actor.blend")
    bpy.ops.wm.save_as_mainfile(filepath=str(path), check_existing=False)
    fresh()
    return path


def _plays(control, made):
    """The take as Blender shows it on body, teeth and through the driver, against the numbers."""
    values = wanted(control, made)
    body, teeth = character.meshes_of(control)
    for ob in (body, teeth):
        assert worst(ob, "jawOpen", values[Target("KEY", "jawOpen")]) < 1e-5, ob.name
    error = worst(body, "mouthSmileLeft", values[Target("KEY", "mouthSmileLeft")])
    assert error < 1e-4, error


def _linked(path):
    with bpy.data.libraries.load(str(path), link=True) as (_, into):
        into.collections = ["Actor"]
    actor = bpy.data.collections["Actor"]
    instance = bpy.data.objects.new("Actor", None)
    instance.instance_type, instance.instance_collection = "COLLECTION", actor
    bpy.context.scene.collection.objects.link(instance)
    return actor


def check_a_linked_character_is_refused_until_it_is_overridden():
    with tempfile.TemporaryDirectory() as folder:
        actor = _linked(_actor(folder))
        bpy.context.scene.collection.children.link(actor)
        body, teeth = actor.objects["body"], actor.objects["teeth"]
        control = use(body, teeth)
        assert control.library is None and mapping.served(character.rows_of(control)) == 52
        before = [len(m.data.shape_keys.key_blocks) for m in (body, teeth)]
        try:
            take.write(control, performance())
        except SceneProblem as problem:
            assert "library override" in str(problem)
        else:
            raise AssertionError("a linked character was written on")
        assert body.data.shape_keys.animation_data.action is None and not nla.marked(body.data.shape_keys, "take")
        assert before == [len(m.data.shape_keys.key_blocks) for m in (body, teeth)]
        assert not bpy.ops.soliloquy.generate.poll()
        assert bpy.ops.soliloquy.override_character() == {"FINISHED"}
        assert all(m.library is None and m.data.shape_keys.library is None for m in character.meshes_of(control))
        made = performance()
        take.write(control, made)
        _plays(control, made)
        name = control.name
        reload(Path(folder, "shot.blend"))
        control = bpy.data.objects[name]
        assert character.meshes_of(control)[0].override_library is not None
        _plays(control, made)
        assert len(character.rows_of(control)) > 50


def check_an_instanced_collection_is_overridden_from_the_control():
    with tempfile.TemporaryDirectory() as folder:
        actor = _linked(_actor(folder))
        from blender_addon.scene import control_empty

        control = control_empty.create("Control", actor.objects["body"], bpy.context.scene.collection)
        bpy.context.view_layer.objects.active = control
        character.set_meshes(control, [actor.objects["body"], actor.objects["teeth"]])
        bpy.ops.soliloquy.auto_map()
        assert bpy.ops.soliloquy.override_character() == {"FINISHED"}
        made = performance()
        take.write(control, made)
        _plays(control, made)
        reload(Path(folder, "shot.blend"))
        _plays(bpy.data.objects["Control"], made)


def check_an_appended_character_is_like_a_local_one():
    with tempfile.TemporaryDirectory() as folder:
        path = _actor(folder)
        with bpy.data.libraries.load(str(path), link=False) as (_, into):
            into.collections = ["Actor"]
        bpy.context.scene.collection.children.link(bpy.data.collections["Actor"])
        control = use(bpy.data.objects["body"], bpy.data.objects["teeth"])
        made = performance()
        take.write(control, made)
        _plays(control, made)
        name = control.name
        reload(Path(folder, "shot.blend"))
        _plays(bpy.data.objects[name], made)


def check_tracks_of_the_linked_file_are_kept_and_said():
    with tempfile.TemporaryDirectory() as folder:
        actor = _linked(_actor(folder, track=True))
        bpy.context.scene.collection.children.link(actor)
        control = use(actor.objects["body"], actor.objects["teeth"])
        bpy.ops.soliloquy.override_character()
        keys = character.meshes_of(control)[0].data.shape_keys
        made = performance()
        notes = take.write(control, made)
        tracks = list(keys.animation_data.nla_tracks)
        theirs = [i for i, t in enumerate(tracks) if getattr(t, "is_override_data", False)]
        ours = [i for i, t in enumerate(tracks) if t.name == take.TRACK]
        assert len(ours) == 1 and len(tracks[theirs[0]].strips) == 1, [t.name for t in tracks]
        hidden = "hides the take" if theirs[0] > ours[0] else "is hidden by the take"
        assert any("comes from the linked file" in n and hidden in n for n in notes), notes
        reload(Path(folder, "shot.blend"))
        control = find.controls(bpy.context.scene)[0]
        _plays(control, made)
        tracks = character.meshes_of(control)[0].data.shape_keys.animation_data.nla_tracks
        assert {t.name for t in tracks} >= {take.TRACK}


# Residual shapes


main(globals())
