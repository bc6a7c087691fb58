"""What teeth, tongue and lips must do together on the new mesh: the lip that meets the teeth, the tongue that clears
the lower ones. Other people's teeth stand elsewhere behind their lips, so carried offsets alone miss them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.core.anatomy import Head
from engine.head.transfer.align import Similarity
from engine.head.transfer.lips import Lips
from engine.head.transfer.parts import Pieces

FRONT_M, DEEP_M = 0.006, 0.008  # the incisors: this near to the middle, this far behind the foremost
FARTHEST_M = 0.006  # a lip is brought no farther than this beyond its carried place: more would be a wrong guess
NEAR_M = 0.0008  # a lip that misses by less is left: it was carried there
CLEAR_M = 0.0006  # the tongue's underside over what it passes
JAW = 0.5  # of jawOpen, at which a tongue that is all the way out is to be clear of teeth and lip
AHEAD_M = 0.004  # how far before and behind an obstacle it is passed


@dataclass(frozen=True)
class Incisors:
    """Edges [3] of the target's incisors in the neutral face, or None where there are no teeth; middle: x."""

    upper: np.ndarray | None
    lower: np.ndarray | None
    middle: float


def incisors(points: np.ndarray, pieces: Pieces, middle: float) -> Incisors:
    """The incisors' edges of a mesh with points [v, 3]; middle: x of the mouth."""

    def edge(rows: np.ndarray, sign: int) -> np.ndarray | None:
        rows = rows[np.abs(points[rows, 0] - middle) < FRONT_M]
        if len(rows) < 4:
            return None
        rows = rows[points[rows, 2] > points[rows, 2].max() - DEEP_M]
        return points[rows[np.argmax(sign * points[rows, 1])]]

    inner = pieces.inner
    tooth = pieces.tongue < 0.3
    return Incisors(
        edge(inner[tooth & (pieces.jaw < 0.5)], -1), edge(inner[tooth & (pieces.jaw >= 0.5)], 1), float(middle)
    )


def bite(
    source: Head, carry: Similarity, lips: Lips, teeth: Incisors, points: np.ndarray, offsets: np.ndarray
) -> float:
    """Bring the lower lip of lowerLipToTeeth (offsets [v, 3], changed in place) as near to the upper incisors as the
    source's comes to its own; by how many metres it was moved."""
    marks = ("lip_lower_inner", "incisors_upper")
    if teeth.upper is None or any(name not in source.landmarks for name in marks):
        return 0.0
    lip, edge = (int(np.atleast_1d(source.landmarks[name])[0]) for name in marks)
    shape = source.shapes[source.shape_index["lowerLipToTeeth"]].astype(np.float64)
    wanted = carry.offsets(source.template[lip] + shape[lip] - source.template[edge].astype(np.float64))
    own = lips.pairs[:, 1]
    own = own[np.argsort(np.abs(points[own, 0] - teeth.middle))[:6]]
    change = teeth.upper + wanted - (points[own] + offsets[own]).mean(0)
    change[0] = 0.0
    size = float(np.linalg.norm(change))
    change *= min(max(size - NEAR_M, 0.0), FARTHEST_M) / max(size, 1e-9)
    # The corners stay where they are: both lips meet there.
    half = float(np.abs(points[lips.pairs[:, 1], 0] - teeth.middle).max())
    along = np.clip(1 - ((points[lips.lower, 0] - teeth.middle) / half) ** 2, 0, 1)
    offsets[lips.lower] += (lips.spread_lower.sum(1) * along)[:, None] * change
    return float(np.linalg.norm(change))


def aim_tongue(
    source: Head, name: str, carry: Similarity, teeth: Incisors, pieces: Pieces, points: np.ndarray, offsets: np.ndarray
) -> float:
    """Bring the tip of the tongue in shape `name` (offsets [v, 3], changed in place) to where the source's stands to
    its upper incisors; by how many metres it was moved."""
    rows, own = pieces.inner[pieces.tongue > 0.3], source.parts.get("tongue")
    if teeth.upper is None or not len(rows) or own is None or "incisors_upper" not in source.landmarks:
        return 0.0
    moved = source.template[own].astype(np.float64) + source.shapes[source.shape_index[name]][own]
    edge = source.template[int(np.atleast_1d(source.landmarks["incisors_upper"])[0])]
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
