"""Choose the motion system, and learn from the engine which there are."""

from __future__ import annotations

import bpy

from ..convert.systems import System, systems_of
from ..link import shared
from ..link.jobs import Task, call
from .tasks import EngineOperator

_heard: list[System] = []  # what the engine said last; it stays known when the engine ends


def systems() -> list[System]:
    """What the engine offers, as far as it has said so. Starts nothing."""
    engine = shared.current()
    if engine is not None and (found := systems_of(engine.hello)):
        _heard[:] = found
    return list(_heard)


def system(name: str) -> System | None:
    """The system of that name (before an @), if the engine has named it."""
    base = name.partition("@")[0]
    return next((s for s in systems() if s.name == base), None)


class SOLILOQUY_OT_choose_motion(bpy.types.Operator):
    """Let this system turn the voice into movement from the next Generate on"""

    bl_idname = "soliloquy.choose_motion"
    bl_label = "Choose Motion System"
    bl_options = {"UNDO"}

    name: bpy.props.StringProperty(name="Motion System", default="direct")

    @classmethod
    def description(cls, context: bpy.types.Context, properties: bpy.types.OperatorProperties) -> str:
        known = system(properties.name)
        return known.about if known is not None and known.about else str(cls.__doc__)

    def execute(self, context: bpy.types.Context) -> set[str]:
        if systems() and system(self.name) is None:
            self.report({"ERROR"}, f"The engine has no motion system '{self.name}'")
            return {"CANCELLED"}
        context.scene.soliloquy.motion = self.name
        return {"FINISHED"}


class SOLILOQUY_OT_list_motion(EngineOperator, bpy.types.Operator):
    """Start the engine if need be and ask which motion systems it has"""

    bl_idname = "soliloquy.list_motion"
    bl_label = "List Motion Systems"
    title = "Motion systems"

    def task(self, context: bpy.types.Context) -> Task[str]:
        yield from call(shared.engine(), "version", {})
        return "Motion systems: " + (", ".join(s.name for s in systems()) or "this engine names none")


CLASSES = (SOLILOQUY_OT_choose_motion, SOLILOQUY_OT_list_motion)
