"""Eyelids of the new mesh: where their rims are, a blink that closes, lids that stay off the eyeball.

The rims are found on the mesh itself: cut by upright planes from one corner of the eye to the other, the skin in front
of the eyeball leaves one opening, and its ends are the rims.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.head.transfer.surface import Surface, edges_of

STATIONS = 33
INSET = 0.06  # of the eye's width at either corner where upper and lower lid cannot be told apart
AROUND_M = 0.028  # metres round the eye's centre within which a vertex may be lid
CLEAR_M = 0.0003
LEFT_OPEN_M = 0.00005  # a closed blink keeps the rims this far apart: they meet and do not cross
ROUNDS = 8
FADE_M = 0.010


@dataclass(frozen=True)
class Opening:
    """One eye's opening. x [s] metres from corner to corner; upper, lower [s, 3]: the rims in the neutral face;
    is_upper [v] in [0, 1], near [v] bool: vertices of the lids; centre [3], radius: the ball that the rims lie on."""

    x: np.ndarray
    upper: np.ndarray
    lower: np.ndarray
    is_upper: np.ndarray
    near: np.ndarray
    centre: np.ndarray
    radius: float
    edges: np.ndarray


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
    stations = inner[0] + width * np.linspace(INSET, 1 - INSET, STATIONS)
    middle = inner[1:] + np.linspace(INSET, 1 - INSET, STATIONS)[:, None] * (outer - inner)[1:]
    found = [_ends(points, edges, x, centre, at) for x, at in zip(stations, middle, strict=True)]
    good = [i for i, ends in enumerate(found) if ends is not None]
    if len(good) < STATIONS // 2:
        return None
    upper = np.array([found[i][0] for i in good])  # type: ignore[index]
    lower = np.array([found[i][1] for i in good])  # type: ignore[index]
    order = np.argsort(upper[:, 0])
    upper, lower = upper[order], lower[order]
    rim = np.concatenate([upper, lower])
    radius = float(np.percentile(np.linalg.norm(rim - centre, axis=1), 10))
    x = upper[:, 0]
    angle = np.arctan2(points[:, 1] - centre[1], points[:, 2] - centre[2])
    level = 0.5 * (_angle(upper, centre) + _angle(lower, centre))
    is_upper = (angle > np.interp(points[:, 0], x, level)).astype(float)
    return Opening(x, upper, lower, is_upper, near, centre, radius, edges)


def _angle(points: np.ndarray, centre: np.ndarray) -> np.ndarray:
    return np.arctan2(points[..., 1] - centre[1], points[..., 2] - centre[2])


def _crossings(points: np.ndarray, edges: np.ndarray, x: float) -> np.ndarray:
    """[c, 3] where edges cross the upright plane at x."""
    a, b = points[edges[:, 0]], points[edges[:, 1]]
    cut = (a[:, 0] - x) * (b[:, 0] - x) < 0
    a, b = a[cut], b[cut]
    t = (x - a[:, 0]) / (b[:, 0] - a[:, 0])
    return a + t[:, None] * (b - a)


def _ends(
    points: np.ndarray, edges: np.ndarray, x: float, centre: np.ndarray, middle: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """(upper, lower) ends [3] of the opening on one plane: the widest gap in direction from the eye's centre, next to
    the line of the corners (middle [2]: y, z)."""
    at = _crossings(points, edges, x)
    if len(at) < 4:
        return None
    angle = _angle(at, centre)
    order = np.argsort(angle)
    angle, at = angle[order], at[order]
    gaps = np.diff(angle)
    aim = np.arctan2(middle[0] - centre[1], middle[1] - centre[2])
    between = 0.5 * (angle[1:] + angle[:-1])
    score = gaps - 0.5 * np.maximum(np.abs(between - aim) - 0.5 * gaps, 0)
    k = int(np.argmax(score))
    return (at[k + 1], at[k]) if gaps[k] > 0.02 else None


def rims(eye: Opening, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Heights [s] of the upper lid's lowest and the lower lid's highest place on each plane, NaN where one is cut by
    none; points [v, 3]: the mesh in any state."""
    high, low = np.full(len(eye.x), np.nan), np.full(len(eye.x), np.nan)
    both = eye.is_upper[eye.edges]
    upper_edges, lower_edges = eye.edges[both.min(1) > 0.5], eye.edges[both.max(1) < 0.5]
    for i, x in enumerate(eye.x):
        top, bottom = _crossings(points, upper_edges, x), _crossings(points, lower_edges, x)
        if len(top) and len(bottom):
            high[i], low[i] = top[:, 1].min(), bottom[:, 1].max()
    return high, low


