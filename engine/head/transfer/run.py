"""The whole transfer: align, register, carry the shapes, mend contacts, rig; with figures."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.core.anatomy import Head
from engine.core.errors import BadInput
from engine.core.names import ARKIT, EXTRA
from engine.core.progress import SILENT, Reporter
from engine.core.units import MM
from engine.head.transfer import carry, lids, lips, parts
from engine.head.transfer.align import Similarity, align, believed, pairs
from engine.head.transfer.mouth import aim_tongue, bite, clear_teeth, clear_tongue, incisors, tooth_faces
from engine.head.transfer.person import fit_person
from engine.head.transfer.register import SCHEDULE, Step, register
from engine.head.transfer.rig import rigged
from engine.head.transfer.surface import Surface

# Adult heads open their mouths about alike whatever their size: within this ratio offsets keep their length in metres;
# beyond it they grow with the head.
HUMAN_RATIO = 1.12
KIN_M, NEAR = 0.001, 3  # a person fitted this well starts at this level of the registration
CLEAR = {"lowerLipToTeeth": 0.00002, "jawForward": 0.0002}  # shapes that would push lips into teeth, and by how much
BIGGEST_MM = 3.0  # mean distance of the registered face from the mesh beyond which the result is doubtful


@dataclass(frozen=True)
class Bent:
    """The source on the target. skin [n]: numbers of the source's vertices; rest, registered [n, 3]; trust [n];
    triangles [m, 3] into them; sim: the alignment; carry: of offsets
    (rotation and size)."""

    skin: np.ndarray
    rest: np.ndarray
    registered: np.ndarray
    trust: np.ndarray
    triangles: np.ndarray
    sim: Similarity
    carry: Similarity

    def place(self, source: Head, name: str) -> np.ndarray:
        """[3]: where a mark of the source went."""
        row = int(np.atleast_1d(source.landmarks[name])[0])
        return self.registered[int(np.flatnonzero(self.skin == row)[0])]


def transfer_head(
    source: Head, target: Head, picks: Mapping[str, object] | None = None, report: Reporter = SILENT
) -> tuple[Head, dict[str, Any]]:
    """(the target with the source's shapes, figures). picks: name of a mark -> vertex number or [x, y, z] in metres.

    Figures: error_mm {"mean", "max"} of the registered face from the target's surface, seconds, shapes {name:
    {"moved_mm", "lip_crossing_mm" or "lid_gap_mm" where they apply}}. Raises BadInput for too few or wrong points and
    meshes without a face.
    """
    start = time.perf_counter()
    for name in ("jawOpen", "eyeBlinkLeft"):
        if name not in source.shape_index:
            raise BadInput(f"the head '{source.name}' has no {name}; transfer from a head that has ARKit's shapes")
    if len(target.triangles) < 200:
        raise BadInput(f"'{target.name}' has {len(target.triangles)} triangles, too few for a face")
    surface = Surface(target.template, target.triangles)
    bent = _bend(source, target, surface, picks, report)
    pieces = parts.sort_out(source, bent.sim, bent.rest, bent.registered, bent.trust, surface)
    shapes, to = _shapes(source, surface, bent, pieces, report)
    figures = _mend(source, surface, bent, pieces, shapes, report)
    error = _distance(surface, bent)
    if error.mean() > BIGGEST_MM:
        report.warn(f"the face fits the mesh to {error.mean():.1f} mm only; pick more points, or check their places")
    made = rigged(source, target, surface, bent, pieces, to, shapes)
    return made, {
        "error_mm": {"mean": round(float(error.mean()), 4), "max": round(float(error.max()), 4)},
        "seconds": round(time.perf_counter() - start, 2),
        "scale": round(bent.sim.scale, 4),
        "shapes": figures,
    }


def _bend(source: Head, target: Head, surface: Surface, picks: Mapping[str, object] | None, report: Reporter) -> Bent:
    """Align by the marks, then register the source's skin on the target's."""
    rows, places = pairs(source, target, picks)
    sim = align(source, rows, places)
    large = np.log(sim.scale)
    size = float(np.exp(np.sign(large) * max(abs(large) - np.log(HUMAN_RATIO), 0)))
    carried = Similarity(size, believed(sim.turn), np.zeros(3))
    skin = source.parts["skin"] if "skin" in source.parts else np.arange(len(source.template))
    number = np.full(len(source.template), -1)
    number[skin] = np.arange(len(skin))
    triangles = number[source.triangles]
    triangles = triangles[(triangles >= 0).all(1)]
    rest = sim(source.template[skin].astype(np.float64))
    trust = np.ones(len(skin))
    if "skin" in source.masks:
        trust = (source.masks["skin"][skin] > 0.5).astype(float)
    body = parts.skin_of(surface)
    outer = Surface(surface.points, surface.triangles[body[surface.triangles].all(1)])
    known = number[rows] >= 0
    marks = (number[rows[known]], places[known])
    schedule: tuple[Step, ...] = SCHEDULE
    start = rest
    if source.identity.shape[2]:
        identity = source.identity[skin].astype(np.float64)
        template = source.template[skin].astype(np.float64)
        start, _ = fit_person(template, identity, triangles, sim, outer, trust, *marks, report=report)
        if outer.nearest(start[trust > 0])[2].mean() < KIN_M:
            schedule = SCHEDULE[NEAR:]  # the stiff levels would only pull towards the marks' own errors
    registered = register(start, triangles, outer, trust, *marks, schedule=schedule, report=report)
    return Bent(skin, rest, registered, trust, triangles, sim, carried)


def _distance(surface: Surface, bent: Bent) -> np.ndarray:
    """[n] mm: how far the trusted part of the registered source is from the target."""
    rows = np.flatnonzero(bent.trust > 0)
    found = surface.nearest(bent.registered[rows])[2] * MM
    # The bust's lower edge lies where the target may have been cut elsewhere: it says nothing about the face.
    height = bent.registered[rows, 1]
    return found[height > np.percentile(height, 30)]


def _shapes(
    source: Head, surface: Surface, bent: Bent, pieces: parts.Pieces, report: Reporter
) -> tuple[np.ndarray, carry.Correspondence]:
    """[k, v, 3] offsets of every standard shape on the target, and the correspondence."""
    names = standard(source)
    rows = [source.shape_index[name] for name in names]
    moved = bent.carry(source.shapes[rows][:, bent.skin].astype(np.float64))
    away = np.concatenate([pieces.inner, *pieces.eyes.values()])
    allowed = np.ones(len(surface.points), bool)
    allowed[away] = False
    out, to = carry.transfer_shapes(
        Surface(bent.rest, bent.triangles), Surface(bent.registered, bent.triangles), surface, moved, allowed, report
    )
    out[:, away] = 0
    near = parts.local_similarity(bent.rest, bent.registered, bent.sim(_mouth(source)), bent.trust)
    for k, name in enumerate(names):
        if len(pieces.inner):
            out[k, pieces.inner] = parts.inner_offsets(
                source, name, bent.sim, bent.carry, near, pieces, surface.points[pieces.inner]
            )
    return out, to


def _mouth(source: Head) -> np.ndarray:
    """[3]: the middle of the source's mouth, or of its whole where it has no marks there."""
    rows = source.lip_pairs.ravel() if len(source.lip_pairs) else np.arange(len(source.template))
    return source.template[rows].astype(np.float64).mean(0)


