"""A mesh and what is known about it -> a `Head`: units and axes, plain materials, joints where there are eyes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from engine.core.anatomy import Head, Material
from engine.core.errors import BadInput
from engine.core.names import JOINTS, PARENTS
from engine.core.progress import Reporter
from engine.core.units import from_blender
from engine.head.importers import Options
from engine.head.importers.obj import Mesh

UNITS = (1.0, 0.1, 0.01, 0.001)  # metres, MakeHuman's decimetres, centimetres, millimetres
TALLEST_M = 2.3  # a person, hair included; the largest unit that keeps the mesh below it is taken
SMALLEST_M = 0.1
GREY = Material("mesh", (0.6, 0.45, 0.38), roughness=0.5, subsurface=0.2)


def metres_of(vertices: np.ndarray, options: Options, report: Reporter) -> float:
    """Length of the file's unit in metres: as told, or guessed from the size of the mesh (a warning says which)."""
    if options.metres is not None:
        return options.metres
    size = float(np.ptp(vertices, axis=0).max())
    for unit in UNITS:
        if SMALLEST_M <= size * unit <= TALLEST_M:
            if unit != 1.0:
                report.warn(f"the mesh is {size:.3g} units tall: taken as {unit:g} m a unit; --metres says otherwise")
            return unit
    raise BadInput(f"the mesh is {size:.3g} units tall, which fits no usual unit; say how long one is with --metres")


def oriented(vertices: np.ndarray, options: Options) -> np.ndarray:
    """Vertices or offsets [..., 3] in the engine's axes."""
    return from_blender(vertices) if options.up == "z" else vertices


def static_rows(points: np.ndarray, place: np.ndarray) -> np.ndarray:
    """[v] weights summing to 1 that give `place` [3] from points [v, 3]: the solution nearest to equal weights."""
    n = len(points)
    centre = points.mean(0)
    scale = max(float(points.std()), 1e-9)
    system = np.c_[(points - centre) / scale, np.ones(n)].T
    goal = np.r_[(place - centre) / scale, 1.0]
    equal = np.full(n, 1.0 / n)
    return equal + np.linalg.pinv(system) @ (goal - system @ equal)


def plain_rig(rest: np.ndarray, parts: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(joint_regressor [5, v], weights [v, 5]) of a head of which only the eyeballs may be known.

    Everything turns with the neck; eyeballs (parts "eye_left" and "eye_right") about their centres. The jaw joint holds
    nothing: such a head opens its mouth by its jawOpen shape.
    """
    low, high = rest.min(0), rest.max(0)
    middle = 0.5 * (low + high)
    neck = np.array([middle[0], low[1] + 0.25 * (high[1] - low[1]), middle[2] - 0.1 * (high[2] - low[2])])
    places = dict.fromkeys(JOINTS, neck)
    places["root"] = np.array([neck[0], low[1], neck[2]])
    weights = np.zeros((len(rest), len(JOINTS)), np.float32)
    weights[:, JOINTS.index("neck")] = 1
    regressor = np.stack([static_rows(rest, places[name]) for name in JOINTS])
    for name in ("eye_left", "eye_right"):
        rows = parts.get(name)
        if rows is not None and len(rows):
            joint = JOINTS.index(name)
            weights[rows] = np.eye(len(JOINTS), dtype=np.float32)[joint]
            regressor[joint] = 0
            regressor[joint, rows] = static_rows(rest[rows], 0.5 * (rest[rows].min(0) + rest[rows].max(0)))
    return regressor.astype(np.float32), weights


def parts_of_groups(mesh: Mesh) -> dict[str, np.ndarray]:
    """Group name -> vertex indices, for groups with a name; letters, digits, "_" and "-" are kept of the names."""
    out = {}
    for i, name in enumerate(mesh.groups):
        corner = mesh.faces[mesh.group == i]
        if name and len(corner):
            out[re.sub(r"[^\w-]+", "_", name)] = np.unique(corner[corner >= 0]).astype(np.int32)
    return out


def build(
    mesh: Mesh, scale: float, options: Options, source: Path, *, names: tuple[str, ...] = (),
    shapes: np.ndarray | None = None, identity: np.ndarray | None = None, parts: Mapping[str, np.ndarray] | None = None,
    landmarks: Mapping[str, np.ndarray] | None = None, lip_pairs: np.ndarray | None = None, licence: str = "",
) -> Head:  # fmt: skip
    """The head of a mesh. scale: metres a unit; shapes [k, v, 3] in the file's unit and axes with `names`; identity
    [v, 3, i] likewise. What is unknown stays empty: one grey material, no masks."""
    rest = (oriented(mesh.vertices, options) * scale).astype(np.float32)
    v = len(rest)
    if shapes is None or not len(names):
        names, shapes = (), np.zeros((0, v, 3), np.float32)
    if identity is None:
        identity = np.zeros((v, 3, 0), np.float32)
    moved = (oriented(shapes, options) * scale).astype(np.float32)
    who = np.moveaxis(oriented(np.moveaxis(identity, 1, -1), options), -1, 1) * scale
    parts = dict(parts or parts_of_groups(mesh))
    regressor, weights = plain_rig(rest.astype(np.float64), parts)
    has_uv = len(mesh.uv) > 0
    return Head(
        name=options.name or source.stem, template=rest, faces=mesh.faces.astype(np.int32),
        uv=(mesh.uv if has_uv else _front_view(rest)).astype(np.float32),
        uv_faces=(mesh.uv_faces if has_uv else mesh.faces).astype(np.int32),
        materials=(GREY,), face_material=np.zeros(len(mesh.faces), np.uint8),
        albedo=np.tile(np.array(GREY.base_color, np.float32), (v, 1)), shape_names=names, shapes=moved,
        identity=who.astype(np.float32), expression_names=names,
        expression=np.ascontiguousarray(np.moveaxis(moved, 0, -1)), posedirs=np.zeros((v, 3, 36), np.float32),
        joint_regressor=regressor, parents=PARENTS, weights=weights,
        lip_pairs=np.zeros((0, 2), np.int32) if lip_pairs is None else lip_pairs.astype(np.int32),
        landmarks=dict(landmarks or {}), parts=parts, flame_version=f"brought:{source.stem}", licence=licence,
    )  # fmt: skip


def _front_view(rest: np.ndarray) -> np.ndarray:
    """[v, 2] in [0, 1]: texture coordinates where a mesh has none."""
    low, high = rest[:, :2].min(0), rest[:, :2].max(0)
    return (rest[:, :2] - low) / np.maximum(high - low, 1e-9)
