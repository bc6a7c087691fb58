"""Scalp hair as one object of curves: child of the rig's neck bone, hidden by the flags that every object has.

The scalp hardly moves with the face (under 1 mm at the hairline), so the bone alone carries the hair; no modifier has
to find its way over the head's texture map. Hair curves where Python can make them, thin tubes of a curve object in
older releases; both play and render without this add-on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix

from ..convert.axes import to_blender
from ..convert.names import BONES
from . import SceneProblem, find
from .shader_nodes import Graph, principled

HAIR_MARK = "soliloquy_hair"  # on the hair object
ARRAYS: dict[str, tuple[int | str, ...]] = {
    "hair_points": ("s", "p", 3), "hair_radius": ("s", "p"), "hair_tint": ("s",),
}  # fmt: skip
TIP = 1.35  # colour of a hair's tip over its root's
FIBRE = (0.30, 0.42)  # roughness along a hair and around it


def arrays_of(info: Mapping[str, Any]) -> dict[str, tuple[int | str, ...]]:
    """What to open of a `head` answer: `ARRAYS` if the head has hair."""
    return ARRAYS if info.get("hair") else {}


def add(
    info: Mapping[str, Any], arrays: Mapping[str, np.ndarray], rig: bpy.types.Object, collection: bpy.types.Collection
) -> bpy.types.Object:
    """The hair object of a `head` answer with the arrays of `ARRAYS`. info["hair"]: {"rgb" linear, "bone" joint}."""
    spec = info["hair"]
    name = rig.name.removesuffix(" rig") + " hair"
    points = to_blender(np.asarray(arrays["hair_points"], np.float32))
    radius, tint = (np.asarray(arrays[key], np.float32) for key in ("hair_radius", "hair_tint"))
    make = _curves if hasattr(bpy.types.Curves, "add_curves") else _tubes
    data = make(name, points, radius, tint)
    data.materials.append(material(name, tuple(spec["rgb"])))
    ob = bpy.data.objects.new(name, data)
    collection.objects.link(ob)
    ob[HAIR_MARK] = 1
    hang(ob, rig, BONES.get(spec["bone"], spec["bone"]))
    return ob


def hang(ob: bpy.types.Object, rig: bpy.types.Object, bone: str) -> None:
    """Parent to a bone so that at rest the object stands where the rig stands."""
    rest = rig.data.bones[bone]
    ob.parent, ob.parent_type, ob.parent_bone = rig, "BONE", bone
    # A bone's child is measured from the bone's tail.
    ob.matrix_parent_inverse = (rest.matrix_local @ Matrix.Translation((0.0, rest.length, 0.0))).inverted()


def _curves(name: str, points: np.ndarray, radius: np.ndarray, tint: np.ndarray) -> bpy.types.Curves:
    """Hair curves with the attributes radius (points) and tint (curves)."""
    data = bpy.data.hair_curves.new(name)
    data.add_curves([points.shape[1]] * len(points))
    data.attributes["position"].data.foreach_set("vector", points.ravel())
    for attribute, domain, values in (("radius", "POINT", radius), ("tint", "CURVE", tint)):
        layer = data.attributes.get(attribute) or data.attributes.new(attribute, "FLOAT", domain)
        layer.data.foreach_set("value", values.ravel())
    return data


def _tubes(name: str, points: np.ndarray, radius: np.ndarray, tint: np.ndarray) -> bpy.types.Curve:
    """Poly splines with a round bevel. They cannot carry a tint; the material varies by place instead."""
    data = bpy.data.curves.new(name, "CURVE")
    data.dimensions, data.bevel_depth, data.bevel_resolution = "3D", 1.0, 0
    data.use_fill_caps = False
    ones = np.ones((points.shape[1], 1), np.float32)
    for strand, widths in zip(points, radius, strict=True):
        spline = data.splines.new("POLY")
        spline.points.add(len(strand) - 1)
        spline.points.foreach_set("co", np.hstack([strand, ones]).ravel())
        spline.points.foreach_set("radius", widths)
    return data


def material(name: str, rgb: tuple[float, ...]) -> bpy.types.Material:
    """A hair shader for Cycles and a plain one for the other engines; tips lighter, every strand of its own shade."""
    made = bpy.data.materials.new(name)
    made.diffuse_color = (*rgb[:3], 1.0)
    made.use_nodes = True
    tree = made.node_tree
    graph, plain = Graph(tree), principled(tree)
    along = graph.node("ShaderNodeHairInfo").outputs["Intercept"]
    tint = graph.node("ShaderNodeAttribute", attribute_name="tint").outputs["Fac"]
    # An object without the attribute reads 0 there: tubes take the change from root to tip alone.
    given = graph.math("MAXIMUM", tint, graph.math("LESS_THAN", tint, 1e-4))
    shade = graph.times(graph.fused(along, TIP - 1.0, 1.0), given)
    colour = graph.scaled(rgb[:3], shade)
    tree.links.new(colour, plain.inputs["Base Color"])
    plain.inputs["Roughness"].default_value = 0.42
    fibre = graph.node("ShaderNodeBsdfHairPrincipled", parametrization="COLOR")
    for socket, value in (("Roughness", FIBRE[0]), ("Radial Roughness", FIBRE[1]), ("Random Roughness", 0.15)):
        fibre.inputs[socket].default_value = value
    tree.links.new(colour, fibre.inputs["Color"])
    out = next(node for node in tree.nodes if node.type == "OUTPUT_MATERIAL")
    out.target = "EEVEE"
    cycles = graph.node("ShaderNodeOutputMaterial", target="CYCLES")
    tree.links.new(fibre.outputs[0], cycles.inputs["Surface"])
    graph.arrange()
    return made


def of_head(mesh: bpy.types.Object | None) -> bpy.types.Object | None:
    """The hair object that hangs on the head's rig, or None."""
    rig = find.armature_of(mesh) if mesh is not None else None
    if rig is None:
        return None
    return next((ob for ob in rig.children if HAIR_MARK in ob and find.alive(ob)), None)


def shown(ob: bpy.types.Object) -> bool:
    """Whether renders and viewports have it."""
    return not (ob.hide_render and ob.hide_viewport)


def avatar_of(mesh: bpy.types.Object, rendering: bool) -> str:
    """The registry name of the head's avatar; the default one is cropped where the head's hair is hidden."""
    avatar = str(mesh.get("soliloquy_avatar", "default"))
    strands = of_head(mesh) if avatar == "default" else None
    if strands is not None and (strands.hide_render if rendering else strands.hide_viewport):
        return "default-cropped"
    return avatar


def show(ob: bpy.types.Object, visible: bool) -> None:
    """Show or hide it in viewports and renders. SceneProblem if the object is linked from another file."""
    if ob.library is not None:
        raise SceneProblem(f"'{ob.name}' is linked: make a library override of the character first")
    ob.hide_viewport = ob.hide_render = not visible
