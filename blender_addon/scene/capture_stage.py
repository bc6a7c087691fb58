"""Light, cameras and render settings of a capture, and the passes of one picture as arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix, Vector

from ..convert.axes import TO_BLENDER, to_engine
from . import wrinkles

# Azimuth (0 in front, + on the subject's left), elevation in degrees; distance and diameter in head radii; power a unit
# of squared radius; colour. Large and near: soft edges, and no view of the head is dark.
LIGHTS = (
    ("key", -38.0, 34.0, 7.0, 5.0, 590.0, (1.0, 0.965, 0.92)),
    ("fill", 52.0, 8.0, 7.5, 6.5, 270.0, (0.93, 0.965, 1.0)),
    ("rim", 172.0, 42.0, 7.0, 4.5, 520.0, (1.0, 0.985, 0.96)),
)
AMBIENT = (0.15, 0.154, 0.162)
FAR = 1e9  # metres: where Cycles' depth says that there is nothing
DEPTH_STEP_M = 1e-4  # depth is kept in steps of this
FIRST_FRAME = 1


def light(scene: bpy.types.Scene, points: np.ndarray) -> list[bpy.types.Object]:
    """Three soft lights and a grey surrounding for a head whose points [n, 3] (Blender's axes) are given."""
    low, high = points.min(0), points.max(0)
    middle, radius = (low + high) / 2, float(np.linalg.norm(high - low)) / 4
    made = []
    for name, azimuth, elevation, distance, size, power, colour in LIGHTS:
        data = bpy.data.lights.new(f"capture {name}", "AREA")
        data.shape, data.size = "DISK", size * radius
        data.energy, data.color = power * radius * radius, colour
        ob = bpy.data.objects.new(data.name, data)
        a, e = math.radians(azimuth), math.radians(elevation)
        away = Vector((math.sin(a) * math.cos(e), -math.cos(a) * math.cos(e), math.sin(e)))
        ob.location = Vector(middle) + distance * radius * away
        ob.rotation_euler = away.to_track_quat("Z", "Y").to_euler()
        ob.visible_camera = False  # a light behind the head stands in the picture of a camera in front
        scene.collection.objects.link(ob)
        made.append(ob)
    world = scene.world = bpy.data.worlds.new("capture")
    world.use_nodes = True
    background = next(node for node in world.node_tree.nodes if node.type == "BACKGROUND")
    background.inputs["Color"].default_value = (*AMBIENT, 1.0)
    return made


def settings(scene: bpy.types.Scene, size: int, threads: int, limit: float) -> None:
    """Cycles on the CPU with denoising, display values of the Standard view, nothing behind the head.

    threads: 0 lets Cycles take what there is. limit: noise at which a pixel is done before its samples are (0: never).
    """
    scene.render.engine = "CYCLES"
    scene.cycles.device = "CPU"
    scene.cycles.use_denoising = True
    scene.cycles.denoiser = "OPENIMAGEDENOISE"
    scene.cycles.use_adaptive_sampling = limit > 0
    scene.cycles.adaptive_threshold = limit
    scene.cycles.max_bounces, scene.cycles.diffuse_bounces, scene.cycles.glossy_bounces = 6, 3, 3
    scene.cycles.caustics_reflective = scene.cycles.caustics_refractive = False
    scene.cycles.sample_clamp_indirect = 4.0
    scene.render.threads_mode, scene.render.threads = ("FIXED", threads) if threads else ("AUTO", 1)
    scene.render.resolution_x = scene.render.resolution_y = size
    scene.render.resolution_percentage = 100
    scene.render.pixel_aspect_x = scene.render.pixel_aspect_y = 1.0
    scene.render.use_border = scene.render.use_motion_blur = False
    scene.render.film_transparent = True
    scene.render.use_persistent_data = True
    scene.render.use_file_extension = True
    scene.render.dither_intensity = 0.0
    scene.view_settings.view_transform, scene.view_settings.look = "Standard", "None"
    scene.view_settings.exposure, scene.view_settings.gamma = 0.0, 1.0
    image = scene.render.image_settings
    if hasattr(image, "media_type"):
        image.media_type = "IMAGE"
    image.file_format, image.color_mode, image.color_depth, image.compression = "PNG", "RGBA", "8", 60


def passes(scene: bpy.types.Scene, folder: Path) -> None:
    """Let each render also write depth and normal to `folder`, as depth*.exr and normal*.exr."""
    layer = scene.view_layers[0]
    layer.use_pass_z = layer.use_pass_normal = True
    if hasattr(scene, "compositing_node_group"):  # 5.0
        tree = scene.compositing_node_group = bpy.data.node_groups.new("capture", "CompositorNodeTree")
        tree.interface.new_socket(name="Image", in_out="OUTPUT", socket_type="NodeSocketColor")
        out = tree.nodes.new("NodeGroupOutput")
    else:
        scene.use_nodes = True
        tree = scene.node_tree
        tree.nodes.clear()
        out = tree.nodes.new("CompositorNodeComposite")
    layers = tree.nodes.new("CompositorNodeRLayers")
    tree.links.new(layers.outputs["Image"], out.inputs[0])
    files = tree.nodes.new("CompositorNodeOutputFile")
    if hasattr(files, "file_output_items"):  # 5.0
        files.directory, files.file_name = str(folder), ""
        files.format.media_type = "IMAGE"
        files.file_output_items.new("FLOAT", "depth")
        files.file_output_items.new("VECTOR", "normal")
    else:
        files.base_path = str(folder)
        files.file_slots.clear()
        files.file_slots.new("depth")
        files.file_slots.new("normal")
    files.format.file_format, files.format.color_depth = "OPEN_EXR", "32"
    tree.links.new(layers.outputs["Depth"], files.inputs["depth"])
    tree.links.new(layers.outputs["Normal"], files.inputs["normal"])


def camera(scene: bpy.types.Scene) -> bpy.types.Object:
    """The camera that `aim` moves from view to view."""
    data = bpy.data.cameras.new("capture")
    data.sensor_fit, data.sensor_width = "HORIZONTAL", 36.0
    ob = scene.camera = bpy.data.objects.new("capture", data)
    scene.collection.objects.link(ob)
    return ob


def aim(ob: bpy.types.Object, spec: Mapping[str, Any]) -> None:
    """Put the camera where a view of the plan stands. Square pixels; fl_x, cx, cy in pixels, OpenGL camera-to-world in
    the engine's axes."""
    width, height = int(spec["width"]), int(spec["height"])
    ob.data.lens = float(spec["fl_x"]) * ob.data.sensor_width / width
    ob.data.shift_x = (width / 2 - float(spec["cx"])) / width
    ob.data.shift_y = (float(spec["cy"]) - height / 2) / width
    matrix = np.array(spec["transform_matrix"], np.float64)
    matrix[:3] = TO_BLENDER @ matrix[:3]
    ob.matrix_world = Matrix(matrix.tolist())
    distance = float(np.linalg.norm(matrix[:3, 3]))
    ob.data.clip_start, ob.data.clip_end = 0.01, max(100.0, 10 * distance)


def read_pass(path: Path) -> np.ndarray:
    """[h, w, c] float32 of an EXR file, the top row first."""
    image = bpy.data.images.load(str(path))
    try:
        image.colorspace_settings.name = "Non-Color"
        width, height = image.size
        values = np.empty(width * height * image.channels, np.float32)
        image.pixels.foreach_get(values)
        return values.reshape(height, width, -1)[::-1]
    finally:
        bpy.data.images.remove(image)


def depth_steps(depth: np.ndarray) -> np.ndarray:
    """Metres [...] -> uint16 in steps of DEPTH_STEP_M; 0 (unknown) where nothing is and beyond 6.5535 m, which 16 bits
    do not hold."""
    steps = np.round(np.where((depth > 0) & (depth < FAR), depth, 0) / DEPTH_STEP_M)
    return np.where(steps <= 65535, steps, 0).astype(np.uint16)


def geometry(folder: Path) -> dict[str, np.ndarray]:
    """The passes of the last picture: depth [h, w] uint16 (`depth_steps`), normal [h, w, 3] int8 in 1/127,
    engine axes. Removes the files."""
    found = {kind: next(iter(sorted(folder.glob(f"{kind}*.exr"))), None) for kind in ("depth", "normal")}
    if None in found.values():
        raise RuntimeError("Blender wrote no depth or normal pass")
    depth = read_pass(found["depth"])[..., 0]  # type: ignore[arg-type]
    normal = to_engine(read_pass(found["normal"])[..., :3])  # type: ignore[arg-type]
    for path in found.values():
        path.unlink()  # type: ignore[union-attr]
    seen = (depth > 0) & (depth < FAR)
    return {
        "depth": depth_steps(depth),
        "normal": np.round(np.clip(np.where(seen[..., None], normal, 0), -1, 1) * 127).astype(np.int8),
    }


def world_vertices(meshes: Sequence[bpy.types.Object]) -> np.ndarray:
    """[v, 3] float32 of the first mesh as the present frame deforms it, world space, engine axes.

    Modifiers that add or remove vertices must be hidden in viewports (`cage_only`); renders still have them.
    """
    ob = meshes[0].evaluated_get(bpy.context.evaluated_depsgraph_get())
    mesh = ob.to_mesh()
    points = np.empty(3 * len(mesh.vertices), np.float32)
    mesh.vertices.foreach_get("co", points)
    ob.to_mesh_clear()
    world = np.array(ob.matrix_world, np.float64)
    return to_engine(points.reshape(-1, 3) @ world[:3, :3].T + world[:3, 3]).astype(np.float32)


def folds(meshes: Sequence[bpy.types.Object], on: bool) -> None:
    """Let the skin fold where the face moves, or not; meshes without our folds stay as they are."""
    for mesh in meshes:
        if wrinkles.ON in mesh:
            mesh[wrinkles.ON] = on
            mesh.update_tag()  # drivers do not hear of a property's change by themselves


def cage_only(ob: bpy.types.Object) -> None:
    """Hide modifiers that change the number of vertices from viewports (renders keep them)."""
    keep = {"ARMATURE", "LATTICE", "CORRECTIVE_SMOOTH", "SMOOTH", "SHRINKWRAP", "SURFACE_DEFORM", "MESH_DEFORM"}
    keep |= {"HOOK", "CAST", "CURVE", "DISPLACE", "LAPLACIANDEFORM", "LAPLACIANSMOOTH", "SIMPLE_DEFORM", "WARP", "WAVE"}
    keep |= {"MESH_CACHE", "MESH_SEQUENCE_CACHE"}
    for modifier in ob.modifiers:
        if modifier.type not in keep:
            modifier.show_viewport = False
