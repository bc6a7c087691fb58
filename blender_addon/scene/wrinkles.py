"""Wrinkles: a node group that makes folds of the skin as height, deepened by the head's own shape keys.

The mesh says where the folds are and how they run (engine/head/zones.py); the group cuts creases at whole numbers of a
fold's coordinate, profile (1 - |sin(pi u)|)^n, with noise in the coordinate so that no crease is a ruled line. A Value
node for each muscle and side carries a driver on the Key's shape-key values: plain arithmetic, which Blender evaluates
without running scripts: keys by hand wrinkle the skin as well, background renders follow, a file needs no add-on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import bpy

from .shader_nodes import Graph, new_group
from .zone_attributes import REST, place

ON, STRENGTH = "wrinkles", "wrinkle_strength"  # custom properties of the head's mesh object
# Muscle -> how much of it each shape key stands for at value 1; {} is Left or Right (L or R for the extra channels).
MUSCLES: dict[str, dict[str, float]] = {
    "brow inner": {"browInnerUp": 1.0},
    "brow outer {}": {"browOuterUp{}": 1.0},
    "brow lower {}": {"browDown{}": 0.55, "browMedialDown_{0[0]}": 0.55},
    "eye outer {}": {"cheekSquint{}": 0.75, "mouthSmile{}": 0.45, "eyeSquint{}": 0.25},
    "eye lower {}": {"cheekSquint{}": 0.6, "eyeSquint{}": 0.55, "mouthSmile{}": 0.2},
    "cheek {}": {"mouthSmile{}": 0.85, "noseSneer{}": 0.6, "mouthUpperUp{}": 0.45, "mouthDimple{}": 0.25},
    "nose {}": {"noseSneer{}": 1.0},
    "chin": {"mouthShrugLower": 0.95, "mouthFrownLeft": 0.15, "mouthFrownRight": 0.15},
}
# (strength column, coordinate column, muscle, depth in metres, sharpness of the crease, how much it wanders).
FOLDS: tuple[tuple[str, str, str, float, float, float], ...] = (
    ("forehead_inner", "forehead_u", "brow inner", 0.00070, 2.4, 1.0),
    ("forehead_outer", "forehead_u", "brow outer", 0.00070, 2.4, 1.0),
    ("glabella", "glabella_u", "brow lower", 0.00085, 2.0, 0.7),
    ("crow", "crow_u", "eye outer", 0.00055, 2.4, 1.0),
    ("under_eye", "under_eye_u", "eye lower", 0.00035, 2.0, 1.0),
    ("nasolabial", "nasolabial_u", "cheek", 0.00140, 2.4, 0.3),
    ("nose", "nose_u", "nose", 0.00045, 1.8, 1.0),
)
CHIN_DEPTH_M = 0.00038
SIDE_SOFT_M = 0.006  # over this the left half of the face gives way to the right one


def build(prefix: str, ob: bpy.types.Object) -> bpy.types.NodeTree | None:
    """The group, driven by ob's shape keys: outputs Height (metres) and Crease (0 to 1, how deep in a fold).

    None for an object none of whose keys folds the skin (an imported FLAME model's are expression components).
    """
    known = set(ob.data.shape_keys.key_blocks.keys()) if ob.data.shape_keys else set()
    if not any(set(keys_of(muscle)) & known for muscle in muscle_names()):
        return None
    tree = _tree(prefix)
    drive(tree, ob)
    return tree


def _tree(prefix: str) -> bpy.types.NodeTree:
    graph, out = new_group(f"{prefix} wrinkles", (("Height", "Float"), ("Crease", "Float")))
    rest = graph.attribute(REST)
    left = graph.step(graph.parts(rest)[0], -SIDE_SOFT_M, SIDE_SOFT_M)
    bend, curl, uneven = graph.parts(graph.noise(rest, 44.0, colour=True))
    shift = graph.add(graph.fused(bend, 0.70, -0.35), graph.fused(curl, 0.30, -0.15))
    uneven = graph.step(uneven, 0.25, 0.66, 0.30, 1.15)  # a crease is deep here and nearly runs out there
    value = {name: graph.value(name) for name in muscle_names()}
    heights, creases = [], []
    cuts: dict[str, Any] = {}
    for mask, along, muscle, depth, sharp, wander in FOLDS:
        if along not in cuts:
            cuts[along] = _cut(graph, graph.fused(shift, wander, _column(graph, along)), sharp)
        crease, shoulder = cuts[along]
        amount = graph.times(_column(graph, mask), _of_side(graph, value, muscle, left))
        if mask != "nasolabial":  # which is one long fold
            amount = graph.times(amount, uneven)
        heights.append(graph.times(amount, graph.fused(crease, -0.72 * depth, graph.times(shoulder, -0.28 * depth))))
        creases.append(graph.times(amount, crease))
        if mask == "nasolabial":  # the cheek swells over the fold
            side = _column(graph, along)
            swell = graph.times(graph.step(side, 0.02, 0.16), graph.step(side, 0.42, 0.16))
            heights.append(graph.times(amount, swell, 0.4 * depth))
    dimple = graph.step(graph.noise(rest, 300.0), 0.62, 0.34)
    chin = graph.times(_column(graph, "chin"), _of_side(graph, value, "chin", left), dimple)
    heights.append(graph.times(chin, -CHIN_DEPTH_M))
    creases.append(graph.times(chin, 0.35))
    strength = graph.value(STRENGTH, 1.0)
    graph.put(graph.times(graph.add(*heights), strength), out.inputs["Height"])
    graph.put(graph.math("MULTIPLY", graph.add(*creases), strength, clamp=True), out.inputs["Crease"])
    graph.arrange()
    return graph.tree


def _column(graph: Graph, name: str) -> Any:
    attribute, row = place(name)
    for node in graph.tree.nodes:
        if node.bl_idname == "ShaderNodeSeparateXYZ" and node.label == attribute:
            return node.outputs[row]
    parts = graph.parts(graph.attribute(attribute))
    parts[0].node.label = attribute
    return parts[row]


def _cut(graph: Graph, along: Any, sharp: float) -> tuple[Any, Any]:
    """(crease, shoulder) in [0, 1]: the sharp valley and the broad dip about it."""
    wave = graph.math("ABSOLUTE", graph.math("SINE", graph.times(along, math.pi)))
    shoulder = graph.math("SUBTRACT", 1.0, wave)
    return graph.math("POWER", shoulder, sharp), shoulder


def _of_side(graph: Graph, value: Mapping[str, Any], muscle: str, left: Any) -> Any:
    """A muscle's value on this half of the face."""
    if muscle in value:
        return value[muscle]
    right = value[f"{muscle} Right"]
    return graph.fused(left, graph.math("SUBTRACT", value[f"{muscle} Left"], right), right)


def muscle_names() -> list[str]:
    """The names of the Value nodes."""
    sides = ("Left", "Right")
    return [name.format(side) for name in MUSCLES for side in (sides if "{}" in name else ("",))]


def keys_of(muscle: str) -> dict[str, float]:
    """Shape key -> its share in a muscle, e.g. of "cheek Left"."""
    for name, shares in MUSCLES.items():
        for side in ("Left", "Right"):
            if name.format(side) == muscle:
                return {key.format(side): share for key, share in shares.items()}
    raise KeyError(muscle)


def drive(tree: bpy.types.NodeTree, ob: bpy.types.Object) -> int:
    """Let the object's shape keys deepen the folds; how many values are driven. Adds the artist's two properties."""
    ob[ON], ob[STRENGTH] = True, 1.0
    ob.id_properties_ui(ON).update(description="The skin folds where the face moves")
    ob.id_properties_ui(STRENGTH).update(
        min=0.0, max=3.0, soft_max=2.0, description="Depth of the folds: 1 is an adult, 2 an old face"
    )
    key = ob.data.shape_keys
    count = 0
    for muscle in muscle_names():
        shares = {name: share for name, share in keys_of(muscle).items() if name in key.key_blocks}
        if shares:
            terms = [(key, "KEY", f'key_blocks["{name}"].value', share) for name, share in shares.items()]
            expression = " + ".join(f"{share:g} * {_variable(i)}" for i, share in enumerate(shares.values()))
            _driver(tree, muscle, f"clamp({expression})", terms)
            count += 1
    own = [(ob, "OBJECT", f'["{name}"]', 1.0) for name in (ON, STRENGTH)]
    _driver(tree, STRENGTH, f"{_variable(0)} * {_variable(1)}", own)
    return count


def _variable(index: int) -> str:
    return "abcdefgh"[index]


def _driver(tree: bpy.types.NodeTree, node: str, expression: str, terms: list[tuple[Any, str, str, float]]) -> None:
    """A driver on a Value node of the tree. Sums, products and clamp alone: Blender needs no script for them."""
    curve = tree.driver_add(f'nodes["{node}"].outputs[0].default_value')
    curve.driver.type = "SCRIPTED"
    for index, (owner, kind, path, _) in enumerate(terms):
        variable = curve.driver.variables.new()
        variable.name, variable.type = _variable(index), "SINGLE_PROP"
        target = variable.targets[0]
        target.id_type, target.id, target.data_path = kind, owner, path
    curve.driver.expression = expression
