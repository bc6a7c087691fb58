"""Our head laid over a FLAME template: where each FLAME vertex lies on it, and our shapes there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from engine.core.anatomy import Head
from engine.core.errors import BadInput
from engine.core.progress import SILENT, Reporter
from engine.head.flame.file import FlameModel
from engine.head.flame.marks import Face, face_marks
from engine.head.transfer.carry import Correspondence, Transfer
from engine.head.transfer.register import register
from engine.head.transfer.surface import Surface

EYE_LEFT, EYE_RIGHT, JAW = 3, 4, 2
_COSINE = 0.3
_SURE_M, _LOST_M = 0.002, 0.008  # as in transfer.carry: distances trusted wholly, and not at all


@dataclass(frozen=True)
class Layer:
    """The result of `lay`.

    rows [n]: our skin vertices; aligned [n, 3]: scaled (scale) and moved (shift [3]) to the template's place;
    registered [n, 3]: bent onto it; triangles [m, 3] of them. skin [s]: the template's skin vertices; points [s, 3],
    skin_triangles of them; lower [s]: on the lower lip's side; to: their places on our registered skin.
    """

    rows: np.ndarray
    triangles: np.ndarray
    aligned: np.ndarray
    registered: np.ndarray
    scale: float
    shift: np.ndarray
    skin: np.ndarray
    points: np.ndarray
    skin_triangles: np.ndarray
    to: Correspondence
    lower: np.ndarray

    def carry(self, values: np.ndarray) -> np.ndarray:
        """Values [v, ...] of our head's vertices on the template's skin [s, ...]."""
        corners = self.rows[self.triangles[self.to.vertex_triangle]]
        return np.einsum("nk,nk...->n...", self.to.vertex_weights, np.asarray(values)[corners])

    def place(self, points: np.ndarray) -> np.ndarray:
        """Our head's places [n, 3] scaled and moved (not bent) to the template's."""
        return np.asarray(points, np.float64) * self.scale + self.shift


def outer_skin(head: Head) -> tuple[np.ndarray, np.ndarray]:
    """(rows [n], triangles [m, 3] of those rows) of a head's skin without the inside of the mouth."""
    out = np.zeros(len(head.template), bool)
    out[head.parts["skin"]] = head.masks["mouth_inside"][head.parts["skin"]] < 0.5
    triangles = head.triangles[out[head.triangles].all(1)]
    rows = np.unique(triangles)
    return rows, np.searchsorted(rows, triangles)


def face_of(
    points: np.ndarray, triangles: np.ndarray, jaw: np.ndarray, eyes: np.ndarray, balls: list[np.ndarray]
) -> Face:
    """A `Face`; balls: vertices [n, 3] of each eyeball, if there are any."""
    sizes = [np.median(np.linalg.norm(ball - eye, axis=1)) for ball, eye in zip(balls, eyes, strict=True) if len(ball)]
    radius = float(np.mean(sizes)) if sizes else 0.2 * float(np.linalg.norm(eyes[0] - eyes[1]))
    return Face(points.astype(np.float64), triangles, jaw.astype(np.float64), eyes.astype(np.float64), radius)


def our_face(head: Head) -> tuple[np.ndarray, Face]:
    """(rows, face) of our own head's outer skin."""
    rows, triangles = outer_skin(head)
    eyes = (head.joint_regressor @ head.template)[[EYE_LEFT, EYE_RIGHT]]
    balls = [head.template[head.parts[name]] for name in ("eye_left", "eye_right")]
    return rows, face_of(head.template[rows], triangles, head.weights[rows, JAW], eyes, balls)


def flame_face(model: FlameModel) -> tuple[np.ndarray, Face]:
    """(skin rows, face) of a FLAME template: everything but the eyeballs."""
    ball = model.weights[:, [EYE_LEFT, EYE_RIGHT]] > 0.5
    on_skin = ~ball.any(1)
    triangles = model.triangles[on_skin[model.triangles].all(1)]
    rows = np.unique(triangles)
    balls = [model.template[ball[:, k]] for k in range(2)]
    eyes = np.array([ball.mean(0) if len(ball) else model.joints[EYE_LEFT + k] for k, ball in enumerate(balls)])
    return rows, face_of(model.template[rows], np.searchsorted(rows, triangles), model.weights[rows, JAW], eyes, balls)


