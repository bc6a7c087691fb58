"""Inside the mouth: ivory teeth, wet gums and tongue, and a bag that ends in the dark."""

from __future__ import annotations

import bpy

from .shader_nodes import Graph, Value, dress
from .zone_attributes import REST, place

TEETH_RADIUS_M, FLESH_RADIUS_M = (0.0016, 0.0013, 0.0010), (0.0030, 0.0010, 0.0007)


def build(graph: Graph, surface: bpy.types.Node, kind: str, paint: str) -> None:
    """Dress a material. kind: "teeth", "gums", "tongue" or "mouth"; paint: the colour attribute's name."""
    rest = graph.attribute(REST)
    inside = graph.parts(graph.attribute(place("deep")[0]))
    deep, root = inside[place("deep")[1]], inside[place("root")[1]]
    colour = graph.node("ShaderNodeVertexColor", layer_name=paint).outputs["Color"]
    {"teeth": _teeth, "gums": _gums, "tongue": _tongue, "mouth": _bag}[kind](graph, surface, rest, deep, root, colour)


def _dim(graph: Graph, colour: Value, deep: Value, last: float) -> Value:
    """Less light comes to what lies far back."""
    light = graph.fused(deep, last - 1.0, 1.0)
    return graph.scaled(colour, graph.vector(light, light, light))


def _teeth(graph: Graph, surface: bpy.types.Node, rest: Value, deep: Value, root: Value, colour: Value) -> None:
    """Yellower at the neck, clearer at the edge."""
    neck = graph.scaled(colour, (0.86, 0.74, 0.56))
    colour = graph.mix(graph.step(root, 0.35, 1.0), graph.scaled(colour, (0.98, 0.93, 0.84)), neck)
    colour = _dim(graph, colour, deep, 0.45)
    wave = graph.times(graph.noise(rest, 420.0, 1.0), 0.00008)
    dress(
        graph, surface, colour=colour, roughness=0.24, specular=0.5, coat=0.5, coat_roughness=0.08,
        normal=graph.bump(wave), subsurface=0.35, radius_m=TEETH_RADIUS_M,
    )  # fmt: skip


def _gums(graph: Graph, surface: bpy.types.Node, rest: Value, deep: Value, root: Value, colour: Value) -> None:
    spots = graph.noise(rest, 260.0, 1.0)
    light = graph.fused(spots, 0.5, 0.75)
    colour = _dim(graph, graph.scaled(colour, graph.vector(light, light, light)), deep, 0.2)
    dress(
        graph, surface, colour=colour, roughness=0.28, specular=0.5, coat=0.6, coat_roughness=0.12,
        normal=graph.bump(graph.times(spots, 0.0003)), subsurface=0.25, radius_m=FLESH_RADIUS_M,
    )  # fmt: skip


def _tongue(graph: Graph, surface: bpy.types.Node, rest: Value, deep: Value, root: Value, colour: Value) -> None:
    """Papillae make it rough, saliva makes it shine."""
    papillae = graph.step(graph.noise(rest, 750.0, 1.0), 0.35, 0.65)
    light = graph.fused(papillae, 0.22, 0.86)
    colour = _dim(graph, graph.scaled(colour, graph.vector(light, light, light)), deep, 0.12)
    dress(
        graph, surface, colour=colour, roughness=0.42, specular=0.45, coat=0.55, coat_roughness=0.16,
        normal=graph.bump(graph.times(papillae, 0.00022)), subsurface=0.25, radius_m=FLESH_RADIUS_M,
    )  # fmt: skip


def _bag(graph: Graph, surface: bpy.types.Node, rest: Value, deep: Value, root: Value, colour: Value) -> None:
    colour = _dim(graph, colour, graph.step(deep, 0.0, 0.6), 0.08)
    dress(graph, surface, colour=colour, roughness=0.35, specular=0.4, coat=0.3, coat_roughness=0.15)
