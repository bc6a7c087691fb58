"""Shader graphs in a few words, the same on every Blender from 3.4 on: sums, mixes, noise, node groups.

Sockets are found by name or identifier, never by number, since versions add and rename them. A value is a socket, a
number or a tuple; what is a number becomes a socket's default.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import bpy

Value = Any  # bpy.types.NodeSocket, float or tuple
COLUMN, ROW = 190, 170  # distance of nodes on the canvas


class Graph:
    """Builds into one node tree."""

    def __init__(self, tree: bpy.types.NodeTree):
        self.tree = tree

    def node(self, kind: str, **settings: Any) -> bpy.types.Node:
        """A new node, e.g. node("ShaderNodeMath", operation="ADD")."""
        node = self.tree.nodes.new(kind)
        for name, value in settings.items():
            setattr(node, name, value)
        return node

    def put(self, value: Value, socket: bpy.types.NodeSocket) -> None:
        """Link a socket or set a default."""
        if isinstance(value, bpy.types.NodeSocket):
            self.tree.links.new(value, socket)
        elif hasattr(socket.default_value, "__len__"):
            row = tuple(value) if hasattr(value, "__len__") else (value,) * 3
            socket.default_value = (*row, 1.0)[: len(socket.default_value)]
        else:
            socket.default_value = value

    def attribute(self, name: str, output: str = "Vector") -> bpy.types.NodeSocket:
        """A point attribute of the mesh; one node a name."""
        for node in self.tree.nodes:
            if node.bl_idname == "ShaderNodeAttribute" and node.attribute_name == name:
                return node.outputs[output]
        return self.node("ShaderNodeAttribute", attribute_name=name, label=name).outputs[output]

    def parts(self, vector: Value) -> tuple[bpy.types.NodeSocket, ...]:
        """(x, y, z)."""
        node = self.node("ShaderNodeSeparateXYZ")
        self.put(vector, node.inputs[0])
        return tuple(node.outputs)

    def vector(self, x: Value, y: Value, z: Value) -> bpy.types.NodeSocket:
        node = self.node("ShaderNodeCombineXYZ")
        for value, socket in zip((x, y, z), node.inputs, strict=True):
            self.put(value, socket)
        return node.outputs[0]

    def math(self, operation: str, *values: Value, clamp: bool = False) -> bpy.types.NodeSocket:
        node = self.node("ShaderNodeMath", operation=operation, use_clamp=clamp)
        for value, socket in zip(values, node.inputs, strict=False):
            self.put(value, socket)
        return node.outputs[0]

    def add(self, first: Value, *others: Value) -> bpy.types.NodeSocket:
        for other in others:
            first = self.math("ADD", first, other)
        return first

    def times(self, first: Value, *others: Value) -> bpy.types.NodeSocket:
        for other in others:
            first = self.math("MULTIPLY", first, other)
        return first

    def fused(self, a: Value, b: Value, c: Value) -> bpy.types.NodeSocket:
        """a * b + c."""
        return self.math("MULTIPLY_ADD", a, b, c)

    def scaled(self, vector: Value, by: Value) -> bpy.types.NodeSocket:
        """Vector times a number or, component by component, a tuple."""
        node = self.node("ShaderNodeVectorMath", operation="MULTIPLY")
        self.put(vector, node.inputs[0])
        self.put(by, node.inputs[1])
        return node.outputs[0]

    def length(self, vector: Value) -> bpy.types.NodeSocket:
        node = self.node("ShaderNodeVectorMath", operation="LENGTH")
        self.put(vector, node.inputs[0])
        return node.outputs["Value"]

    def step(self, value: Value, low: float, high: float, bottom: Value = 0.0, top: Value = 1.0) -> Any:
        """Smooth step from `bottom` at low to `top` at high; low > high falls."""
        node = self.node("ShaderNodeMapRange", interpolation_type="SMOOTHSTEP")
        if low > high:
            low, high, bottom, top = high, low, top, bottom
        rows = {"Value": value, "From Min": low, "From Max": high, "To Min": bottom, "To Max": top}
        for name, row in rows.items():
            self.put(row, node.inputs[name])
        return node.outputs[0]

    def mix(self, factor: Value, a: Value, b: Value, blend: str = "MIX") -> bpy.types.NodeSocket:
        """Colour a towards b."""
        node = self.node("ShaderNodeMix", data_type="RGBA", blend_type=blend)
        named = {socket.identifier: socket for socket in node.inputs}
        for name, value in (("Factor_Float", factor), ("A_Color", a), ("B_Color", b)):
            self.put(value, named[name])
        return next(socket for socket in node.outputs if socket.identifier == "Result_Color")

    def blend(self, factor: Value, a: Value, b: Value) -> bpy.types.NodeSocket:
        """Number a towards b."""
        node = self.node("ShaderNodeMix", data_type="FLOAT")
        named = {socket.identifier: socket for socket in node.inputs}
        for name, value in (("Factor_Float", factor), ("A_Float", a), ("B_Float", b)):
            self.put(value, named[name])
        return next(socket for socket in node.outputs if socket.identifier == "Result_Float")

    def noise(self, vector: Value, scale: float, detail: float = 0.0, colour: bool = False) -> bpy.types.NodeSocket:
        """Noise around 0.5; colour: three of them."""
        node = self.node("ShaderNodeTexNoise", noise_dimensions="3D")
        for name, value in (("Vector", vector), ("Scale", scale), ("Detail", detail), ("Roughness", 0.5)):
            self.put(value, node.inputs[name])
        return node.outputs["Color" if colour else 0]

    def value(self, name: str, number: float = 0.0) -> bpy.types.NodeSocket:
        """A Value node with this name and label."""
        node = self.node("ShaderNodeValue", name=name, label=name)
        node.outputs[0].default_value = number
        return node.outputs[0]

    def group(self, tree: bpy.types.NodeTree) -> bpy.types.Node:
        """A node that stands for a group."""
        return self.node("ShaderNodeGroup", node_tree=tree, label=tree.name)

    def bump(self, height: Value) -> bpy.types.NodeSocket:
        """The normal of a surface raised by metres."""
        node = self.node("ShaderNodeBump")
        for name, value in (("Strength", 1.0), ("Distance", 1.0), ("Height", height)):
            self.put(value, node.inputs[name])
        return node.outputs[0]

    def arrange(self) -> None:
        """Columns by distance from the output, so that a person can read the tree."""
        level: dict[str, int] = {}
        feeds: dict[str, list[str]] = {}
        for link in self.tree.links:
            feeds.setdefault(link.from_node.name, []).append(link.to_node.name)

        def depth(name: str) -> int:
            if name not in level:
                level[name] = 0
                level[name] = 1 + max((depth(other) for other in feeds.get(name, ())), default=-1)
            return level[name]

        used: dict[int, int] = {}
        for node in self.tree.nodes:
            column = depth(node.name)
            row = used.get(column, 0)
            used[column] = row + 1
            node.location = (-COLUMN * column, -ROW * row)
            node.hide = node.bl_idname in ("ShaderNodeMath", "ShaderNodeSeparateXYZ", "ShaderNodeVectorMath")


def new_group(name: str, outputs: Sequence[tuple[str, str]]) -> tuple[Graph, bpy.types.Node]:
    """(graph, its output node) of a fresh node group. outputs: (label, "Float", "Color" or "Vector")."""
    tree = bpy.data.node_groups.new(name, "ShaderNodeTree")
    for label, kind in outputs:
        if hasattr(tree, "interface"):
            tree.interface.new_socket(name=label, in_out="OUTPUT", socket_type=f"NodeSocket{kind}")
        else:  # before 4.0
            tree.outputs.new(f"NodeSocket{kind}", label)
    graph = Graph(tree)
    return graph, graph.node("NodeGroupOutput")


def principled(tree: bpy.types.NodeTree) -> bpy.types.Node:
    """The tree's own surface shader."""
    return next(node for node in tree.nodes if node.type == "BSDF_PRINCIPLED")


