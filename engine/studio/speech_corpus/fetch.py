"""The recorded voices as Debian packages: fetched by apt-get, checked, unpacked into a folder; root is not needed.

`sources.json` lists package, version and sha256; where a package is installed already, its files are used as they are.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from engine.core.errors import BadFile, Missing
from engine.core.files import sha256_of
from engine.core.progress import SILENT, Reporter

_TIMEOUT_S = 900


@dataclass(frozen=True)
class Package:
    """name, version, sha256 of the .deb; folder: of its recordings, below the root that it is unpacked to."""

    name: str
    version: str
    sha256: str
    folder: str


@cache
def packages() -> tuple[Package, ...]:
    """Every package of recorded voices, in the order of sources.json."""
    rows = json.loads((Path(__file__).parent / "sources.json").read_text(encoding="utf-8"))["packages"]
    return tuple(Package(**row) for row in rows)


def package(name: str) -> Package:
    return next(p for p in packages() if p.name == name)


def recordings(name: str, root: Path) -> Path:
    """Folder of an installed or fetched package's recordings. root: where `fetch` unpacked. Raises Missing."""
    inside = package(name).folder
    for base in (root, Path("/")):
        if (base / inside).is_dir():
            return base / inside
    raise Missing(f"the recordings of {name} are missing; run: apt-get install {name}")


def fetch(root: Path, report: Reporter = SILENT) -> list[str]:
    """Download and unpack into `root` what is not there; returns the names of the packages that could not be had.

    Raises BadFile for a download whose sha256 is not the one of sources.json.
    """
    absent = []
    for number, p in enumerate(packages()):
        report.step("packages", number, len(packages()))
        try:
            recordings(p.name, root)
        except Missing:
            if not _download(p, root):
                absent.append(p.name)
    return absent


def _download(p: Package, root: Path) -> bool:
    """Whether the package was downloaded and unpacked."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        return False
    folder = root / "packages"
    folder.mkdir(parents=True, exist_ok=True)
    line = ["apt-get", "download", f"{p.name}={p.version}"]
    if subprocess.run(line, cwd=folder, capture_output=True, timeout=_TIMEOUT_S).returncode:
        return False
    found = sorted(folder.glob(f"{p.name}_*.deb"))
    if not found:
        return False
    check(found[-1], p)
    subprocess.run(["dpkg-deb", "-x", str(found[-1]), str(root)], check=True, timeout=_TIMEOUT_S)
    found[-1].unlink()
    return True


def check(path: Path, p: Package) -> None:
    """Raise BadFile unless the file is the package that the recipe was made with."""
    if sha256_of(path) != p.sha256:
        raise BadFile(path, f"is not {p.name} {p.version} (its sha256 is another); delete it and fetch it again")
