"""Reads what the animator keyed on a control Empty. Writes nothing; the current frame is moved only if it must be."""

from __future__ import annotations

from collections.abc import Callable

import bpy
import numpy as np

from ..convert.axes import gaze_angles
from ..convert.controls import Channel, Sampled
from ..convert.frames import VoiceClock
from ..convert.names import AU_SLIDERS, DIALS, LAYERS
from . import fcurves, find, nla, prompts
from .control_empty import ANIMATED, BLINKS, heard_sliders


def read(scene: bpy.types.Scene, control: bpy.types.Object, clock: VoiceClock, last: int) -> Sampled:
    """Everything on the control, over scene frames clock.first to `last`, in seconds of the voice."""
    frames = np.arange(clock.first, max(last, clock.first + 1) + 1)
    channels = _channels(scene, control, (*ANIMATED, "gaze_influence"), clock, frames)
    unheard = set(AU_SLIDERS) - set(heard_sliders(control))
    return Sampled(
        channels={name: channel for name, channel in channels.items() if name not in unheard},
        gaze=_gaze(scene, control, channels, clock, frames),
        layers={
            layer: {
                key: control.get(f"{layer}_{key}", rest) for key, rest in (("on", 1), ("strength", 1.0), ("seed", 0))
            }
            for layer in LAYERS
        },
        dials={name: channels[name] for name in DIALS if name in channels},
        blinks=blinks(control, clock),
        prompts=prompts.read(control, clock),
        seed=int(control.get("seed", 0)),
    )


def units(scene: bpy.types.Scene, control: bpy.types.Object, clock: VoiceClock, last: int) -> dict[str, Channel]:
    """The AU sliders that count, over scene frames clock.first to `last`."""
    frames = np.arange(clock.first, max(last, clock.first + 1) + 1)
    return _channels(scene, control, heard_sliders(control), clock, frames)


def _channels(
    scene: bpy.types.Scene, control: bpy.types.Object, names: tuple[str, ...], clock: VoiceClock, frames: np.ndarray
) -> dict[str, Channel]:
    """The control's properties over time: a channel of one value where nothing animates them."""
    if needs_playing(control):
        values = _play(scene, frames, lambda: [_number(control, name) for name in names])
        moving = dict(zip(names, values.T, strict=True))
    else:
        curves = {path: curve for (path, _), curve in fcurves.own_curves(control).items() if not curve.mute}
        moving = {n: fcurves.sample(curves[f'["{n}"]'], frames) for n in names if f'["{n}"]' in curves}
    channels = {}
    for name in names:
        if name in moving:
            channels[name] = Channel(clock.seconds(frames), moving[name])
        elif name in control:
            channels[name] = Channel(np.zeros(1), np.array([float(control[name])]))
    return channels


def blinks(control: bpy.types.Object, clock: VoiceClock) -> tuple[tuple[float, float], ...] | None:
    """(second, how far the lids shut) of each key on the blink channel; None without keys: they are drawn."""
    curve = fcurves.own_curves(control).get((f'["{BLINKS}"]', 0))
    if curve is None or curve.mute or not len(curve.keyframe_points):
        return None
    keys = sorted((float(p.co[0]), min(max(float(p.co[1]), 0.0), 1.0)) for p in curve.keyframe_points)
    return tuple((float(clock.seconds(np.array([frame]))[0]), value) for frame, value in keys)


def needs_playing(control: bpy.types.Object) -> bool:
    """Drivers, or the animator's own NLA strips: only Blender's evaluation knows their result."""
    anim = control.animation_data
    if anim is None:
        return False
    ours = {(track.name, strip.name) for track, strip in nla.marked(control, "prompt")}
    foreign = any((t.name, s.name) not in ours for t in anim.nla_tracks if not t.mute for s in t.strips if not s.mute)
    return foreign or len(anim.drivers) > 0


def _play(scene: bpy.types.Scene, frames: np.ndarray, read_row: Callable[[], list[float]]) -> np.ndarray:
    """Step through the frames, read a row at each, and put the current frame back. [t, columns]."""
    before, sub = scene.frame_current, scene.frame_subframe
    rows = []
    try:
        for frame in frames:
            scene.frame_set(int(frame))
            rows.append(read_row())
    finally:
        scene.frame_set(before, subframe=sub)
    return np.array(rows)


def _number(control: bpy.types.Object, name: str) -> float:
    """The property as Blender's evaluation has it at the present frame."""
    return float(control.evaluated_get(bpy.context.evaluated_depsgraph_get()).get(name, 0.0))


def _gaze(
    scene: bpy.types.Scene,
    control: bpy.types.Object,
    channels: dict[str, Channel],
    clock: VoiceClock,
    frames: np.ndarray,
) -> dict[str, Channel]:
    """Angles to the gaze target, so that the lids follow the eyes; {} without a target or influence."""
    target, mesh = control.get("gaze_target"), find.head_of(control)
    rig = find.armature_of(mesh) if mesh is not None else None
    influence = channels.get("gaze_influence")
    if not find.alive(target) or rig is None or influence is None or influence.is_zero():
        return {}
    eyes = [rig.data.bones[n].head_local for n in ("eye.L", "eye.R") if n in rig.data.bones]
    if not eyes:
        return {}
    middle = np.mean([tuple(e) for e in eyes], 0)

    def place() -> list[float]:
        graph = bpy.context.evaluated_depsgraph_get()
        world = target.evaluated_get(graph).matrix_world.translation
        return list(rig.evaluated_get(graph).matrix_world.inverted() @ world)

    still = not any(_moves(ob) for ob in (target, target.parent, rig, rig.parent) if ob is not None)
    places = np.array([place()]) if still else _play(scene, frames, place)
    seconds = np.zeros(1) if still else clock.seconds(frames)
    yaw, pitch = gaze_angles(places, middle)
    return {"yaw": Channel(seconds, yaw), "pitch": Channel(seconds, pitch), "influence": influence}


def _moves(ob: bpy.types.Object) -> bool:
    """Whether the object's place may change over time."""
    anim = ob.animation_data
    bound = len(ob.constraints) > 0
    if ob.type == "ARMATURE":  # its bones move, and are keyed on the object; the object itself may stand still
        return bound or any(not path.startswith("pose.") for path, _ in fcurves.own_curves(ob))
    return bound or (
        anim is not None and (anim.action is not None or len(anim.nla_tracks) > 0 or len(anim.drivers) > 0)
    )
