"""Where the engine is: the small JSON file that install.py writes.

{"kind": "soliloquy-config", "format": 1, "python": ".../bin/python", "root": "folder that holds engine/",
 "version": "0.1.0"}
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

KIND, FORMAT, NAME = "soliloquy-config", 1, "config.json"


class EngineError(Exception):
    """What went wrong with the engine or in it, as one sentence for the person."""


@dataclass(frozen=True)
class Config:
    """python: the engine's own interpreter; root: the folder that holds the package `engine`."""

    python: str
    root: str
    version: str


def user_config_dir(environ: Mapping[str, str] = os.environ, system: str = sys.platform) -> Path:
    """The folder in which the system keeps a user's settings for Soliloquy (the same rule as in install.py)."""
    home = Path(environ.get("HOME") or environ.get("USERPROFILE") or Path.home())
    if system == "win32":
        return Path(environ.get("APPDATA") or home / "AppData" / "Roaming") / "soliloquy"
    if system == "darwin":
        return home / "Library" / "Application Support" / "soliloquy"
    return Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "soliloquy"


def user_log_dir(environ: Mapping[str, str] = os.environ, system: str = sys.platform) -> Path:
    """The folder for the engine's log files."""
    home = Path(environ.get("HOME") or environ.get("USERPROFILE") or Path.home())
    if system == "win32":
        return Path(environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "soliloquy" / "Logs"
    if system == "darwin":
        return home / "Library" / "Logs" / "soliloquy"
    return Path(environ.get("XDG_STATE_HOME") or home / ".local" / "state") / "soliloquy" / "log"


def candidates(environ: Mapping[str, str] = os.environ) -> list[Path]:
    """Where a configuration is looked for, in order. SOLILOQUY_CONFIG, if set, is the only place."""
    if environ.get("SOLILOQUY_CONFIG"):
        return [Path(environ["SOLILOQUY_CONFIG"])]
    beside = Path(__file__).resolve().parents[1]  # the add-on's own folder
    return [user_config_dir(environ) / NAME, beside / NAME]


def find(environ: Mapping[str, str] = os.environ) -> Config:
    """The first configuration found. Raises EngineError with what to do when there is none or it is stale."""
    tried = candidates(environ)
    for path in tried:
        if path.is_file():
            return read(path)
    raise EngineError(
        f"Soliloquy's engine is not set up on this computer (no {tried[0]}); run 'python install.py' in its folder"
    )


def read(path: Path) -> Config:
    """Parse and check one configuration file. Raises EngineError."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if value["kind"] != KIND:
            raise ValueError(f"kind is {value['kind']!r}")
        if int(value["format"]) > FORMAT:
            raise EngineError(f"{path} was written by a newer Soliloquy; update the add-on")
        config = Config(*(str(value[key]) for key in ("python", "root", "version")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EngineError(f"{path} is damaged ({error}); run 'python install.py' again") from None
    if not Path(config.python).is_file():
        raise EngineError(f"{path} names {config.python}, which is gone; run 'python install.py' again")
    if not Path(config.root, "engine", "__init__.py").is_file():
        raise EngineError(f"{path} names {config.root}, which holds no engine; run 'python install.py' again")
    return config
