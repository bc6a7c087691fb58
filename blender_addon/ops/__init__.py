"""Operators: what a person clicks, and what scripts call. They ask through `link` and write through `scene`."""

from __future__ import annotations

import bpy

from ..link import shared
from ..scene import cues as cue_list
from . import (
    avatars,
    character,
    cues,
    directing,
    exporting,
    head,
    housekeeping,
    live_units,
    motion,
    opening,
    performance,
    render_engine,
    saved_takes,
    tasks,
    transfer,
)  # fmt: skip

CLASSES = (
    *head.CLASSES, *character.CLASSES, *transfer.CLASSES, *performance.CLASSES, *opening.CLASSES, *cues.CLASSES,
    *directing.CLASSES, *exporting.CLASSES, *housekeeping.CLASSES, *live_units.CLASSES,
    *motion.CLASSES, *avatars.CLASSES,
)  # fmt: skip


def register() -> None:
    cue_list.register()
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    render_engine.register()
    saved_takes.register()
    live_units.register()


def unregister() -> None:
    tasks.abandon()
    live_units.unregister()
    saved_takes.unregister()
    render_engine.unregister()
    shared.stop()
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
    cue_list.unregister()
