"""The control Empty: every setting and key of one performance, on plain custom properties.

Custom properties need no add-on: their keys, drivers and values stay when it is removed. Each has its range,
default and a one-sentence tooltip in Blender's own property UI data.
"""

from __future__ import annotations

from dataclasses import dataclass

import bpy
from mathutils import Vector

from ..convert.names import AU_NAMES, AU_SLIDERS, AUS, DIALS, EMOTIONS, LAYERS
from . import nla
from .find import CONTROL_MARK, HEAD_POINTER, alive

FORMAT = 1
DIAL_TIPS: dict[str, str] = {
    "mouth_lead": "Frames by which the mouth comes before the voice; negative is later",
    "jaw": "How far the jaw opens with the voice; 1 is as generated",
    "articulation": "How far the lips move with the voice; 1 is as generated",
    "lip_press": "How firmly the lips meet in p, b and m; 1 is as generated",
    "upper": "How far brows, lids and nose move with the emotion; 1 is as generated",
    "lower": "How far mouth and chin move with the emotion; 1 is as generated",
    "smoothing": "How much the movement is smoothed; 0 is as generated, lips still meet",
    "asymmetry": "How much left and right differ in the emotion; 0 is even, 1 is as generated",
}
BLINKS = "blinks"  # keys on it are the blinks
DRAWN_BLINKS = "soliloquy_blinks"  # [[second, how far], ...] of the last generation, as JSON
_OLD = {"mouth": "articulation"}  # names of earlier files
LAYER_WORDS = {
    "blink": "Blinking", "gaze": "Small eye movements", "head": "Head motion", "life": "Life of held expressions",
    "nod": "Nods on stress", "brow": "Brow raises on stress", "accent": "Emotion that follows the voice",
}  # fmt: skip
TEXTS: dict[str, str] = {
    "transcript": "The words that are said, if known: the lips follow them",
    "language": "Language of the transcript, such as en, de or ru; empty guesses it",
}
TRACK = "Soliloquy gaze"  # the constraints that aim the eyes
CLEARANCE_M = 0.07  # between the head's top and the control's middle


@dataclass(frozen=True)
class Setting:
    """One property of the control: its name, default, range and tooltip. int and bool by the default's type."""

    name: str
    default: float | int | bool
    low: float = 0.0
    high: float = 1.0
    tip: str = ""


def settings() -> tuple[Setting, ...]:
    """Every property of a control Empty, in the panel's order."""
    rows = [Setting(e, 0.0, tip=f"How {e} the face is; the curve is the transition") for e in EMOTIONS]
    rows += [
        Setting("intensity", 1.0, tip="Strength of all emotions together"),
        Setting("valence", 0.0, -1.0, 1.0, "Unpleasant (-1) to pleasant (1), added to the emotions"),
        Setting("arousal", 0.0, -1.0, 1.0, "Calm (-1) to excited (1), added to the emotions"),
    ]
    for au in AU_SLIDERS:
        side = "left" if au.endswith("L") else "right"
        rows.append(
            Setting(au, 0.0, -1.0, 1.0, f"{AU_NAMES[au[:4]].capitalize()}, {side}: added after everything else")
        )
    for layer in LAYERS:
        word = LAYER_WORDS[layer]
        rows += [
            Setting(f"{layer}_on", True, tip=f"{word} on or off"),
            Setting(f"{layer}_strength", 1.0, 0.0, 2.0, f"{word}: 1 is natural"),
            Setting(f"{layer}_seed", 0, 0, 9999, f"{word}: another number gives another variation"),
        ]
    rows += [Setting(dial, rest, low, high, DIAL_TIPS[dial]) for dial, (low, high, rest) in DIALS.items()]
    for au in AUS:
        rows += [
            Setting(f"{au}_mute", False, tip=f"Leave the sliders of {AU_NAMES[au]} out"),
            Setting(f"{au}_solo", False, tip=f"Hear the sliders of {AU_NAMES[au]} alone"),
        ]
    rows += [
        Setting(BLINKS, 0.0, tip="Each key is a blink, its value how far the lids shut; without keys they are drawn"),
        Setting("gaze_influence", 0.0, tip="How far the eyes follow the gaze target"),
        Setting("seed", 0, 0, 9999, "Variation of the whole performance"),
    ]
    return tuple(rows)


