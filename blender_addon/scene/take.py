"""A generated performance in the scene: one NLA strip per animated data-block, under the animator's own layer.

NLA of the shape keys (and of the armature)
  top      active action, empty, combining: the animator's own keys, never touched
  ...      the animator's own tracks, never touched
  bottom   track "Soliloquy take" with our strip; re-generation replaces only this strip and its action
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np

from ..convert.axes import bone_locations, bone_quaternions
from ..convert.curves import Keys, held_indices, reduce
from ..convert.names import BONES, CLOSURES, JOINTS
from . import SceneProblem, armature, fcurves, find, nla

TRACK = "Soliloquy take"
SHAPE_TOLERANCE = 0.004  # of a weight: 0.14 mm on a 35 mm chin drop
STILL_RAD = 1e-4  # an angle below this is no turn
TURN_TOLERANCE = 0.0005  # of a quaternion component: 0.06 degrees


@dataclass(frozen=True)
class TakeArrays:
    """A performance at the scene's rate. weights [t, k] with `shape_names`; pose [t, 15] axis-angle, engine axes;
    translation [t, 3] metres, engine axes; first_frame: scene frame of row 0; path: the take file.
    """

    weights: np.ndarray
    shape_names: tuple[str, ...]
    pose: np.ndarray
    translation: np.ndarray
    first_frame: int
    path: str

    @property
    def frames(self) -> np.ndarray:
        return np.arange(self.first_frame, self.first_frame + len(self.weights))


def check(control: bpy.types.Object) -> bpy.types.Object:
    """The head mesh, if a take can be written on it; else SceneProblem. Writes nothing."""
    nla.need_writable(control, "The control")
    mesh = find.need_head(control)
    _need_alone(control, mesh)
    if not find.shape_keys(mesh):
        raise SceneProblem(f"'{mesh.name}' has no shape keys with ARKit's names (jawOpen, mouthSmileLeft, ...)")
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
    notes: list[str] = []
    names = find.shape_keys(mesh)
    missing = [n for i, n in enumerate(take.shape_names) if n not in names and np.any(take.weights[:, i] > 0.01)]
    if missing:
        notes.append(f"The head has no shape key for {', '.join(missing[:5])}{' ...' if len(missing) > 5 else ''}")
    held = held_indices(len(take.weights), {"TWOS": 2, "THREES": 3}.get(mode, 1), _closure(take))
    keys = mesh.data.shape_keys
    _widen(keys, names, take, notes)
    _say_driven(keys, names, take, notes)
    channels = [
        (f'key_blocks["{bpy.utils.escape_identifier(names[n])}"].value', 0, take.weights[:, i], SHAPE_TOLERANCE)
        for i, n in enumerate(take.shape_names)
        if n in names
    ]
    _place(control, keys, "face", _reduced(take, channels, mode, held), take, notes)
    rig = find.armature_of(mesh)
    if rig is None or rig.library is not None:
        notes.append("The head has no rig of its own here: head and eye turns are left out")
    elif channels := _bone_channels(rig, take):
        _place(control, rig, "rig", _reduced(take, channels, mode, held), take, notes)
    else:
        _forget(rig)
    control["take"] = take.path
    return notes


def _closure(take: TakeArrays) -> np.ndarray:
    """How firmly the lips shut in each frame. [t]."""
    columns = [i for i, name in enumerate(take.shape_names) if name in CLOSURES]
    return take.weights[:, columns].max(1) if columns else np.zeros(len(take.weights))


Channel = tuple[str, int, np.ndarray, float]  # data path, array index, values [t], tolerance


def _reduced(take: TakeArrays, channels: list[Channel], mode: str, held: np.ndarray) -> list[tuple[str, int, Keys]]:
    frames = take.frames
    return [(path, i, reduce(frames, values, mode, tolerance, held)) for path, i, values, tolerance in channels]


def _bone_channels(rig: bpy.types.Object, take: TakeArrays) -> list[Channel]:
    """Rotation curves of the bones that the rig has, and the root's location.

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
        if joint == "root":
            places = bone_locations(take.translation, rest)
            channels += [(f"{path}.location", i, places[:, i], 1e-5) for i in range(3)]
    return channels


