"""What teeth, tongue and lips must do together on the new mesh: the lip that meets the teeth, the tongue that clears
the lower ones. Other people's teeth stand elsewhere behind their lips, so carried offsets alone miss them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.core.anatomy import Head
from engine.head.transfer.align import Similarity
from engine.head.transfer.lips import Lips, depth_in, push_out
from engine.head.transfer.parts import Pieces
from engine.head.transfer.surface import Surface

FRONT_M, DEEP_M = 0.006, 0.008  # the incisors: this near to the middle, this far behind the foremost
FARTHEST_M = 0.006  # a lip is brought no farther than this beyond its carried place: more would be a wrong guess
NEAR_M = 0.0008  # a lip that misses by less is left: it was carried there
CLEAR_M = 0.0006  # the tongue's underside over what it passes
IN_M, AROUND_M = 0.0002, 0.03  # lips may press into teeth by the first; teeth count this near to the mouth's line
ROUNDS = 10
JAW = 0.5  # of jawOpen, at which a tongue that is all the way out is to be clear of teeth and lip
AHEAD_M = 0.004  # how far before and behind an obstacle it is passed


@dataclass(frozen=True)
class Incisors:
    """Edges [3] of the target's incisors in the neutral face, or None where there are no teeth; middle: x."""

    upper: np.ndarray | None
    lower: np.ndarray | None
    middle: float


def _edge(places: np.ndarray, middle: float, sign: int) -> np.ndarray | None:
    """[3]: the lowest (sign -1) or highest (1) of the foremost of places [n, 3] near the middle."""
    places = places[np.abs(places[:, 0] - middle) < FRONT_M]
    if len(places) < 4:
        return None
    places = places[places[:, 2] > places[:, 2].max() - DEEP_M]
    return places[np.argmax(sign * places[:, 1])]


def incisors(points: np.ndarray, pieces: Pieces, middle: float) -> Incisors:
    """The incisors' edges of a mesh with points [v, 3]; middle: x of the mouth."""
    inner, tooth = points[pieces.inner], pieces.tongue < 0.3
    return Incisors(
        _edge(inner[tooth & (pieces.jaw < 0.5)], middle, -1), _edge(inner[tooth & (pieces.jaw >= 0.5)], middle, 1),
        float(middle),
    )  # fmt: skip


def _own_edge(source: Head) -> np.ndarray | None:
    """[3]: the source's upper incisors' edge, found as the target's is."""
    rows = [source.parts[name] for name in ("teeth_upper", "gums_upper") if name in source.parts]
    return _edge(source.template[np.concatenate(rows)].astype(np.float64), 0.0, -1) if rows else None


def bite(
    source: Head, carry: Similarity, lips: Lips, teeth: Incisors, place: np.ndarray, points: np.ndarray,
    offsets: np.ndarray,
) -> float:  # fmt: skip
    """Bring the lower lip of lowerLipToTeeth (offsets [v, 3], changed in place) as near to the upper incisors as the
    source's comes to its own; by how many metres it was moved. place [3]: where the source's mark of the lower lip's
    inner edge lies on the target."""
    edge = _own_edge(source)
    if teeth.upper is None or edge is None or "lip_lower_inner" not in source.landmarks:
        return 0.0
    lip = int(np.atleast_1d(source.landmarks["lip_lower_inner"])[0])
    shape = source.shapes[source.shape_index["lowerLipToTeeth"]].astype(np.float64)
    wanted = carry.offsets(source.template[lip] + shape[lip] - edge)
    own = lips.lower[np.argsort(np.linalg.norm(points[lips.lower] - place, axis=1))[:3]]
    change = teeth.upper + wanted - place - offsets[own].mean(0)
    change[0] = 0.0
    size = float(np.linalg.norm(change))
    change *= min(max(size - NEAR_M, 0.0), FARTHEST_M) / max(size, 1e-9)
    # The corners stay where they are: both lips meet there.
    half = float(np.abs(points[lips.pairs[:, 1], 0] - teeth.middle).max())
    along = np.clip(1 - ((points[lips.lower, 0] - teeth.middle) / half) ** 2, 0, 1)
    offsets[lips.lower] += (lips.spread_lower.sum(1) * along)[:, None] * change
    return float(np.linalg.norm(change))


def tooth_faces(surface: Surface, pieces: Pieces, line: np.ndarray) -> np.ndarray:
    """[m, 3] triangles of teeth and gums near the mouth's line [n, 3]."""
    from scipy.spatial import cKDTree

    hard = np.zeros(len(surface.points), bool)
    hard[pieces.inner[pieces.tongue < 0.3]] = True
    if not hard.any() or not len(line):
        return np.zeros((0, 3), int)
    hard &= cKDTree(line).query(surface.points)[0] < AROUND_M
    return surface.triangles[hard[surface.triangles].all(1)]


