"""Principled materials whose base colour comes from the mesh's painted vertex colours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import bpy

COLOUR_LAYER = "albedo"
# Principled sockets were renamed in 4.0; the first name that exists is used.
SOCKETS = {
    "subsurface": ("Subsurface Weight", "Subsurface"),
    "specular": ("Specular IOR Level", "Specular"),
    "roughness": ("Roughness",),
    "alpha": ("Alpha",),
}
SKIN_RADIUS_M = (0.004, 0.0015, 0.0008)  # mean free path of red, green, blue light in skin


def build(spec: Mapping[str, Any], prefix: str) -> bpy.types.Material:
    """spec: {"name", "base_color" linear RGB, "roughness", "subsurface", "alpha", "specular"}, all in [0, 1]."""
    material = bpy.data.materials.new(f"{prefix} {spec['name']}")
    colour = tuple(float(c) for c in spec["base_color"])[:3]
    alpha = float(spec.get("alpha", 1.0))
    material.diffuse_color = (*colour, alpha)
    material.use_nodes = True
    tree = material.node_tree
    surface = next(node for node in tree.nodes if node.type == "BSDF_PRINCIPLED")
    paint = tree.nodes.new("ShaderNodeVertexColor")
    paint.layer_name = COLOUR_LAYER
    paint.location = (surface.location.x - 300, surface.location.y)
    surface.inputs["Base Color"].default_value = (*colour, 1.0)
    tree.links.new(paint.outputs["Color"], surface.inputs["Base Color"])
    for key, names in SOCKETS.items():
        if key in spec:
            socket = next(surface.inputs[name] for name in names if name in surface.inputs)
            socket.default_value = float(spec[key])
    if float(spec.get("subsurface", 0.0)) > 0:
        _set_radius(surface)
        if "Subsurface Color" in surface.inputs:  # 3.4 only: below 4.0 the subsurface had its own colour
            tree.links.new(paint.outputs["Color"], surface.inputs["Subsurface Color"])
    if alpha < 1 and hasattr(material, "blend_method"):
        material.blend_method = "BLEND"
    return material


def _set_radius(surface: bpy.types.Node) -> None:
    surface.inputs["Subsurface Radius"].default_value = SKIN_RADIUS_M
    if "Subsurface Scale" in surface.inputs:
        surface.inputs["Subsurface Scale"].default_value = 1.0
