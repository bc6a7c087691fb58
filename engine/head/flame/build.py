"""A FLAME model file -> `Head`: skin colours, marks, an inner mouth, and our shapes on its expression basis."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from engine.core.anatomy import Head
from engine.core.names import PARENTS
from engine.core.progress import SILENT, Reporter
from engine.head.evaluate import flame_vertices
from engine.head.flame.file import LICENCES, VERTICES, FlameModel, read_flame
from engine.head.flame.inside import TONGUE_SHAPES, Inside, inside
from engine.head.flame.lay import EYE_LEFT, EYE_RIGHT, JAW, Layer, lay, shapes_on
from engine.head.flame.project import Projection, project
from engine.head.transfer.surface import Surface

_BROW_M, _BROW_PAINT = (0.001, 0.0035), 0.8  # skin this near to brow hairs is painted, by this share
_LIPS_M = (0.008, 0.024)  # round the lips' contact: wholly lips up to the first, not at all past the second


def import_flame(
    path: str | Path, version: str | None = None, name: str | None = None, keep: str = "contact",
    report: Reporter = SILENT,
) -> tuple[Head, dict[str, Any]]:  # fmt: skip
    """(head, facts) from a FLAME file. facts: "version", "sha256", "columns", "residual_mm" by shape.

    keep: what is kept beyond FLAME's own 100 expressions, see `project`. Raises what `read_flame` raises.
    """
    from engine.head.library import load_head

    model = read_flame(path, version)
    made, found = build_head(model, load_head("default"), name or Path(path).stem, keep, report)
    facts = {
        "version": model.version, "sha256": model.sha256, "columns": list(found.columns),
        "residual_mm": found.residual_mm,
    }  # fmt: skip
    return made, facts


def build_head(
    model: FlameModel, ours: Head, name: str, keep: str = "contact", report: Reporter = SILENT
) -> tuple[Head, Projection]:  # fmt: skip
    """A head of this model with the shapes, colours and inner mouth of `ours` (the default head)."""
    layer = lay(ours, model, report)
    shapes = shapes_on(ours, layer, report)
    found = project(model, layer.skin, ours.shape_names, shapes, _areas(layer), _lip_zone(ours, layer), keep, report)
    mouth = inside(ours, model, layer)
    arrays = {**_model_arrays(model, ours, layer, mouth, found), **_surface(model, ours, layer, mouth)}
    parts = _parts(model, layer, mouth)
    k, e = len(ours.shape_names), len(arrays["expression_names"])
    head = Head(
        name=name, **arrays,
        materials=ours.materials, shape_names=ours.shape_names,
        shapes=np.zeros((k, len(arrays["template"]), 3), np.float32),
        parents=PARENTS, lip_pairs=_lip_pairs(ours, layer), landmarks=_landmarks(ours, layer, mouth), parts=parts,
        masks=_masks(ours, layer, mouth, parts, len(arrays["template"])),
        jaw_open_rad=float(found.pose[ours.shape_index["jawOpen"], 3 * JAW]), flame_version=model.version,
        licence=f"{LICENCES[model.version]}; inner mouth: {ours.licence}",
        shape_expression=_tongue_rows(found, ours, e), shape_pose=found.pose.astype(np.float32),
    )  # fmt: skip
    return dataclasses.replace(head, shapes=linear_shapes(head)), found


def linear_shapes(head: Head) -> np.ndarray:
    """[k, v, 3] float32: what each shape's FLAME parameters do at weight 1; mouthClose as it is on the open jaw."""
    expression, pose = head.shape_expression.astype(np.float64), head.shape_pose.astype(np.float64)
    index = head.shape_index
    if "mouthClose" in index and "jawOpen" in index:
        expression, pose = expression.copy(), pose.copy()
        expression[index["mouthClose"]] += expression[index["jawOpen"]]
        pose[index["mouthClose"]] += pose[index["jawOpen"]]
    out = np.stack(
        [flame_vertices(head, None, expression[k : k + 1], pose[k : k + 1])[0] for k in range(len(expression))]
    )
    out -= head.template
    if "mouthClose" in index and "jawOpen" in index:
        out[index["mouthClose"]] -= out[index["jawOpen"]]
    return out.astype(np.float32)


