"""Blink that closes exactly, and lids that stay outside the eyeball."""

from __future__ import annotations

import numpy as np

from engine.head.eyeballs import BULGE

EYE_RADIUS = 0.01535  # metres: touches the lids' wet edge from inside
FADE = 0.010
LIFT = 0.0009  # metres by which the lower lid rises in a blink
CLEARANCE = 0.0005  # metres between the eyeball and the lids' wet edge
# Facing places on the rings of 28 round the eye (upper, lower), from the inner to the outer corner.
FACING = (
    (22, 19), (23, 18), (24, 17), (25, 16), (26, 15), (27, 14), (0, 13), (1, 12), (2, 11), (3, 10), (4, 10),
    (5, 9), (6, 8),
)  # fmt: skip


def close_blink(shapes: dict[str, np.ndarray], rest: np.ndarray, rings: np.ndarray, name: str) -> None:
    """Scale the upper lid's way in shape `name` so that it meets the lower lid instead of passing it, in place.

    rest [m, 3]; rings [2, 28]: the lid's front and wet edges of that eye. The lower lid rises by up to LIFT.
    """
    blink = shapes[name]
    front = rings[0]
    sign = 1.0 if rest[front, 0].mean() > 0 else -1.0
    x, scale, meet = [], [], []
    for up, low in FACING:
        top, bottom = rest[front[up]], rest[front[low]]
        goal = bottom[1] + LIFT * np.sin(np.pi * np.clip((sign * bottom[0] - 0.017) / 0.024, 0, 1))
        x.append(sign * top[0])
        scale.append(np.clip((goal - top[1]) / min(blink[front[up], 1], -1e-4), 0.0, 2.0))
        meet.append(goal)
    order = np.argsort(x)
    xs, factor = np.array(x)[order], np.array(scale)[order]
    moved = np.flatnonzero(np.abs(blink).max(1) > 1e-6)
    upper = moved[blink[moved, 1] < 0]
    blink[upper] *= np.interp(sign * rest[upper, 0], xs, factor)[:, None]
    _lift_lower(blink, rest, rings, sign)


def _lift_lower(blink: np.ndarray, rest: np.ndarray, rings: np.ndarray, sign: float) -> None:
    lower = rings[:, 9:20].ravel()
    centre = rest[rings[0]].mean(0)
    near = np.flatnonzero(np.linalg.norm(rest - centre, axis=1) < 0.03)
    below = near[(rest[near, 1] < rest[rings[0], 1].mean()) & (rest[near, 2] > centre[2] - 0.02)]
    distance = np.linalg.norm(rest[below][:, None] - rest[lower][None], axis=2).min(1)
    rise = (
        LIFT
        * np.sin(np.pi * np.clip((sign * rest[below, 0] - 0.017) / 0.024, 0, 1))
        * np.exp(-0.5 * (distance / 0.004) ** 2)
    )
    is_upper = blink[below, 1] < -1e-4
    blink[below, 1] += np.where(is_upper, 0, rise)


def never_inwards(
    shapes: dict[str, np.ndarray], rest: np.ndarray, body: np.ndarray, centre: np.ndarray, radius: float = EYE_RADIUS
) -> None:
    """Take from every shape what moves lid skin towards the eye's centre, in place.

    If no shape has an inward part d . p < 0 at a vertex p (from the centre), then no sum of them with weights >= 0 has,
    and |p + d| >= |p|: skin that lies outside the ball stays outside in every mix. Full where the skin touches the
    ball, fading to nothing FADE metres above it; both eyes.
    """
    for eye in (centre, centre * (-1, 1, 1)):
        spoke = rest[body] - eye
        distance = np.linalg.norm(spoke, axis=1)
        near = (spoke[:, 2] > 0.004) & (distance < radius + FADE) & (distance > radius - 0.0005)
        rows, direction = body[near], spoke[near] / distance[near, None]
        share = np.clip((radius + FADE - distance[near]) / (0.6 * FADE), 0, 1)
        for name in shapes:
            inward = np.minimum((shapes[name][rows] * direction).sum(1), 0)
            shapes[name][rows] -= (share * inward)[:, None] * direction


def keep_outside(
    shape: np.ndarray, rest: np.ndarray, rows: np.ndarray, centre: np.ndarray, radius: float = EYE_RADIUS
) -> None:
    """Push lid vertices `rows` that the shape brings under the eyeball's surface back out, in place."""
    limit = radius * (1 + BULGE) + CLEARANCE
    now = rest[rows] + shape[rows] - centre
    distance = np.linalg.norm(now, axis=1)
    before = np.linalg.norm(rest[rows] - centre, axis=1)
    short = np.minimum(limit, np.maximum(before, radius + CLEARANCE)) - distance
    shape[rows] += np.where(short > 0, short / np.maximum(distance, 1e-9), 0)[:, None] * now
