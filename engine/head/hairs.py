"""Brows and lashes as small tapered blades of geometry that move with the skin below them."""

from __future__ import annotations

import numpy as np

from engine.head.mesh import Follow, Piece, vertex_normals

BROW_HAIRS = 230  # per side
BROW_RGB = np.array([0.030, 0.018, 0.011])
LASH_RGB = np.array([0.012, 0.008, 0.006])
# Left brow as seen from the front: offsets from the eye's centre in millimetres, from the nose outwards, and the
# half height of the brow there.
BROW_LINE = np.array([(-15.0, 16.4), (-7.5, 18.2), (2.0, 20.0), (10.5, 20.4), (17.0, 18.6), (22.8, 15.0)]) * 1e-3
BROW_HALF = np.array([3.0, 3.5, 3.2, 2.7, 1.8, 0.7]) * 1e-3
# Direction in which hairs grow there: up at the nose, along the brow in the middle, down at the tail.
BROW_LEAN = np.radians([66.0, 38.0, 16.0, -2.0, -24.0, -40.0])


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


def _blades(
    root: np.ndarray, middle: np.ndarray, tip: np.ndarray, out: np.ndarray, width: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Blades [5 n] vertices (root pair, middle pair, tip) and faces: one quad and one triangle each.

    root, middle, tip [n, 3]; out [n, 3]: which way the blade's flat side looks; width [n] at the root, metres.
    """
    side = np.cross(middle - root, out)
    side /= np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-12)
    half = 0.5 * width[:, None] * side
    points = np.stack([root - half, root + half, middle + 0.8 * half, middle - 0.8 * half, tip], 1)
    first = 5 * np.arange(len(root))[:, None]
    quad = first + np.array([[0, 1, 2, 3]])
    triangle = np.concatenate([first + np.array([[3, 2, 4]]), np.full((len(root), 1), -1)], 1)
    return points.reshape(-1, 3), np.concatenate([quad, triangle])


def brow(skin: Piece, eye: np.ndarray, seed: int = 3) -> tuple[Piece, Follow]:
    """The left brow as a piece that follows the skin piece."""
    rng = np.random.default_rng(seed)
    u = (np.arange(BROW_HAIRS) + rng.uniform(0, 1, BROW_HAIRS)) / BROW_HAIRS
    across = rng.permutation(np.linspace(-1, 1, BROW_HAIRS)) * rng.uniform(0.8, 1, BROW_HAIRS) - 0.25
    knots = np.linspace(0, 1, len(BROW_LEAN))
    lean = np.interp(u, knots, BROW_LEAN) - 0.42 * across + rng.normal(0, 0.16, BROW_HAIRS)
    length = (0.0058 - 0.0020 * np.abs(u - 0.45)) * rng.uniform(0.8, 1.15, BROW_HAIRS)
    length *= np.clip(np.minimum(u / 0.06, (1 - u) / 0.10), 0.55, 1)
    start = brow_points(eye, u, across)
    heading = np.stack([np.cos(lean), np.sin(lean)], 1)
    surface = Surface(skin.rest, skin.faces)
    places = [surface.under(start + part * length[:, None] * heading) for part in (0.0, 0.5, 1.0)]
    spots = [np.einsum("nj,njc->nc", w, skin.rest[i]) for i, w in places]
    normal = np.einsum("nj,njc->nc", places[1][1], surface.normals[places[1][0]])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    lifted = [spot + lift * normal for spot, lift in zip(spots, (-0.0002, 0.0006, 0.0007), strict=True)]
    points, faces = _blades(lifted[0], lifted[1], lifted[2], normal, rng.uniform(0.00034, 0.00052, BROW_HAIRS))
    order = (0, 0, 1, 1, 2)
    index = np.stack([places[k][0] for k in order], 1).reshape(-1, 3)
    weight = np.stack([places[k][1] for k in order], 1).reshape(-1, 3)
    colour = BROW_RGB * np.repeat(np.exp(rng.normal(0, 0.25, BROW_HAIRS)), 5)[:, None]
    return Piece.plain("brow_left", points, faces, "brow", colour), Follow(index, weight)


def lashes(skin: Piece, ring: np.ndarray, eye: np.ndarray, seed: int = 5) -> Piece:
    """The left eye's lashes, shapes included: each lash is carried by the lid's edge and turns with it about the eye.

    ring [28]: skin vertices of the lid's front edge, from the middle of the upper lid outwards round the eye.
    """
    rng = np.random.default_rng(seed)
    upper = np.r_[21:28, 0:8]  # inner corner over the top to the outer corner
    lower = np.r_[8:19]
    base, follow_i, follow_w, vectors, widths = [], [], [], [], []
    for chain, count, long, is_upper in ((upper, 52, 0.0070, True), (lower, 24, 0.0026, False)):
        s = np.sort((np.arange(count) + rng.uniform(0.2, 0.8, count)) / count) * (len(chain) - 1.001)
        i = s.astype(int)
        t = s - i
        a, b = ring[chain[i]], ring[chain[i + 1]]
        root = (1 - t)[:, None] * skin.rest[a] + t[:, None] * skin.rest[b]
        part = s / len(chain) if is_upper else 1 - s / len(chain)  # 0 at the inner corner
        outward = root - eye
        outward /= np.linalg.norm(outward, axis=1, keepdims=True)
        aim = outward * 0.9 + np.stack([0.55 * (part - 0.35), np.full(count, 0.10 if is_upper else -0.45), 0 * part], 1)
        aim /= np.linalg.norm(aim, axis=1, keepdims=True)
        size = long * (0.5 + 0.7 * np.sin(np.pi * np.clip(0.06 + 0.82 * part, 0, 1))) * rng.uniform(0.8, 1.1, count)
        aim = aim * size[:, None]
        curl = np.array([0, 0.30 if is_upper else -0.15, 0]) * size[:, None]
        base.append(root)
        vectors.append(np.stack([0 * aim, 0.55 * aim - 0.10 * curl, aim + curl], 1))
        follow_i.append(np.stack([a, b], 1))
        follow_w.append(np.stack([1 - t, t], 1))
        widths.append(np.full(count, 0.00034 if is_upper else 0.00020))
    root, vector = np.concatenate(base), np.concatenate(vectors)
    start, middle, tip = (root + vector[:, k] for k in range(3))
    points, faces = _blades(start, middle, tip, root - eye, np.concatenate(widths))
    piece = Piece.plain("lashes_left", points, faces, "lash", LASH_RGB)
    follow = Follow(np.concatenate(follow_i), np.concatenate(follow_w))
    spoke = points.reshape(-1, 5, 3) - root[:, None]
    for name, offsets in skin.shapes.items():
        piece.shapes[name] = _carried(root, follow(offsets), spoke, eye)
    for name, offsets in skin.identity.items():
        piece.identity[name] = np.repeat(follow(offsets), 5, axis=0)
    return piece


def _carried(root: np.ndarray, shift: np.ndarray, spoke: np.ndarray, eye: np.ndarray) -> np.ndarray:
    """Offsets [5 n, 3] of lashes whose roots [n, 3] move by `shift`: moved along and pitched by the roots' own turn."""
    before, after = root - eye, root + shift - eye
    pitch = np.arctan2(after[:, 1], after[:, 2]) - np.arctan2(before[:, 1], before[:, 2])
    c, s = np.cos(pitch)[:, None], np.sin(pitch)[:, None]
    y, z = spoke[..., 1], spoke[..., 2]
    turned = np.stack([spoke[..., 0], c * y + s * z, c * z - s * y], -1)
    return (shift[:, None] + turned - spoke).reshape(-1, 3)


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
