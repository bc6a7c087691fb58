"""Brows as flat tapered hairs of geometry that lie on the skin and move with it; lashes are in `lashes`."""

from __future__ import annotations

import numpy as np

from engine.head.lashes import lashes
from engine.head.mesh import Follow, Piece, vertex_normals
from engine.head.transfer.surface import Surface as Nearest

__all__ = ["Surface", "brow", "brow_points", "brow_strength", "lashes", "mirrored_piece", "other_name"]

BROW_HAIRS = 340  # per side
BROW_POINTS = 4  # along a hair
BROW_RGB = np.array([0.034, 0.020, 0.012])
# Left brow as seen from the front: offsets from the eye's centre in millimetres, from the nose outwards, and the
# half height of the brow there.
BROW_LINE = np.array([(-15.0, 16.4), (-7.5, 18.2), (2.0, 20.0), (10.5, 20.4), (17.0, 18.6), (22.8, 15.0)]) * 1e-3
BROW_HALF = np.array([3.2, 3.9, 3.7, 3.1, 2.1, 0.8]) * 1e-3
# Direction in which hairs grow there: up at the nose, along the brow in the middle, down at the tail; and how far they
# turn from root to tip.
BROW_LEAN = np.radians([70.0, 47.0, 28.0, 8.0, -15.0, -34.0])
BROW_BEND = np.radians([-30.0, -32.0, -28.0, -22.0, -16.0, -10.0])


def brow_points(eye: np.ndarray, u: np.ndarray, across: np.ndarray) -> np.ndarray:
    """[n, 2] front-view points at u in [0, 1] along the left brow and `across` in [-1, 1] of its half height."""
    knots = np.linspace(0, 1, len(BROW_LINE))
    x, y = (np.interp(u, knots, BROW_LINE[:, k]) for k in (0, 1))
    return np.stack([eye[0] + x, eye[1] + y + across * np.interp(u, knots, BROW_HALF)], 1)


def brow_strength(points: np.ndarray, eye: np.ndarray) -> np.ndarray:
    """[n] in [0, 1]: how much of the brow's shade skin points [n, 3] take (either side; x is mirrored)."""
    u = np.linspace(0, 1, 60)
    line = brow_points(eye, u, np.zeros(60))
    half = np.interp(u, np.linspace(0, 1, len(BROW_HALF)), BROW_HALF)
    flat = np.stack([np.abs(points[:, 0]), points[:, 1]], 1)
    distance = np.linalg.norm(flat[:, None] - line[None], axis=2)
    near = distance.argmin(1)
    t = np.clip(1.25 - 0.75 * distance.min(1) / half[near], 0, 1)
    return t * (points[:, 2] > eye[2] - 0.035)


