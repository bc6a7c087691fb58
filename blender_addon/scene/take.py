"""A generated performance in the scene: one NLA strip per animated data-block, under the animator's own layer.

NLA of the shape keys (and of the armature)
  top      active action, empty, combining: the animator's own keys, never touched
  ...      the animator's own tracks, never touched
  bottom   track "Soliloquy take" with our strip; re-generation replaces only this strip and its action
"""

from __future__ import annotations

from dataclasses import dataclass

import bpy
import numpy as np

from ..convert.axes import bone_locations, bone_quaternions
from ..convert.curves import Keys, held_indices, reduce
from ..convert.names import BONES, CLOSURES, JOINTS
from . import SceneProblem, armature, character, find, nla, residual, shapes, strips
from .strips import TRACK
from .targets import Channel, key_path

__all__ = ["TRACK", "TakeArrays", "check", "clear", "write"]
SHAPE_TOLERANCE = 0.004  # of a weight: 0.14 mm on a 35 mm chin drop
STILL_RAD = 1e-4  # an angle below this is no turn
TURN_TOLERANCE = 0.0005  # of a quaternion component: 0.06 degrees


@dataclass(frozen=True)
class TakeArrays:
    """A performance at the scene's rate. weights [t, k] with `shape_names`; pose [t, 15] axis-angle, engine axes;
    translation [t, 3] metres, engine axes; first_frame: scene frame of row 0; path: the take file; contact [t, 3] in
    [0, 1]: lips together, lower lip on the teeth, voice; None where the engine does not say. residual: what the shapes
    leave over, as shapes [k, v, 3] in engine axes and their weights [t, k]; None if nothing is left over. shifts
    [t, 15] metres, engine axes: by what each joint moves in its parent's frame (FLAME heads); None if joints stand.
    """

    weights: np.ndarray
    shape_names: tuple[str, ...]
    pose: np.ndarray
    translation: np.ndarray
    first_frame: int
    path: str
    contact: np.ndarray | None = None
    residual: tuple[np.ndarray, np.ndarray] | None = None
    shifts: np.ndarray | None = None

    @property
    def frames(self) -> np.ndarray:
        return np.arange(self.first_frame, self.first_frame + len(self.weights))


def check(control: bpy.types.Object) -> bpy.types.Object:
    """The head mesh, if a take can be written on it; else SceneProblem. Writes nothing."""
    nla.need_writable(control, "The control")
    mesh = find.need_head(control)
    if character.rows_of(control):
        character.check(control)
        return mesh
    if mesh.data.shape_keys is None:
        if shapes.preview_of(control) is not None:
            raise SceneProblem("Look at the new shapes in My Character, then apply or discard them")
        raise SceneProblem(f"'{mesh.name}' has no shape keys yet: pick points and make shapes in My Character")
    _need_alone(control, mesh)
    if not find.shape_keys(mesh):
        raise SceneProblem(
            f"'{mesh.name}' has no shape keys with ARKit's names (jawOpen, mouthSmileLeft, ...): "
            "map its own in the section My Character"
        )
    nla.need_writable(mesh.data.shape_keys, "The face")
    rig = find.armature_of(mesh)
    if rig is not None and rig.library is None:
        nla.need_writable(rig, "The rig")
    return mesh


def _need_alone(control: bpy.types.Object, mesh: bpy.types.Object) -> None:
    """SceneProblem if another control drives the same shape keys: their takes would replace each other."""
    for other in bpy.data.objects:
        if find.is_control(other) and other != control and find.alive(other):
            theirs = find.head_of(other)
            if theirs is not None and theirs.data == mesh.data:
                raise SceneProblem(
                    f"'{other.name}' drives the same face as '{control.name}': delete one of the two, "
                    f"or make the mesh of '{mesh.name}' single-user"
                )


def write(control: bpy.types.Object, take: TakeArrays, mode: str = "DENSE") -> list[str]:
    """Put the take on the head, instead of this control's earlier one. mode: see `convert.curves.reduce`.

    Returns sentences about anything left out. Nothing changes if the head cannot take it (SceneProblem).
    """
    mesh = check(control)
    if character.rows_of(control):
        weights = {name: take.weights[:, i] for i, name in enumerate(take.shape_names)}
        curves, notes = character.channels(control, weights, take.contact, take.pose, SHAPE_TOLERANCE)
        if take.residual is not None:
            notes.append("What this performance does beyond shapes belongs to its own mesh, and is left out here")
    else:
        curves, notes = _own_head(mesh, take)
    held = held_indices(len(take.weights), {"TWOS": 2, "THREES": 3}.get(mode, 1), _closure(take))
    strips.forget(control, keep=curves)
    rig = find.armature_of(mesh)
    for owner, channels in curves.items():
        part = "face" if owner == mesh.data.shape_keys else "rig" if owner == rig else owner.name
        strip = strips.Strip(f"{control.name} {part}", take.first_frame, len(take.weights), take.path)
        strips.place(control, owner, strip, _reduced(take, channels, mode, held), notes)
    control["take"] = take.path
    return notes


