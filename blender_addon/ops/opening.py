"""Load Performance: a finished take (`speak`, `head fit`) onto the head, without generating anything."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import bpy

from ..convert.frames import rate_text
from ..link import shared
from ..link.jobs import Task, call
from ..scene import SceneProblem, find, take, voice
from .answers import read_take, stored
from .tasks import EngineOperator, board, unavailable, why_not, wrong_mode


def ready(context: bpy.types.Context) -> bpy.types.Object:
    """The active control, if its head can take a performance."""
    control = find.need_control(context)
    take.check(control)
    return control


class SOLILOQUY_OT_load_take(EngineOperator, bpy.types.Operator):
    """Put a take.npz on the head: one that was generated before, or made from a mesh sequence by `head fit`"""

    bl_idname = "soliloquy.load_take"
    bl_label = "Load Performance"
    bl_options = {"UNDO"}
    title = "Load performance"

    filepath: bpy.props.StringProperty(subtype="FILE_PATH")
    filter_glob: bpy.props.StringProperty(default="*.npz", options={"HIDDEN"})
    residual_mm: bpy.props.FloatProperty(
        name="Vertex Error",
        default=0.05,
        min=0.001,
        max=10.0,
        description="Millimetres by which a vertex may stray where the performance goes beyond the head's shapes",
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if board.running is not None:
            return unavailable(f"{board.running.title} is still under way", cls)
        return unavailable(wrong_mode(context) or why_not(ready, context), cls)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        if not self.filepath:
            context.window_manager.fileselect_add(self)
            return {"RUNNING_MODAL"}
        return super().invoke(context, event)

    def task(self, context: bpy.types.Context) -> Task[str]:
        scene, control = context.scene, ready(context)
        path = Path(bpy.path.abspath(self.filepath))
        if not path.is_file():
            raise SceneProblem(f"{path} is not there: choose a take (.npz)")
        clock = voice.clock_of(scene, control)
        scene_name, control_name, mode = scene.name, control.name, scene.soliloquy.key_mode
        request = {
            "take": str(path),
            "fps": rate_text(clock.rate),
            "first_frame": clock.first,
            "head": str(find.need_head(control).get("soliloquy_head_name", "default")),
            "residual_mm": self.residual_mm,
        }
        board.messages = []
        answer = yield from call(shared.engine(), "take", request, board.messages.append)
        scene, control = bpy.data.scenes.get(scene_name), bpy.data.objects.get(control_name)
        if scene is None or not find.alive(control):
            raise SceneProblem(f"'{control_name}' was removed or renamed meanwhile: load the performance again")
        performance = read_take(answer, shared.engine().session, clock)
        performance = dataclasses.replace(performance, path=stored(performance.path))
        board.messages += [s for s in answer["warnings"] if s not in board.messages]
        board.messages += take.write(control, performance, mode)
        voice.extend_range(scene, clock.first, clock.first + len(performance.weights) - 1)
        return f"Loaded {len(performance.weights)} frames on '{find.head_of(control).name}'"


CLASSES = (SOLILOQUY_OT_load_take,)
