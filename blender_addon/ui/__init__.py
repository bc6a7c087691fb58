"""What a person sees: scene settings, preferences, the side panel, the emotion pie. It writes nothing to the scene."""

from __future__ import annotations

import bpy

from . import menus, panels, preferences, settings

CLASSES = (*settings.CLASSES, *preferences.CLASSES, *menus.CLASSES, *panels.CLASSES)


def register() -> None:
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    settings.register()
    preferences.apply()


def unregister() -> None:
    settings.unregister()
    preferences.release()
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
