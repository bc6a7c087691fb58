"""Our strip on any animated data-block: placed under the animator's own layers, replaced, taken away again."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import Any

import bpy

from ..convert.curves import Keys
from . import fcurves, nla
from .drivers import Place

TRACK = "Soliloquy take"


@dataclass(frozen=True)
class Strip:
    """name; first: scene frame; frames: how many; take: path of the take file."""

    name: str
    first: int
    frames: int
    take: str


def place(
    control: bpy.types.Object, owner: bpy.types.ID, strip: Strip, curves: list[tuple[str, int, Keys]], notes: list[str]
) -> None:
    """Write one data-block's action and strip; the earlier strip keeps its track and its mute."""
    action, slot = fcurves.new_action(strip.name, owner)
    action[nla.MARK], action["control"], action["take"] = "take", control, strip.take
    collection = fcurves.curves(action, slot)
    written = {(path, index) for path, index, _ in curves}
    for path, index, keys in curves:
        fcurves.write_keys(collection, path, index, keys)
    earlier = nla.marked(owner, "take", control)
    if earlier:
        track, muted = earlier[0][0], earlier[0][1].mute
        _reset(owner, _paths(earlier) - written)
        for old_track, old in earlier:
            _drop(owner, old_track, old, keep=track)
    else:
        track, muted = _new_track(owner, notes), False
    action.name = strip.name  # free only now that the earlier take is gone
    last = strip.first + max(strip.frames - 1, 1)
    ours = track.strips.new(strip.name, strip.first, action)
    if slot is not None:
        ours.action_slot = slot
    ours.action_frame_start, ours.action_frame_end = strip.first, last
    ours.frame_start, ours.frame_end = strip.first, last
    ours.extrapolation, ours.blend_type, ours.mute = "HOLD", "REPLACE", muted
    own_layer(owner, written, notes)
    _say_library_tracks(owner, track, written, notes)


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


def own_layer(owner: bpy.types.ID, written: set[tuple[str, int]], notes: list[str]) -> None:
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
    elif anim.action_blend_type == "REPLACE" and written & set(fcurves.own_curves(owner)):
        notes.append(
            f"Your action '{anim.action.name}' is kept and replaces the take where it has keys; "
            "set its blending to Combine in the NLA editor to add instead"
        )


def _say_library_tracks(owner: bpy.types.ID, track: Any, written: set[tuple[str, int]], notes: list[str]) -> None:
    """Tracks of the linked file are not ours to move: say where one of them and the take move the same thing.

    Blender keeps them below every local track; a file made otherwise may have them above.
    """
    above = False
    for other in owner.animation_data.nla_tracks:
        if other == track:
            above = True
        elif (
            getattr(other, "is_override_data", False)
            and not other.mute
            and written & _paths((other, s) for s in other.strips)
        ):
            what = "hides the take" if above else "is hidden by the take"
            notes.append(
                f"Track '{other.name}' of '{owner.name}' comes from the linked file and {what} where both have keys; "
                f"mute {'it' if above else 'the take'} in the NLA editor to see the other"
            )


def forget(control: bpy.types.Object, keep: Container[bpy.types.ID] = ()) -> int:
    """Take this control's strips away from every data-block but those in `keep`; how many went.

    What they moved goes back to rest where the animator has no keys on it, because values stay where the last frame
    left them once their curves are gone.
    """
    count = 0
    for owner in animated():
        if owner.library is not None or owner in keep:
            continue
        ours = nla.marked(owner, "take", control)
        paths = _paths(ours)
        for track, strip in ours:
            nla.remove_strip(owner, track, strip)
            count += 1
        _reset(owner, paths)
    return count


def animated() -> list[bpy.types.ID]:
    """Everything in the file that a take could be on."""
    kinds = (bpy.data.objects, bpy.data.shape_keys, bpy.data.armatures, bpy.data.meshes)
    return [block for kind in kinds for block in kind if block.animation_data is not None]


def _paths(strips: Iterable[tuple[Any, Any]]) -> set[tuple[str, int]]:
    return {(c.data_path, c.array_index) for _, strip in strips for c in fcurves.all_curves(strip.action)}


def _reset(owner: bpy.types.ID, paths: Iterable[tuple[str, int]]) -> None:
    """Values back to rest, except where the animator has keys of their own."""
    own = fcurves.own_curves(owner)
    for path, index in paths:
        if (path, index) in own:
            continue
        rest = 1.0 if path.endswith("rotation_quaternion") and index == 0 else Place(owner, path, index).rest()
        holder, _, name = path.rpartition(".")
        try:
            if path.endswith('"]'):
                start = path.rindex('["')
                holder = path[:start].rstrip(".")
                (owner.path_resolve(holder) if holder else owner)[
                    bpy.utils.unescape_identifier(path[start + 2 : -2])
                ] = rest
                continue
            at = owner.path_resolve(holder) if holder else owner
            value = getattr(at, name)
            if hasattr(value, "__len__"):
                value[index] = rest
            else:
                setattr(at, name, rest)
        except (ValueError, AttributeError, KeyError, TypeError):
            continue  # the bone or property is gone
