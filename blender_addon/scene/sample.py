"""Reads what the animator keyed on a control Empty. Writes nothing; the current frame is moved only if it must be."""

from __future__ import annotations

import bpy
import numpy as np

from ..convert.controls import Channel, Sampled
from ..convert.frames import VoiceClock
from ..convert.names import LAYERS
from . import fcurves, nla, prompts
from .control_empty import ANIMATED, DIALS


def read(scene: bpy.types.Scene, control: bpy.types.Object, clock: VoiceClock, last: int) -> Sampled:
    """Everything on the control, over scene frames clock.first to `last`, in seconds of the voice."""
    frames = np.arange(clock.first, max(last, clock.first + 1) + 1)
    curves = {path: curve for (path, _), curve in fcurves.own_curves(control).items() if not curve.mute}
    if _needs_playing(control):
        values = _play(scene, control, frames)
    else:
        values = {
            name: fcurves.sample(curves[f'["{name}"]'], frames)
            for name in ANIMATED
            if f'["{name}"]' in curves
        }
    channels = {}
    for name in ANIMATED:
        if name in values:
            channels[name] = Channel(clock.seconds(frames), values[name])
        elif name in control:
            channels[name] = Channel(np.zeros(1), np.array([float(control[name])]))
    return Sampled(
        channels=channels,
        layers={
            layer: {key: control.get(f"{layer}_{key}", rest) for key, rest in (("on", 1), ("strength", 1.0), ("seed", 0))}
            for layer in LAYERS
        },
        dials={name: float(control.get(name, 1.0)) for name in DIALS},
        prompts=prompts.read(control, clock),
        seed=int(control.get("seed", 0)),
    )


def _needs_playing(control: bpy.types.Object) -> bool:
    """Drivers, or the animator's own NLA strips: only Blender's evaluation knows their result."""
    anim = control.animation_data
    if anim is None:
        return False
    ours = {(track.name, strip.name) for track, strip in nla.marked(control, "prompt")}
    foreign = any((t.name, s.name) not in ours for t in anim.nla_tracks if not t.mute for s in t.strips if not s.mute)
    return foreign or len(anim.drivers) > 0


def _play(scene: bpy.types.Scene, control: bpy.types.Object, frames: np.ndarray) -> dict[str, np.ndarray]:
    """Step through the frames and put the current one back."""
    before, sub = scene.frame_current, scene.frame_subframe
    rows = np.empty((len(frames), len(ANIMATED)))
    try:
        for row, frame in zip(rows, frames, strict=True):
            scene.frame_set(int(frame))
            evaluated = control.evaluated_get(bpy.context.evaluated_depsgraph_get())
            row[:] = [float(evaluated.get(name, 0.0)) for name in ANIMATED]
    finally:
        scene.frame_set(before, subframe=sub)
    return {name: rows[:, i] for i, name in enumerate(ANIMATED)}