# Principled sockets were renamed in 4.0; the first name that exists is used.
SOCKETS = {
    "colour": ("Base Color",),
    "roughness": ("Roughness",),
    "specular": ("Specular IOR Level", "Specular"),
    "ior": ("IOR",),
    "subsurface": ("Subsurface Weight", "Subsurface"),
    "radius": ("Subsurface Radius",),
    "coat": ("Coat Weight", "Clearcoat"),
    "coat_roughness": ("Coat Roughness", "Clearcoat Roughness"),
    "coat_normal": ("Coat Normal", "Clearcoat Normal"),
    "normal": ("Normal",),
    "alpha": ("Alpha",),
}  # fmt: skip


def dress(graph: Graph, surface: bpy.types.Node, **values: Value) -> None:
    """Set a Principled node's sockets by the names of SOCKETS.

    radius_m: mean free paths of red, green and blue, metres. Below 4.0 the radius was multiplied by the weight and the
    light below had a colour of its own; both are made up for, so that a file looks alike.
    """
    radius = values.pop("radius_m", None)
    for name, value in values.items():
        graph.put(value, next(surface.inputs[n] for n in SOCKETS[name] if n in surface.inputs))
    if radius is None:
        return
    if "Subsurface Scale" in surface.inputs:
        surface.inputs["Subsurface Scale"].default_value = 1.0
    if "Subsurface Color" in surface.inputs:
        weight = max(float(values.get("subsurface", 1.0)), 1e-3)
        radius = tuple(r / weight for r in radius)
        graph.put(values["colour"], surface.inputs["Subsurface Color"])
    graph.put(radius, surface.inputs["Subsurface Radius"])
