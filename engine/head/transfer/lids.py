"""Eyelids of the new mesh: where their rims are, a blink that closes, lids that stay off the eyeball.

The rims are found on the mesh itself: cut by upright planes from one corner of the eye to the other, the skin in front
of the eyeball leaves one opening, and its ends are the rims.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.head.transfer.surface import Surface, edges_of

SCAN, BEYOND = 61, 0.12  # planes tried, and how far past the expected corners (part of the width) they reach
OPEN_M = 0.0012  # a narrower opening is the corner's fold
STRETCH = (0.6, 1.7)  # how much shorter or longer a lid's way may become
CORNER_M = 0.002  # where the opening is lower than this, upper and lower lid cannot be told apart
SURE_M = 0.0005
DIP_M = 0.0008  # metres by which a lid may dip under the ball that its rims lie on: lids are thick
FEW = 8  # planes that an eye's opening must be seen on
AROUND_M = 0.028  # metres round the eye's centre within which a vertex may be lid
LEFT_OPEN_M = 0.00005  # a blink that has to be closed keeps the rims this far apart: they meet and do not cross
# A blink may come with the upper lid over the lower one by this much (the default head's is, by up to 2 mm, and more
# on another identity); a deeper one is pulled back to it. In any other shape lids that pass by 0.1 mm are.
PRESSED_M, PASSED_M = 0.0032, 0.0001
ROUNDS = 12


@dataclass(frozen=True)
class _Ends:
    """The opening's ends [3] on the plane at x."""

    x: float
    upper: np.ndarray
    lower: np.ndarray


@dataclass(frozen=True)
class Opening:
    """One eye's opening. x [s] metres from corner to corner; upper, lower [s, 3]: the rims in the neutral face;
    is_upper [v] in [0, 1], near [v] bool: vertices of the lids; centre [3], radius: the ball that the rims lie on."""

    x: np.ndarray
    upper: np.ndarray
    lower: np.ndarray
    edges: np.ndarray
    is_upper: np.ndarray
    near: np.ndarray
    centre: np.ndarray
    radius: float


def find_opening(
    surface: Surface, skin: np.ndarray, centre: np.ndarray, inner: np.ndarray, outer: np.ndarray
) -> Opening | None:
    """The opening of an eye whose ball has its middle at `centre` [3] and whose corners lie near `inner` and `outer`
    [3]; skin [v] bool. None where the mesh has no opening there (shut eyes, no lids)."""
    points = surface.points
    near = skin & (np.linalg.norm(points - centre, axis=1) < AROUND_M) & (points[:, 2] > centre[2])
    edges = edges_of(surface.triangles)
    edges = edges[near[edges].all(1)]
    width = outer[0] - inner[0]
    if len(edges) < 20 or abs(width) < 1e-4:
        return None
    part = np.linspace(-BEYOND, 1 + BEYOND, SCAN)
    middle = inner + part[:, None] * (outer - inner)
    found = [_ends(points, edges, at[0], centre, at[1:]) for at in middle]
    run = _run([ends is not None for ends in found])
    if len(run) < FEW:
        return None
    rows = sorted((ends for i in run if (ends := found[i]) is not None), key=lambda ends: ends.x)
    x = np.array([ends.x for ends in rows])
    upper, lower = np.array([ends.upper for ends in rows]), np.array([ends.lower for ends in rows])
    rim = np.concatenate([upper, lower])
    radius = float(np.linalg.norm(rim - centre, axis=1).min())
    angle = np.arctan2(points[:, 1] - centre[1], points[:, 2] - centre[2])
    level = 0.5 * (_angle(upper, centre) + _angle(lower, centre))
    is_upper = (angle > np.interp(points[:, 0], x, level)).astype(float)
    return Opening(x, upper, lower, edges, is_upper, near, centre, radius)


def _angle(points: np.ndarray, centre: np.ndarray) -> np.ndarray:
    return np.arctan2(points[..., 1] - centre[1], points[..., 2] - centre[2])


def _ends(points: np.ndarray, edges: np.ndarray, x: float, centre: np.ndarray, middle: np.ndarray) -> _Ends | None:
    """The ends of the opening on one plane: the widest gap in direction from the eye's centre, next to the line of the
    corners (middle [2]: y, z)."""
    a, b = points[edges[:, 0]], points[edges[:, 1]]
    cut = np.flatnonzero((a[:, 0] - x) * (b[:, 0] - x) < 0)
    if len(cut) < 4:
        return None
    part = (x - a[cut, 0]) / (b[cut, 0] - a[cut, 0])
    at = a[cut] + part[:, None] * (b[cut] - a[cut])
    angle = _angle(at, centre)
    order = np.argsort(angle)
    cut, part, angle, at = cut[order], part[order], angle[order], at[order]
    gaps = np.diff(angle)
    aim = np.arctan2(middle[0] - centre[1], middle[1] - centre[2])
    between = 0.5 * (angle[1:] + angle[:-1])
    k = int(np.argmax(gaps - 0.5 * np.maximum(np.abs(between - aim) - 0.5 * gaps, 0)))
    # The ends of a true opening lie about as far from the ball's middle as each other.
    far = np.linalg.norm(at[[k, k + 1]] - centre, axis=1)
    if np.linalg.norm(at[k + 1] - at[k]) < OPEN_M or far.max() > 1.12 * far.min() or abs(between[k] - aim) > 0.5:
        return None
    return _Ends(x, at[k + 1], at[k])


