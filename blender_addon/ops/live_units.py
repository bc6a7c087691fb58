"""Watches the AU sliders and shows what they do on a finished take; blinks as keys."""

from __future__ import annotations

import contextlib
import json

import bpy
from bpy.app.handlers import persistent

from ..scene import SceneProblem, control_empty, fcurves, find, live_units, nla, voice
from .tasks import board, unavailable, why_not, wrong_mode

PAUSE_S = 0.12  # a dragged slider is followed this often
_waiting: set[str] = set()


@persistent
def _on_update(scene: bpy.types.Scene, depsgraph: bpy.types.Depsgraph) -> None:
    """Note the controls that changed; the work is done by a timer, because handlers must not write keys."""
    if not scene.soliloquy.live_units or board.running is not None or _playing():
        return
    touched = [u.id.original for u in depsgraph.updates if isinstance(u.id, bpy.types.Object | bpy.types.Action)]
    if any(isinstance(block, bpy.types.Action) for block in touched):
        touched += find.controls(scene)
    names = {ob.name for ob in touched if isinstance(ob, bpy.types.Object) and find.is_control(ob)}
    if names and not _waiting:
        bpy.app.timers.register(_follow, first_interval=PAUSE_S)
    _waiting.update(names)


def _playing() -> bool:
    """While the animation plays, values change with every frame and nothing is edited."""
    return any(window.screen.is_animation_playing for window in bpy.context.window_manager.windows)


def _follow() -> None:
    """Bring the strips of the noted controls up to date."""
    names = set(_waiting)
    _waiting.clear()
    scene = bpy.context.scene
    if board.running is not None or wrong_mode(bpy.context):
        return
    for name in names:
        control = bpy.data.objects.get(name)
        if not find.alive(control) or not find.is_control(control):
            continue
        with contextlib.suppress(SceneProblem):  # nothing to show it on: said when the performance is generated
            if live_units.changed(scene, control):
                live_units.show(scene, control, scene.soliloquy.key_mode)


class SOLILOQUY_OT_blinks_to_keys(bpy.types.Operator):
    """Turn the blinks of the performance into keys that can be moved, added and deleted in the Dope Sheet"""

    bl_idname = "soliloquy.blinks_to_keys"
    bl_label = "Blinks to Keys"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return unavailable(why_not(_need_blinks, context), cls)

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            control = _need_blinks(context)
            clock = voice.clock_of(context.scene, control)
            frames = [(float(clock.frames(second)), amount) for second, amount in _drawn(control)]
            for frame, amount in frames:
                add_blink(control, frame, amount)
        except SceneProblem as problem:
            self.report({"ERROR"}, str(problem))
            return {"CANCELLED"}
        self.report({"INFO"}, f"{len(frames)} blinks are keys now: move or delete them, then generate again")
        return {"FINISHED"}


class SOLILOQUY_OT_add_blink(bpy.types.Operator):
    """Key a blink at the playhead. Once there are keys, only they blink"""

    bl_idname = "soliloquy.add_blink"
    bl_label = "Key Blink"
    bl_options = {"REGISTER", "UNDO"}

    amount: bpy.props.FloatProperty(
        name="Amount", default=1.0, min=0.0, max=1.0, subtype="FACTOR", description="How far the lids shut"
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return unavailable(why_not(find.need_control, context), cls)

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            add_blink(find.need_control(context), context.scene.frame_current, self.amount)
        except SceneProblem as problem:
            self.report({"ERROR"}, str(problem))
            return {"CANCELLED"}
        return {"FINISHED"}


def add_blink(control: bpy.types.Object, frame: float, amount: float) -> None:
    """One key of the blink channel. A key is an event, so nothing moves between keys."""
    nla.need_writable(control, "The control")
    path = f'["{control_empty.BLINKS}"]'
    control[control_empty.BLINKS] = float(amount)
    control.keyframe_insert(path, frame=frame, group="Blinks")
    curve = fcurves.own_curves(control)[(path, 0)]
    for point in curve.keyframe_points:
        point.interpolation = "CONSTANT"
        if abs(point.co[0] - frame) < 1e-3:
            point.co[1] = amount
    curve.update()


def _drawn(control: bpy.types.Object) -> list[tuple[float, float]]:
    try:
        return [(float(second), float(amount)) for second, amount in json.loads(control[control_empty.DRAWN_BLINKS])]
    except (KeyError, ValueError, TypeError):
        return []


def _need_blinks(context: bpy.types.Context) -> bpy.types.Object:
    control = find.need_control(context)
    if not _drawn(control):
        raise SceneProblem("Generate a performance with blinks first")
    if (f'["{control_empty.BLINKS}"]', 0) in fcurves.own_curves(control):
        raise SceneProblem("The blinks are keys already")
    return control


CLASSES = (SOLILOQUY_OT_blinks_to_keys, SOLILOQUY_OT_add_blink)


def register() -> None:
    bpy.app.handlers.depsgraph_update_post.append(_on_update)


def unregister() -> None:
    if _on_update in bpy.app.handlers.depsgraph_update_post:
        bpy.app.handlers.depsgraph_update_post.remove(_on_update)
    if bpy.app.timers.is_registered(_follow):
        bpy.app.timers.unregister(_follow)
    _waiting.clear()
