"""Wavefront OBJ, read so that the vertices keep their number and order and quads stay quads.

General readers split vertices at texture seams and cut quads into triangles; shapes and rigs break on both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from engine.core.errors import BadFile


@dataclass(frozen=True)
class Mesh:
    """A mesh as a file has it. vertices [v, 3] float64 in the file's unit and axes; faces [f, 4] int32, -1 last in a
    triangle; uv [w, 2] and uv_faces [f, 4] (0 rows and -1 where there are none); group [f] index into `groups`."""

    vertices: np.ndarray
    faces: np.ndarray
    uv: np.ndarray
    uv_faces: np.ndarray
    group: np.ndarray
    groups: tuple[str, ...] = ("",)
    notes: tuple[str, ...] = field(default_factory=tuple)


def read_vertices(path: str | Path) -> np.ndarray:
    """[v, 3] float64: only the vertex lines of an OBJ, in a quarter of the time. Raises BadFile."""
    rows = [line[2:] for line in _text(path).split("\n") if line.startswith("v ")]
    return _numbers(path, rows, 3)


def read_obj(path: str | Path) -> Mesh:
    """A whole OBJ: vertices, faces (polygons of more than four corners are cut into quads and triangles), texture
    coordinates and the names of groups, objects or materials, whichever the file parts itself by.

    Raises BadFile if it is missing, has no vertices or faces, coordinates that are not finite or corners out of range.
    """
    rows: list[str] = []
    uv_rows: list[str] = []
    faces: list[list[int]] = []
    uv_faces: list[list[int]] = []
    names: dict[str, int] = {"": 0}
    group, of_face = 0, []
    for line in _text(path).split("\n"):
        kind, _, rest = line.strip().partition(" ")
        if kind == "v":
            rows.append(rest)
        elif kind == "vt":
            uv_rows.append(rest)
        elif kind in ("g", "o", "usemtl"):
            group = names.setdefault(rest.strip(), len(names))
        elif kind == "f":
            corners = [_corner(path, text, len(rows), len(uv_rows)) for text in rest.split()]
            for piece in _cut(len(corners)):
                faces.append([corners[i][0] if i >= 0 else -1 for i in piece])
                uv_faces.append([corners[i][1] if i >= 0 else -1 for i in piece])
                of_face.append(group)
    vertices = _numbers(path, rows, 3)
    if not faces:
        raise BadFile(path, "has no faces; export the mesh with its polygons")
    uv = _numbers(path, uv_rows, 2) if uv_rows else np.zeros((0, 2))
    table = np.array(faces, np.int32)
    if table.max() >= len(vertices):
        raise BadFile(path, f"has faces beyond its {len(vertices)} vertices")
    return Mesh(vertices, table, uv, np.array(uv_faces, np.int32), np.array(of_face), tuple(names))


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").replace("\r\n", "\n").replace("\\\n", " ")
    except OSError as error:
        raise BadFile(path, f"cannot be read ({error.strerror})") from None


def _numbers(path: str | Path, rows: list[str], columns: int) -> np.ndarray:
    """[n, columns] of the first numbers of each row; further ones (colours, w) are left out."""
    if not rows:
        raise BadFile(path, "has no vertices; give a mesh in Wavefront OBJ's text form")
    try:
        width = len(rows[0].split())
        flat = np.array(" ".join(rows).split(), dtype=np.float64)
        if width < columns or flat.size != width * len(rows):
            flat = np.array([[float(x) for x in row.split()[:columns]] for row in rows]).ravel()
            width = columns
        out = flat.reshape(len(rows), width)[:, :columns]
    except ValueError:
        raise BadFile(path, f"has a vertex line that is not {columns} numbers") from None
    if not np.isfinite(out).all():
        raise BadFile(path, "has coordinates that are not finite; repair it in the program that wrote it")
    return np.ascontiguousarray(out)


def _corner(path: str | Path, text: str, vertices: int, uvs: int) -> tuple[int, int]:
    """(vertex, uv) indices from 0 of a corner "v", "v/t", "v//n" or "v/t/n"; negative ones count from the end."""
    parts = text.split("/")
    try:
        v = int(parts[0])
        t = int(parts[1]) if len(parts) > 1 and parts[1] else 0
    except ValueError:
        raise BadFile(path, f"has a face corner '{text}' that is no number") from None
    v = v - 1 if v > 0 else vertices + v
    if v < 0:
        raise BadFile(path, f"has a face corner '{text}' that points before the first vertex")
    return v, (t - 1 if t > 0 else uvs + t if t < 0 else -1)


def _cut(corners: int) -> list[tuple[int, int, int, int]]:
    """Quads and triangles of a polygon, as a fan from its first corner; lines and points give nothing."""
    return [(0, i, i + 1, i + 2 if i + 2 < corners else -1) for i in range(1, corners - 1, 2)]