def clear_teeth(lips: Lips, faces: np.ndarray, points: np.ndarray, offsets: np.ndarray, slack: float = IN_M) -> float:
    """Push lips that a shape (offsets [v, 3], changed in place) brings into teeth or gums by more than `slack` metres
    back out, where they were not in them in the neutral face; the depth that is left. faces [m, 3]: `tooth_faces`."""
    own = np.concatenate([lips.upper, lips.lower])
    if not len(faces) or max(np.abs(offsets[own]).max(), np.abs(offsets[faces]).max()) < IN_M:
        return 0.0
    skin = np.concatenate([lips.upper_faces, lips.lower_faces])
    hard = np.unique(faces)
    before = depth_in(points, own, faces)[0], depth_in(points, hard, skin)[0]
    left = 0.0
    for _ in range(ROUNDS):
        now = points + offsets
        depth, way = depth_in(now, own, faces)
        fault = np.where(before[0] < IN_M, np.maximum(depth - slack, 0), 0)
        stuck = np.flatnonzero(fault)
        # A tooth's corner may stand between the lip's vertices: then the lip round it gives way.
        depth, out = depth_in(now, hard, skin)
        corner = np.where(before[1] < IN_M, np.maximum(depth - slack, 0), 0)
        poking = np.flatnonzero(corner)
        left = max(float(fault.max(initial=0.0)), float(corner.max(initial=0.0)))
        if not len(stuck) and not len(poking):
            break
        push_out(offsets, now, own, own[stuck], fault[stuck, None] * way[stuck])
        push_out(offsets, now, own, hard[poking], -corner[poking, None] * out[poking])
    return left


def aim_tongue(
    source: Head, name: str, carry: Similarity, teeth: Incisors, pieces: Pieces, points: np.ndarray, offsets: np.ndarray
) -> float:
    """Bring the tip of the tongue in shape `name` (offsets [v, 3], changed in place) to where the source's stands to
    its upper incisors; by how many metres it was moved."""
    rows, own, edge = pieces.inner[pieces.tongue > 0.3], source.parts.get("tongue"), _own_edge(source)
    if teeth.upper is None or not len(rows) or own is None or edge is None:
        return 0.0
    moved = source.template[own].astype(np.float64) + source.shapes[source.shape_index[name]][own]
    wanted = carry.offsets(moved[np.argmax(moved[:, 2])] - edge)
    tip = int(np.argmax(points[rows, 2]))
    change = teeth.upper + wanted - points[rows[tip]] - offsets[rows[tip]]
    change[0] = 0.0
    way = np.linalg.norm(offsets[rows], axis=1)
    offsets[rows] += (way / max(way[tip], 1e-9)).clip(0, 1)[:, None] * change
    return float(np.linalg.norm(change))


def clear_tongue(
    lips: Lips | None, teeth: Incisors, pieces: Pieces, points: np.ndarray, offsets: np.ndarray, opened: np.ndarray
) -> float:
    """Lift a tongue that is out (offsets [v, 3], changed in place) over the lower incisors and the lower lip, as they
    stand at JAW of `opened` [v, 3]; the largest lift, metres."""
    rows = pieces.inner[pieces.tongue > 0.3]
    if not len(rows) or teeth.lower is None:
        return 0.0
    share = pieces.tongue[pieces.tongue > 0.3]
    now = points + JAW * opened
    tongue = now[rows] + offsets[rows]
    low = pieces.inner[np.argmin(np.linalg.norm(points[pieces.inner] - teeth.lower, axis=1))]
    blocks = [now[low]]
    if lips is not None:
        rim = lips.lower[np.abs(points[lips.lower, 0] - teeth.middle) < FRONT_M]
        if len(rim):
            blocks.append(now[rim[np.argmax(now[rim, 1])]])
    root = float(tongue[:, 2].min())
    knots, lifts = [root], [0.0]
    for block in sorted(blocks, key=lambda place: place[2]):
        near = (np.abs(tongue[:, 2] - block[2]) < AHEAD_M) & (np.abs(tongue[:, 0] - teeth.middle) < 2 * FRONT_M)
        lift = float(np.max(block[1] + CLEAR_M - tongue[near, 1], initial=0.0)) if near.any() else 0.0
        knots.append(max(float(block[2]) - AHEAD_M, knots[-1] + 1e-4))
        lifts.append(max(lift, lifts[-1] if near.any() else 0.0))
    rise = np.interp(tongue[:, 2], knots, lifts)
    offsets[rows, 1] += share * rise
    return float(rise.max(initial=0.0))
