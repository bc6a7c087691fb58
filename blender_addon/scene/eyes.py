"""Eyeballs: iris with fibres and a limbal ring, pupil, veined white, a wet coat, and shade under the lids."""

from __future__ import annotations

from collections.abc import Mapping

import bpy
import numpy as np

from .shader_nodes import Graph, Value, dress, new_group
from .zone_attributes import REST

USUAL = (0.415, 0.0154)  # angle of an iris, radians, and radius of a ball, metres
PUPIL = 0.37  # radius of the pupil as a part of the iris
INNER_RGB, OUTER_RGB, LIMBUS_RGB = (0.19, 0.098, 0.034), (0.060, 0.082, 0.070), (0.010, 0.012, 0.014)
WHITE_RGB, PINK_RGB, VEIN_RGB = (0.61, 0.56, 0.52), (0.57, 0.34, 0.29), (0.40, 0.09, 0.07)
SHADE_M = 0.006  # lids and lashes darken the ball over this distance


def build(prefix: str, iris: float, radius_m: float) -> bpy.types.NodeTree:
    """The group: outputs Color, Roughness, Normal. iris: its angle from the axis, radians; radius_m of the ball."""
    graph, out = new_group(f"{prefix} eye", (("Color", "Color"), ("Roughness", "Float"), ("Normal", "Vector")))
    place = graph.attribute("sol_eye")
    x, y, z = graph.parts(place)
    away = graph.math("SQRT", graph.add(graph.times(x, x), graph.times(y, y)))
    angle = graph.math("ARCTAN2", away, z)
    coloured = graph.step(angle, iris + 0.030, iris - 0.030)  # the limbus is a soft border
    fibres = _fibres(graph, x, y, away, angle, iris)
    white = _white(graph, place, x, angle)
    colour = graph.mix(coloured, white, _iris(graph, angle, fibres, iris))
    shade = graph.node("ShaderNodeAmbientOcclusion", samples=6, only_local=True)
    graph.put(SHADE_M, shade.inputs["Distance"])
    lit = graph.fused(graph.math("POWER", shade.outputs["AO"], 1.4), 0.72, 0.28)
    colour = graph.scaled(colour, graph.vector(lit, graph.fused(lit, 1.04, -0.04), graph.fused(lit, 1.05, -0.05)))
    graph.put(colour, out.inputs["Color"])
    graph.put(graph.blend(coloured, 0.30, 0.22), out.inputs["Roughness"])
    # The iris is a bowl behind the cornea: light from above falls on its lower half.
    bowl = graph.times(coloured, graph.times(angle, angle), 0.85 * radius_m)
    height = graph.fused(graph.times(fibres, coloured), 0.00012, bowl)
    graph.put(graph.bump(height), out.inputs["Normal"])
    graph.arrange()
    return graph.tree


def _fibres(graph: Graph, x: Value, y: Value, away: Value, angle: Value, iris: float) -> Value:
    """Noise that runs along the radius, without a seam: it is read on a thin cylinder about the axis."""
    round_ = graph.math("MAXIMUM", away, 1e-4)
    along = graph.times(angle, 2.6 / iris)
    spot = graph.vector(graph.math("DIVIDE", x, round_), graph.math("DIVIDE", y, round_), graph.times(along, 0.16))
    coarse = graph.noise(spot, 7.0, 2.0)
    return graph.fused(graph.noise(spot, 19.0, 1.0), 0.45, graph.times(coarse, 0.55))


def _iris(graph: Graph, angle: Value, fibres: Value, iris: float) -> Value:
    inner, outer = graph.node("ShaderNodeRGB", label="Iris, inner"), graph.node("ShaderNodeRGB", label="Iris, outer")
    inner.outputs[0].default_value, outer.outputs[0].default_value = (*INNER_RGB, 1), (*OUTER_RGB, 1)
    part = graph.times(angle, 1 / iris)
    ruffled = graph.add(part, graph.fused(fibres, 0.5, -0.25))
    colour = graph.mix(graph.step(ruffled, 0.42, 0.72), inner.outputs[0], outer.outputs[0])
    strength = graph.step(fibres, 0.28, 0.72, 0.45, 1.75)
    colour = graph.scaled(colour, graph.vector(strength, strength, strength))
    colour = graph.mix(graph.step(part, 0.78, 1.02), colour, LIMBUS_RGB)
    return graph.mix(graph.step(part, PUPIL + 0.03, PUPIL - 0.02), colour, (0.0015, 0.0015, 0.0015))


def _white(graph: Graph, place: Value, x: Value, angle: Value) -> Value:
    """Pinker towards the corners, most at the nose, with a few thin veins."""
    side = graph.math("SIGN", graph.parts(graph.attribute(REST))[0])
    nasal = graph.times(x, side, -1.0)
    pink = graph.fused(graph.step(nasal, 0.45, 0.95), 0.55, graph.step(angle, 0.55, 1.25, 0.03, 0.30))
    colour = graph.mix(pink, WHITE_RGB, PINK_RGB)
    ridge = graph.math("ABSOLUTE", graph.fused(graph.noise(graph.scaled(place, (1.0, 2.2, 1.0)), 4.6, 2.0), 2.0, -1.0))
    vein = graph.step(ridge, 0.075, 0.0)
    some = graph.step(graph.noise(place, 3.1), 0.46, 0.62)
    return graph.mix(graph.times(vein, some, graph.step(angle, 0.48, 0.90), 0.55), colour, VEIN_RGB)


def dress_with(graph: Graph, surface: bpy.types.Node, tree: bpy.types.NodeTree) -> None:
    """A material of the ball; the coat is the cornea and the tears on the white."""
    it = graph.group(tree).outputs
    dress(
        graph, surface, colour=it["Color"], roughness=it["Roughness"], normal=it["Normal"], specular=0.08,
        coat=1.0, coat_roughness=0.03,
    )  # fmt: skip


def measure(arrays: Mapping[str, np.ndarray], zone_names: list[str], materials: list[str]) -> tuple[float, float]:
    """(angle of the iris's border from the axis in radians, radius of a ball in metres) of a `head` answer."""
    columns = [zone_names.index(name) for name in ("eye_x", "eye_y", "eye_z")]
    place = np.asarray(arrays["zones"])[:, columns].astype(np.float64)
    here = {name: index for index, name in enumerate(materials)}
    faces, material = np.asarray(arrays["faces"]), np.asarray(arrays["face_material"])
    iris = np.unique(faces[material == here.get("iris", -1)])
    iris = iris[(iris >= 0)]
    iris = iris[np.linalg.norm(place[iris], axis=1) > 0.5]
    if not len(iris):
        return USUAL
    angle = np.arctan2(np.hypot(place[iris, 0], place[iris, 1]), place[iris, 2]).max()
    left = iris[np.asarray(arrays["template"])[iris, 0] > 0]
    a, b = (np.asarray(arrays["template"], np.float64)[left][k] for k in (0, -1))
    apart = np.linalg.norm(place[left[0]] - place[left[-1]])
    return float(angle), float(np.linalg.norm(a - b) / max(apart, 1e-6))
