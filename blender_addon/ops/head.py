"""Add a head, aim the eyes."""

from __future__ import annotations

from collections.abc import Callable

import bpy

from ..convert.arrays import open_arrays
from ..link import shared
from ..link.jobs import Task, call
from ..scene import SceneProblem, control_empty, find, hair, head, nla
from .answers import discard
from .tasks import EngineOperator, unavailable, why_not


class SOLILOQUY_OT_add_head(EngineOperator, bpy.types.Operator):
    """Add a talking head with its rig, and the control that its performance is keyed on"""

    bl_idname = "soliloquy.add_head"
    bl_label = "Add Head"
    bl_options = {"REGISTER", "UNDO"}
    title = "Add head"

    head: bpy.props.StringProperty(
        name="Head", default="default", description="Name of a head that the engine knows, or a head file"
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return unavailable(None if context.mode == "OBJECT" else "Go to object mode first", cls)

    def task(self, context: bpy.types.Context) -> Task[str]:
        mesh, _ = yield from add_head(context, self.head, self._warn)
        return (
            f"Added {mesh.name}: {len(mesh.data.vertices)} vertices, {len(mesh.data.shape_keys.key_blocks) - 1} shapes"
        )

    def _warn(self, sentence: str) -> None:
        self.report({"WARNING"}, sentence)


def add_head(
    context: bpy.types.Context, name: str, warn: Callable[[str], None]
) -> Task[tuple[bpy.types.Object, bpy.types.Object]]:
    """(mesh, control) of the engine's head of this name or file, at the cursor, the control selected."""
    scene_name, cursor = context.scene.name, context.scene.cursor.location.copy()
    info = yield from call(shared.engine(), "head", {"head": name}, warn)
    wanted = head.arrays_of(info) | hair.arrays_of(info)
    arrays = open_arrays(info["arrays"], shared.engine().session, wanted)
    scene = bpy.data.scenes.get(scene_name)
    if scene is None or bpy.context.scene != scene or bpy.context.mode != "OBJECT":
        raise SceneProblem(
            f"The scene or the mode changed meanwhile: go to object mode in '{scene_name}' and add the head again"
        )
    label = head.label(info)
    collection = bpy.data.collections.new(label)
    scene.collection.children.link(collection)
    mesh, rig = head.build(info, arrays, collection)
    mesh["soliloquy_head_name"] = name  # a name or a file: what the engine is asked for again
    if info.get("hair"):
        hair.add(info, arrays, rig, collection)
    discard(info["arrays"], shared.engine().session)
    rig.location = cursor
    bpy.context.view_layer.update()
    control = control_empty.create(f"{label} control", mesh, collection)
    select_only(bpy.context, control)
    return mesh, control


class SOLILOQUY_OT_add_gaze_target(bpy.types.Operator):
    """Add a target that the eyes follow, as far as the control's gaze influence says"""

    bl_idname = "soliloquy.add_gaze_target"
    bl_label = "Add Gaze Target"
    bl_options = {"UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return unavailable(why_not(_eyes, context), cls)

    def execute(self, context: bpy.types.Context) -> set[str]:
        control = find.need_control(context)
        control_empty.add_gaze_target(control, _eyes(context))
        return {"FINISHED"}


def _eyes(context: bpy.types.Context) -> bpy.types.Object:
    """The active head's rig, if it has eye bones and no target yet."""
    control = find.need_control(context)
    rig = find.armature_of(find.need_head(control))
    if rig is None or not {"eye.L", "eye.R"} & set(rig.pose.bones.keys()):
        raise SceneProblem("This head's rig has no bones 'eye.L' and 'eye.R' to turn")
    nla.need_writable(control, "The control")
    if rig.library is not None:
        raise SceneProblem("The rig is linked: make a library override of the character first")
    if find.alive(control.get("gaze_target")):
        raise SceneProblem("The eyes have a target already")
    return rig


def select_only(context: bpy.types.Context, ob: bpy.types.Object) -> None:
    """Make it the active and only selected object, so that the panel shows it."""
    for other in context.view_layer.objects:
        other.select_set(other == ob)
    context.view_layer.objects.active = ob


class SOLILOQUY_OT_show_hair(bpy.types.Operator):
    """Show or hide the head's hair in viewports and renders; without it the scalp is cropped"""

    bl_idname = "soliloquy.show_hair"
    bl_label = "Hair"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return unavailable(why_not(_hair, context), cls)

    def execute(self, context: bpy.types.Context) -> set[str]:
        ob = _hair(context)
        try:
            hair.show(ob, not hair.shown(ob))
        except SceneProblem as problem:
            self.report({"ERROR"}, str(problem))
            return {"CANCELLED"}
        return {"FINISHED"}


def _hair(context: bpy.types.Context) -> bpy.types.Object:
    """The active head's hair."""
    found = hair.of_head(find.need_head(find.need_control(context)))
    if found is None:
        raise SceneProblem("This head has no hair of its own: only the default head comes with some")
    return found


CLASSES = (SOLILOQUY_OT_add_head, SOLILOQUY_OT_show_hair, SOLILOQUY_OT_add_gaze_target)
