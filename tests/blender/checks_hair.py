"""Checks of the head's hair in Blender: made, hidden, saved, carried, lit, exported."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import bpy
import numpy as np
from in_blender import main
from mathutils import Quaternion, Vector
from stage import ROOT, fresh, vertices

import blender_addon

blender_addon.register()

from blender_addon.link import shared  # noqa: E402
from blender_addon.link.client import Engine  # noqa: E402
from blender_addon.ops.shown_heads import shown_heads  # noqa: E402
from blender_addon.scene import find, hair  # noqa: E402

PYTHON = os.environ.get("SOLILOQUY_ENGINE_PYTHON", sys.executable)
ENGINE = Engine([PYTHON, "-m", "engine", "serve"], cwd=str(ROOT))
shared._engine = ENGINE
shared.engine = lambda: ENGINE
FOLDER = tempfile.mkdtemp(prefix="soliloquy-test-")


def add():
    """(mesh, rig, hair) of the default head in a fresh file."""
    fresh()
    assert bpy.ops.soliloquy.add_head() == {"FINISHED"}
    mesh = find.head_of(find.active_control(bpy.context))
    return mesh, find.armature_of(mesh), hair.of_head(mesh)


def strands(ob):
    """World positions of all points [n, k, 3], of hair curves or of a curve object."""
    data = ob.data
    if hasattr(data, "splines"):
        local = np.array([[p.co[:3] for p in spline.points] for spline in data.splines])
    else:
        local = np.empty(3 * len(data.points), np.float32)
        data.attributes["position"].data.foreach_get("vector", local)
        local = local.reshape(len(data.curves), -1, 3)
    matrix = np.array(ob.evaluated_get(bpy.context.evaluated_depsgraph_get()).matrix_world)
    return local @ matrix[:3, :3].T + matrix[:3, 3]


def gap(mesh, points):
    """Distance of root points [n, 3] from the head's nearest triangle, metres."""
    from mathutils.bvhtree import BVHTree

    corners = [tuple(p.vertices) for p in mesh.data.polygons]
    tree = BVHTree.FromPolygons([Vector(v) for v in vertices(mesh, world=True)], corners)
    return np.array([tree.find_nearest(Vector(p))[3] for p in points])


def check_the_head_comes_with_hair_on_its_scalp():
    mesh, rig, ob = add()
    assert ob.type in ("CURVES", "CURVE") and ob.parent == rig and ob.parent_bone == "neck"
    points = strands(ob)
    assert 6000 <= len(points) <= 10000 and points.shape[1] == 8
    # Blender may cut a quad along its other diagonal than the engine did.
    assert gap(mesh, points[::25, 0]).max() < 1e-3
    assert np.median(gap(mesh, points[::25, 0])) < 1e-4
    assert points[..., 2].max() > vertices(mesh, world=True)[:, 2].max(), "hair lies over the top of the head"


def check_it_follows_the_head():
    mesh, rig, ob = add()
    before = strands(ob)
    bone = rig.pose.bones["neck"]
    bone.rotation_quaternion = Quaternion((0.3, 1.0, 0.2), 0.6)
    rig.location = (0.5, -0.2, 0.1)
    bpy.context.view_layer.update()
    after = strands(ob)
    assert np.linalg.norm(after - before, axis=2).min() > 0.1
    assert gap(mesh, after[::25, 0]).max() < 1e-3, "the roots stay on the scalp, by the bone alone"
    keys = mesh.data.shape_keys.key_blocks
    for name in ("browInnerUp", "browDownLeft", "browDownRight", "noseSneerLeft", "jawOpen"):
        keys[name].value = 1.0
    bpy.context.view_layer.update()
    assert gap(mesh, strands(ob)[::25, 0]).max() < 2e-3, "no expression lifts the hair off"


def check_the_toggle_hides_it_and_undoes_that():
    _, _, ob = add()
    assert hair.shown(ob)
    assert bpy.ops.soliloquy.show_hair() == {"FINISHED"}
    assert ob.hide_viewport and ob.hide_render and not hair.shown(ob)
    assert bpy.ops.soliloquy.show_hair() == {"FINISHED"}
    assert not ob.hide_viewport and not ob.hide_render


def check_the_avatar_is_cropped_where_hair_is_hidden():
    mesh, _, ob = add()

    def shown():
        return shown_heads(bpy.context.evaluated_depsgraph_get())[0].spec.avatar

    assert shown() == hair.avatar_of(mesh, rendering=True) == "default"
    ob.hide_viewport = True  # Blender's own switches count one by one
    assert shown() == "default-cropped" and hair.avatar_of(mesh, rendering=True) == "default"
    assert bpy.ops.soliloquy.show_hair() == {"FINISHED"}
    assert shown() == hair.avatar_of(mesh, rendering=True) == "default-cropped"
    mesh["soliloquy_avatar"] = "mine"
    assert shown() == "mine", "an avatar of the artist's own is what it is"