def _areas(layer: Layer) -> np.ndarray:
    surface = Surface(layer.points, layer.skin_triangles)
    out = np.zeros(len(layer.skin))
    for k in range(3):
        np.add.at(out, surface.triangles[:, k], surface.area / 3)
    return out


def _lip_zone(ours: Head, layer: Layer) -> np.ndarray:
    """[s] in [0, 1]: near the lips' contact."""
    contact = layer.registered[np.isin(layer.rows, ours.lip_pairs)]
    apart = np.linalg.norm(layer.points[:, None] - contact[None], axis=2).min(1)
    t = np.clip((_LIPS_M[1] - apart) / (_LIPS_M[1] - _LIPS_M[0]), 0, 1)
    return t * t * (3 - 2 * t)


def _model_arrays(
    model: FlameModel, ours: Head, layer: Layer, mouth: Inside, found: Projection
) -> dict[str, Any]:  # fmt: skip
    """Template, bases, weights, faces: FLAME's, then the inner mouth's rows."""
    v, n = len(model.template), len(mouth.points)
    own = np.zeros((len(found.columns), v, 3))
    own[:, layer.skin] = found.offsets
    basis = np.concatenate([model.expression, np.moveaxis(own, 0, -1)], 2)
    tongue = np.zeros((len(TONGUE_SHAPES), n, 3))
    rows = mouth.parts["tongue"]
    for k, shape in enumerate(TONGUE_SHAPES):
        tongue[k, rows] = ours.shapes[ours.shape_index[shape]][mouth.rows[rows]] * layer.scale
    basis = np.concatenate([basis, mouth.carry(basis)])
    basis = np.concatenate([basis, np.concatenate([np.zeros((v, 3, len(tongue))), np.moveaxis(tongue, 0, -1)])], 2)
    identity = _identity(model, mouth)
    faces = np.concatenate([np.c_[model.triangles, np.full(len(model.triangles), -1)],
                            np.where(mouth.faces >= 0, mouth.faces + v, -1)])  # fmt: skip
    names = (*(f"exp_{i:03d}" for i in range(model.expression.shape[2])), *found.columns)
    return {
        "template": np.concatenate([model.template, mouth.points]).astype(np.float32),
        "faces": faces.astype(np.int32),
        "identity": np.concatenate([model.identity, identity]).astype(np.float32),
        "expression": basis.astype(np.float32),
        "expression_names": (*names, *(f"res_{shape}" for shape in TONGUE_SHAPES)),
        "posedirs": np.concatenate([model.posedirs, mouth.carry(model.posedirs)]).astype(np.float32),
        "joint_regressor": np.c_[model.regressor, np.zeros((len(model.regressor), n))].astype(np.float32),
        "weights": np.concatenate([model.weights, mouth.weights]).astype(np.float32),
    }


def _identity(model: FlameModel, mouth: Inside) -> np.ndarray:
    """[n, 3, i] of the inner mouth: the lips' at its rim; further in, moved as the lips' border is on average."""
    rim = np.unique(mouth.follow_index[mouth.parts["mouth"]])
    mean = model.identity[rim].mean(0)
    return mouth.carry(model.identity) + (1 - mouth.follow)[:, None, None] * mean


def _tongue_rows(found: Projection, ours: Head, columns: int) -> np.ndarray:
    """[k, e] float32: the projection's coefficients, and 1 for a tongue shape's own column."""
    out = np.zeros((len(ours.shape_names), columns), np.float32)
    out[:, : found.expression.shape[1]] = found.expression
    for k, shape in enumerate(TONGUE_SHAPES):
        row = ours.shape_index[shape]
        out[row] = 0
        out[row, columns - len(TONGUE_SHAPES) + k] = 1
    return out


