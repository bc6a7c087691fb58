"""Heads that people bring: one importer a file format, chosen by the file itself.

A new importer is one module with `claims(path) -> bool` and `read(path, options, report) -> Head`, and one line below.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.core.anatomy import Head
from engine.core.errors import BadFile, BadInput
from engine.core.progress import SILENT, Reporter

# kind -> module. The first that claims a path reads it, so the particular ones come before the general one.
IMPORTERS: dict[str, str] = {
    "flame": "engine.head.importers.flame",  # FLAME 2020, 2023, 2023 Open
    "shapes": "engine.head.importers.shapes",  # a folder: the neutral mesh and one OBJ a shape (ICT-FaceKit and alike)
    "mesh": "engine.head.importers.mesh",  # any mesh: obj, ply, glb, stl
}
UPS = ("y", "z")


@dataclass(frozen=True)
class Options:
    """What a mesh file does not say. metres: length of the file's unit in metres, None to guess it. up: axis that
    points up, "y" (the face looks along +z) or "z" (as in Blender, the face looks along -y). name: of the head, None
    for the file's. identities: how many identity shapes to read at most.
    version: which FLAME a model file is, where its name does not say. keep: what a FLAME head keeps beyond FLAME's own
    basis ("none", "contact", "all"). facts: an importer's findings for the person (residuals), filled in by it."""

    metres: float | None = None
    up: str = "y"
    name: str | None = None
    identities: int = 100
    version: str | None = None
    keep: str = "contact"
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.up not in UPS:
            raise BadInput(f"the up axis is one of {', '.join(UPS)}, not '{self.up}'")
        if self.metres is not None and not 0 < self.metres < 1e6:
            raise BadInput(f"the unit must be a positive length in metres, not {self.metres}")


def import_head(
    path: str | Path, kind: str | None = None, options: Options | None = None, report: Reporter = SILENT
) -> Head:
    """The head in a file or folder, in metres, Y up, Z forward. kind: one of IMPORTERS, None to look at the file.

    Raises BadFile for a path that is missing, damaged or that no importer reads, BadInput for an unknown kind.
    """
    path = Path(path)
    if kind is not None and kind not in IMPORTERS:
        raise BadInput(f"no importer called '{kind}'; there are: {', '.join(IMPORTERS)}")
    if not path.exists():
        raise BadFile(path, "no such file or folder")
    for name in [kind] if kind else IMPORTERS:
        module = importlib.import_module(IMPORTERS[name])
        if kind or module.claims(path):
            read: Callable[[Path, Options, Reporter], Head] = module.read
            return read(path, options or Options(), report)
    raise BadFile(path, "is no head that can be read; give an .obj, .ply, .glb or .stl mesh or a folder of OBJ shapes")
