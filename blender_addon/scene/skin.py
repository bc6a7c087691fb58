"""Skin, lips and cropped scalp: one node group, so that no border of polygons shows; zones come from the mesh."""

from __future__ import annotations

import bpy

from .shader_nodes import Graph, Value, dress, new_group
from .zone_attributes import REST, place

RADIUS_M = (0.0042, 0.0016, 0.0009)  # mean free path of red, green, blue light in skin
SUBSURFACE = 0.30
FRECKLES = 0.09  # how much darker the darkest are
PORE_M, LIP_LINE_M = 0.000035, 0.00028


def build(prefix: str, wrinkles: bpy.types.NodeTree | None, paint: str) -> bpy.types.NodeTree:
    """The group: outputs Color, Roughness, Specular, Normal. paint: the colour attribute's name."""
    outputs = (("Color", "Color"), ("Roughness", "Float"), ("Specular", "Float"), ("Normal", "Vector"))
    graph, out = new_group(f"{prefix} skin", outputs)
    rest = graph.attribute(REST)
    lip_m, oily, wet = graph.parts(graph.attribute(place("lip_m")[0]))
    scalp = graph.parts(graph.attribute(place("scalp")[0]))[place("scalp")[1]]
    lips = graph.step(lip_m, -0.0012, 0.0012)
    mottle, blood, spots = graph.parts(graph.noise(rest, 85.0, 2.0, colour=True))
    fine = graph.noise(rest, 2300.0)
    height = _grain(graph, rest, fine, lips, scalp)
    crease = None
    if wrinkles is not None:
        folds = graph.group(wrinkles)
        height, crease = graph.add(height, folds.outputs["Height"]), folds.outputs["Crease"]
    graph.put(_colour(graph, paint, mottle, blood, crease), out.inputs["Color"])
    rough = graph.fused(oily, -0.11, graph.fused(mottle, 0.16, 0.42))
    rough = graph.blend(lips, rough, graph.fused(spots, 0.16, 0.31))
    rough = graph.blend(scalp, rough, 0.72)
    graph.put(graph.blend(wet, rough, 0.10), out.inputs["Roughness"])
    gloss = graph.blend(scalp, graph.fused(oily, 0.12, 0.40), 0.2)
    graph.put(graph.blend(wet, gloss, 0.9), out.inputs["Specular"])
    graph.put(graph.bump(height), out.inputs["Normal"])
    graph.arrange()
    return graph.tree


def dress_with(graph: Graph, surface: bpy.types.Node, tree: bpy.types.NodeTree) -> None:
    """A material of the skin."""
    it = graph.group(tree).outputs
    dress(
        graph, surface, colour=it["Color"], roughness=it["Roughness"], specular=it["Specular"], normal=it["Normal"],
        subsurface=SUBSURFACE, radius_m=RADIUS_M,
    )  # fmt: skip


def _grain(graph: Graph, rest: Value, fine: Value, lips: Value, scalp: Value) -> Value:
    """Height in metres of pores and of the lips' upright lines."""
    bare = graph.math("SUBTRACT", 1.0, graph.math("MAXIMUM", lips, scalp))
    pores = graph.times(graph.step(fine, 0.30, 0.62), PORE_M, bare)
    # Noise squeezed along the lips' height makes upright lines.
    lines = graph.noise(graph.scaled(rest, (700.0, 250.0, 120.0)), 1.0)
    return graph.fused(graph.times(lips, lines), LIP_LINE_M, pores)


def _colour(graph: Graph, paint: str, mottle: Value, blood: Value, crease: Value | None) -> Value:
    """The painted colour with blotches of blood and faint freckles; darker and redder in the folds."""
    colour = graph.node("ShaderNodeVertexColor", layer_name=paint).outputs["Color"]
    freckles = graph.step(graph.noise(graph.attribute(REST), 430.0), 0.56, 0.78, 0.0, FRECKLES)
    light = graph.add(graph.fused(mottle, 0.26, 0.87), graph.times(freckles, graph.step(mottle, 0.42, 0.62), -1.0))
    less = (graph.fused(blood, -0.22, 1.11), graph.fused(blood, -0.20, 1.10))
    colour = graph.scaled(graph.scaled(colour, graph.vector(light, light, light)), graph.vector(1.0, *less))
    if crease is None:
        return colour
    # Light is lost in a fold, and what comes out is redder.
    return graph.scaled(colour, graph.vector(*(graph.fused(crease, -share, 1.0) for share in (0.20, 0.30, 0.32))))
