"""Shared by the checks of brought characters: scripted meshes, rigs, drivers, a performance and its numbers."""

import bpy
import numpy as np

from blender_addon.convert.names import ARKIT, EXTRA
from blender_addon.scene import character, find, take

NAMES = (*ARKIT, *EXTRA)


def mesh_with(name, keys, count=30, seed=0):
    """A mesh object of seeded points with these shape keys."""
    rng = np.random.default_rng(seed)
    data = bpy.data.meshes.new(name)
    data.from_pydata(rng.normal(0, 0.1, (count, 3)).tolist(), [], [(i, i + 1, i + 2) for i in range(count - 2)])
    ob = bpy.data.objects.new(name, data)
    bpy.context.scene.collection.objects.link(ob)
    rest = np.array([v.co for v in data.vertices], np.float32)
    for key in ("Basis", *keys):
        block = ob.shape_key_add(name=key, from_mix=False)
        if key != "Basis":
            block.data.foreach_set("co", (rest + rng.normal(0, 0.01, rest.shape).astype(np.float32)).ravel())
            block.value = 0.0
    return ob


def rig_with(bones, mode="XYZ"):
    """An armature object with these bones, upright."""
    data = bpy.data.armatures.new("rig")
    rig = bpy.data.objects.new("rig", data)
    bpy.context.scene.collection.objects.link(rig)
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    for i, name in enumerate(bones):
        bone = data.edit_bones.new(name)
        bone.head, bone.tail = (0.1 * i, 0, 0), (0.1 * i, 0, 0.1)
    bpy.ops.object.mode_set(mode="OBJECT")
    for bone in rig.pose.bones:
        bone.rotation_mode = mode
    return rig


def use(*objects):
    """Select and let a control drive them; the control."""
    bpy.context.view_layer.update()  # new objects cannot be selected before
    for ob in bpy.context.view_layer.objects:
        ob.select_set(ob in objects)
    bpy.context.view_layer.objects.active = objects[0]
    assert bpy.ops.soliloquy.use_character() == {"FINISHED"}
    return find.active_control(bpy.context)


def performance(count=20, seed=1, contact=True):
    """Smooth seeded weights, with a held closure in rows 8 to 11 where `contact` is given."""
    rng = np.random.default_rng(seed)
    t = np.linspace(0, 6, count)[:, None]
    weights = (0.5 + 0.5 * np.sin(t + rng.uniform(0, 6, len(NAMES)))).astype(np.float32)
    held = np.zeros((count, 3), np.float32)
    held[8:12, 0] = 1.0
    return take.TakeArrays(
        weights, NAMES, rng.normal(0, 0.2, (count, 15)).astype(np.float32), np.zeros((count, 3), np.float32), 1,
        "x.npz", held if contact else None,
    )  # fmt: skip


def wanted(control, made):
    """What the mapping asks of each target, by the numbers alone."""
    weights = {name: made.weights[:, i] for i, name in enumerate(made.shape_names)}
    rows, meshes = character.rows_of(control), character.meshes_of(control)
    return character.performance_values(weights, made.contact, rows, meshes)


def shown(ob, key):
    return ob.data.shape_keys.key_blocks[key].value


def worst(ob, key, values, frames=(1, 5, 10, 20)):
    errors = []
    for frame in frames:
        bpy.context.scene.frame_set(frame)
        errors.append(abs(shown(ob, key) - float(np.clip(values[frame - 1], 0, 1))))
    return max(errors)


def drive(ob, key, kind="AVERAGE", expression="", **variables):
    """A driver on a shape key. variables: name -> (id, data path) or (id, bone, transform type)."""
    curve = ob.data.shape_keys.key_blocks[key].driver_add("value")
    curve.driver.type = kind
    for name, source in variables.items():
        variable = curve.driver.variables.new()
        variable.name = name
        target = variable.targets[0]
        if len(source) == 2:
            target.id, target.data_path = source
        else:
            variable.type = "TRANSFORMS"
            target.id, target.bone_target, target.transform_type = source
            target.transform_space = "LOCAL_SPACE"
    if expression:
        curve.driver.expression = expression
    return curve


def reload(path):
    bpy.ops.wm.save_as_mainfile(filepath=str(path), check_existing=False)
    bpy.ops.wm.open_mainfile(filepath=str(path))