def lay(head: Head, model: FlameModel, report: Reporter = SILENT) -> Layer:
    """Bend our head's skin onto the template and find where each of the template's vertices lies on it.

    Raises BadInput if the template shows no face (no lips that the jaw parts, no nose).
    """
    rows, ours = our_face(head)
    skin, theirs = flame_face(model)
    try:
        mine, other = face_marks(ours), face_marks(theirs)
    except ValueError as error:
        raise BadInput(f"this FLAME template shows no face ({error}): is it a whole model in metres, Y up?") from None
    names = [name for name in mine if name in other]
    marks, goals = np.array([mine[n] for n in names]), theirs.points[[other[n] for n in names]]
    scale = theirs.span / ours.span
    shift = theirs.eyes.mean(0) - scale * ours.eyes.mean(0)
    aligned = ours.points * scale + shift
    start = aligned + _bend(
        np.concatenate([aligned[marks], ours.eyes * scale + shift]), np.concatenate([goals, theirs.eyes])
    )(aligned)
    target = Surface(theirs.points, theirs.triangles)
    bent = register(start, ours.triangles, target, np.ones(len(start)), marks, goals, report=report)
    to, triangles = _sided(Surface(bent, ours.triangles), ours.lower, target, theirs.lower)
    return Layer(rows, triangles, aligned, bent, scale, shift, skin, theirs.points, target.triangles, to, theirs.lower)


def _bend(known: np.ndarray, wanted: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A smooth displacement field that takes `known` [n, 3] nearly to `wanted`."""
    from scipy.interpolate import RBFInterpolator

    known, first = np.unique(known.round(7), axis=0, return_index=True)
    field: Callable[[np.ndarray], np.ndarray] = RBFInterpolator(
        known, wanted[first] - known, kernel="linear", smoothing=2e-3
    )
    return field


def _sided(
    source: Surface, source_low: np.ndarray, target: Surface, target_low: np.ndarray
) -> tuple[Correspondence, np.ndarray]:
    """Nearest places of alike direction, where a lip's vertex is only ever sought on the same lip; and the source's
    triangles that the numbers mean."""
    middles = target.points[target.triangles].mean(1)
    middle_low = target_low[target.triangles].sum(1) >= 2
    vertex = _nearest(source, source_low, target.points, target.normals, target_low)
    face = _nearest(source, source_low, middles, target.face_normals, middle_low)

    def trust(distance: np.ndarray) -> np.ndarray:
        return np.clip((_LOST_M - distance) / (_LOST_M - _SURE_M), 0, 1)

    return Correspondence(vertex[0], vertex[1], trust(vertex[2]), face[0], trust(face[2])), source.triangles


def _nearest(
    source: Surface, source_low: np.ndarray, points: np.ndarray, normals: np.ndarray, low: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    found, share, distance = np.zeros(len(points), np.int64), np.zeros((len(points), 3)), np.zeros(len(points))
    for side in (False, True):
        numbers = np.flatnonzero((source_low == side)[source.triangles].all(1))
        part = Surface(source.points, source.triangles[numbers])
        rows = np.flatnonzero(low == side)
        a, b, c = part.nearest(points[rows], normals[rows], _COSINE)
        lost = np.flatnonzero(~np.isfinite(c))
        if len(lost):  # no place of alike direction: the nearest one, trusted by its distance alone
            a[lost], b[lost], c[lost] = part.nearest(points[rows[lost]])
        found[rows], share[rows], distance[rows] = numbers[a], b, c
    return found, share, distance


def shapes_on(head: Head, layer: Layer, report: Reporter = SILENT) -> np.ndarray:
    """Our head's shapes on the template's skin by deformation transfer: [k, s, 3] metres."""
    target = Surface(layer.points, layer.skin_triangles)
    source = Surface(layer.aligned, layer.triangles)
    system = Transfer(target, layer.to)
    out = np.zeros((len(head.shape_names), len(layer.skin), 3))
    for k, shape in enumerate(head.shapes):
        report.step("shapes", k, len(out))
        moved = shape[layer.rows].astype(np.float64) * layer.scale
        if np.abs(moved).max() > 1e-6:
            out[k] = system.offsets(source, moved, moved)
    return out