def _own_head(mesh: bpy.types.Object, take: TakeArrays) -> tuple[dict[bpy.types.ID, list[Channel]], list[str]]:
    """Curves of a head whose keys carry the performance's own names: exact, with its sliders widened to the take."""
    notes: list[str] = []
    names = find.shape_keys(mesh)
    missing = [n for i, n in enumerate(take.shape_names) if n not in names and np.any(take.weights[:, i] > 0.01)]
    if missing:
        notes.append(f"The head has no shape key for {', '.join(missing[:5])}{' ...' if len(missing) > 5 else ''}")
    keys = mesh.data.shape_keys
    _widen(keys, names, take, notes)
    _say_driven(keys, names, take, notes)
    curves: dict[bpy.types.ID, list[Channel]] = {
        keys: [
            (key_path(names[n]), 0, take.weights[:, i], SHAPE_TOLERANCE)
            for i, n in enumerate(take.shape_names)
            if n in names
        ]
    }
    if take.residual is not None:
        curves[keys] += residual.channels(mesh, *take.residual, notes)
    else:
        residual.remove(mesh)
    rig = find.armature_of(mesh)
    if rig is None or rig.library is not None:
        notes.append("The head has no rig of its own here: head and eye turns are left out")
    elif channels := _bone_channels(rig, take):
        curves[rig] = channels
    return curves, notes


def _closure(take: TakeArrays) -> np.ndarray:
    """How firmly the lips shut in each frame. [t]."""
    if take.contact is not None:
        return take.contact[:, :2].max(1)
    columns = [i for i, name in enumerate(take.shape_names) if name in CLOSURES]
    return take.weights[:, columns].max(1) if columns else np.zeros(len(take.weights))


def _reduced(take: TakeArrays, channels: list[Channel], mode: str, held: np.ndarray) -> list[tuple[str, int, Keys]]:
    frames = take.frames
    return [(path, i, reduce(frames, values, mode, tolerance, held)) for path, i, values, tolerance in channels]


def _bone_channels(rig: bpy.types.Object, take: TakeArrays) -> list[Channel]:
    """Rotation curves of the bones that the rig has, the root's location, and the others' where joints move.

    On an artist's own rig the root stays theirs, and so does every bone that the take does not turn.
    """
    channels: list[Channel] = []
    ours = armature.MARK in rig
    for j, joint in enumerate(JOINTS):
        bone = rig.pose.bones.get(BONES[joint])
        if bone is None or (joint == "root" and not ours):
            continue
        path = f'pose.bones["{bone.name}"]'
        rest = armature.rest_axes(rig, bone.name)
        turning = ours or np.abs(take.pose[:, 3 * j : 3 * j + 3]).max(initial=0.0) > STILL_RAD
        if bone.rotation_mode == "QUATERNION" and turning:
            turns = bone_quaternions(take.pose[:, 3 * j : 3 * j + 3], rest)
            channels += [(f"{path}.rotation_quaternion", i, turns[:, i], TURN_TOLERANCE) for i in range(4)]
        moved = None if take.shifts is None else take.shifts[:, 3 * j : 3 * j + 3]
        if joint == "root":
            moved = take.translation if moved is None else take.translation + moved
        if moved is not None:
            places = bone_locations(moved, rest)
            channels += [(f"{path}.location", i, places[:, i], 1e-5) for i in range(3)]
    return channels


def _widen(keys: bpy.types.Key, names: dict[str, str], take: TakeArrays, notes: list[str]) -> None:
    """Sliders clamp their curves: let them reach the take's values."""
    for i, name in enumerate(take.shape_names):
        block = keys.key_blocks.get(names.get(name, ""))
        if block is None:
            continue
        low, high = float(take.weights[:, i].min(initial=0.0)), float(take.weights[:, i].max(initial=0.0))
        if low >= block.slider_min and high <= block.slider_max:
            continue
        if keys.override_library is not None:
            notes.append(f"'{name}' goes beyond its slider's range and is cut there")
            continue
        block.slider_min, block.slider_max = min(block.slider_min, low), max(block.slider_max, high)


def _say_driven(keys: bpy.types.Key, names: dict[str, str], take: TakeArrays, notes: list[str]) -> None:
    """Drivers have the last word on a value, whatever the NLA holds."""
    driven = {curve.data_path for curve in keys.animation_data.drivers} if keys.animation_data is not None else set()
    wanted = [names[n] for n in take.shape_names if n in names]
    lost = [n for n in wanted if f'key_blocks["{bpy.utils.escape_identifier(n)}"].value' in driven]
    if lost:
        several = " ..." if len(lost) > 5 else ""
        notes.append(f"Drivers move {', '.join(lost[:5])}{several} and win over the take: remove them to see it there")


def clear(control: bpy.types.Object) -> int:
    """Remove this control's take; the animator's layer and the directions stay. Returns how many strips went."""
    count = strips.forget(control)
    if "take" in control:
        del control["take"]
    return count
