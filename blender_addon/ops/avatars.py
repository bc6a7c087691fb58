"""Avatars from other programs, the appearance net of an avatar, and an avatar as a point cloud of splats."""

from __future__ import annotations

import itertools
from pathlib import Path

import bpy

from ..convert.arrays import open_arrays
from ..link import shared
from ..link.jobs import Task, call
from ..scene import SceneProblem, appearance, find, hair, splats
from .answers import discard
from .exporting import take_range
from .head import add_head
from .tasks import EngineOperator, unavailable, why_not


class SOLILOQUY_OT_import_avatar(EngineOperator, bpy.types.Operator):
    """Add the person of a GaussianAvatars file as a head whose avatar follows it; needs your own FLAME head"""

    bl_idname = "soliloquy.import_avatar"
    bl_label = "Import Avatar"
    bl_options = {"REGISTER", "UNDO"}
    title = "Import avatar"

    filepath: bpy.props.StringProperty(subtype="FILE_PATH")
    filter_glob: bpy.props.StringProperty(default="*.ply", options={"HIDDEN"})
    head: bpy.props.StringProperty(
        name="FLAME Head", default="flame", description="Name or file of your imported FLAME head (head import)"
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return unavailable(None if context.mode == "OBJECT" else "Go to object mode first", cls)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        if not self.filepath:
            context.window_manager.fileselect_add(self)
            return {"RUNNING_MODAL"}
        return super().invoke(context, event)

    def task(self, context: bpy.types.Context) -> Task[str]:
        source = Path(bpy.path.abspath(self.filepath))
        if not source.exists():
            raise SceneProblem(f"{source} is not there: choose a point_cloud.ply of GaussianAvatars")
        request = {"source": str(source), "head": self.head, "out": str(_free_name(source))}
        made = yield from call(shared.engine(), "avatar_import", request, self._warn)
        mesh, _ = yield from add_head(context, made["head"], self._warn)
        mesh["soliloquy_avatar"] = made["path"]
        return f"Added {mesh.name} with {made['gaussians']} Gaussians; render with the Soliloquy engine to see them"

    def _warn(self, sentence: str) -> None:
        self.report({"WARNING"}, sentence)


class SOLILOQUY_OT_splat_points(EngineOperator, bpy.types.Operator):
    """Add the head's avatar at this frame of its performance as a point cloud with the attributes of native splats"""

    bl_idname = "soliloquy.splat_points"
    bl_label = "Avatar as Point Cloud"
    bl_options = {"REGISTER", "UNDO"}
    title = "Avatar as point cloud"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if context.mode != "OBJECT":
            return unavailable("Go to object mode first", cls)
        return unavailable(splats.why_unavailable() or why_not(_own_head, context), cls)

    def task(self, context: bpy.types.Context) -> Task[str]:
        scene, mesh = context.scene, _own_head(context)
        control = find.need_control(context)
        request = {**_avatar_of(mesh), "appearance": appearance.path_of(mesh)}
        path = Path(bpy.path.abspath(str(control.get("take", ""))))
        if control.get("take") and path.is_file():
            first, last = take_range(context, control)
            frame = min(max(scene.frame_current, first), last) - first
            request |= {"take": str(path), "frame": frame}
        answer = yield from call(shared.engine(), "splats", request, lambda s: self.report({"WARNING"}, s))
        shapes = {"position": ("n", 3), "scale": ("n", 3), "rotation": ("n", 4), "base": ("n", 4), "sh": ("k", "n", 3)}
        arrays = open_arrays(answer["arrays"], shared.engine().session, shapes)
        if not find.alive(mesh) or bpy.context.mode != "OBJECT":
            raise SceneProblem("The scene or the mode changed meanwhile: go to object mode and try again")
        ob = splats.add(arrays, f"{mesh.name} splats", mesh.users_collection[0])
        rig = find.armature_of(mesh)
        ob.matrix_world = (rig or mesh).matrix_world.copy()
        discard(answer["arrays"], shared.engine().session)
        return f"Added {ob.name}: {answer['count']} points, colours in {answer['blend_space']}"


class SOLILOQUY_OT_choose_appearance(EngineOperator, bpy.types.Operator):
    """Choose a trained appearance net (avatar appearance) for the head's avatar: its Gaussians change with the face"""

    bl_idname = "soliloquy.choose_appearance"
    bl_label = "Choose Appearance"
    bl_options = {"REGISTER", "UNDO"}
    title = "Choose appearance"

    filepath: bpy.props.StringProperty(subtype="FILE_PATH")
    filter_glob: bpy.props.StringProperty(default="*.safetensors", options={"HIDDEN"})

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return unavailable(why_not(_own_head, context), cls)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        if not self.filepath:
            context.window_manager.fileselect_add(self)
            return {"RUNNING_MODAL"}
        return super().invoke(context, event)

    def task(self, context: bpy.types.Context) -> Task[str]:
        mesh, path = _own_head(context), Path(bpy.path.abspath(self.filepath))
        if not path.is_file():
            raise SceneProblem(f"{path} is not there: choose a net written by 'avatar appearance' (.safetensors)")
        request = {**_avatar_of(mesh), "appearance": str(path)}
        found = yield from call(shared.engine(), "avatar", request, lambda s: self.report({"WARNING"}, s))
        if not find.alive(mesh):
            raise SceneProblem("The head is gone: choose the appearance again")
        appearance.choose(mesh, str(path))
        return f"{mesh.name} wears the net '{found['appearance']}' of {path.name}"


class SOLILOQUY_OT_clear_appearance(bpy.types.Operator):
    """Draw the head's avatar without an appearance net"""

    bl_idname = "soliloquy.clear_appearance"
    bl_label = "No Appearance Net"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return unavailable(why_not(_own_head, context), cls)

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            appearance.choose(_own_head(context), "")
        except SceneProblem as problem:
            self.report({"ERROR"}, str(problem))
            return {"CANCELLED"}
        return {"FINISHED"}


def _avatar_of(mesh: bpy.types.Object) -> dict[str, str]:
    """A request's head and avatar."""
    return {"head": str(mesh["soliloquy_head_name"]), "avatar": hair.avatar_of(mesh, rendering=True)}


def _free_name(source: Path) -> Path:
    """Where the avatar of a .ply (or of a folder with a point_cloud.ply) goes: STEM_soliloquy.npz beside it, numbered
    if an avatar or a head of that name is there."""
    folder, stem = (source, "point_cloud") if source.is_dir() else (source.parent, source.stem)
    for number in itertools.count(1):
        name = f"{stem}_soliloquy" if number == 1 else f"{stem}_soliloquy_{number}"
        if not any((folder / f"{name}{end}.npz").exists() for end in ("", "_head")):
            break
    return folder / f"{name}.npz"


def _own_head(context: bpy.types.Context) -> bpy.types.Object:
    """The active control's head, if it is one of the engine's. SceneProblem with what to do."""
    mesh = find.need_head(find.need_control(context))
    if find.HEAD_MARK not in mesh:
        raise SceneProblem("This character has no avatar: only Soliloquy's heads and imported avatars have one")
    return mesh


CLASSES = (
    SOLILOQUY_OT_import_avatar, SOLILOQUY_OT_splat_points, SOLILOQUY_OT_choose_appearance,
    SOLILOQUY_OT_clear_appearance,
)  # fmt: skip