class Surface:
    """Finds where front-view points meet the skin: a triangle and barycentric weights."""

    def __init__(self, rest: np.ndarray, faces: np.ndarray):
        quads = faces[faces[:, 3] >= 0]
        self.triangles = np.concatenate([faces[:, :3], quads[:, [0, 2, 3]]])
        self.rest, self.normals = rest, vertex_normals(rest, faces)

    def under(self, xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(vertex indices [n, 3], weights [n, 3]) of the foremost triangle under each front-view point [n, 2]."""
        corner = self.rest[self.triangles]
        low, high = corner[:, :, :2].min(1), corner[:, :, :2].max(1)
        index, weight = np.zeros((len(xy), 3), int), np.zeros((len(xy), 3))
        for i, p in enumerate(xy):
            rows = np.flatnonzero(((low <= p) & (p <= high)).all(1))
            a, b, c = corner[rows].transpose(1, 0, 2)
            area = np.cross(b[:, :2] - a[:, :2], c[:, :2] - a[:, :2])
            area = np.where(np.abs(area) < 1e-14, 1e-14, area)
            w1 = np.cross(p - a[:, :2], c[:, :2] - a[:, :2]) / area
            w2 = np.cross(b[:, :2] - a[:, :2], p - a[:, :2]) / area
            w = np.stack([1 - w1 - w2, w1, w2], 1)
            z = np.where((w > -1e-6).all(1), (w * corner[rows][:, :, 2]).sum(1), -np.inf)
            best = int(np.argmax(z))
            index[i], weight[i] = self.triangles[rows[best]], w[best]
        return index, weight


def ribbons(spine: np.ndarray, out: np.ndarray, width: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flat tapered hairs: vertices [n (2 k - 1), 3] (a pair at each of the k - 1 first points, then the tip) and faces.

    spine [n, k, 3]: points along each hair; out [n, k, 3]: which way its flat side looks; width [n] metres at the root.
    """
    n, k = spine.shape[:2]
    side = np.cross(np.gradient(spine, axis=1), out)
    side /= np.maximum(np.linalg.norm(side, axis=2, keepdims=True), 1e-12)
    taper = 1 - 0.8 * (np.arange(k) / (k - 1)) ** 2
    half = (0.5 * width[:, None] * taper)[..., None] * side
    pairs = np.stack([spine - half, spine + half], 2)[:, :-1].reshape(n, -1, 3)
    points = np.concatenate([pairs, spine[:, -1:]], 1)
    low = 2 * np.arange(k - 2)[:, None]
    quads = low + np.array([[0, 1, 3, 2]])
    tip = np.array([[2 * k - 4, 2 * k - 3, 2 * k - 2, -1]])
    pattern = np.concatenate([quads, tip])
    first = ((2 * k - 1) * np.arange(n))[:, None, None]
    faces = np.where(pattern >= 0, pattern + first, -1).reshape(-1, 4)
    return points.reshape(-1, 3), faces


def _brow_roots(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """u and across [BROW_HAIRS]: even over the brow's area, thinner towards its edges and at the nose."""
    fine = np.linspace(0, 1, 200)
    knots = np.linspace(0, 1, len(BROW_HALF))
    mass = np.cumsum((np.interp(fine, knots, BROW_HALF) + 0.0006) * np.interp(fine, [0, 0.10, 1], [0.80, 1, 1]))
    u = np.interp((np.arange(BROW_HAIRS) + rng.uniform(0, 1, BROW_HAIRS)) / BROW_HAIRS, mass / mass[-1], fine)
    even = rng.permutation((np.arange(BROW_HAIRS) + 0.5) / BROW_HAIRS) * 2 - 1
    # Fewer at the rims, which then end in single hairs instead of a line; roots sit low because hairs grow upwards.
    across = np.sign(even) * (1 - (1 - np.abs(even)) ** 0.8) * 1.05 + rng.normal(0, 0.12, BROW_HAIRS)
    return u, across - np.interp(u, [0, 0.5, 1], [0.25, 0.20, 0.0])


def brow(skin: Piece, eye: np.ndarray, seed: int = 3) -> tuple[Piece, Follow]:
    """The left brow as a piece that follows the skin piece: every point of a hair is held by the triangle below it,
    so that a hair lies on the skin in every expression and is carried by its root at most a hair's length away."""
    rng = np.random.default_rng(seed)
    u, across = _brow_roots(rng)
    knots = np.linspace(0, 1, len(BROW_LEAN))
    clump = np.interp(u * 45, np.arange(46), rng.normal(0, 0.13, 46))  # neighbours lean alike
    lean = np.interp(u, knots, BROW_LEAN) - 0.34 * across + clump + rng.normal(0, 0.10, BROW_HAIRS)
    bend = np.interp(u, knots, BROW_BEND) + rng.normal(0, 0.08, BROW_HAIRS)
    length = np.interp(u, [0, 0.10, 0.4, 0.75, 1], [0.0042, 0.0066, 0.0086, 0.0070, 0.0042])
    length *= rng.uniform(0.72, 1.12, BROW_HAIRS)
    spine, normals, index, weight = _laid(skin, brow_points(eye, u, across), lean, bend, length)
    lift = np.array([-0.00015, 0.00030, 0.00042, 0.00030]) + np.array([0, 1, 1, 1]) * rng.uniform(
        0, 0.0002, (BROW_HAIRS, 1)
    )
    width = rng.uniform(0.00013, 0.00019, BROW_HAIRS) * np.interp(u, [0, 0.15, 0.8, 1], [0.75, 1, 1, 0.8])
    points, faces = ribbons(spine + lift[..., None] * normals, normals, width)
    stations = np.r_[np.repeat(np.arange(BROW_POINTS - 1), 2), BROW_POINTS - 1]
    index, weight = index[:, stations].reshape(-1, 3), weight[:, stations].reshape(-1, 3)
    shade = np.exp(rng.normal(0, 0.30, BROW_HAIRS))[:, None] * np.linspace(0.85, 1.35, BROW_POINTS)[stations]
    warm = np.array([1.0, 0.96, 0.92]) ** rng.normal(0, 2, (BROW_HAIRS, 1, 1))
    colour = (BROW_RGB * shade[..., None] * warm).reshape(-1, 3)
    return Piece.plain("brow_left", points, faces, "brow", colour), Follow(index, weight)


def _laid(
    skin: Piece, start: np.ndarray, lean: np.ndarray, bend: np.ndarray, length: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Hairs laid along the skin from front-view points: points and normals [n, k, 3], and the vertices [n, k, 3] and
    weights of the skin triangle below each.

    lean, bend [n] radians: front-view direction at the root (0 = away from the nose, up = positive) and its change
    along the hair; length [n] metres along the skin.
    """
    flat = Surface(skin.rest, skin.faces)
    index, weight = flat.under(start)
    near = np.linalg.norm(skin.rest[flat.triangles].mean(1)[:, None] - skin.rest[index[::12, 0]], axis=2).min(1) < 0.025
    surface = Nearest(skin.rest, flat.triangles[near])
    out: list[tuple[np.ndarray, ...]] = []
    for k in range(BROW_POINTS):
        spot = np.einsum("nj,njc->nc", weight, skin.rest[index])
        normal = np.einsum("nj,njc->nc", weight, flat.normals[index])
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        out.append((spot, normal, index, weight))
        turn = lean + bend * (k + 0.5) / (BROW_POINTS - 1)
        heading = np.stack([np.cos(turn), np.sin(turn), 0 * turn], 1)
        heading -= (heading * normal).sum(1, keepdims=True) * normal
        heading /= np.linalg.norm(heading, axis=1, keepdims=True)
        triangle, weight, _ = surface.nearest(spot + (length / (BROW_POINTS - 1))[:, None] * heading)
        index = surface.triangles[triangle]
    stacked = [np.stack([station[j] for station in out], 1) for j in range(4)]
    return stacked[0], stacked[1], stacked[2], stacked[3]


def mirrored_piece(piece: Piece, name: str) -> Piece:
    """The same piece on the other side, with left and right shapes exchanged."""
    flip = np.array([-1.0, 1.0, 1.0])
    quad = piece.faces[:, 3:] >= 0
    faces = np.where(quad, piece.faces[:, ::-1], piece.faces[:, [2, 1, 0, 3]])
    twin = Piece(name, piece.rest * flip, faces, piece.material, piece.albedo, piece.uv, faces)
    twin.shapes = {other_name(key): value * flip for key, value in piece.shapes.items()}
    twin.identity = {key: value * flip for key, value in piece.identity.items()}
    return twin


def other_name(name: str) -> str:
    """The name of a shape's twin on the other side; the name itself if it has none."""
    for a, b in (("Left", "Right"), ("Right", "Left"), ("_L", "_R"), ("_R", "_L")):
        if name.endswith(a):
            return name[: -len(a)] + b
    return name
