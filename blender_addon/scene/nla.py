"""NLA rules shared by takes and prompts: whose strip is whose, and where our track stands."""

from __future__ import annotations

from typing import Any

import bpy

from . import SceneProblem
from .find import alive

MARK = "soliloquy"  # on an action: "take" or "prompt"


def need_writable(owner: bpy.types.ID, what: str) -> None:
    """SceneProblem if keys cannot be put on this data-block."""
    if owner.library is not None:
        raise SceneProblem(
            f"{what} '{owner.name}' is linked from another file: make a library override of the character first "
            "(Object > Library Override > Make)"
        )
    anim = owner.animation_data
    if anim is not None and anim.use_tweak_mode:
        raise SceneProblem(f"Leave the NLA editor's tweak mode of '{owner.name}' first (Tab in the NLA editor)")


def marked(owner: bpy.types.ID, kind: str, control: bpy.types.Object | None = None) -> list[tuple[Any, Any]]:
    """(track, strip) of our strips of this kind, bottom track first, then by time."""
    anim = owner.animation_data
    if anim is None:
        return []
    return [
        (track, strip)
        for track in anim.nla_tracks
        for strip in track.strips
        if strip.action is not None
        and strip.action.get(MARK) == kind
        and (control is None or strip.action.get("control") == control or not alive(strip.action.get("control")))
    ]


def remove_strip(owner: bpy.types.ID, track: Any, strip: Any) -> None:
    """Remove one of our strips, its action if nothing else uses it, and its track if that is now empty."""
    action = strip.action
    track.strips.remove(strip)
    if not track.strips:
        owner.animation_data.nla_tracks.remove(track)
    if action is not None and action.users == 0:
        bpy.data.actions.remove(action)


def lowest_track(owner: bpy.types.ID, name: str) -> tuple[Any, bool]:
    """A new local track at the bottom: (track, True), or (track on top, False) where Blender cannot move it there."""
    anim = owner.animation_data_create()
    others = [track for track in anim.nla_tracks if not getattr(track, "is_override_data", False)]
    track = anim.nla_tracks.new()
    track.name = name
    return track, not others or _to_bottom(anim, track)


def _to_bottom(anim: bpy.types.AnimData, track: Any) -> bool:
    """Blender's API only adds tracks on top; its NLA editor can move the selected ones down."""
    window = next(iter(bpy.context.window_manager.windows), None)
    area = next((a for a in window.screen.areas if a.type != "TOPBAR"), None) if window else None
    if area is None:
        return False
    every = [t for block in _animated() for t in block.nla_tracks]
    selected = [t for t in every if t.select]
    kind = area.type
    try:
        for other in every:
            other.select = False
        track.select = True
        area.type = "NLA_EDITOR"
        area.spaces.active.dopesheet.show_only_selected = False
        region = next(r for r in area.regions if r.type == "WINDOW")
        with bpy.context.temp_override(window=window, screen=window.screen, area=area, region=region):
            if bpy.ops.anim.channels_move.poll():
                bpy.ops.anim.channels_move(direction="BOTTOM")
    except RuntimeError:
        pass
    finally:
        area.type = kind
        track.select = False
        for other in selected:
            other.select = True
    local = [t for t in anim.nla_tracks if not getattr(t, "is_override_data", False)]
    return bool(local) and local[0] == track


def _animated() -> list[bpy.types.AnimData]:
    """Animation data of everything in the file that could stand in the NLA editor."""
    blocks = (bpy.data.objects, bpy.data.shape_keys, bpy.data.armatures, bpy.data.meshes, bpy.data.materials)
    blocks += (bpy.data.scenes, bpy.data.cameras, bpy.data.lights, bpy.data.worlds)
    return [b.animation_data for collection in blocks for b in collection if b.animation_data is not None]
