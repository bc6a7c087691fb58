"""Stop a task, check and stop the engine, put messages away."""

from __future__ import annotations

import bpy

from ..link import shared
from ..link.jobs import Task, call
from .tasks import EngineOperator, board, unavailable


class SOLILOQUY_OT_stop_task(bpy.types.Operator):
    """Stop what is under way; nothing is changed (also: Escape)"""

    bl_idname = "soliloquy.stop_task"
    bl_label = "Stop"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return board.running is not None

    def execute(self, context: bpy.types.Context) -> set[str]:
        board.running.stop = True
        return {"FINISHED"}


class SOLILOQUY_OT_check_engine(EngineOperator, bpy.types.Operator):
    """Start the engine if need be and ask for its version"""

    bl_idname = "soliloquy.check_engine"
    bl_label = "Check Engine"
    title = "Check engine"

    def task(self, context: bpy.types.Context) -> Task[str]:
        answer = yield from call(shared.engine(), "version", {})
        return f"The engine answers: version {answer['version']}, Python {answer['python']}"


class SOLILOQUY_OT_stop_engine(bpy.types.Operator):
    """End the engine process and free its memory; the next task starts it again"""

    bl_idname = "soliloquy.stop_engine"
    bl_label = "Stop Engine"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        engine = shared.current()
        return unavailable(None if engine is not None and engine.running else "The engine does not run", cls)

    def execute(self, context: bpy.types.Context) -> set[str]:
        shared.stop()
        return {"FINISHED"}


class SOLILOQUY_OT_dismiss(bpy.types.Operator):
    """Put the messages away"""

    bl_idname = "soliloquy.dismiss"
    bl_label = "Dismiss"
    bl_options = {"INTERNAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        board.messages, board.error = [], ""
        return {"FINISHED"}


CLASSES = (SOLILOQUY_OT_stop_task, SOLILOQUY_OT_check_engine, SOLILOQUY_OT_stop_engine, SOLILOQUY_OT_dismiss)
