"""Mesh sequence, turntable film, contact sheet, turntable camera."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy

from ..link import shared
from ..link.jobs import Task, call
from ..scene import SceneProblem, appearance, find, hair, nla, turntable, voice
from .performance import need_take
from .tasks import EngineOperator, unavailable, why_not


def take_range(context: bpy.types.Context, control: bpy.types.Object) -> tuple[int, int]:
    """First and last frame of the generated performance, else of the scene."""
    mesh = find.need_head(control)
    strips = nla.marked(mesh.data.shape_keys, "take") if mesh.data.shape_keys else []
    if strips:
        return round(strips[0][1].frame_start), round(strips[0][1].frame_end)
    return context.scene.frame_start, context.scene.frame_end


def take_path(control: bpy.types.Object) -> str:
    """The take's file. SceneProblem if it is gone."""
    path = Path(bpy.path.abspath(str(control.get("take", ""))))
    if not path.is_file():
        raise SceneProblem(f"The take file {path} is not there: generate again")
    return str(path)


def output_path(context: bpy.types.Context, given: str, name: str) -> Path:
    """Where a file goes: the given path, else `name` in the panel's output folder, which is made if need be."""
    suffix = Path(name).suffix
    text = given or context.scene.soliloquy.output  # kept as text: on Windows "//" is no folder but a computer's name
    whole = bpy.path.abspath(text)
    path = (Path(whole) if given else Path(whole) / name).with_suffix(suffix)
    if (text.startswith("//") and not bpy.data.filepath) or not path.is_absolute():
        raise SceneProblem("Save the file first, or choose an output folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SceneProblem(f"{path.parent} cannot be made ({error}): choose another output folder") from None
    return path


class SOLILOQUY_OT_export_alembic(bpy.types.Operator):
    """Write the head as Blender shows it, frame by frame, to an Alembic file: exact, for any program"""

    bl_idname = "soliloquy.export_alembic"
    bl_label = "Export Alembic"
    bl_options = {"REGISTER"}

    filepath: bpy.props.StringProperty(subtype="FILE_PATH")

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not bpy.app.build_options.alembic:
            return unavailable("This Blender was built without Alembic", cls)
        if context.mode != "OBJECT":
            return unavailable("Go to object mode first", cls)
        return unavailable(why_not(lambda c: find.need_head(find.need_control(c)), context), cls)

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            control = find.need_control(context)
            mesh = find.need_head(control)
            first, last = take_range(context, control)
            path = output_path(context, self.filepath, f"{bpy.path.clean_name(mesh.name)}.abc")
        except SceneProblem as problem:
            self.report({"ERROR"}, str(problem))
            return {"CANCELLED"}
        part = path.with_name(f".{path.stem}.part.abc")
        try:
            _export_only(context, mesh, part, first, last)
            part.replace(path)
        except (RuntimeError, OSError) as error:
            self.report({"ERROR"}, f"{path} could not be written ({error})")
            return {"CANCELLED"}
        finally:
            part.unlink(missing_ok=True)
        self.report({"INFO"}, f"Wrote frames {first} to {last} to {path}")
        return {"FINISHED"}


def _export_only(context: bpy.types.Context, mesh: bpy.types.Object, path: Path, first: int, last: int) -> None:
    """Alembic of one object; selection, visibility and frame are put back."""
    objects = context.view_layer.objects
    selected, active, hidden = list(context.selected_objects), objects.active, mesh.hide_get()
    frame = context.scene.frame_current
    try:
        mesh.hide_set(False)
        for ob in selected:
            ob.select_set(False)
        mesh.select_set(True)
        objects.active = mesh
        bpy.ops.wm.alembic_export(
            filepath=str(path), start=first, end=last, selected=True, flatten=True, uvs=True, normals=True,
            vcolors=True, face_sets=True, as_background_job=False,
        )  # fmt: skip
    finally:
        mesh.select_set(False)
        mesh.hide_set(hidden)
        for ob in selected:
            ob.select_set(True)
        objects.active = active
        context.scene.frame_set(frame)


class _PictureOperator(EngineOperator):
    """A job of the engine that turns the take into a picture file."""

    job, file_name = "", ""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return unavailable(why_not(need_take, context), cls)

    def request(self, context: bpy.types.Context, control: bpy.types.Object) -> dict[str, Any]:
        mesh = find.need_head(control)
        path = output_path(context, self.filepath, f"{bpy.path.clean_name(mesh.name)}_{self.file_name}")
        return {
            "take": take_path(control),
            "head": str(mesh.get("soliloquy_head_name", "default")),
            "avatar": hair.avatar_of(mesh, rendering=True),
            "appearance": appearance.path_of(mesh),
            "out": str(path),
        }

    def task(self, context: bpy.types.Context) -> Task[str]:
        request = self.request(context, need_take(context))
        answer = yield from call(shared.engine(), self.job, request, lambda s: self.report({"WARNING"}, s))
        return f"Wrote {answer['path']}"


class SOLILOQUY_OT_turntable_film(_PictureOperator, bpy.types.Operator):
    """Film the avatar with its voice while the view circles it"""

    bl_idname = "soliloquy.turntable_film"
    bl_label = "Turntable Film"
    bl_options = {"REGISTER"}
    title, job, file_name = "Turntable film", "render", "turntable.mp4"

    filepath: bpy.props.StringProperty(subtype="FILE_PATH")
    size: bpy.props.IntVectorProperty(name="Size", size=2, default=(640, 640), min=64, max=4096)
    camera: bpy.props.EnumProperty(
        name="View", items=[("turntable", "Turntable", "Circle the head"), ("front", "Front", "From the front")]
    )
    sound: bpy.props.BoolProperty(name="Sound", default=True, description="Put the voice into the film")

    def request(self, context: bpy.types.Context, control: bpy.types.Object) -> dict[str, Any]:
        request = super().request(context, control)
        audio = str(voice.path_of(context.scene, control)) if self.sound else None
        return {**request, "camera": self.camera, "size": list(self.size), "audio": audio}


class SOLILOQUY_OT_contact_sheet(_PictureOperator, bpy.types.Operator):
    """Write one picture with the avatar from the front, the side and between, at several moments"""

    bl_idname = "soliloquy.contact_sheet"
    bl_label = "Contact Sheet"
    bl_options = {"REGISTER"}
    title, job, file_name = "Contact sheet", "sheet", "sheet.png"

    filepath: bpy.props.StringProperty(subtype="FILE_PATH")
    moments: bpy.props.IntProperty(name="Moments", default=6, min=1, max=12)

    def request(self, context: bpy.types.Context, control: bpy.types.Object) -> dict[str, Any]:
        return {**super().request(context, control), "moments": self.moments}


class SOLILOQUY_OT_turntable_camera(bpy.types.Operator):
    """Add a camera that circles the head once over the performance"""

    bl_idname = "soliloquy.turntable_camera"
    bl_label = "Turntable Camera"
    bl_options = {"UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return unavailable(why_not(lambda c: find.need_head(find.need_control(c)), context), cls)

    def execute(self, context: bpy.types.Context) -> set[str]:
        control = find.need_control(context)
        turntable.build(context.scene, find.need_head(control), *take_range(context, control))
        return {"FINISHED"}


CLASSES = (
    SOLILOQUY_OT_export_alembic, SOLILOQUY_OT_turntable_film, SOLILOQUY_OT_contact_sheet, SOLILOQUY_OT_turntable_camera,
)  # fmt: skip
