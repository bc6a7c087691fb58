"""Lips that do not pass through each other on the new mesh, and stay shut where the source's stay shut."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.head.transfer.surface import Surface

REGION_M = 0.016  # how far from the mouth's line a vertex counts as lip
PAIR_M = 0.0045  # lips this near in the neutral face may face each other ...
BESIDE_M, MARGIN_M = 0.002, 0.0004  # ... if no pair within the first along the mouth is nearer by the second
FACING_M = 0.003  # of places that slid past each other only those nearer than this (across) can collide
REACH_M, SPREAD_M = 0.0055, 0.0025  # how far a correction fades into the lip, and how smooth it is along it
SHUT_M = 0.00015  # a source shape that parts its lips less than this keeps them shut
PASSED_M = 0.0001
SLACK_M = 0.0004  # by which lips that are to stay shut may part or press: the red border is soft
THROUGH_M = 0.0005  # and one that brings them nearer than they are by more than this means to
STUCK_M, REACHED_M = 0.00002, 0.004  # deeper in the other lip than the first is stuck, than the second is elsewhere
PUSH_M = 0.0018  # how far a push at one vertex is felt: as little of the lip as its smoothness allows is changed
PARTINGS = 12
ROUNDS = 12


@dataclass(frozen=True)
class Lips:
    """Facing places of the target's lips.

    upper [u], lower [l]: vertex numbers of either lip's region; pairs [p, 2]: an upper and a lower vertex that face
    each other; gap [p] metres: height between them in the neutral face, across [p]: distance seen from above; beside
    [p, p]: means over the pairs next to each; spread_upper [u, p], spread_lower [l, p]: how a correction at the pairs
    is felt in the regions; upper_faces, lower_faces [m, 3]: their triangles.
    """

    upper: np.ndarray
    lower: np.ndarray
    pairs: np.ndarray
    gap: np.ndarray
    across: np.ndarray
    beside: np.ndarray
    spread_upper: np.ndarray
    spread_lower: np.ndarray
    upper_faces: np.ndarray
    lower_faces: np.ndarray


def find_lips(surface: Surface, skin: np.ndarray, line: np.ndarray, opened: np.ndarray) -> Lips | None:
    """Lips of the target. line [n, 3]: the mouth's line (registered contact of the source); opened [v, 3]: jawOpen on
    the target, by which the lower lip is told from the upper. None if nothing faces anything there."""
    from scipy.spatial import cKDTree

    points = surface.points
    distance = cKDTree(line).query(points)[0]
    region = np.flatnonzero((distance < REGION_M) & skin)
    if len(region) < 8:
        return None
    drop = -opened[region, 1]
    share = drop / max(float(np.percentile(drop, 98)), 1e-9)
    upper, lower = region[share < 0.25], region[share > 0.4]
    if not len(upper) or not len(lower):
        return None
    # A lip faces the other with its own side: normals say which vertices do.
    down, up = upper[surface.normals[upper, 1] < 0.2], lower[surface.normals[lower, 1] > -0.2]
    if not len(down) or not len(up):
        return None
    pairs = []
    for own, other, flip in ((down, up, False), (up, down, True)):
        far, at = cKDTree(points[other]).query(points[own])
        good = far < PAIR_M
        pairs.append(np.c_[other[at], own][good] if flip else np.c_[own, other[at]][good])
    found = np.unique(np.concatenate(pairs), axis=0)
    if not len(found):
        return None
    found = _nearest_only(points, found)
    between = points[found[:, 0]] - points[found[:, 1]]
    across = np.hypot(between[:, 0], between[:, 2])
    x = points[found].mean(1)[:, 0]
    beside = (np.abs(x[:, None] - x[None]) < BESIDE_M).astype(float)
    return Lips(
        upper, lower, found, between[:, 1], across, beside / beside.sum(1, keepdims=True),
        _spread(points[upper], points[found[:, 0]]), _spread(points[lower], points[found[:, 1]]),
        *(surface.triangles[np.isin(surface.triangles, side).all(1)] for side in (upper, lower)),
    )  # fmt: skip


def _nearest_only(points: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Pairs [p, 2] that are about as near as lips come at their place along the mouth: the line of contact."""
    far = np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1)
    x = points[pairs].mean(1)[:, 0]
    beside = np.abs(x[:, None] - x[None]) < BESIDE_M
    return pairs[far < np.where(beside, far[None], np.inf).min(1) + MARGIN_M]


