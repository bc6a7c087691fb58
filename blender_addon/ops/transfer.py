"""Shapes for a mesh that has none: pick points, let the engine carry the shapes over, look, apply."""

from __future__ import annotations

from pathlib import Path

import bpy
import gpu
import numpy as np
from bpy_extras import view3d_utils
from gpu_extras.batch import batch_for_shader
from mathutils import Vector

from ..convert.arrays import open_arrays
from ..link import shared
from ..link.jobs import Task, call
from ..scene import SceneProblem, character, find, shapes
from .answers import discard
from .character import busy, need_character, summary
from .tasks import EngineOperator, board, unavailable, why_not

NAVIGATION = {
    "MIDDLEMOUSE", "WHEELUPMOUSE", "WHEELDOWNMOUSE", "MOUSEMOVE", "TRACKPADPAN", "TRACKPADZOOM", "NUMPAD_1",
    "NUMPAD_3", "NUMPAD_4", "NUMPAD_5", "NUMPAD_6", "NUMPAD_PERIOD", "NDOF_MOTION",
}  # fmt: skip


def bare(context: bpy.types.Context) -> bpy.types.Object:
    """The active control, if its mesh can get shape keys."""
    control = need_character(context)
    shapes.need_bare(control)
    return control


def ready(context: bpy.types.Context) -> bpy.types.Object:
    """The active control, if its points are picked too."""
    control = bare(context)
    shapes.need_picks(control)
    return control


class SOLILOQUY_OT_pick_points(bpy.types.Operator):
    """Click six points on the face, in the order that the status bar asks for; the view can be turned meanwhile"""

    bl_idname = "soliloquy.pick_points"
    bl_label = "Pick Points"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return unavailable(busy(context) or why_not(bare, context), cls)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        if context.area is None or context.area.type != "VIEW_3D":
            self.report({"ERROR"}, "Pick in a 3D view")
            return {"CANCELLED"}
        self._control = bare(context).name
        self._left = list(shapes.MARKS)
        self._drawn = bpy.types.SpaceView3D.draw_handler_add(draw_picks, (self._control,), "WINDOW", "POST_VIEW")
        context.window.cursor_modal_set("CROSSHAIR")
        context.window_manager.modal_handler_add(self)
        self._ask(context)
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        if event.type in {"ESC", "RIGHTMOUSE"}:
            return self._end(context, {"CANCELLED"})
        if event.type in NAVIGATION or event.value != "PRESS":
            return {"PASS_THROUGH"}
        if event.type == "BACK_SPACE":
            done = len(shapes.MARKS) - len(self._left)
            self._left = list(shapes.MARKS)[max(done - 1, 0) :]
        elif event.type == "LEFTMOUSE":
            control = bpy.data.objects.get(self._control)
            mesh = find.head_of(control) if control is not None else None
            if mesh is None:
                return self._end(context, {"CANCELLED"})
            region = next((r for r in context.area.regions if r.type == "WINDOW"), None)
            inside = region and 0 <= event.mouse_x - region.x < region.width
            if not inside or not 0 <= event.mouse_y - region.y < region.height:
                return {"PASS_THROUGH"}
            spot = hit(mesh, region, context.space_data.region_3d, (event.mouse_x - region.x, event.mouse_y - region.y))
            if spot is None:
                self.report({"WARNING"}, f"That is not on '{mesh.name}': click {shapes.MARKS[self._left[0]]}")
                return {"RUNNING_MODAL"}
            shapes.set_pick(control, self._left.pop(0), spot)
        if not self._left:
            return self._end(context, {"FINISHED"})
        self._ask(context)
        return {"RUNNING_MODAL"}

    def _ask(self, context: bpy.types.Context) -> None:
        number = len(shapes.MARKS) - len(self._left) + 1
        words = shapes.MARKS[self._left[0]]
        context.workspace.status_text_set(
            f"{number} of {len(shapes.MARKS)}: click {words}   (Backspace: once more, Esc: stop)"
        )
        context.area.header_text_set(f"{number} of {len(shapes.MARKS)}: click {words}")
        context.area.tag_redraw()

    def cancel(self, context: bpy.types.Context) -> None:
        """Blender closes, or another file is loaded."""
        self._end(context, set())

    def _end(self, context: bpy.types.Context, outcome: set[str]) -> set[str]:
        bpy.types.SpaceView3D.draw_handler_remove(self._drawn, "WINDOW")
        context.window.cursor_modal_restore()
        context.workspace.status_text_set(None)
        context.area.header_text_set(None)
        context.area.tag_redraw()
        return outcome