# Properties that a performance samples over time; the rest are read once.
ANIMATED: tuple[str, ...] = (*EMOTIONS, "intensity", "valence", "arousal", *AU_SLIDERS, *DIALS)


def heard_sliders(control: bpy.types.Object) -> tuple[str, ...]:
    """AU sliders that count: those soloed, or all; without the muted ones."""
    soloed = [au for au in AUS if control.get(f"{au}_solo")]
    counted = {au for au in soloed or AUS if not control.get(f"{au}_mute")}
    return tuple(name for name in AU_SLIDERS if name[:4] in counted)


def create(name: str, mesh: bpy.types.Object | None, collection: bpy.types.Collection) -> bpy.types.Object:
    """A control Empty with every setting at its default, driving `mesh`."""
    control = bpy.data.objects.new(name, None)
    control.empty_display_type = "SPHERE"
    control.empty_display_size = 0.03
    collection.objects.link(control)
    control[CONTROL_MARK] = FORMAT
    ensure(control)
    if mesh is not None:
        attach(control, mesh)
        corners = [mesh.matrix_world @ Vector(corner) for corner in mesh.bound_box]
        middle = sum(corners, Vector()) / len(corners)
        control.location = (middle.x, middle.y, max(corner.z for corner in corners) + CLEARANCE_M)
    return control


def ensure(control: bpy.types.Object) -> None:
    """Add settings that a control lacks (an older file); existing values stay."""
    for old, name in _OLD.items():
        if old in control and name not in control:
            control[name] = control[old]
            del control[old]
    for setting in settings():
        if setting.name not in control:
            control[setting.name] = setting.default
        _describe(control, setting)
    for name, tip in TEXTS.items():
        if name not in control:
            control[name] = ""
            control.id_properties_ui(name).update(description=tip)


def _describe(control: bpy.types.Object, setting: Setting) -> None:
    ui = control.id_properties_ui(setting.name)
    kind = type(control[setting.name])
    if kind is bool:
        ui.update(default=bool(setting.default), description=setting.tip)
    else:  # 3.4 keeps booleans as 0 and 1
        low, high = kind(setting.low), kind(setting.high)
        ui.update(
            min=low, max=high, soft_min=low, soft_max=high, default=kind(setting.default), description=setting.tip
        )
        if kind is float:
            ui.update(precision=2)
    if control.library is None and control.override_library is None:
        control.property_overridable_library_set(f'["{setting.name}"]', True)


def attach(control: bpy.types.Object, mesh: bpy.types.Object) -> None:
    """Let the control drive this mesh. A pointer property: it follows renames and is dropped with the mesh."""
    control[HEAD_POINTER] = mesh


def add_gaze_target(control: bpy.types.Object, rig: bpy.types.Object) -> bpy.types.Object:
    """An Empty that the eyes look at, as far as the control's `gaze_influence` says.

    Constraints and a plain driver (no Python) do it, so it works in a file without the add-on.
    """
    nla.need_writable(control, "The control")
    target = bpy.data.objects.new(f"{control.name} gaze", None)
    target.empty_display_type = "PLAIN_AXES"
    target.empty_display_size = 0.05
    for collection in control.users_collection:
        collection.objects.link(target)
    for bone in rig.pose.bones:  # what followed a target that was deleted
        for old in [c for c in bone.constraints if c.name == TRACK and not alive(c.target)]:
            old.driver_remove("influence")
            bone.constraints.remove(old)
    eyes = [rig.pose.bones[name] for name in ("eye.L", "eye.R") if name in rig.pose.bones]
    middle = sum((rig.matrix_world @ bone.head for bone in eyes[1:]), rig.matrix_world @ eyes[0].head) / len(eyes)
    target.location = middle
    target.location.y -= 1.0
    for bone in eyes:
        track = bone.constraints.new("DAMPED_TRACK")
        track.name = TRACK
        track.target, track.track_axis = target, "TRACK_Y"
        driver = track.driver_add("influence").driver
        driver.type = "AVERAGE"
        variable = driver.variables.new()
        variable.targets[0].id = control
        variable.targets[0].data_path = '["gaze_influence"]'
    control["gaze_target"] = target
    control["gaze_influence"] = 1.0
    return target