def _spread(region: np.ndarray, rim: np.ndarray) -> np.ndarray:
    """[r, p] weights: along the lip smooth (rows sum to at most 1), across it fading."""
    distance = np.linalg.norm(region[:, None] - rim[None], axis=2)
    near = distance.min(1)
    weight = np.exp(-0.5 * ((distance**2 - near[:, None] ** 2) / SPREAD_M**2))
    weight /= weight.sum(1, keepdims=True)
    return weight * np.exp(-0.5 * (near / REACH_M) ** 2)[:, None]


def mend(lips: Lips, points: np.ndarray, offsets: np.ndarray, shut: bool, base: np.ndarray | None = None) -> float:
    """Correct offsets [v, 3] of one shape in place; the deepest crossing that is left, metres (0 = none).

    shut: both lips must move alike in height. Otherwise only what passes through is pushed back, to where the lips
    stood in the neutral face. base [v, 3]: offsets that go with the shape (jawOpen with mouthClose).
    """
    extra = offsets if base is None else offsets + base
    for _ in range(ROUNDS):
        change = np.zeros_like(offsets)
        fault = _fault(lips, points, extra, shut)
        if np.abs(fault).max() < 2e-5:
            break
        change[lips.upper, 1] -= 0.5 * lips.spread_upper @ fault
        change[lips.lower, 1] += 0.5 * lips.spread_lower @ fault
        offsets += change
        extra = offsets if base is None else offsets + base
    return _part(lips, points, offsets, base)


def _part(lips: Lips, points: np.ndarray, offsets: np.ndarray, base: np.ndarray | None) -> float:
    """Take apart what still sticks in the other lip, vertex by vertex, in place; the depth left, metres."""
    sides = ((lips.upper, lips.lower, lips.lower_faces), (lips.lower, lips.upper, lips.upper_faces))
    rest = [depth_in(points, own, faces) for own, _, faces in sides]
    deepest = 0.0
    for _ in range(PARTINGS):
        now = points + offsets if base is None else points + offsets + base
        deepest, change = 0.0, np.zeros_like(offsets)
        for (own, other, faces), before in zip(sides, rest, strict=True):
            depth, normal = depth_in(now, own, faces)
            fault = np.where(before[0] < STUCK_M, np.maximum(depth - STUCK_M, 0), 0)
            stuck = np.flatnonzero(fault)
            deepest = max(deepest, float(fault.max(initial=0.0)))
            for region, sign in ((own, 0.5), (other, -0.5)):
                push_out(change, points, region, own[stuck], sign * fault[stuck, None] * normal[stuck])
        if deepest == 0:
            break
        offsets += change
    return deepest


def depth_in(points: np.ndarray, own: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(depth [n], direction [n, 3]): how deep vertices `own` lie behind the triangles, and the way out; 0 for those
    that lie before them or farther than REACHED_M."""
    if not len(faces):
        return np.zeros(len(own)), np.zeros((len(own), 3))
    surface = Surface(points, faces)
    triangle, weights, distance = surface.nearest(points[own])
    normal = surface.face_normals[triangle]
    behind = -((points[own] - surface.interpolate(points, triangle, weights)) * normal).sum(1)
    # Nearest to an edge of the patch says nothing about before and behind.
    inner = (weights > 1e-6).all(1) | ~surface.on_border[surface.triangles[triangle]].any(1)
    return np.where(inner & (distance < REACHED_M), np.maximum(behind, 0), 0), normal


def push_out(change: np.ndarray, points: np.ndarray, region: np.ndarray, at: np.ndarray, by: np.ndarray) -> None:
    """Add the pushes `by` [m, 3] at vertices `at` to the region round them, fading over PUSH_M, in place."""
    if not len(at):
        return
    near = np.exp(-0.5 * (np.linalg.norm(points[region][:, None] - points[at][None], axis=2) / PUSH_M) ** 2)
    change[region] += (near @ by) / np.maximum(near.sum(1, keepdims=True), 1.0)


def _fault(lips: Lips, points: np.ndarray, offsets: np.ndarray, shut: bool) -> np.ndarray:
    """[p] metres by which each pair is too far apart (positive) or too near (negative)."""
    up, low = lips.pairs.T
    moved = offsets[up] - offsets[low]
    gap = lips.gap + moved[:, 1]
    now = points[up] + offsets[up] - points[low] - offsets[low]
    facing = np.hypot(now[:, 0], now[:, 2]) < np.maximum(FACING_M, lips.across)
    crossed = np.where(facing, np.minimum(gap - np.minimum(lips.gap, 0.0) + PASSED_M, 0.0), 0.0)
    if not shut:
        return crossed
    level = lips.beside @ moved[:, 1]
    return np.minimum(np.sign(level) * np.maximum(np.abs(level) - SLACK_M, 0), np.where(crossed < 0, crossed, np.inf))