def _run(good: list[bool]) -> list[int]:
    """The longest unbroken run of True, as indices."""
    best: list[int] = []
    now: list[int] = []
    for i, yes in enumerate(good):
        now = [*now, i] if yes else []
        best = now if len(now) > len(best) else best
    return best


def gap(eye: Opening, points: np.ndarray) -> np.ndarray:
    """[s] metres from the lower lid's highest to the upper lid's lowest place on each plane, where the mesh stands at
    points [v, 3]; negative: one has passed the other. 0 on planes that cut only one lid."""
    both = eye.is_upper[eye.edges]
    upper, lower = eye.edges[both.min(1) > 0.5], eye.edges[both.max(1) < 0.5]
    out = np.zeros(len(eye.x))
    for i, x in enumerate(eye.x):
        top, bottom = _heights(points, upper, x), _heights(points, lower, x)
        if len(top) and len(bottom):
            out[i] = top.min() - bottom.max()
    return out


def _sure(eye: Opening, points: np.ndarray) -> np.ndarray:
    """[s] bool: planes away from the corners on which the neutral gap is the opening, so that `gap` can be believed."""
    open_m = eye.upper[:, 1] - eye.lower[:, 1]
    return (open_m > CORNER_M) & (np.abs(gap(eye, points) - open_m) < SURE_M)


def _heights(points: np.ndarray, edges: np.ndarray, x: float) -> np.ndarray:
    """Heights at which edges cross the upright plane at x."""
    a, b = points[edges[:, 0]], points[edges[:, 1]]
    cut = (a[:, 0] - x) * (b[:, 0] - x) < 0
    a, b = a[cut], b[cut]
    return a[:, 1] + (x - a[:, 0]) / (b[:, 0] - a[:, 0]) * (b[:, 1] - a[:, 1])


def close_blink(eye: Opening, points: np.ndarray, offsets: np.ndarray) -> float:
    """Scale the upper lid's way in a blink's offsets [v, 3] plane by plane until its rim meets the lower one, in place.

    Returns the widest gap left, metres.
    """
    moves = np.flatnonzero(eye.near & (eye.is_upper > 0.5) & (offsets[:, 1] < 0))
    open_m = eye.upper[:, 1] - eye.lower[:, 1]
    inside = _sure(eye, points)
    firm = np.clip((open_m - CORNER_M) / CORNER_M, 0, 1)  # towards the corners the correction fades
    total = np.ones(len(eye.x))
    if not len(moves):
        return float(open_m.max())
    # Full inside the opening, fading past its corners: beyond them there is no rim to close.
    fade = 0.2 * (eye.x[-1] - eye.x[0])
    past = np.maximum(np.maximum(eye.x[0] - points[moves, 0], points[moves, 0] - eye.x[-1]), 0)
    share = np.clip(1 - past / fade, 0, 1)
    for _ in range(ROUNDS):
        left = gap(eye, points + offsets) - LEFT_OPEN_M
        left = inside * np.where(left > 0, left, np.minimum(left + PRESSED_M, 0))
        if np.abs(left).max() < 3e-5:
            break
        way = np.maximum(open_m - left, 0.0015)
        wanted = np.clip(total * _smooth(1 + firm * left / way), *STRETCH)
        factor, total = wanted / total - 1, wanted
        offsets[moves] *= (1 + share * np.interp(points[moves, 0], eye.x, factor))[:, None]
        keep_off(eye, points, offsets)
    return float(np.maximum(gap(eye, points + offsets) * inside, 0).max())


def _smooth(values: np.ndarray) -> np.ndarray:
    return np.convolve(np.pad(values, 1, mode="edge"), [0.1, 0.8, 0.1], mode="valid")


def uncross(eye: Opening, points: np.ndarray, offsets: np.ndarray) -> float:
    """Push lids whose rims pass through each other in a shape back to touching, in place; the crossing left, metres."""
    fault = 0.0
    inside = _sure(eye, points)
    for _ in range(ROUNDS):
        cross = inside * np.minimum(gap(eye, points + offsets) + PASSED_M, 0)
        fault = float(-cross.min())
        if fault < 2e-5:
            break
        push = 0.5 * np.interp(points[:, 0], eye.x, cross, left=0, right=0)
        distance = np.minimum(
            np.linalg.norm(points[:, None, :] - eye.upper[None, ::2], axis=2).min(1),
            np.linalg.norm(points[:, None, :] - eye.lower[None, ::2], axis=2).min(1),
        )
        fade = np.exp(-0.5 * (distance / 0.004) ** 2) * eye.near
        offsets[:, 1] -= push * fade * np.where(eye.is_upper > 0.5, 1, -1)
    return fault


def keep_off(eye: Opening, points: np.ndarray, offsets: np.ndarray) -> None:
    """Push lid skin that a shape brings under the ball's surface back out, in place. Skin that lies deeper in the
    neutral face (the lids' inner side, the socket) is left alone."""
    rows = np.flatnonzero(eye.near & (np.abs(offsets).max(1) > 1e-7))
    if not len(rows):
        return
    spoke = points[rows] + offsets[rows] - eye.centre
    distance = np.linalg.norm(spoke, axis=1)
    before = np.linalg.norm(points[rows] - eye.centre, axis=1)
    short = np.where(before < eye.radius, 0, np.maximum(eye.radius - DIP_M - distance, 0))
    offsets[rows] += (short / np.maximum(distance, 1e-9))[:, None] * spoke
