"""Lashes as thin curved tubes: rooted on the lid's edge, carried by it, and turned about the eye as the lid turns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.head.mesh import Follow, Piece

SIDES, RINGS = 3, 4  # of a tube; then the tip
POINTS = SIDES * RINGS + 1  # vertices of a lash
RGB = np.array([0.012, 0.008, 0.006])
UPWARDS = 0.3  # part of the lid's turn that lashes make when it rises


@dataclass(frozen=True)
class _Row:
    """One lid's lashes. chain: places on the ring of 28, inner to outer corner. part: share of the lid's length, from
    the inner corner, at the first and last lash. length: metres at shares of that way. turn: degrees between a lash
    and the eye's radius at its root and tip, away from the opening. radius: metres at the root."""

    chain: np.ndarray
    up: float
    count: int
    part: tuple[float, float]
    length: tuple[tuple[float, float], ...]
    turn: tuple[float, float]
    radius: float
    roll: float


_UPPER = _Row(
    np.r_[20:28, 0:8], 1.0, 72, (0.10, 0.985),
    ((0.0, 0.0052), (0.3, 0.0084), (0.68, 0.0098), (0.88, 0.0084), (1.0, 0.0058)), (-12.0, 54.0), 0.000062, 1.4,
)  # fmt: skip
_LOWER = _Row(
    np.r_[20:6:-1], -1.0, 38, (0.16, 0.96),
    ((0.0, 0.0038), (0.5, 0.0052), (0.8, 0.0058), (1.0, 0.0048)), (8.0, 52.0), 0.000046, 1.0,
)  # fmt: skip
UPPER_COUNT = _UPPER.count  # the upper lid's lashes come first


def lashes(skin: Piece, ring: np.ndarray, eye: np.ndarray, seed: int = 5) -> Piece:
    """The left eye's lashes, shapes and identity included.

    ring [28]: skin vertices of the lid's front edge, from the middle of the upper lid outwards round the eye.
    """
    rng = np.random.default_rng(seed)
    rows = [_grown(skin.rest, ring, eye, row, rng) for row in (_UPPER, _LOWER)]
    spine, radius, index, weight = (np.concatenate([row[k] for row in rows]) for k in range(4))
    points, faces = tubes(spine, radius)
    shade = np.exp(rng.normal(0, 0.2, len(spine)))[:, None] * np.r_[np.repeat(np.linspace(0.8, 1.5, RINGS), SIDES), 1.8]
    piece = Piece.plain("lashes_left", points, faces, "lash", (RGB * shade[..., None]).reshape(-1, 3))
    follow, root = Follow(index, weight), spine[:, 0]
    spoke = points.reshape(-1, POINTS, 3) - root[:, None]
    roll = np.repeat([row.roll for row in (_UPPER, _LOWER)], [row.count for row in (_UPPER, _LOWER)])
    for name, offsets in skin.shapes.items():
        piece.shapes[name] = _carried(root, follow(offsets), spoke, eye, roll)
    for name, offsets in skin.identity.items():
        piece.identity[name] = np.repeat(follow(offsets), POINTS, axis=0)
    return piece


