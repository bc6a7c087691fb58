"""Typed directions as NLA strips on the control Empty.

The strip's action holds the AU activations as constant curves; its blend-in and blend-out are the ease, mute
mutes, and the text is a custom property of the action. The strength is a property of the action too: Blender
overwrites a strip's influence from its blends unless the influence is animated, and then ignores the blends. An
animated influence still counts: its peak multiplies the strength.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import bpy
import numpy as np

from ..convert.controls import PromptStrip
from ..convert.curves import Keys
from ..convert.frames import VoiceClock
from ..convert.names import AU_SLIDERS
from . import SceneProblem, fcurves, nla

PREFIX = "prompt_"  # properties that the strips move, apart from the animator's own AU sliders


def add(
    control: bpy.types.Object, text: str, frames: tuple[float, float], activation: Mapping[str, float],
    blend: tuple[float, float] = (0.0, 0.0), strength: float = 1.0,
) -> Any:  # fmt: skip
    """A strip over scene frames [start, end]. blend: frames of ease in and out. activation: "AU12_L" -> [0, 1]."""
    start, end = float(frames[0]), float(frames[1])
    if not text.strip():
        raise SceneProblem("Type what the face should do first, for example 'raises the brows in surprise'")
    if end - start < 1:
        raise SceneProblem("A direction needs at least one frame: its end must come after its start")
    nla.need_writable(control, "The control")
    action, slot = fcurves.new_action(text, control)
    action[nla.MARK], action["text"], action["strength"] = "prompt", text, float(strength)
    action.id_properties_ui("strength").update(min=0.0, max=1.0, soft_min=0.0, soft_max=1.0, default=1.0)
    set_activation(control, action, slot, activation, end - start)
    track = _room(control, start, end)
    strip = track.strips.new(text, round(start), action)
    if slot is not None:
        strip.action_slot = slot
    strip.frame_start, strip.frame_end = start, end
    strip.blend_type, strip.extrapolation = "ADD", "NOTHING"
    total = max(blend[0] + blend[1], 1e-6)
    fit = min(1.0, (end - start) / total)
    strip.blend_in, strip.blend_out = blend[0] * fit, blend[1] * fit
    return strip


def set_activation(
    control: bpy.types.Object, action: bpy.types.Action, slot: Any, activation: Mapping[str, float], length: float
) -> None:
    """Replace the action's curves by these AUs, constant over `length` frames. Unknown AUs are refused."""
    unknown = sorted(set(activation) - set(AU_SLIDERS))
    if unknown:
        raise SceneProblem(f"'{unknown[0]}' is no action unit; the sliders list them all")
    collection = fcurves.curves(action, slot)
    for curve in list(collection):
        collection.remove(curve)
    for au in AU_SLIDERS:
        value = float(activation.get(au, 0.0))
        if value == 0.0:
            continue
        name = PREFIX + au
        if name not in control:
            control[name] = 0.0
            control.id_properties_ui(name).update(min=0.0, max=1.0, default=0.0, description=f"{au} from directions")
        keys = Keys(np.array([0.0, length]), np.array([value, value]), "CONSTANT")
        fcurves.write_keys(collection, f'["{name}"]', 0, keys)
    if not len(collection):  # nothing recognised: the strip still needs a length
        if "prompt_none" not in control:
            control["prompt_none"] = 0.0
        keys = Keys(np.array([0.0, length]), np.zeros(2), "CONSTANT")
        fcurves.write_keys(collection, '["prompt_none"]', 0, keys)


def strips(control: bpy.types.Object) -> list[Any]:
    """The control's directions in the order of time."""
    return sorted((strip for _, strip in nla.marked(control, "prompt")), key=lambda s: (s.frame_start, s.name))


def activation_of(action: bpy.types.Action) -> dict[str, float]:
    """AU -> largest value of its curve, as the animator may have edited it."""
    found = {}
    for curve in fcurves.all_curves(action):
        name = curve.data_path[2:-2]
        if name.startswith(PREFIX) and name[len(PREFIX) :] in AU_SLIDERS:
            points = curve.keyframe_points
            co = np.empty(2 * len(points), np.float32)
            points.foreach_get("co", co)
            found[name[len(PREFIX) :]] = float(np.clip(co[1::2].max(initial=0.0), 0.0, 1.0))
    return found


def read(control: bpy.types.Object, clock: VoiceClock) -> tuple[PromptStrip, ...]:
    """Every direction, in seconds of the voice."""
    found = []
    for track, strip in nla.marked(control, "prompt"):
        action = strip.action
        start, end = (float(clock.seconds(f)) for f in (strip.frame_start, strip.frame_end))
        one = float(1 / clock.rate)
        activation = activation_of(action)
        found.append(
            PromptStrip(
                text=str(action.get("text", strip.name)),
                start=start,
                end=end,
                blend_in=strip.blend_in * one,
                blend_out=strip.blend_out * one,
                strength=float(np.clip(action.get("strength", 1.0) * _influence(strip), 0.0, 1.0)),
                mute=bool(strip.mute or track.mute),
                activation=activation or None,
            )
        )
    return tuple(sorted(found, key=lambda p: (p.start, p.text)))


def _influence(strip: Any) -> float:
    """Peak of an animated influence, else 1 (an unanimated one only mirrors the blends)."""
    curve = strip.fcurves.find("influence") if strip.use_animated_influence else None
    if curve is None or not len(curve.keyframe_points):
        return 1.0
    return max(point.co[1] for point in curve.keyframe_points)


def remove(control: bpy.types.Object, strip: Any) -> None:
    """Take one direction away."""
    for track, other in nla.marked(control, "prompt"):
        if other == strip:
            nla.remove_strip(control, track, other)
            return


def _room(control: bpy.types.Object, start: float, end: float) -> Any:
    """One of our prompt tracks with nothing in [start, end], else a new one."""
    ours = {track.name: track for track, _ in nla.marked(control, "prompt")}
    for track in ours.values():
        if all(s.frame_end <= start or s.frame_start >= end for s in track.strips):
            return track
    track = control.animation_data_create().nla_tracks.new()
    track.name = "Soliloquy directions"
    return track
