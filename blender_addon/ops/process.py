"""The one engine process of this Blender, shared by operators, live preview and F12. Started on first use only."""

from __future__ import annotations

from pathlib import Path

import bpy

from ..link import config
from ..link.client import Engine

_engine: Engine | None = None


def preferences() -> bpy.types.AddonPreferences | None:
    """The add-on's preferences, or None where it was registered without being enabled (batch, tests)."""
    addon = bpy.context.preferences.addons.get(__package__.rpartition(".")[0])
    return addon.preferences if addon else None


def configuration() -> config.Config:
    """Where the engine is: the file named in the preferences, else the usual places. Raises EngineError."""
    chosen = getattr(preferences(), "config_path", "")
    return config.read(Path(bpy.path.abspath(chosen))) if chosen else config.find()


def engine() -> Engine:
    """The engine, not yet started if nothing was asked of it. Raises EngineError if it is not set up."""
    global _engine
    if _engine is None:
        _engine = Engine.of(configuration())
    return _engine


def current() -> Engine | None:
    """The engine if one was made, without making one."""
    return _engine


def stop() -> None:
    """End the process and forget it (add-on disabled, other engine chosen, Blender closes)."""
    global _engine
    if _engine is not None:
        _engine.stop()
    _engine = None