def _surface(model: FlameModel, ours: Head, layer: Layer, mouth: Inside) -> dict[str, Any]:
    """Colours, materials and texture coordinates."""
    v = len(model.template)
    albedo = np.zeros((v + len(mouth.points), 3), np.float32)
    albedo[layer.skin] = layer.carry(_with_brows(ours))
    albedo[v:] = ours.albedo[mouth.rows]
    material = np.zeros(len(model.triangles) + len(mouth.faces), np.uint8)
    # A FLAME triangle has the material of our face under its middle.
    our_face = ours.triangle_face[_our_triangles(ours, layer)]
    skin_faces = np.flatnonzero(np.isin(model.triangles, layer.skin).all(1))
    middle = model.template[model.triangles].mean(1)
    bent = Surface(layer.registered, layer.triangles)
    material[skin_faces] = ours.face_material[our_face[bent.nearest(middle[skin_faces])[0]]]
    material[len(model.triangles) :] = ours.face_material[mouth.our_faces]
    for joint, part in ((EYE_LEFT, "eye_left"), (EYE_RIGHT, "eye_right")):
        ball = np.flatnonzero(model.weights[:, joint] > 0.5)
        faces = np.flatnonzero((model.weights[model.triangles, joint] > 0.5).all(1))
        _paint_eye(model, ours, part, ball, faces, albedo, material)
    points = np.concatenate([model.template, mouth.points])
    low, high = points.min(0), points.max(0)
    uv = np.c_[0.5 + np.arctan2(points[:, 0], points[:, 2] - layer.points[:, 2].min()) / np.pi,
               (points[:, 1] - low[1]) / (high[1] - low[1])]  # fmt: skip
    faces = np.concatenate([np.c_[model.triangles, np.full(len(model.triangles), -1)],
                            np.where(mouth.faces >= 0, mouth.faces + v, -1)])  # fmt: skip
    return {
        "albedo": albedo, "face_material": material, "uv": uv.astype(np.float32), "uv_faces": faces.astype(np.int32),
    }  # fmt: skip


def _with_brows(ours: Head) -> np.ndarray:
    """Our head's colours [v, 3] with the brows, which are hairs of their own there, painted on the skin."""
    from scipy.spatial import cKDTree

    out = ours.albedo.astype(np.float64)
    brows = [ours.parts[name] for name in ("brow_left", "brow_right") if name in ours.parts]
    if brows:
        hairs, skin = np.concatenate(brows), ours.parts["skin"]
        apart = cKDTree(ours.template[hairs]).query(ours.template[skin])[0]
        share = _BROW_PAINT * np.clip((_BROW_M[1] - apart) / (_BROW_M[1] - _BROW_M[0]), 0, 1)[:, None]
        out[skin] = (1 - share) * out[skin] + share * ours.albedo[hairs].mean(0)
    return out


def _our_triangles(ours: Head, layer: Layer) -> np.ndarray:
    """[m] row of ours.triangles for each of the layer's triangles."""
    known = {tuple(t): i for i, t in enumerate(ours.triangles.tolist())}
    return np.array([known[tuple(t)] for t in layer.rows[layer.triangles].tolist()])


def _paint_eye(
    model: FlameModel, ours: Head, part: str, ball: np.ndarray, faces: np.ndarray, albedo: np.ndarray,
    material: np.ndarray,
) -> None:  # fmt: skip
    """White, iris and pupil on FLAME's eyeball by direction from its centre, as on ours; in place."""
    from scipy.spatial import cKDTree

    if not len(ball):
        return
    rows = ours.parts[part]
    centre = (ours.joint_regressor @ ours.template)[EYE_LEFT if part == "eye_left" else EYE_RIGHT]

    def directions(points: np.ndarray, middle: np.ndarray) -> np.ndarray:
        out = points - middle
        return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-9)

    middle = model.template[ball].mean(0)
    # The cornea lies before the iris and is see-through only in our own eyeball: the coloured layer is taken.
    albedo[ball] = ours.albedo[rows[cKDTree(directions(ours.template[rows], centre)).query(
        directions(model.template[ball], middle))[1]]]  # fmt: skip
    our_faces = np.flatnonzero(np.isin(ours.faces[:, 0], rows))
    corner = np.where(ours.faces[our_faces] >= 0, ours.faces[our_faces], ours.faces[our_faces][:, :1])
    there = cKDTree(directions(ours.template[corner].mean(1), centre))
    material[faces] = ours.face_material[
        our_faces[there.query(directions(model.template[model.triangles[faces]].mean(1), middle))[1]]
    ]


