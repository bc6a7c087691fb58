"""What pyproject.toml pins against what a Python environment really holds, and the config by which Blender finds it.

Standard library only and free of other engine modules: the installer and the doctor use it exactly when something
else is broken.
"""

from __future__ import annotations

import csv
import importlib.metadata
import json
import os
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CONFIG_KIND, CONFIG_FORMAT = "soliloquy-config", 1


@dataclass(frozen=True)
class Pin:
    """One distribution at one version; `sha256` of its wheel where its files are data that the engine reads."""

    name: str
    version: str
    sha256: str = ""

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"

    @property
    def key(self) -> str:
        return normal(self.name)


@dataclass(frozen=True)
class Fault:
    """Why a distribution cannot be used as it is; `damaged`: the right version is there, its files are not."""

    pin: Pin
    why: str
    damaged: bool = False


def normal(name: str) -> str:
    """A distribution's name as indexes compare it (lower case, one hyphen)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_pins(extras: Iterable[str] = (), pyproject: Path = ROOT / "pyproject.toml") -> list[Pin]:
    """The exact pins of the project and of these extras, in the file's order.

    Raises ValueError for a requirement that is not an exact pin, KeyError for an extra that does not exist.
    """
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    lines = list(project["dependencies"])
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    pins = []
    for line in lines:
        match = re.fullmatch(r"\s*([\w.-]+)\s*==\s*([\w.!+-]+)\s*", line)
        if not match:
            raise ValueError(f"pyproject.toml must pin exactly (name==version), not '{line}'")
        pins.append(Pin(*match.groups()))
    return pins


def read_data_wheels(pyproject: Path = ROOT / "pyproject.toml") -> list[Pin]:
    """Wheels installed without their requirements because only their data files are read; each has a sha256."""
    rows = tomllib.loads(pyproject.read_text(encoding="utf-8"))["tool"]["soliloquy"]["data-wheels"]
    return [Pin(row["name"], row["version"], row["sha256"]) for row in rows]


def installed(site_packages: Path | None = None) -> dict[str, importlib.metadata.Distribution]:
    """Distributions by normalised name; of this interpreter, or of another environment's site-packages folder."""
    found: dict[str, importlib.metadata.Distribution] = {}
    path = [str(site_packages)] if site_packages else sys.path
    for distribution in importlib.metadata.distributions(path=path):
        name = distribution.metadata["Name"]
        if name:  # a half-removed dist-info folder has none
            found.setdefault(normal(name), distribution)
    return found


def damage(distribution: importlib.metadata.Distribution) -> str:
    """The first file of a distribution that is gone or has the wrong size, as words; "" if all are well.

    Sizes are compared, not digests: it takes 0.2 s for 38,000 files and finds what happens in practice (interrupted
    installs, virus scanners, full disks).
    """
    record = distribution.read_text("RECORD")
    if record is None:
        return "its file list is gone"
    base = str(distribution.locate_file(""))
    for name, _, size in csv.reader(record.splitlines()):
        if not size or name.startswith("..") or name.endswith(".pyc"):
            continue
        try:
            actual = os.stat(os.path.join(base, name)).st_size
        except OSError:
            return f"{name} is gone"
        if actual != int(size):
            return f"{name} is damaged"
    return ""


def faults(pins: Iterable[Pin], site_packages: Path | None = None) -> list[Fault]:
    """Pins that are missing, of another version, or damaged on disk, in the order given.

    A local version label (2.13.0+cpu) satisfies the pin of its public version (2.13.0), as in PEP 440.
    """
    found = installed(site_packages)
    out = []
    for pin in pins:
        distribution = found.get(pin.key)
        if distribution is None:
            out.append(Fault(pin, "not installed"))
            continue
        version = distribution.version
        if pin.version not in (version, version.partition("+")[0]):
            out.append(Fault(pin, f"version {version} instead of {pin.version}"))
        elif why := damage(distribution):
            out.append(Fault(pin, why, damaged=True))
    return out


def config_path(platform: str = sys.platform, environ: Mapping[str, str] = os.environ) -> Path:
    """Where the add-on looks for the engine: SOLILOQUY_CONFIG, or <the user's config folder>/soliloquy/config.json.

    The add-on has the same rule in blender_addon/link/config.py; a test holds the two together.
    """
    if environ.get("SOLILOQUY_CONFIG"):
        return Path(environ["SOLILOQUY_CONFIG"])
    if platform == "win32":
        base = environ.get("APPDATA") or str(Path.home() / "AppData" / "Roaming")
    elif platform == "darwin":
        base = str(Path.home() / "Library" / "Application Support")
    else:
        base = environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "soliloquy" / "config.json"


def write_config(python: Path, version: str, root: Path = ROOT, path: Path | None = None) -> Path:
    """Write the config that names this engine's interpreter and folder; whole or not at all. Returns its path."""
    path = path or config_path()
    value = {
        "kind": CONFIG_KIND, "format": CONFIG_FORMAT, "python": str(python), "root": str(root), "version": version,
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)
    return path


def read_config(path: Path | None = None) -> dict[str, Any]:
    """The config as written. Raises OSError if missing, ValueError if it is not one or is of a newer format."""
    path = path or config_path()
    value = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict) or value.get("kind") != CONFIG_KIND:
        raise ValueError(f"{path} is not a Soliloquy config")
    if int(value.get("format", 0)) > CONFIG_FORMAT:
        raise ValueError(f"{path} was written by a newer Soliloquy")
    return value
