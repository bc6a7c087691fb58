"""Surfaces of a head that the engine made: the painted vertex colours, and what each kind of flesh adds to them.

A head whose engine sends no zones (see zone_attributes.py) has plain Principled materials.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import bpy
import numpy as np

from . import eyes, mouth, skin, wrinkles
from .shader_nodes import Graph, dress, principled

COLOUR_LAYER = "albedo"
SKIN, EYE, MOUTH = ("skin", "lips", "scalp"), ("sclera", "iris"), ("teeth", "gums", "tongue", "mouth")


def build(spec: Mapping[str, Any], prefix: str) -> bpy.types.Material:
    """A plain one. spec: {"name", "base_color" linear RGB, "roughness", "subsurface", "alpha", "specular"}."""
    material = _new(spec, prefix)
    graph, surface = Graph(material.node_tree), principled(material.node_tree)
    colour = graph.node("ShaderNodeVertexColor", layer_name=COLOUR_LAYER).outputs["Color"]
    given = {name: float(spec[name]) for name in ("roughness", "specular", "alpha") if name in spec}
    if float(spec.get("subsurface", 0.0)) > 0:
        given |= {"subsurface": float(spec["subsurface"]), "radius_m": skin.RADIUS_M}
    dress(graph, surface, colour=colour, **given)
    graph.arrange()
    if float(spec.get("alpha", 1.0)) < 1 and hasattr(material, "blend_method"):
        material.blend_method = "BLEND"
    return material


def _new(spec: Mapping[str, Any], prefix: str) -> bpy.types.Material:
    material = bpy.data.materials.new(f"{prefix} {spec['name']}")
    colour = tuple(float(c) for c in spec["base_color"])[:3]
    material.diffuse_color = (*colour, float(spec.get("alpha", 1.0)))
    material.use_nodes = True
    principled(material.node_tree).inputs["Base Color"].default_value = (*colour, 1.0)
    return material


def build_all(
    info: Mapping[str, Any], arrays: Mapping[str, np.ndarray], prefix: str, ob: bpy.types.Object
) -> list[bpy.types.Material]:
    """The materials of a `head` answer, in their order. ob has its shape keys already: they deepen the wrinkles."""
    specs: list[Mapping[str, Any]] = info["materials"]
    if "zones" not in arrays:
        return [build(spec, prefix) for spec in specs]
    names = [str(spec["name"]) for spec in specs]
    flesh = skin.build(prefix, wrinkles.build(prefix, ob), COLOUR_LAYER)
    ball = eyes.build(prefix, *eyes.measure(arrays, list(info["zone_names"]), names))
    out = []
    for name, spec in zip(names, specs, strict=True):
        if name not in SKIN + EYE + MOUTH:
            out.append(build(spec, prefix))
            continue
        material = _new(spec, prefix)
        graph, surface = Graph(material.node_tree), principled(material.node_tree)
        if name in SKIN:
            skin.dress_with(graph, surface, flesh)
        elif name in EYE:
            eyes.dress_with(graph, surface, ball)
        else:
            mouth.build(graph, surface, name, COLOUR_LAYER)
        graph.arrange()
        out.append(material)
    return out
