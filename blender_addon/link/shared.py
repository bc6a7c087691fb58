"""The one engine that the whole add-on uses: operators, live previews and final renders."""

from __future__ import annotations

import atexit
import time

from . import config
from .client import Engine

_engine: Engine | None = None
_config: config.Config | None = None
_looked = 0.0
LOOK_S = 2.0  # a viewport asks at every redraw; the file is read again after this time


def engine() -> Engine:
    """The add-on's engine, made at the first call and again when the configuration has changed.

    The process itself starts at its first request. Raises EngineError when no engine is set up.
    """
    global _engine, _config, _looked
    now = time.monotonic()
    if _engine is not None and now < _looked + LOOK_S:
        return _engine
    _looked = now
    found = config.find()
    if _engine is None or found != _config:
        stop()
        _engine, _config = Engine.of(found), found
    return _engine


def current() -> Engine | None:
    """The engine if there is one, without making it."""
    return _engine


def stop() -> None:
    """End the process (unregister, exit of Blender)."""
    global _engine
    if _engine is not None:
        _engine.stop(0.5)
        _engine = None


atexit.register(stop)