def standard(source: Head) -> tuple[str, ...]:
    """Names of the source's standard shapes, ARKit's first."""
    return tuple(name for name in (*ARKIT, *EXTRA) if name in source.shape_index)


def _mend(
    source: Head, surface: Surface, bent: Bent, pieces: parts.Pieces, shapes: np.ndarray, report: Reporter
) -> dict[str, dict[str, float]]:
    """Correct contacts of shapes [k, v, 3] in place; figures by shape."""
    names = standard(source)
    at = {name: k for k, name in enumerate(names)}
    line, shut, through = _contact(source, bent, names)
    mouth = lips.find_lips(surface, pieces.skin, line, shapes[at["jawOpen"]]) if len(line) else None
    if mouth is None:
        report.warn("no facing lips were found on the mesh: shapes were not checked for lips that cross")
    eyes = {side: _opening(source, surface, bent, pieces, side) for side in ("left", "right")}
    for side, eye in eyes.items():
        if eye is None:
            report.warn(f"no opening was found for the {side} eye: its blink is carried over but not closed")
    teeth = incisors(surface.points, pieces, float(np.mean(line[:, 0])) if len(line) else 0.0)
    if mouth is not None and "lowerLipToTeeth" in at and "lip_lower_inner" in source.landmarks:
        place = bent.place(source, "lip_lower_inner")
        bite(source, bent.carry, mouth, teeth, place, surface.points, shapes[at["lowerLipToTeeth"]])
    for name in ("tongueBetweenTeeth", "tongueTipUp"):
        if name in at:
            aim_tongue(source, name, bent.carry, teeth, pieces, surface.points, shapes[at[name]])
    if "tongueOut" in at:
        clear_tongue(mouth, teeth, pieces, surface.points, shapes[at["tongueOut"]], shapes[at["jawOpen"]])
    hard = tooth_faces(surface, pieces, line)
    figures: dict[str, dict[str, float]] = {}
    for k, name in enumerate(names):
        report.step("contacts", k, len(names))
        figure = figures[name] = {"moved_mm": round(float(np.linalg.norm(shapes[k], axis=1).max() * MM), 3)}
        if mouth is not None and name not in through and np.abs(shapes[k][mouth.pairs.ravel()]).max() > 1e-6:
            base = shapes[at["jawOpen"]] if name == "mouthClose" else None
            if name in CLEAR:
                clear_teeth(mouth, hard, surface.points, shapes[k], CLEAR[name])
            left = lips.mend(mouth, surface.points, shapes[k], name in shut, base)
            figure["lip_crossing_mm"] = round(left * MM, 3)
        for eye in eyes.values():
            if eye is not None and np.abs(shapes[k][eye.near]).max(initial=0) > 1e-6:
                lids.keep_off(eye, surface.points, shapes[k])
                if not name.startswith("eyeBlink"):
                    lids.uncross(eye, surface.points, shapes[k])
    for side, eye in eyes.items():
        name = f"eyeBlink{side.capitalize()}"
        if eye is not None and name in at:
            figures[name]["lid_gap_mm"] = round(lids.close_blink(eye, surface.points, shapes[at[name]]) * MM, 3)
    return figures


