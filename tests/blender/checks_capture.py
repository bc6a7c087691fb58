"""Checks inside Blender of captures: cameras stand where the plan says, meshes are the evaluated ones."""

import tempfile
from pathlib import Path

import bpy
import numpy as np
from bpy_extras.object_utils import world_to_camera_view
from in_blender import main
from mathutils import Vector
from stage import ROOT, character, performance, truth, vertices

import blender_addon
from blender_addon.convert.axes import to_blender, to_engine
from blender_addon.scene import SceneProblem, capture_character, capture_stage, take

assert ROOT
blender_addon.register()


def _spec(view, fx, cx, cy, size=64):
    """A camera of the plan from a world-to-camera matrix in OpenCV's axes."""
    matrix = np.linalg.inv(view)
    matrix[:3, 1:3] *= -1
    return {"width": size, "height": size, "fl_x": fx, "fl_y": fx, "cx": cx, "cy": cy,
            "transform_matrix": matrix.tolist()}  # fmt: skip


def _look(eye, target):
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, [0, 1, 0])
    right /= np.linalg.norm(right)
    view = np.eye(4)
    view[:3, :3] = [right, np.cross(forward, right), forward]
    view[:3, 3] = -view[:3, :3] @ eye
    return view


def check_blenders_own_projection_is_the_plans():
    _, mesh, _ = character()
    scene = bpy.context.scene
    capture_stage.settings(scene, 64, 1, 0.0)
    lens = capture_stage.camera(scene)
    points = to_engine(vertices(mesh, world=True))
    rng = np.random.default_rng(0)
    for _ in range(6):
        eye = points.mean(0) + rng.normal(0, 0.3, 3) + [0, 0, 1.2]
        spec = _spec(_look(eye, points.mean(0)), rng.uniform(80, 200), rng.uniform(28, 36), rng.uniform(28, 36))
        capture_stage.aim(lens, spec)
        bpy.context.view_layer.update()
        view = np.linalg.inv(np.array(spec["transform_matrix"]) * [1, -1, -1, 1])
        local = points @ view[:3, :3].T + view[:3, 3]
        ours = local[:, :2] / local[:, 2:] * spec["fl_x"] + [spec["cx"], spec["cy"]]
        theirs = np.array([world_to_camera_view(scene, lens, Vector(p)) for p in to_blender(points)])
        pixels = np.stack([theirs[:, 0] * 64, (1 - theirs[:, 1]) * 64], 1)
        assert np.abs(pixels - ours).max() < 1e-3, np.abs(pixels - ours).max()
        assert np.abs(theirs[:, 2] - local[:, 2]).max() < 1e-4


def check_meshes_are_what_the_take_makes():
    control, mesh, _ = character()
    made = performance(5)
    take.write(control, made)
    for row in range(5):
        bpy.context.scene.frame_set(1 + row)
        assert np.abs(to_blender(capture_stage.world_vertices([mesh])) - truth(made, row)).max() < 1e-5


def check_modifiers_that_add_vertices_leave_the_cage():
    _, mesh, _ = character()
    count = len(mesh.data.vertices)
    mesh.modifiers.new("Subdivision", "SUBSURF").levels = 1
    assert len(capture_stage.world_vertices([mesh])) > count
    capture_stage.cage_only(mesh)
    assert len(capture_stage.world_vertices([mesh])) == count
    assert mesh.modifiers["Subdivision"].show_render


def check_any_character_of_a_file_is_found_framed_and_alone():
    _, mesh, rig = character()
    scene = bpy.context.scene
    for ob in list(bpy.data.objects):
        if "soliloquy_control" in ob:
            bpy.data.objects.remove(ob)  # an artist's own file has none
    rig.location, rig.scale = (2.0, -1.0, 0.5), (1.5, 1.5, 1.5)
    bpy.ops.mesh.primitive_cube_add(size=1, location=(2.0, 3.0, 0.5))
    cube = bpy.context.object
    cube.name = "wall"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "own.blend"
        bpy.ops.wm.save_as_mainfile(filepath=str(path))
        for name in ("", mesh.name):
            meshes = capture_character.load({"scene": str(path), "mesh": name}, Path(folder))
            assert [m.type for m in meshes] == ["MESH"] and bpy.data.objects["wall"].hide_render
            assert not meshes[0].hide_render
            bpy.context.view_layer.update()
            points = capture_character.head_points(meshes)
            middle = to_blender((points.min(0) + points.max(0)) / 2)
            assert np.abs(middle - [2.0, -1.07, 0.7]).max() < 0.15, middle
            assert np.ptp(points, 0).max() < 0.9
        capture_character.load({"scene": str(path), "mesh": "", "keep_scene": True}, Path(folder))
        assert not bpy.data.objects["wall"].hide_render
        for spec, words in (({"scene": folder + "/no.blend"}, "no such"), ({"scene": str(path), "mesh": "x"}, "'x'")):
            try:
                capture_character.load(spec, Path(folder))
            except SceneProblem as problem:
                assert words in str(problem), problem
            else:
                raise AssertionError(spec)
    assert scene is not None


def check_depth_and_normal_passes_say_where_the_surface_is():
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    scene = bpy.context.scene
    bpy.ops.mesh.primitive_plane_add(
        size=4, location=(0, 0, 0), rotation=(np.pi / 2, 0, 0)
    )  # faces -Y: the engine's +Z
    capture_stage.settings(scene, 32, 1, 0.0)
    scene.cycles.samples = 1
    lens = capture_stage.camera(scene)
    capture_stage.aim(lens, _spec(_look(np.array([0.2, 0.1, 1.5]), np.array([0.2, 0.1, 0.0])), 60.0, 16.0, 16.0, 32))
    with tempfile.TemporaryDirectory() as folder:
        capture_stage.passes(scene, Path(folder))
        scene.render.filepath = str(Path(folder) / "a.png")
        bpy.ops.render.render(write_still=True)
        found = capture_stage.geometry(Path(folder))
        assert not list(Path(folder).glob("*.exr"))
    assert np.abs(found["depth"].astype(float) * capture_stage.DEPTH_STEP_M - 1.5).max() < 2e-3
    assert (found["normal"] == [0, 0, 127]).all()


def check_depth_that_does_not_fit_is_unknown():
    metres = np.array([0.0, -1.0, 1e-5, 1.0, 6.5535, 6.5536, 9.0, 1e10, np.inf, np.nan], np.float32)
    assert capture_stage.depth_steps(metres).tolist() == [0, 0, 0, 10000, 65535, 0, 0, 0, 0, 0]


main(globals())
