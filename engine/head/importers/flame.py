"""FLAME model files (2020, 2023, 2023 Open): .pkl as downloaded, or .npz with the same fields."""

from __future__ import annotations

from pathlib import Path

from engine.core.anatomy import Head
from engine.core.progress import Reporter
from engine.head.flame.file import looks_like_flame
from engine.head.importers import Options


def claims(path: Path) -> bool:
    """Whether a path is a FLAME model file."""
    return path.is_file() and looks_like_flame(path)


def read(path: Path, options: Options, report: Reporter) -> Head:
    """The head of a FLAME model. Raises BadFile, BadInput for an unnamed version; see engine.head.flame."""
    from engine.head.flame.build import import_flame

    head, facts = import_flame(path, options.version, options.name, options.keep, report)
    options.facts.update(facts)
    return head