def close_blink(eye: Opening, points: np.ndarray, offsets: np.ndarray) -> float:
    """Scale the upper lid's way in a blink's offsets [v, 3] plane by plane until it meets the lower lid, in place.

    Returns the widest gap left, metres (rims crossing count as negative).
    """
    moves = np.flatnonzero(eye.near & (eye.is_upper > 0.5) & (offsets[:, 1] < 0))
    if not len(moves):
        return float(np.ptp(np.concatenate([eye.upper[:, 1], eye.lower[:, 1]])))
    gap = np.zeros(len(eye.x))
    for _ in range(ROUNDS):
        high, low = rims(eye, points + offsets)
        gap = high - low - LEFT_OPEN_M
        way = np.maximum(np.interp(eye.x, eye.x, eye.upper[:, 1]) - high, 0.001)
        known = np.isfinite(gap)
        if not known.any() or np.abs(gap[known]).max() < 3e-5:
            break
        factor = 1 + np.interp(eye.x, eye.x[known], gap[known]) / np.where(known, way, 1)
        factor = _smooth(np.clip(np.where(np.isfinite(factor), factor, 1.0), 0.3, 3.0))
        offsets[moves] *= np.interp(points[moves, 0], eye.x, factor)[:, None]
        keep_off(eye, points, offsets)
    high, low = rims(eye, points + offsets)
    return float(np.nanmax(high - low, initial=0.0)) if np.isfinite(high).any() else 0.0


def _smooth(values: np.ndarray) -> np.ndarray:
    return np.convolve(np.pad(values, 1, mode="edge"), [0.2, 0.6, 0.2], mode="valid")


def uncross(eye: Opening, points: np.ndarray, offsets: np.ndarray) -> float:
    """Push lids that pass through each other in a shape back to touching, in place; the crossing left, metres."""
    fault = 0.0
    rest_high, rest_low = rims(eye, points)
    apart = np.isfinite(rest_high) & (rest_high - rest_low > CLEAR_M)  # elsewhere lies the corner, where lids join
    for _ in range(ROUNDS):
        high, low = rims(eye, points + offsets)
        cross = np.where(apart & np.isfinite(high), np.minimum(high - low - LEFT_OPEN_M, 0), 0)
        fault = float(-cross.min())
        if fault < 2e-5:
            break
        push = 0.5 * np.interp(points[:, 0], eye.x, cross, left=0, right=0)
        distance = np.minimum(
            np.linalg.norm(points[:, None, :] - eye.upper[None, ::4], axis=2).min(1),
            np.linalg.norm(points[:, None, :] - eye.lower[None, ::4], axis=2).min(1),
        )
        fade = np.exp(-0.5 * (distance / 0.004) ** 2) * eye.near
        offsets[:, 1] -= push * fade * np.where(eye.is_upper > 0.5, 1, -1)
    return fault


def keep_off(eye: Opening, points: np.ndarray, offsets: np.ndarray) -> None:
    """Push lid skin that a shape brings under the ball's surface back out, in place. Skin that lay deeper in the
    neutral face (the lids' inner side) may stay as deep as it was."""
    rows = np.flatnonzero(eye.near & (np.abs(offsets).max(1) > 1e-7))
    if not len(rows):
        return
    spoke = points[rows] + offsets[rows] - eye.centre
    distance = np.linalg.norm(spoke, axis=1)
    before = np.linalg.norm(points[rows] - eye.centre, axis=1)
    least = np.minimum(before, eye.radius + CLEAR_M)
    inside = before < eye.radius - 0.002  # socket, not lid
    short = np.where(inside, 0, np.maximum(least - distance, 0))
    offsets[rows] += (short / np.maximum(distance, 1e-9))[:, None] * spoke