def _parts(model: FlameModel, layer: Layer, mouth: Inside) -> dict[str, np.ndarray]:
    v = len(model.template)
    out = {"skin": layer.skin.astype(np.int32)}
    for joint, part in ((EYE_LEFT, "eye_left"), (EYE_RIGHT, "eye_right")):
        out[part] = np.flatnonzero(model.weights[:, joint] > 0.5).astype(np.int32)
    return out | {name: (rows + v).astype(np.int32) for name, rows in mouth.parts.items()}


def _masks(
    ours: Head, layer: Layer, mouth: Inside, parts: dict[str, np.ndarray], count: int
) -> dict[str, np.ndarray]:  # fmt: skip
    """Region masks [v]: ours carried over the skin; the parts of the mouth and eyes by their rows."""
    out = {}
    for name, mask in ours.masks.items():
        made = np.zeros(count, np.float32)
        made[layer.skin] = layer.carry(mask)
        if name in parts:
            made[parts[name]] = 1
        out[name] = np.clip(made, 0, 1)
    for name in ("mouth", "gums_upper", "gums_lower"):
        out["mouth_inside"][parts[name]] = 1
    return out


def _nearest_skin(layer: Layer, place: np.ndarray, lower: bool | None = None) -> int:
    """The template's skin vertex nearest to a place [3]; lower: on that side of the lips only."""
    apart = ((layer.points - place) ** 2).sum(1)
    if lower is not None:
        apart = np.where(layer.lower == lower, apart, np.inf)
    return int(layer.skin[apart.argmin()])


def _landmarks(ours: Head, layer: Layer, mouth: Inside) -> dict[str, np.ndarray]:
    """Our marks on the template's nearest vertices; marks on the teeth on the appended ones."""
    number = np.full(len(ours.template), -1)
    number[layer.rows] = np.arange(len(layer.rows))
    inner = np.full(len(ours.template), -1)
    inner[mouth.rows] = np.arange(len(mouth.rows))
    low = set(ours.lip_pairs[:, 1].tolist())
    high = set(ours.lip_pairs[:, 0].tolist())
    out = {}
    for name, marks in ours.landmarks.items():
        found = []
        for mark in np.atleast_1d(marks).tolist():
            if number[mark] >= 0:
                side = True if mark in low - high else False if mark in high - low else None
                found.append(_nearest_skin(layer, layer.registered[number[mark]], side))
            elif inner[mark] >= 0:
                found.append(int(inner[mark]) + VERTICES)
        out[name] = np.array(found, np.int32)
    return out


def _lip_pairs(ours: Head, layer: Layer) -> np.ndarray:
    """[p, 2] facing vertices of the upper and lower lip, right corner to left: near our pairs' places and near each
    other, so that the gap of shut lips is small."""
    number = np.full(len(ours.template), -1)
    number[layer.rows] = np.arange(len(layer.rows))
    rows = {side: np.flatnonzero(layer.lower == side) for side in (False, True)}
    out: list[tuple[int, int]] = []
    for upper, lower in ours.lip_pairs.tolist():
        places = layer.registered[number[[upper, lower]]]
        near = []
        for place, side in zip(places, (False, True), strict=True):
            apart = np.linalg.norm(layer.points[rows[side]] - place, axis=1)
            near.append(rows[side][np.argsort(apart)[:8]])
        a, b = (layer.points[n] for n in near)
        cost = np.linalg.norm(a - places[0], axis=1)[:, None] + np.linalg.norm(b - places[1], axis=1)[None]
        cost = cost + 2 * np.linalg.norm(a[:, None] - b[None], axis=2)
        i, j = np.unravel_index(cost.argmin(), cost.shape)
        pair = (int(layer.skin[near[0][i]]), int(layer.skin[near[1][j]]))
        if pair not in out:
            out.append(pair)
    return np.array(out, np.int32)
