"""Action-unit sliders at work on a finished take, at once and without the engine.

What is shown is the take as generated plus what the sliders have changed since, through the table AU -> shapes. It is
written into our own strip, below the animator's layer. The next generation makes it exact.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import bpy
import numpy as np

from ..convert.action_units import SHAPES, change
from ..convert.names import AU_SLIDERS, AUS, SIDES
from . import SceneProblem, character, find, nla, sample, take, voice
from .take import TakeArrays

MADE = "soliloquy_units"  # on the control: the sliders' keys at generation, as JSON
SHOWN = "soliloquy_units_shown"  # ... and those that the strip shows now


def keys_of(scene: bpy.types.Scene, control: bpy.types.Object, last: int) -> str:
    """The sliders as they are now, as JSON: {"AU12_L": [[second, value], ...]}, zero sliders left out."""
    clock = voice.clock_of(scene, control)
    channels = sample.units(scene, control, clock, last)
    keys = {name: channel.keys(-1.0, 1.0) for name, channel in channels.items() if not channel.is_zero()}
    return json.dumps(keys, sort_keys=True)


def remember(scene: bpy.types.Scene, control: bpy.types.Object) -> None:
    """Note the sliders of a take that was just generated."""
    control[MADE] = control[SHOWN] = keys_of(scene, control, _last(control))


def _levels(text: str, seconds: np.ndarray) -> np.ndarray:
    """Slider keys at `seconds` [t]. [t, 18, 2]."""
    out = np.zeros((len(seconds), len(AUS), len(SIDES)))
    for name, keys in json.loads(text).items():
        if name in AU_SLIDERS and keys:
            times, values = np.array(keys).T
            out[:, AUS.index(name[:4]), SIDES.index(name[-1])] = np.interp(seconds, times, values)
    return out


def read_stored(control: bpy.types.Object, first: int) -> TakeArrays:
    """The take as generated, from its file, beginning at frame `first`. SceneProblem if it is gone or not one."""
    path = Path(bpy.path.abspath(str(control.get("take", ""))))
    try:
        with np.load(path, allow_pickle=False) as data:
            contact = np.asarray(data["drive.contact"], np.float32)
            weights = np.concatenate([data["arkit"], data["extra"]], 1).astype(np.float32)
            pose = np.asarray(data["flame.pose"], np.float32)
            translation = np.asarray(data["flame.translation"], np.float32)
    except (OSError, ValueError, KeyError) as error:
        raise SceneProblem(f"The take {path.name} cannot be read ({error}): generate the performance again") from None
    pose[:, 6:9] = 0.0  # the jaw is in the weights
    return TakeArrays(weights, SHAPES, pose, translation, first, str(control["take"]), contact)


def possible(control: bpy.types.Object) -> bool:
    """Whether sliders can be shown at once on this control's take: one with ARKit's shapes that is still known."""
    mesh = find.head_of(control)
    named = mesh is not None and (character.rows_of(control) or "jawOpen" in find.shape_keys(mesh))
    return bool(control.get("take")) and MADE in control and bool(named)


def changed(scene: bpy.types.Scene, control: bpy.types.Object) -> bool:
    """Whether the sliders differ from what the strip shows. Sliders that Blender must play to know are not asked."""
    if not possible(control) or sample.needs_playing(control):
        return False
    return keys_of(scene, control, _last(control)) != control[SHOWN]


def _last(control: bpy.types.Object) -> int:
    """Last frame of the take's strip."""
    keys = find.head_of(control).data.shape_keys
    strips = nla.marked(keys, "take", control) if keys is not None else []
    return int(strips[0][1].frame_end) if strips else int(bpy.context.scene.frame_end)


def show(scene: bpy.types.Scene, control: bpy.types.Object, mode: str) -> bool:
    """Bring the strip up to date with the sliders; whether anything had changed. SceneProblem as `take.write`."""
    if not possible(control):
        return False
    clock = voice.clock_of(scene, control)
    base = read_stored(control, clock.first)
    seconds = np.arange(len(base.weights)) / float(clock.rate)
    now = keys_of(scene, control, _last(control))
    if now == control[SHOWN]:
        return False
    moved = change(_levels(control[MADE], seconds), _levels(now, seconds), base.contact[:, 0])
    weights = np.maximum(base.weights + moved.astype(np.float32), 0.0)
    take.write(control, dataclasses.replace(base, weights=weights), mode)
    control[SHOWN] = now
    return True
