"""The section Phone Cues: the list of what was heard, and its edits."""

from __future__ import annotations

import bpy

from ..scene import cues, find
from .panels import _Section, _split

SHORT_S = 0.03  # a red length: hardly a sound (or a very long one)
LONG_S = 0.6


class SOLILOQUY_UL_cues(bpy.types.UIList):
    def draw_item(
        self, context: bpy.types.Context, layout: bpy.types.UILayout, data: object, item: bpy.types.PropertyGroup,
        icon: int, active_data: object, active_property: str, index: int = 0, flags: int = 0,
    ) -> None:  # fmt: skip
        quiet = item.phone == cues.PAUSE
        row = layout.row(align=True)
        row.alert = not quiet and not SHORT_S <= item.end - item.start <= LONG_S
        row.active = not quiet
        split = row.split(factor=0.42, align=True)
        split.label(text="pause" if quiet else item.phone)
        cells = split.row(align=True)
        cells.alignment = "RIGHT"
        cells.label(text=f"{item.first:.1f}")
        cells.label(text=f"{item.last:.1f}")

    def filter_items(
        self, context: bpy.types.Context, data: object, field: str
    ) -> tuple[list[int], list[int]]:  # fmt: skip
        """The search field looks for a phone."""
        rows, word = getattr(data, field), self.filter_name
        return [self.bitflag_filter_item if word in row.phone else 0 for row in rows], []


class SOLILOQUY_PT_cues(_Section, bpy.types.Panel):
    bl_idname = "SOLILOQUY_PT_cues"
    bl_label = "Phone Cues"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        control = find.active_control(context)
        target = cues.group(control)
        if not len(target.rows):
            layout.label(text="Generate lists the phones heard", icon="INFO")
            layout.operator("soliloquy.import_cues", icon="IMPORT")
            return
        row = layout.row()
        row.template_list("SOLILOQUY_UL_cues", "", target, "rows", target, "index", rows=6)
        side = row.column(align=True)
        side.operator("soliloquy.choose_cue", text="", icon="EYEDROPPER")
        side.operator("soliloquy.split_cue", text="", icon="ADD")
        side.operator("soliloquy.remove_cue", text="", icon="REMOVE")
        chosen = target.rows[min(max(target.index, 0), len(target.rows) - 1)]
        column = _split(layout)
        column.use_property_decorate = False
        column.prop(chosen, "phone")
        for side, name in (("START", "first"), ("END", "last")):
            row = column.row(align=True)
            row.prop(chosen, name)
            row.operator("soliloquy.cue_border", text="", icon="TRACKER").side = side
        if target.edited:
            row = layout.row(align=True)
            row.label(text="Edits are kept", icon="GREASEPENCIL")
            row.operator("soliloquy.hear_again", text="", icon="LOOP_BACK")
        layout.operator("soliloquy.generate_range", icon="PREVIEW_RANGE")
        row = layout.row(align=True)
        row.operator("soliloquy.import_cues", text="Import", icon="IMPORT")
        row.operator_menu_enum("soliloquy.export_cues", "form", text="Export", icon="EXPORT")


CLASSES = (SOLILOQUY_UL_cues, SOLILOQUY_PT_cues)
