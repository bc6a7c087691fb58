"""The new head's joints, weights, masks and marks, carried over by the same correspondence as its shapes."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from engine.core.anatomy import Head
from engine.core.names import ARKIT, EXTRA, JOINTS, PARENTS
from engine.head.rig import EYE_LEFT, EYE_RIGHT, JAW, NECK, jaw_correctives, unbend
from engine.head.transfer.carry import Correspondence
from engine.head.transfer.parts import Pieces, local_similarity
from engine.head.transfer.surface import Surface

if TYPE_CHECKING:
    from engine.head.transfer.run import Bent


def rigged(
    source: Head, target: Head, surface: Surface, bent: Bent, pieces: Pieces, to: Correspondence, shapes: np.ndarray
) -> Head:
    """The finished head: the target's geometry and materials, shapes [k, v, 3], the source's rig and regions."""
    names = tuple(n for n in (*ARKIT, *EXTRA) if n in source.shape_index)
    moved = shapes.astype(np.float32)
    weights = _weights(source, surface, bent, pieces, to)
    joints = _joints(source, surface, bent, pieces)
    regressor = np.stack([_row(surface.points, joints[j], moved, weights[:, j]) for j in range(len(JOINTS))])
    jaw = weights[:, JAW].astype(np.float64)
    opened = shapes[names.index("jawOpen")]
    posedirs = jaw_correctives(surface.points, opened, jaw, joints[JAW], source.jaw_open_rad)
    kept = [k for k, name in enumerate(names) if name != "jawOpen"]
    expression = np.moveaxis(shapes[kept], 0, -1).copy()
    if "mouthClose" in names:
        close = kept.index(names.index("mouthClose"))
        expression[:, :, close] = unbend(expression[:, :, close], jaw, source.jaw_open_rad)
    marks, lip_pairs = _marks(source, surface, bent, pieces)
    return dataclasses.replace(
        target, shape_names=names, shapes=moved, expression_names=tuple(names[k] for k in kept),
        expression=np.ascontiguousarray(expression, np.float32), posedirs=posedirs.astype(np.float32),
        joint_regressor=regressor.astype(np.float32), parents=PARENTS, weights=weights,
        landmarks={**marks, **target.landmarks}, lip_pairs=lip_pairs if len(lip_pairs) else target.lip_pairs,
        masks=_masks(source, surface, bent, pieces, to), jaw_open_rad=source.jaw_open_rad,
        parts={**target.parts, **{n: rows.astype(np.int32) for n, rows in pieces.eyes.items()}},
        flame_version=f"transferred:{target.name}",
    )  # fmt: skip


def _on_target(values: np.ndarray, bent: Bent, to: Correspondence) -> np.ndarray:
    """Values [n, ...] of the source's skin at the target's corresponding places [v, ...]."""
    return np.einsum("nk,nk...->n...", to.vertex_weights, values[bent.triangles[to.vertex_triangle]])


def _weights(source: Head, surface: Surface, bent: Bent, pieces: Pieces, to: Correspondence) -> np.ndarray:
    out = _on_target(source.weights[bent.skin].astype(np.float64), bent, to)
    out[:, [EYE_LEFT, EYE_RIGHT]] = 0
    for name, joint in (("eye_left", EYE_LEFT), ("eye_right", EYE_RIGHT)):
        out[pieces.eyes.get(name, np.zeros(0, int))] = np.eye(len(JOINTS))[joint]
    out[pieces.inner] = 0
    out[pieces.inner, JAW] = pieces.jaw
    out[pieces.inner, NECK] = 1 - pieces.jaw
    return (out / np.maximum(out.sum(1, keepdims=True), 1e-9)).astype(np.float32)


def _joints(source: Head, surface: Surface, bent: Bent, pieces: Pieces) -> np.ndarray:
    """[5, 3] places of the joints on the target."""
    own = bent.sim(source.joint_regressor.astype(np.float64) @ source.template)
    whole = local_similarity(bent.rest, bent.registered, own[JAW], bent.trust)
    out = np.stack([whole(place) for place in own])
    for name, joint in (("eye_left", EYE_LEFT), ("eye_right", EYE_RIGHT)):
        rows = pieces.eyes.get(name)
        if rows is not None and len(rows):
            out[joint] = 0.5 * (surface.points[rows].min(0) + surface.points[rows].max(0))
        else:
            out[joint] = local_similarity(bent.rest, bent.registered, own[joint], bent.trust)(own[joint])
    return out


def _row(points: np.ndarray, place: np.ndarray, shapes: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """[v] regressor row that gives `place` from vertices that no shape moves, those of the joint if there are any."""
    from engine.head.importers.assemble import static_rows

    still = np.abs(shapes).max((0, 2)) < 1e-6
    rows = np.flatnonzero(still & (weight > 0.99))
    if len(rows) < 8:
        rows = np.flatnonzero(still) if still.sum() >= 8 else np.arange(len(points))
    out = np.zeros(len(points))
    out[rows] = static_rows(points[rows], place)
    return out


def _masks(source: Head, surface: Surface, bent: Bent, pieces: Pieces, to: Correspondence) -> dict[str, np.ndarray]:
    """The regions of the skin by correspondence, those of eyes and tongue by piece."""
    v = len(surface.points)
    off = np.zeros(v, bool)
    off[np.concatenate([pieces.inner, *pieces.eyes.values()])] = True
    out: dict[str, np.ndarray] = {}
    for name in ("lips", "upper_face", "skin", "mouth_inside"):
        if name in source.masks:
            values = _on_target(source.masks[name][bent.skin].astype(np.float64), bent, to)
            out[name] = np.where(off, 0, np.clip(values, 0, 1)).astype(np.float32)
    for name, rows in pieces.eyes.items():
        out[name] = np.zeros(v, np.float32)
        out[name][rows] = 1
    return out


def _marks(source: Head, surface: Surface, bent: Bent, pieces: Pieces) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Landmarks and lip pairs: the skin vertices nearest to where the source's went."""
    from scipy.spatial import cKDTree

    rows = np.flatnonzero(pieces.skin)
    tree = cKDTree(surface.points[rows])
    number = np.full(len(source.template), -1)
    number[bent.skin] = np.arange(len(bent.skin))

    def nearest(vertices: np.ndarray) -> np.ndarray:
        return rows[tree.query(bent.registered[number[vertices]])[1]].astype(np.int32)

    marks = {
        name: nearest(np.atleast_1d(v)) for name, v in source.landmarks.items() if (number[np.atleast_1d(v)] >= 0).all()
    }
    pairs = source.lip_pairs
    if not len(pairs) or (number[pairs] < 0).any():
        return marks, np.zeros((0, 2), np.int32)
    # Lips that touch share their nearest vertex unless the directions tell them apart.
    out = []
    for column, sign in ((0, -1), (1, 1)):
        side = rows[sign * surface.normals[rows, 1] > -0.3]
        at = cKDTree(surface.points[side]).query(bent.registered[number[pairs[:, column]]])[1]
        out.append(side[at])
    found = np.stack(out, 1)
    keep = (found[:, 0] != found[:, 1]) & (np.r_[True, (np.diff(found, axis=0) != 0).any(1)])
    return marks, found[keep].astype(np.int32)