def draw_picks(control_name: str) -> None:
    """The picked points as dots, drawn over everything, while the operator runs."""
    control = bpy.data.objects.get(control_name)
    mesh = find.head_of(control) if control is not None else None
    spots = [mesh.matrix_world @ Vector(place) for place in shapes.picks(control).values()] if mesh is not None else []
    if not spots:
        return
    shader = gpu.shader.from_builtin("UNIFORM_COLOR" if bpy.app.version >= (4, 0) else "3D_UNIFORM_COLOR")
    batch = batch_for_shader(shader, "POINTS", {"pos": spots})
    gpu.state.point_size_set(9.0)
    gpu.state.depth_test_set("NONE")
    shader.bind()
    shader.uniform_float("color", (1.0, 0.55, 0.1, 1.0))
    batch.draw(shader)
    gpu.state.point_size_set(1.0)


def hit(
    mesh: bpy.types.Object, region: bpy.types.Region, view: bpy.types.RegionView3D, place: tuple[float, float]
) -> tuple[float, float, float] | None:
    """Where the mesh lies under a pixel, in its own space; None where it does not."""
    origin = view3d_utils.region_2d_to_origin_3d(region, view, place)
    direction = view3d_utils.region_2d_to_vector_3d(region, view, place)
    inverse = mesh.matrix_world.inverted()
    found, spot, _, _ = mesh.ray_cast(inverse @ origin, (inverse.to_3x3() @ direction).normalized())
    return tuple(spot) if found else None


class SOLILOQUY_OT_make_shapes(EngineOperator, bpy.types.Operator):
    """Carry the default head's shapes over to this mesh, and show them on a copy before anything is applied"""

    bl_idname = "soliloquy.make_shapes"
    bl_label = "Make Shapes"
    bl_options = {"UNDO"}
    title = "Make shapes"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if board.running is not None:
            return unavailable(f"{board.running.title} is still under way", cls)
        return unavailable(busy(context) or why_not(ready, context), cls)

    def task(self, context: bpy.types.Context) -> Task[str]:
        control = ready(context)
        mesh, name = find.need_head(control), control.name
        folder = Path(bpy.app.tempdir)
        target, out = folder / "soliloquy_target.obj", folder / "soliloquy_target.head.npz"
        shapes.write_target(mesh, target)
        points = shapes.world_picks(mesh, shapes.need_picks(control))
        request = {
            "target": str(target), "points": points, "metres": 1.0, "up": "y", "out": str(out), "source": "default",
        }  # fmt: skip
        board.messages = []
        answer = yield from call(shared.engine(), "transfer", request, board.messages.append)
        control = bpy.data.objects.get(name)
        if control is None:
            raise SceneProblem(f"'{name}' was removed or renamed meanwhile: make the shapes again")
        if find.need_head(control).mode != "OBJECT":  # edited while the engine worked
            raise SceneProblem("Leave edit mode, then make the shapes again: the mesh was being edited")
        session, names = shared.engine().session, [str(n) for n in answer["shape_names"]]
        made = np.array(open_arrays(answer["arrays"], session, {"shapes": (len(names), "v", 3)})["shapes"])
        discard(answer["arrays"], session)
        for path in (target, out):
            path.unlink(missing_ok=True)
        shapes.make_preview(control, names, made)
        character.settings_of(control).preview_shape = "jawOpen"
        error = answer.get("error_mm", {})
        return f"Made {len(names)} shapes, the face fits to {error.get('mean', 0.0):.2f} mm: look, then apply"


class _PreviewOperator:
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        control = find.active_control(context)
        there = control is not None and shapes.preview_of(control) is not None
        return unavailable(busy(context) or (None if there else "Make the shapes first"), cls)


class SOLILOQUY_OT_apply_shapes(_PreviewOperator, bpy.types.Operator):
    """Give the shapes to the mesh as shape keys, and map them"""

    bl_idname = "soliloquy.apply_shapes"
    bl_label = "Apply"

    def execute(self, context: bpy.types.Context) -> set[str]:
        control = find.need_control(context)
        try:
            count = shapes.apply(control)
        except SceneProblem as problem:
            self.report({"ERROR"}, str(problem))
            return {"CANCELLED"}
        bpy.ops.soliloquy.auto_map()
        self.report({"INFO"}, f"{count} shape keys: {summary(control)}")
        return {"FINISHED"}


class SOLILOQUY_OT_discard_shapes(_PreviewOperator, bpy.types.Operator):
    """Remove the preview; the mesh stays as it was"""

    bl_idname = "soliloquy.discard_shapes"
    bl_label = "Discard"

    def execute(self, context: bpy.types.Context) -> set[str]:
        shapes.discard(find.need_control(context))
        return {"FINISHED"}


CLASSES = (
    SOLILOQUY_OT_pick_points, SOLILOQUY_OT_make_shapes, SOLILOQUY_OT_apply_shapes, SOLILOQUY_OT_discard_shapes,
)  # fmt: skip
