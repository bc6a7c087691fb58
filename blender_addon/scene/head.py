"""A head from the engine as Blender data: quads, UVs, materials, shape keys, vertex groups.

The mesh evaluates to template + sum of weight x shape, then linear blend skinning by the armature: the same two
steps, in the same order, as the engine's `vertices`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import bpy
import numpy as np

from ..convert.axes import to_blender
from ..convert.names import BONES
from . import armature, correctives, fixes, materials, zone_attributes
from .find import FLAME_MARK, HEAD_MARK

# What the `head` job must answer; letters are sizes that have to agree.
ARRAYS: dict[str, tuple[int | str, ...]] = {
    "template": ("v", 3), "faces": ("f", 4), "uv": ("w", 2), "uv_faces": ("f", 4),
    "face_material": ("f",), "albedo": ("v", 3), "shapes": ("k", "v", 3),
    "joints": ("j", 3), "weights": ("v", "j"),
}  # fmt: skip


def arrays_of(info: Mapping[str, Any]) -> dict[str, tuple[int | str, ...]]:
    """What to open of a `head` answer: `ARRAYS`, skin zones, correctives, and a FLAME model's pose correctives."""
    more: dict[str, tuple[int | str, ...]] = {
        "posedirs": (36, "v", 3), "zones": ("v", "z"), "correctives": ("c", "v", 3),
    }  # fmt: skip
    return ARRAYS | {name: shape for name, shape in more.items() if name in info["arrays"]}


def build(
    info: Mapping[str, Any], arrays: Mapping[str, np.ndarray], collection: bpy.types.Collection
) -> tuple[bpy.types.Object, bpy.types.Object]:
    """(mesh object, armature object), linked to `collection`.

    info: the `head` job's answer (name, topology_sha256, shape_names, materials, joint_names, parents, zone_names).
    arrays: as in `ARRAYS`, engine axes, metres. faces -1 in the fourth column of a triangle.
    """
    name = label(info)
    mesh = bpy.data.meshes.new(name)
    _geometry(mesh, info, arrays)
    ob = bpy.data.objects.new(name, mesh)
    collection.objects.link(ob)
    _shape_keys(ob, info["shape_names"], arrays)
    for material in materials.build_all(info, arrays, name, ob):
        mesh.materials.append(material)
    mesh.polygons.foreach_set("material_index", np.asarray(arrays["face_material"], np.int32))
    rig = armature.build(name, info, np.asarray(arrays["joints"]), collection)
    _skin(ob, rig, info["joint_names"], np.asarray(arrays["weights"]))
    if "correctives" in arrays:
        fixes.add(ob, rig, info["correctives"], np.asarray(arrays["correctives"]))
    if "posedirs" in arrays:
        correctives.add(ob, rig, np.asarray(arrays["posedirs"]))
        ob[FLAME_MARK] = str(info.get("flame_version", ""))
    ob[HEAD_MARK] = str(info["topology_sha256"])
    ob["soliloquy_head_name"] = str(info["name"])
    ob["soliloquy_avatar"] = "default"
    mesh.update()
    return ob, rig


def label(info: Mapping[str, Any]) -> str:
    """What the head's objects are called: 'Head' for the default one, else its own name."""
    name = str(info["name"])
    return "Head" if name == "default" else name


def _geometry(mesh: bpy.types.Mesh, info: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Vertices, polygons, UVs and painted colours, in the engine's order."""
    faces, uv_faces = np.asarray(arrays["faces"]), np.asarray(arrays["uv_faces"])
    points = to_blender(np.asarray(arrays["template"], np.float32))
    used = faces >= 0
    sizes = used.sum(1)
    mesh.vertices.add(len(points))
    mesh.vertices.foreach_set("co", points.ravel())
    mesh.loops.add(int(used.sum()))
    mesh.loops.foreach_set("vertex_index", faces[used].astype(np.int32))
    mesh.polygons.add(len(faces))
    mesh.polygons.foreach_set("loop_start", np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int32))
    if bpy.app.version < (4, 0):  # from 4.0 on the sizes follow from the starts
        mesh.polygons.foreach_set("loop_total", sizes.astype(np.int32))
    mesh.polygons.foreach_set("use_smooth", np.ones(len(faces), bool))
    mesh.update(calc_edges=True)
    if len(arrays["uv"]):
        layer = mesh.uv_layers.new(name="UVMap")
        layer.data.foreach_set("uv", np.asarray(arrays["uv"], np.float32)[uv_faces[used]].ravel())
    colours = np.ones((len(points), 4), np.float32)
    colours[:, :3] = arrays["albedo"]
    if "zones" in arrays:
        zone_attributes.write(mesh, arrays["template"], info["zone_names"], np.asarray(arrays["zones"]))
    mesh.color_attributes.new(materials.COLOUR_LAYER, "FLOAT_COLOR", "POINT").data.foreach_set("color", colours.ravel())


def _shape_keys(ob: bpy.types.Object, names: list[str], arrays: Mapping[str, np.ndarray]) -> None:
    rest = to_blender(np.asarray(arrays["template"], np.float32))
    ob.shape_key_add(name="Basis", from_mix=False)
    for name, offsets in zip(names, arrays["shapes"], strict=True):
        key = ob.shape_key_add(name=str(name), from_mix=False)
        key.data.foreach_set("co", (rest + to_blender(np.asarray(offsets, np.float32))).ravel())
        key.value = 0.0
    ob.data.shape_keys.name = f"{ob.name} shapes"


def _skin(ob: bpy.types.Object, rig: bpy.types.Object, joints: list[str], weights: np.ndarray) -> None:
    """Vertex groups = the engine's skinning weights; plain linear blending, as in the engine."""
    for column, joint in enumerate(joints):
        group = ob.vertex_groups.new(name=BONES.get(joint, joint))
        for row in np.flatnonzero(weights[:, column] > 0):
            group.add([int(row)], float(weights[row, column]), "REPLACE")
    modifier = ob.modifiers.new("Armature", "ARMATURE")
    modifier.object = rig
    modifier.use_deform_preserve_volume = False
    ob.parent = rig