def _contact(source: Head, bent: Bent, names: tuple[str, ...]) -> tuple[np.ndarray, set[str], set[str]]:
    """The source's lip contact line on the registered mesh [n, 3], the shapes that keep its lips shut, and those that
    push them into each other by design (correctives that are only ever used on an open mouth)."""
    found = source.lip_pairs
    number = np.full(len(source.template), -1)
    number[bent.skin] = np.arange(len(bent.skin))
    if not len(found) or (number[found] < 0).any():
        return np.zeros((0, 3)), set(), set()
    shut, through = set(), set()
    for name in names:
        shape = source.shapes[source.shape_index[name]].astype(np.float64)
        if name == "mouthClose":
            shape = shape + source.shapes[source.shape_index["jawOpen"]]
        # The middle half: towards the corners the pairs of a bent mouth no longer face each other.
        middle = found[len(found) // 4 : -(len(found) // 4) or None]
        parted = shape[middle[:, 0], 1] - shape[middle[:, 1], 1]
        if np.abs(parted).max() < lips.SHUT_M and np.abs(shape[found]).max() > 1e-4:
            shut.add(name)
        if parted.mean() < -lips.THROUGH_M:
            through.add(name)
    return bent.registered[number[found].ravel()], shut, through


def _opening(source: Head, surface: Surface, bent: Bent, pieces: parts.Pieces, side: str) -> lids.Opening | None:
    """The opening of one eye of the target."""
    marks = (f"inner_eye_{side}", f"outer_eye_{side}")
    if any(name not in source.landmarks for name in marks):
        return None
    inner, outer = (bent.place(source, name) for name in marks)
    ball = pieces.eyes.get(f"eye_{side}") if pieces else None
    if ball is not None and len(ball):
        low, high = surface.points[ball].min(0), surface.points[ball].max(0)
        centre = 0.5 * (low + high)
    else:
        joint = {"left": 3, "right": 4}[side]
        centre = bent.sim(source.joint_regressor[joint].astype(np.float64) @ source.template)
        centre = parts.local_similarity(bent.rest, bent.registered, centre, bent.trust)(centre)
    skin = pieces.skin if pieces else np.ones(len(surface.points), bool)
    return lids.find_opening(surface, skin, centre, inner, outer)