def _place(
    control: bpy.types.Object, owner: bpy.types.ID, part: str, curves: list[tuple[str, int, Keys]],
    take: TakeArrays, notes: list[str],
) -> None:  # fmt: skip
    """Write one data-block's action and strip; the earlier strip keeps its track and its mute."""
    name = f"{control.name} {part}"
    action, slot = fcurves.new_action(name, owner)
    action[nla.MARK], action["control"], action["take"] = "take", control, take.path
    collection = fcurves.curves(action, slot)
    for path, index, keys in curves:
        fcurves.write_keys(collection, path, index, keys)
    earlier = nla.marked(owner, "take")
    if earlier:
        track, muted = earlier[0][0], earlier[0][1].mute
        _rest(owner, _paths(earlier) - {(path, index) for path, index, _ in curves})
        for old_track, strip in earlier:
            _drop(owner, old_track, strip, keep=track)
    else:
        track, muted = _new_track(owner, notes), False
    action.name = name  # free only now that the earlier take is gone
    first = take.first_frame
    last = first + max(len(take.weights) - 1, 1)
    strip = track.strips.new(name, first, action)
    if slot is not None:
        strip.action_slot = slot
    strip.action_frame_start, strip.action_frame_end = first, last
    strip.frame_start, strip.frame_end = first, last
    strip.extrapolation, strip.blend_type, strip.mute = "HOLD", "REPLACE", muted
    _own_layer(owner, notes)


def _drop(owner: bpy.types.ID, track: Any, strip: Any, keep: Any) -> None:
    action = strip.action
    track.strips.remove(strip)
    if track != keep and not track.strips:
        owner.animation_data.nla_tracks.remove(track)
    if action is not None and action.users == 0:
        bpy.data.actions.remove(action)


def _new_track(owner: bpy.types.ID, notes: list[str]) -> Any:
    track, lowest = nla.lowest_track(owner, TRACK)
    if not lowest:
        notes.append(
            f"The take of '{owner.name}' lies above your own NLA tracks: move it to the bottom in the NLA editor"
        )
    return track


def _own_layer(owner: bpy.types.ID, notes: list[str]) -> None:
    """The animator's action above the take: an empty one if there is none; an existing one is left as it is."""
    anim = owner.animation_data
    anim.use_nla = True
    if anim.action is None:
        action, slot = fcurves.new_action(f"{owner.name} edits", owner)
        fcurves.assign(owner, action, slot)
        # For weights, "combine" counts from the property's default, which is 1 from Blender 5.0 on: a plain sum reads
        # the same everywhere. Turns must be combined: quaternions are multiplied, not added.
        anim.action_blend_type = "ADD" if isinstance(owner, bpy.types.Key) else "COMBINE"
        anim.action_extrapolation = "HOLD"
    elif anim.action_blend_type == "REPLACE" and fcurves.own_curves(owner):
        notes.append(
            f"Your action '{anim.action.name}' is kept and replaces the take where it has keys; "
            "set its blending to Combine in the NLA editor to add instead"
        )


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
    mesh = find.head_of(control)
    if mesh is None or mesh.data.shape_keys is None:
        return 0
    count = 0
    for owner in (mesh.data.shape_keys, find.armature_of(mesh)):
        if owner is not None and owner.library is None:
            count += _forget(owner)
    if "take" in control:
        del control["take"]
    return count


def _forget(owner: bpy.types.ID) -> int:
    """Remove our strips from one data-block; how many went."""
    ours = nla.marked(owner, "take")
    driven = _paths(ours)
    for track, strip in ours:
        nla.remove_strip(owner, track, strip)
    _rest(owner, driven)
    return len(ours)


def _paths(strips: list[tuple[Any, Any]]) -> set[tuple[str, int]]:
    """(data path, array index) of everything that these strips move."""
    return {(c.data_path, c.array_index) for _, strip in strips for c in fcurves.all_curves(strip.action)}


def _rest(owner: bpy.types.ID, driven: set[tuple[str, int]]) -> None:
    """Values stay where the last frame left them once their curves are gone: put back what the artist has not keyed."""
    for path, index in driven - set(fcurves.own_curves(owner)):
        holder, _, name = path.rpartition(".")
        try:
            block = owner.path_resolve(holder)
        except ValueError:
            continue  # the artist removed the key or the bone
        if name == "value":
            block.value = 0.0
        else:
            getattr(block, name)[index] = 1.0 if name == "rotation_quaternion" and index == 0 else 0.0