def _grown(
    rest: np.ndarray, ring: np.ndarray, eye: np.ndarray, row: _Row, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """One row: spines [n, RINGS + 1, 3], radii [n], and the two lid vertices [n, 2] and weights that hold each root."""
    chain = ring[row.chain]
    way = np.r_[0, np.cumsum(np.linalg.norm(np.diff(rest[chain], axis=0), axis=1))]
    way /= way[-1]
    share = (np.arange(row.count) + rng.uniform(0.15, 0.85, row.count)) / row.count
    part = row.part[0] + (row.part[1] - row.part[0]) * share
    at = np.interp(part, way, np.arange(len(way)))
    i = np.minimum(at.astype(int), len(way) - 2)
    t = at - i
    root = (1 - t)[:, None] * rest[chain[i]] + t[:, None] * rest[chain[i + 1]]
    radial = root - eye
    radial /= np.linalg.norm(radial, axis=1, keepdims=True)
    # Along the lid: smoothed, because the ring is a polygon.
    edge = np.gradient(rest[chain], axis=0)
    along = np.stack([np.interp(at, np.arange(len(way)), edge[:, k]) for k in range(3)], 1)
    along -= (along * radial).sum(1, keepdims=True) * radial
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    away = np.cross(radial, along) * row.up  # from the opening, over the lid
    # Lashes fan out along the lid, and stand in groups whose tips lean together.
    group = np.round(share * row.count / 3.6 + rng.normal(0, 0.12, row.count))
    fan = 0.85 * (part - 0.42) + 5.0 * (group * 3.6 / row.count - share) * row.up + rng.normal(0, 0.06, row.count)
    length = np.interp(part, *np.array(row.length).T) * rng.uniform(0.80, 1.05, row.count)
    first, last = (np.radians(x + rng.normal(0, 6, row.count)) for x in row.turn)
    spine = [root - 0.0002 * radial]
    for k in range(RINGS):
        angle = first + (last - first) * ((k + 0.5) / RINGS) ** 0.9
        step = np.cos(angle)[:, None] * radial + np.sin(angle)[:, None] * away + fan[:, None] * along
        step /= np.linalg.norm(step, axis=1, keepdims=True)
        spine.append(spine[-1] + (length / RINGS)[:, None] * step)
    radius = row.radius * rng.uniform(0.8, 1.15, row.count)
    return np.stack(spine, 1), radius, np.stack([chain[i], chain[i + 1]], 1), np.stack([1 - t, t], 1)


def tubes(spine: np.ndarray, radius: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tapered tubes round spines [n, RINGS + 1, 3], radius [n] at the root: vertices [n POINTS, 3] and faces."""
    n = len(spine)
    along = np.gradient(spine, axis=1)[:, :RINGS]
    along /= np.linalg.norm(along, axis=2, keepdims=True)
    first = np.cross(along, np.eye(3)[np.abs(along[:, :1]).argmin(2)])
    first /= np.linalg.norm(first, axis=2, keepdims=True)
    second = np.cross(along, first)
    turn = 2 * np.pi * np.arange(SIDES) / SIDES
    around = np.cos(turn)[:, None] * first[:, :, None] + np.sin(turn)[:, None] * second[:, :, None]
    size = radius[:, None] * (1 - 0.8 * (np.arange(RINGS) / RINGS) ** 1.5)
    rings = spine[:, :RINGS, None] + size[:, :, None, None] * around
    points = np.concatenate([rings.reshape(n, -1, 3), spine[:, -1:]], 1)
    pattern = []
    for k in range(RINGS):
        for j in range(SIDES):
            a, b = SIDES * k + j, SIDES * k + (j + 1) % SIDES
            pattern.append((a, b, b + SIDES, a + SIDES) if k < RINGS - 1 else (a, b, POINTS - 1, -1))
    table = np.array(pattern)
    faces = np.where(table >= 0, table + (POINTS * np.arange(n))[:, None, None], -1)
    return points.reshape(-1, 3), faces.reshape(-1, 4)


def _carried(root: np.ndarray, shift: np.ndarray, spoke: np.ndarray, eye: np.ndarray, roll: np.ndarray) -> np.ndarray:
    """Offsets [n POINTS, 3] of lashes whose roots [n, 3] move by `shift`: moved along, and pitched with the roots' own
    turn about the eye, `roll` [n] times it downwards.

    Less so towards the corners, whose small ways about the eye's axis say little of how the lid turns, and upwards:
    there the skin of the lid folds over the lashes.
    """
    before, after = root - eye, root + shift - eye
    pitch = np.arctan2(after[:, 1], after[:, 2]) - np.arctan2(before[:, 1], before[:, 2])
    pitch *= np.where(pitch < 0, roll, UPWARDS) * (before[:, 1:] ** 2).sum(1) / (before**2).sum(1)
    c, s = np.cos(pitch)[:, None], np.sin(pitch)[:, None]
    y, z = spoke[..., 1], spoke[..., 2]
    turned = np.stack([spoke[..., 0], c * y + s * z, c * z - s * y], -1)
    return (shift[:, None] + turned - spoke).reshape(-1, 3)