def check_a_head_without_hair_says_so():
    _, _, ob = add()
    bpy.data.objects.remove(ob)
    assert not bpy.ops.soliloquy.show_hair.poll()
    try:
        bpy.ops.soliloquy.show_hair()
    except RuntimeError as error:
        assert "no hair" in str(error)
    else:
        raise AssertionError("a toggle without hair did nothing and said nothing")


def check_it_plays_without_the_addon():
    _, rig, ob = add()
    bone = rig.pose.bones["neck"]
    for frame, turn in ((1, 0.0), (12, 0.5)):
        bone.rotation_quaternion = Quaternion((0, 0, 1), turn)
        bone.keyframe_insert("rotation_quaternion", frame=frame)
    wanted = []
    for frame in (1, 6, 12):
        bpy.context.scene.frame_set(frame)
        wanted.append(strands(ob)[::50, -1])
    path = str(Path(FOLDER, "hair.blend"))
    bpy.ops.wm.save_as_mainfile(filepath=path)
    script = f"""if True:
        import os, sys
        import bpy, numpy as np
        bpy.ops.wm.open_mainfile(filepath={path!r})
        assert not [name for name in sys.modules if "blender_addon" in name]
        ob = bpy.data.objects[{ob.name!r}]
        out = []
        for frame in (1, 6, 12):
            bpy.context.scene.frame_set(frame)
            out.append(np.array(ob.evaluated_get(bpy.context.evaluated_depsgraph_get()).matrix_world))
        np.save({str(Path(FOLDER, "matrices.npy"))!r}, np.array(out))
        assert not ob.hide_render and len(ob.data.materials) == 1
        print("PLAYED", flush=True)
        os._exit(0)
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=FOLDER, env=environment, capture_output=True, text=True, timeout=120
    )
    assert "PLAYED" in run.stdout, run.stdout[-500:] + run.stderr[-2000:]
    bpy.context.scene.frame_set(1)
    base = strands(ob)[::50, -1]
    start = np.array(ob.matrix_world)
    for tips, matrix in zip(wanted, np.load(Path(FOLDER, "matrices.npy")), strict=True):
        step = matrix @ np.linalg.inv(start)
        assert np.abs(base @ step[:3, :3].T + step[:3, 3] - tips).max() < 1e-5


def check_cycles_draws_it_dark():
    _, _, ob = add()
    scene = bpy.context.scene
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    scene.collection.objects.link(camera)
    camera.location, camera.rotation_euler = (0, -1.2, 0.1), (np.pi / 2, 0, 0)
    camera.data.lens = 200
    scene.camera = camera
    world = scene.world = bpy.data.worlds.new("world")
    world.use_nodes = True
    world.node_tree.nodes["Background"].inputs[0].default_value = (1, 1, 1, 1)
    scene.render.engine = "CYCLES"
    scene.cycles.samples, scene.cycles.use_denoising = 4, False
    scene.render.resolution_x = scene.render.resolution_y = 64
    scene.render.film_transparent = True
    scene.view_settings.view_transform = "Standard"
    pictures = {}
    for name, hidden in (("hair", False), ("bald", True)):
        hair.show(ob, not hidden)
        scene.render.filepath = str(Path(FOLDER, f"{name}.png"))
        bpy.ops.render.render(write_still=True)
        image = bpy.data.images.load(scene.render.filepath)
        pictures[name] = np.array(image.pixels[:]).reshape(64, 64, 4)
    top = slice(38, 52)  # rows over the forehead, counted from the bottom
    cover = {name: (picture[top, :, 3] > 0.5).sum() for name, picture in pictures.items()}
    assert cover["hair"] > 1.05 * cover["bald"], cover
    shade = pictures["hair"][top, :, :3][pictures["hair"][top, :, 3] > 0.9].mean()
    assert 0.02 < shade < 0.45, shade


def check_exports_take_the_head_and_leave_the_hair():
    mesh, _, _ = add()
    path = Path(FOLDER, "head.abc")
    assert bpy.ops.soliloquy.export_alembic(filepath=str(path)) == {"FINISHED"}
    everything = {
        "alembic": lambda: bpy.ops.wm.alembic_export(filepath=str(Path(FOLDER, "all.abc")), as_background_job=False),
        "usd": lambda: bpy.ops.wm.usd_export(filepath=str(Path(FOLDER, "all.usdc"))),
        "gltf": lambda: bpy.ops.export_scene.gltf(filepath=str(Path(FOLDER, "all.glb"))),
    }
    count = len(mesh.data.vertices)
    for name, write in everything.items():
        assert write() == {"FINISHED"}, name
    fresh()
    bpy.ops.wm.alembic_import(filepath=str(path), as_background_job=False)
    assert [o.type for o in bpy.context.scene.objects if o.type != "EMPTY"] == ["MESH"]
    assert len(next(o for o in bpy.context.scene.objects if o.type == "MESH").data.vertices) == count


main(globals())
