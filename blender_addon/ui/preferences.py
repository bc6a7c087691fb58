"""Where the engine is, and whether it answers."""

from __future__ import annotations

import os

import bpy

from ..link import shared
from ..link.config import EngineError, find
from ..ops.tasks import board

PACKAGE = __package__.rpartition(".")[0]
VARIABLE = "SOLILOQUY_CONFIG"  # names the engine's configuration file, ahead of the usual places


_before: tuple[str | None] | None = None  # the variable as the person had set it, while the preferences' stands there


def apply(chosen: object = None, context: object = None) -> None:
    """Let the file named in the preferences win over the usual places. Starts nothing."""
    global _before
    addon = bpy.context.preferences.addons.get(PACKAGE)
    path = addon.preferences.config_path if addon and addon.preferences else ""
    if path:
        if _before is None:
            _before = (os.environ.get(VARIABLE),)
        os.environ[VARIABLE] = bpy.path.abspath(path)
    else:
        release()


def release() -> None:
    """Put the variable back as the person had it: the field was cleared, or the add-on is being disabled."""
    global _before
    if _before is not None:
        os.environ.pop(VARIABLE, None)
        if _before[0] is not None:
            os.environ[VARIABLE] = _before[0]
        _before = None


class SoliloquyPreferences(bpy.types.AddonPreferences):
    bl_idname = PACKAGE

    config_path: bpy.props.StringProperty(
        name="Engine",
        subtype="FILE_PATH",
        update=apply,
        description="The config.json that 'python install.py' wrote; empty looks in the usual place",
    )

    allow_download: bpy.props.BoolProperty(
        name="Allow Speech Model Downloads",
        default=False,
        description="Let a speech model that is named by its hub id be fetched once; also needs Blender's own "
        "permission to go online",
    )

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        layout.prop(self, "config_path")
        layout.prop(self, "allow_download")
        box = layout.box()
        try:
            config = find()
            box.label(text=f"Engine {config.version} in {config.root}", icon="CHECKMARK")
        except EngineError as problem:
            box.label(text=str(problem), icon="ERROR")
        if board.error:
            box.label(text=board.error, icon="ERROR")
        row = box.row()
        row.operator("soliloquy.check_engine", icon="FILE_REFRESH")
        row.operator("soliloquy.stop_engine", icon="CANCEL")
        engine = shared.current()
        if engine is not None and engine.log is not None:
            box.label(text=f"Log: {engine.log}")


CLASSES = (SoliloquyPreferences,)
