"""A folder of OBJ files: the neutral mesh and one file a shape, vertex for vertex. ICT-FaceKit ships so.

ICT-FaceKit (Li et al., "Learning formation of physically-based face attributes", CVPR 2020; MIT licence): centimetres,
Y up, Z forward, `generic_neutral_mesh.obj`, expressions under ARKit's names with _L and _R, `identity000.obj` ...
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from engine.core.anatomy import Head
from engine.core.errors import BadFile
from engine.core.progress import Reporter
from engine.head.importers import Options
from engine.head.importers.assemble import build, metres_of
from engine.head.importers.naming import standard_shapes
from engine.head.importers.obj import Mesh, read_obj, read_vertices

ICT_VERTICES = 26719
# The 68 marks of its README in iBUG's order; they lie on the face, whose vertices come first in every cut of the mesh.
ICT_FACE68 = (
    1225, 1888, 1052, 367, 1719, 1722, 2199, 1447, 966, 3661, 4390, 3927, 3924, 2608, 3272, 4088, 3443,
    268, 493, 1914, 2044, 1401, 3615, 4240, 4114, 2734, 2509, 978, 4527, 4942, 4857, 1140, 2075, 1147, 4269, 3360,
    1507, 1542, 1537, 1528, 1518, 1511, 3742, 3751, 3756, 3721, 3725, 3732,
    5708, 5695, 2081, 0, 4275, 6200, 6213, 6346, 6461, 5518, 5957, 5841,
    5702, 5711, 5533, 6216, 6207, 6470, 5517, 5966,
)  # fmt: skip
# Vertex ranges of its README that matter to a rig.
ICT_PARTS = {"eye_left": (21451, 23021), "eye_right": (23021, 24591)}


def _neutral_of(folder: Path) -> Path | None:
    found = [p for p in sorted(folder.glob("*.obj")) if "neutral" in p.stem.lower()]
    return found[0] if found else None


def claims(path: Path) -> bool:
    """Whether `path` is a folder with a neutral OBJ."""
    return path.is_dir() and _neutral_of(path) is not None


def read(path: Path, options: Options, report: Reporter) -> Head:
    """The head of a folder. Raises BadFile if there is no neutral mesh or a shape has another number of vertices."""
    neutral = _neutral_of(path)
    if neutral is None:
        raise BadFile(path, "holds no neutral mesh; name its OBJ file 'neutral.obj'")
    mesh = read_obj(neutral)
    others = [p for p in sorted(path.glob("*.obj")) if p != neutral]
    people = [p for p in others if p.stem.lower().startswith("identity")]
    expressions = [p for p in others if p not in people]
    people = people[: options.identities]
    offsets, identity = {}, []
    for i, file in enumerate([*expressions, *people]):
        report.step("shapes", i, len(expressions) + len(people))
        moved = read_vertices(file)
        if len(moved) != len(mesh.vertices):
            raise BadFile(file, f"has {len(moved)} vertices, the neutral mesh {len(mesh.vertices)}; they must agree")
        if file in people:
            identity.append((moved - mesh.vertices).astype(np.float32))
        else:
            offsets[file.stem] = moved - mesh.vertices
    scale = metres_of(mesh.vertices, options, report)
    return assemble(mesh, offsets, identity, scale, options, path)


def assemble(
    mesh: Mesh, offsets: dict[str, np.ndarray], identity: list[np.ndarray], scale: float, options: Options, source: Path
) -> Head:
    """The head of a neutral mesh and its shapes' offsets [v, 3] by name (file unit); ICT-FaceKit's is recognised by
    where its marks lie, and gets them, its eyeballs and lip pairs."""
    names, shapes = standard_shapes(offsets)
    known: dict[str, Any] = {}
    if is_ict(mesh.vertices):
        face68 = np.array(ICT_FACE68, np.int32)
        known = {
            "parts": {n: np.arange(a, b, dtype=np.int32) for n, (a, b) in ict_parts(len(mesh.vertices)).items()},
            "landmarks": named_marks(face68),
            "lip_pairs": face68[[[61, 67], [62, 66], [63, 65]]],
            "licence": "MIT (ICT-FaceKit, (c) 2020 USC Institute for Creative Technologies)",
        }
    who = np.stack(identity, -1) if identity else None
    return build(mesh, scale, options, source, names=names, shapes=shapes, identity=who, **known)


def is_ict(vertices: np.ndarray) -> bool:
    """Whether vertices [v, 3] (any unit) are ICT-FaceKit's face: its marks lie mirror-wise as they must."""
    if len(vertices) < max(ICT_FACE68) + 1 or len(vertices) < 14062:
        return False
    marks = vertices[list(ICT_FACE68)]
    size = np.ptp(marks[:, 0])
    twin = marks[[*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1)]] * (-1, 1, 1)
    return bool(size > 0 and np.abs(marks[: len(twin)] - twin).max() < 0.02 * size)


def ict_parts(vertices: int) -> dict[str, tuple[int, int]]:
    """Part -> [first, last) vertex; the eyeballs follow face, mouth and teeth in every cut of the mesh."""
    return {name: (a, b) for name, (a, b) in ICT_PARTS.items() if b <= vertices}


def named_marks(face68: np.ndarray) -> dict[str, np.ndarray]:
    """Our landmark names from the 68 marks [68] (vertex indices)."""
    one = {
        "menton": 8, "nose_bridge": 27, "nose_tip": 30, "subnasale": 33,
        "outer_eye_right": 36, "inner_eye_right": 39, "inner_eye_left": 42, "outer_eye_left": 45,
        "mouth_right": 48, "mouth_left": 54, "lip_upper_outer": 51, "lip_lower_outer": 57,
        "lip_upper_inner": 62, "lip_lower_inner": 66,
        "brow_outer_right": 17, "brow_inner_right": 21, "brow_inner_left": 22, "brow_outer_left": 26,
    }  # fmt: skip
    return {"face68": face68, **{name: face68[[i]] for name, i in one.items()}}
