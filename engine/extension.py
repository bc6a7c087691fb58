"""Builds the Blender extension's zip with Blender's own builder, and installs it into a person's Blender.

Standard library only. The builder is the one inside the bpy wheel, or that of a Blender program (4.2 or newer).
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from engine.core.errors import BadInput, Missing
from engine.installed import ROOT

MIN_BLENDER = (4, 2)  # the first version with extensions
SOURCE = ROOT / "blender_addon"


def find_blender(program: str) -> str:
    """Full path of a Blender program, checked to be new enough for extensions. Raises Missing or BadInput."""
    path = shutil.which(program)
    if not path:
        raise Missing(f"there is no Blender program at '{program}'; give the path of one")
    match = re.search(r"Blender (\d+)\.(\d+)", run([path, "--version"]))
    if not match or (int(match.group(1)), int(match.group(2))) < MIN_BLENDER:
        found = ".".join(match.groups()) if match else "of an unknown version"
        raise BadInput(
            f"'{program}' is Blender {found}; the extension wants {MIN_BLENDER[0]}.{MIN_BLENDER[1]} or newer"
        )
    return path


def wheel_builder(python: Path, site_packages: Path) -> list[str]:
    """The command of the builder that lies in the bpy wheel. Raises Missing if that is not installed."""
    found = sorted(site_packages.glob("bpy/*/scripts/addons_core/bl_pkg/cli/blender_ext.py"))
    if not found:
        raise Missing("the bpy wheel's extension builder is not there; run 'python install.py' without --no-blender")
    return [str(python), str(found[-1])]


def program_builder(blender: str) -> list[str]:
    """The command of a Blender program's own builder."""
    return [blender, "--factory-startup", "--command", "extension"]


def build(builder: Sequence[str], out: Path, source: Path = SOURCE) -> Path:
    """Validate the source, build the zip into `out` (older ones go), validate the zip. Returns its path."""
    run([*builder, "validate", str(source)])
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("soliloquy-*.zip"):
        old.unlink()
    run([*builder, "build", "--source-dir", str(source), "--output-dir", str(out)])
    built = list(out.glob("soliloquy-*.zip"))
    if len(built) != 1:
        raise BadInput(f"Blender's builder left {len(built)} zips in {out}; the manifest's id must be 'soliloquy'")
    run([*builder, "validate", str(built[0])])
    return built[0]


def install(blender: str, archive: Path) -> None:
    """Install and enable the zip in this Blender, in the repository of extensions from disk."""
    run([blender, "--command", "extension", "install-file", "-r", "user_default", "-e", str(archive)])


def run(command: Sequence[str]) -> str:
    """Run one of Blender's own commands; its output. Raises BadInput with the line in which it says why not."""
    try:
        done = subprocess.run(
            list(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300,
            check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"{command[0]} could not be run ({error}); give the path of a Blender program") from None
    words = done.stdout.decode("utf-8", "replace")
    if done.returncode:
        lines = [line.strip() for line in words.splitlines() if line.strip()] or [f"exit code {done.returncode}"]
        first = next((i for i, line in enumerate(lines) if re.search(r"error|fatal", line, re.IGNORECASE)), -1)
        raise BadInput("Blender refused the extension: " + "; ".join(lines[first:])[:400])
    return words
