"""The sentence at the top of the panel: what is under way, what went wrong, or what to do next."""

from __future__ import annotations

import textwrap

import bpy

from ..ops.performance import check_ready
from ..ops.tasks import board
from ..scene import SceneProblem, find

PIXELS_PER_LETTER = 6.2  # Blender's interface font at scale 1: 5.6 in the mean, capitals and m are wider


def next_step(context: bpy.types.Context) -> tuple[str, str]:
    """(sentence, icon) for an idle panel."""
    if board.error:
        return board.error, "ERROR"
    try:
        control = find.need_control(context)
        check_ready(context)
    except SceneProblem as problem:
        return str(problem), "INFO"
    if not control.get("take"):
        return "Key emotions and type directions along the voice, then generate", "INFO"
    return "Play it. Your own keys go on top and survive the next Generate", "CHECKMARK"


def draw(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    box = layout.box()
    sentence, icon = next_step(context)
    wrapped(box, context, sentence, icon)
    for message in board.messages:
        wrapped(box, context, message, "ERROR")
    if board.error or board.messages:
        box.operator("soliloquy.dismiss", text="Dismiss", icon="X")


def wrapped(layout: bpy.types.UILayout, context: bpy.types.Context, text: str, icon: str = "NONE") -> None:
    """A sentence over as many lines as the panel's width asks for."""
    scale = context.preferences.system.ui_scale
    letters = int((context.region.width / scale - 75) / PIXELS_PER_LETTER)
    column = layout.column(align=True)
    column.scale_y = 0.8
    for i, line in enumerate(textwrap.wrap(text, max(letters, 16))):
        column.label(text=line, icon=icon if i == 0 else "BLANK1")
