"""What a person sees: scene settings, preferences, the side panel, the emotion pie. It writes nothing to the scene."""

from __future__ import annotations

import bpy

from . import character, cues, menus, motion, panels, preferences, settings

# Sub-panels stand in the order in which they are registered: My Character after Head, Phone Cues after Directions,
# Engine after Generate.
CLASSES = (
    *settings.CLASSES, *preferences.CLASSES, *menus.CLASSES, *panels.CLASSES[:2], *character.CLASSES,
    *panels.CLASSES[2:5], *cues.CLASSES, *panels.CLASSES[5:8], *motion.CLASSES, *panels.CLASSES[8:],
)  # fmt: skip


def register() -> None:
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    settings.register()
    character.register()
    preferences.apply()


def unregister() -> None:
    character.unregister()
    settings.unregister()
    preferences.release()
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
