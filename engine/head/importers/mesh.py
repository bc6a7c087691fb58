"""Any mesh as a head without shapes: OBJ by our own reader, other formats through trimesh."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from engine.core.anatomy import Head
from engine.core.errors import BadFile
from engine.core.progress import Reporter
from engine.head.importers import Options
from engine.head.importers.assemble import build, metres_of
from engine.head.importers.obj import Mesh, read_obj

TRIMESH = (".ply", ".glb", ".gltf", ".stl", ".off")


def claims(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in (".obj", *TRIMESH)


def read(path: Path, options: Options, report: Reporter) -> Head:
    """The head of one mesh file. Raises BadFile for a damaged one, BadInput if its unit cannot be guessed."""
    report.step("mesh", 0, 1)
    mesh = read_mesh(path)
    return build(mesh, metres_of(mesh.vertices, options, report), options, path)


def read_mesh(path: Path) -> Mesh:
    """The mesh of a file, by its suffix. Raises BadFile."""
    if path.suffix.lower() == ".obj":
        return read_obj(path)
    if path.suffix.lower() not in TRIMESH:
        raise BadFile(path, f"is no mesh that can be read; there are: {', '.join(('.obj', *TRIMESH))}")
    import trimesh

    try:
        # process=False keeps the vertices' number and order.
        found: Any = trimesh.load(path, process=False, force="mesh")
        vertices, triangles = np.asarray(found.vertices, np.float64), np.asarray(found.faces, np.int32)
    except Exception as error:  # trimesh raises whatever its many parsers do
        raise BadFile(
            path, f"is not a readable mesh ({str(error).splitlines()[0] if str(error) else error!r})"
        ) from None
    if not len(triangles) or not np.isfinite(vertices).all():
        raise BadFile(path, "has no faces or coordinates that are not finite; export it again as OBJ")
    faces = np.c_[triangles, np.full(len(triangles), -1, np.int32)]
    none = np.full_like(faces, -1)
    return Mesh(vertices, faces, np.zeros((0, 2)), none, np.zeros(len(faces), np.int64))
