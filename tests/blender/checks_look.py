"""Checks inside Blender of the head's surfaces: zones, wrinkles that the shape keys deepen, what a file keeps."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import bpy
import numpy as np
from in_blender import HERE, main
from stage import ARRAYS, INFO, ROOT, fresh

import blender_addon

blender_addon.register()

from blender_addon.convert.arrays import open_arrays  # noqa: E402
from blender_addon.link.client import Engine  # noqa: E402
from blender_addon.link.jobs import call, drive_blocking  # noqa: E402
from blender_addon.scene import head, wrinkles, zone_attributes  # noqa: E402

FOLDER = Path(tempfile.mkdtemp(prefix="soliloquy-test-"))
SIZE, SPAN, MIDDLE = 72, 0.13, (0.0, 0.042)  # a square of 13 cm, from the hairline to the nose's tip, 1.8 mm a pixel
_head = {}


def built():
    """The default head in a fresh file."""
    fresh()
    if not _head:
        python = os.environ.get("SOLILOQUY_ENGINE_PYTHON", sys.executable)
        engine = Engine([python, "-m", "engine", "serve"], cwd=str(ROOT))
        info = drive_blocking(call(engine, "head", {"head": "default"}))
        arrays = open_arrays(info["arrays"], engine.session, head.arrays_of(info))
        _head.update(info=info, arrays={name: np.array(array) for name, array in arrays.items()})
        engine.stop()
    return head.build(_head["info"], _head["arrays"], bpy.context.scene.collection)[0]


def group(end):
    return next(tree for tree in bpy.data.node_groups if tree.name.endswith(end))


def studio():
    """A square picture from the front, one lamp from above, no bounces: a pixel depends on its own place alone."""
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.device, scene.cycles.samples, scene.cycles.seed = "CPU", 6, 1
    scene.cycles.use_denoising, scene.cycles.use_adaptive_sampling = False, False
    scene.cycles.max_bounces = 0
    scene.render.threads_mode, scene.render.threads = "FIXED", 1
    scene.render.resolution_x = scene.render.resolution_y = SIZE
    scene.render.use_persistent_data = True
    scene.view_settings.view_transform = "Standard"
    lamp = bpy.data.objects.new("lamp", bpy.data.lights.new("lamp", "SUN"))
    lamp.data.energy, lamp.rotation_euler = 3.0, (np.radians(50), 0, 0)
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    camera.data.type, camera.data.ortho_scale = "ORTHO", SPAN
    camera.location, camera.rotation_euler = (MIDDLE[0], -1.0, MIDDLE[1]), (np.radians(90), 0, 0)
    for ob in (lamp, camera):
        scene.collection.objects.link(ob)
    scene.camera = camera
    for material in bpy.data.materials:  # light that goes on below the skin comes out elsewhere
        if material.node_tree:
            for node in material.node_tree.nodes:
                if node.type == "BSDF_PRINCIPLED":
                    node.inputs["Subsurface Weight"].default_value = 0.0


def picture():
    """[SIZE, SIZE] mean of the linear channels, the top row first."""
    scene = bpy.context.scene
    scene.render.image_settings.file_format, scene.render.image_settings.color_depth = "OPEN_EXR", "32"
    scene.render.filepath = str(FOLDER / "picture.exr")
    bpy.ops.render.render(write_still=True)
    image = bpy.data.images.load(scene.render.filepath)
    pixels = np.empty(len(image.pixels), np.float32)
    image.pixels.foreach_get(pixels)
    bpy.data.images.remove(image)
    return pixels.reshape(SIZE, SIZE, 4)[::-1, :, :3].mean(2).astype(np.float64)


def difference(ob, **keys):
    """Wrinkles on minus off, with these shape keys."""
    for block in ob.data.shape_keys.key_blocks:
        block.value = keys.get(block.name, 0.0)
    out = []
    for on in (True, False):
        ob[wrinkles.ON] = on
        ob.update_tag()
        out.append(picture())
    return out[0] - out[1]


def row_of(height):
    """Row of the picture at a height in metres."""
    return round((MIDDLE[1] + SPAN / 2 - height) / SPAN * SIZE)


def check_every_zone_is_on_the_mesh_and_few_are_read_at_once():
    ob = built()
    info, zones = _head["info"], _head["arrays"]["zones"]
    for name, parts in zone_attributes.PACKED.items():
        layer = ob.data.attributes[name]
        assert (layer.domain, layer.data_type) == ("POINT", "FLOAT_VECTOR")
        values = np.empty(3 * len(layer.data), np.float32)
        layer.data.foreach_get("vector", values)
        for k, part in enumerate(parts):
            if part:
                assert np.array_equal(values.reshape(-1, 3)[:, k], zones[:, info["zone_names"].index(part)]), part
    assert {part for parts in zone_attributes.PACKED.values() for part in parts if part} == set(info["zone_names"])
    for material in ob.data.materials:
        read = _attributes(material.node_tree)
        assert len(read) <= 12, f"{material.name} reads {sorted(read)}; EEVEE ends at 15 with position and normal"
        assert read <= set(zone_attributes.PACKED) | {zone_attributes.REST, "albedo", "UVMap"}, read


def _attributes(tree):
    found = set()
    for node in tree.nodes:
        if node.bl_idname == "ShaderNodeAttribute":
            found.add(node.attribute_name)
        elif node.bl_idname == "ShaderNodeVertexColor":
            found.add(node.layer_name)
        elif node.bl_idname == "ShaderNodeGroup":
            found |= _attributes(node.node_tree)
    return found


def check_keys_by_hand_deepen_their_own_side_alone():
    ob = built()
    tree = group(" wrinkles")
    blocks = ob.data.shape_keys.key_blocks
    for curve in tree.animation_data.drivers:
        assert curve.driver.is_valid and curve.driver.is_simple_expression, curve.data_path
    assert len(tree.animation_data.drivers) == len(wrinkles.muscle_names()) + 1

    def values():
        bpy.context.view_layer.update()
        nodes = tree.evaluated_get(bpy.context.evaluated_depsgraph_get()).nodes
        return {name: nodes[name].outputs[0].default_value for name in wrinkles.muscle_names()}

    assert not any(values().values())
    for muscle in wrinkles.muscle_names():
        for name, share in wrinkles.keys_of(muscle).items():
            blocks[name].value = 0.5
            found = values()
            assert abs(found[muscle] - 0.5 * share) < 1e-6, (muscle, name, found[muscle])
            side = "Right" if name.endswith(("Left", "_L")) else "Left" if name.endswith(("Right", "_R")) else "?"
            assert not any(value for other, value in found.items() if other.endswith(side)), (name, found)
            blocks[name].value = 0.0
    for name in ("cheekSquintLeft", "mouthSmileLeft", "eyeSquintLeft"):
        blocks[name].value = 1.0
    assert values()["eye outer Left"] == 1.0, "a sum ends at 1"


def check_folds_show_where_they_belong_and_nowhere_else():
    ob = built()
    studio()
    assert np.abs(difference(ob)).max() == 0, "a face at rest has no folds"
    brow = _head["arrays"]["template"][_head["info"]["landmarks"]["brow_inner_left"][0]][1]
    both = difference(ob, browInnerUp=1.0, browOuterUpLeft=1.0, browOuterUpRight=1.0)
    forehead, below = slice(row_of(brow + 0.045), row_of(brow + 0.012)), slice(row_of(brow - 0.004), SIZE)
    assert np.abs(both[forehead, 20:52]).mean() > 0.008, np.abs(both[forehead]).mean()
    assert np.abs(both[below]).max() == 0, "nothing changes below the brows"
    column = both[forehead, SIZE // 2 - 3 : SIZE // 2 + 3].mean(1)
    turns = np.flatnonzero(np.diff(np.sign(column)) != 0)
    assert len(turns) >= 4, f"several folds lie above each other: {column.round(4)}"
    half = difference(ob, browInnerUp=0.5, browOuterUpLeft=0.5, browOuterUpRight=0.5)
    share = np.abs(half[forehead]).sum() / np.abs(both[forehead]).sum()
    assert 0.35 < share < 0.75, f"half the value is about half the fold, {share:.2f}"
    left = np.abs(difference(ob, browOuterUpLeft=1.0)).sum(0)
    # The subject's left is the picture's right; between the two sides lies a soft border.
    assert left[SIZE // 2 + 5 :].sum() > 20 * left[: SIZE // 2 - 4].sum(), "one brow folds its own side"
    crow = np.abs(difference(ob, cheekSquintLeft=1.0))
    assert crow[:, SIZE // 2 + 5 :].sum() > 0.3 and crow[: row_of(brow + 0.024)].max() == 0


def check_strength_is_the_artists():
    ob = built()
    studio()
    keys = {"browInnerUp": 1.0}
    one = np.abs(difference(ob, **keys)).sum()
    ob[wrinkles.STRENGTH] = 2.0
    two = np.abs(difference(ob, **keys)).sum()
    ob[wrinkles.STRENGTH] = 0.0
    assert np.abs(difference(ob, **keys)).max() == 0
    assert 1.3 * one < two < 2.5 * one, (one, two)


def check_a_file_keeps_its_wrinkles_without_the_add_on():
    ob = built()
    key = ob.data.shape_keys.key_blocks["browInnerUp"]
    for frame, value in ((1, 0.0), (11, 1.0)):
        key.value = value
        key.keyframe_insert("value", frame=frame)
    studio()
    bpy.context.scene.frame_set(6)
    here = group(" wrinkles").evaluated_get(bpy.context.evaluated_depsgraph_get()).nodes["brow inner"]
    expected = here.outputs[0].default_value
    blend, out = FOLDER / "kept.blend", FOLDER / "kept.json"
    bpy.ops.wm.save_as_mainfile(filepath=str(blend))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(
        [sys.executable, str(HERE / "look_without_addon.py"), str(blend), str(out), ob.name],
        check=True, env=environment, cwd=FOLDER, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    found = json.loads(out.read_text())
    assert 0.3 < expected < 0.7 and abs(found["value"] - expected) < 1e-6
    assert found["change"][0] == 0 and found["change"][1] > 0.002, "frame 1 is at rest, frame 11 has folds"


def check_heads_without_zones_have_plain_materials():
    fresh()
    ob, _ = head.build(INFO, ARRAYS, bpy.context.scene.collection)
    assert not bpy.data.node_groups and zone_attributes.REST not in ob.data.attributes
    for material in ob.data.materials:
        assert any(node.type == "BSDF_PRINCIPLED" for node in material.node_tree.nodes)


def check_a_users_materials_are_left_alone():
    fresh()
    mesh = bpy.data.meshes.new("own")
    mesh.from_pydata([(0, 0, 0), (1, 0, 0), (0, 1, 0)], [], [(0, 1, 2)])
    own = bpy.data.objects.new("own", mesh)
    bpy.context.scene.collection.objects.link(own)
    material = bpy.data.materials.new("Head skin")
    material.use_nodes = True
    mesh.materials.append(material)
    for name in ("Basis", "browInnerUp", "jawOpen", "mouthSmileLeft"):
        own.shape_key_add(name=name)
    before = [(node.name, node.bl_idname) for node in material.node_tree.nodes]
    ob, _ = head.build(_head["info"], _head["arrays"], bpy.context.scene.collection)
    assert list(mesh.materials) == [material] and material not in list(ob.data.materials)
    assert [(node.name, node.bl_idname) for node in material.node_tree.nodes] == before
    assert material.animation_data is None and material.node_tree.animation_data is None
    assert wrinkles.ON not in own and not [a for a in mesh.attributes if a.name.startswith("sol_")]


main(globals())
