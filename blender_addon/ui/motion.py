"""The panel "Engine (Advanced)": which motion system and speech encoder turn the voice into movement."""

from __future__ import annotations

import textwrap

import bpy

from ..convert.systems import title, told
from ..ops import motion
from .panels import _Section

LETTER_PX, MARGIN_PX = 6.8, 34  # of Blender's interface font and of a sub-panel, at scale 1
LINE = 24  # letters that a side panel of Blender's own width holds


class SOLILOQUY_MT_motion(bpy.types.Menu):
    bl_idname = "SOLILOQUY_MT_motion"
    bl_label = "Motion System"

    def draw(self, context: bpy.types.Context) -> None:
        layout, chosen = self.layout, context.scene.soliloquy.motion or "direct"
        known = motion.systems()
        for system in known:
            icon = "RADIOBUT_ON" if system.name == chosen.partition("@")[0] else "RADIOBUT_OFF"
            layout.operator("soliloquy.choose_motion", text=system.name, icon=icon).name = system.name
        if not known:
            layout.operator("soliloquy.list_motion", icon="FILE_REFRESH")


class SOLILOQUY_PT_engine(_Section, bpy.types.Panel):
    bl_idname = "SOLILOQUY_PT_engine"
    bl_label = "Engine (Advanced)"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        layout, settings = self.layout, context.scene.soliloquy
        chosen = settings.motion or "direct"
        split = layout.split(factor=0.4)
        cell = split.row()
        cell.alignment = "RIGHT"
        cell.label(text="Motion")
        split.menu("SOLILOQUY_MT_motion", text=title(chosen))
        known = motion.system(chosen)
        column = layout.column(align=True)
        column.scale_y = 0.8
        if known is None:
            named = motion.systems()
            words = "This engine has no such system" if named else "Its engine has not said yet what it obeys"
            _say(context, column, words, "ERROR" if named else "INFO")
            if not named:
                layout.operator("soliloquy.list_motion", icon="FILE_REFRESH")
        else:
            _say(context, column, known.about)
            if known.after:
                _say(context, column, f"Obeys {told(known.obeys)}", "CHECKMARK")
                _say(context, column, f"Laid over it afterwards: {told(known.after)}", "INFO")
        layout.use_property_split, layout.use_property_decorate = True, False
        layout.prop(settings, "speech")


def _say(context: bpy.types.Context, column: bpy.types.UILayout, words: str, icon: str = "NONE") -> None:
    """Words over as many lines as the panel's width needs; an icon stands before the first."""
    letters = LINE
    if context.region is not None:
        letters = int((context.region.width / context.preferences.system.ui_scale - MARGIN_PX) / LETTER_PX)
    for i, line in enumerate(textwrap.wrap(words, max(12, letters - (3 if icon != "NONE" else 0)))):
        column.label(text=line, icon=icon if not i or icon == "NONE" else "BLANK1")


CLASSES = (SOLILOQUY_MT_motion, SOLILOQUY_PT_engine)
