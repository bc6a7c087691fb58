"""Two arches of separate teeth with gums, fitted to the place of hm08's tooth strips.

Crown sizes are textbook means (Wheeler's Dental Anatomy, tables of crown widths and heights), in millimetres, from
the central incisor to the second molar. The upper edge lies a little below the lip line, so that teeth show in a
smile and in an open vowel; hm08's own strips end above it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

from engine.head.mesh import Piece, grid_faces

UPPER_WIDTH = (8.6, 6.6, 7.6, 7.1, 6.8, 10.0, 9.0)
LOWER_WIDTH = (5.3, 5.7, 6.8, 7.0, 7.1, 10.8, 10.3)
UPPER_HEIGHT = (10.6, 9.8, 11.0, 10.0, 9.6, 9.0, 8.4)
LOWER_HEIGHT = (8.8, 9.2, 10.2, 8.6, 8.0, 7.5, 7.0)
DEPTH = (7.0, 6.2, 8.0, 9.0, 9.0, 10.5, 10.0)
EDGE_DEPTH = (1.6, 1.6, 2.6, 6.5, 7.0, 8.5, 8.0)  # thickness at the biting edge
# How far the edge stands back from the arch's common edge line: laterals are shorter, canines a little longer.
EDGE_RISE = (0.0, 0.7, -0.2, 0.5, 0.8, 1.2, 1.6)

COLUMNS = 10
_LEVELS = np.array([-0.25, 0.12, 0.45, 0.8, 0.97])  # along the crown, from under the gum to the edge
_SWELL = np.array([0.78, 0.90, 1.0, 0.99, 0.90])  # width there, relative to the crown's width

ENAMEL_RGB = np.array([0.78, 0.73, 0.62])
NECK_RGB = np.array([0.58, 0.46, 0.30])
GUM_RGB = np.array([0.46, 0.145, 0.13])


class Arch:
    """The labial curve of an arch seen from above: z = front - a x^2 - b x^4, walked by arc length from the middle."""

    def __init__(self, strip: np.ndarray, forward: float):
        """strip [n, 3]: hm08's tooth strip, metres; forward: metres to move the curve towards the lips."""
        outer = strip[strip[:, 1] > np.median(strip[:, 1]) - 1]
        x, z = np.abs(outer[:, 0]), outer[:, 2]
        bins = np.linspace(0, x.max(), 9)
        keep = [np.flatnonzero((x >= lo) & (x <= hi)) for lo, hi in itertools.pairwise(bins)]
        front = np.array([k[np.argmax(z[k])] for k in keep if len(k)])
        powers = np.stack([np.ones(len(front)), -(x[front] ** 2), -(x[front] ** 4)], 1)
        self.front, self.a, self.b = np.linalg.lstsq(powers, z[front], rcond=None)[0]
        self.front += forward
        xs = np.linspace(0, 1.1 * x.max(), 600)
        step = np.hypot(np.diff(xs), np.diff(self._z(xs)))
        self.x, self.s = xs, np.r_[0, np.cumsum(step)]

    def _z(self, x: np.ndarray) -> np.ndarray:
        return self.front - self.a * x**2 - self.b * x**4

    def at(self, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Signed arc lengths [n] -> points (x, z) [n, 2] and outward unit normals [n, 2]."""
        x = np.sign(s) * np.interp(np.abs(s), self.s, self.x)
        slope = -2 * self.a * x - 4 * self.b * x**3
        normal = np.stack([-slope, np.ones_like(x)], 1)
        return np.stack([x, self._z(x)], 1), normal / np.linalg.norm(normal, axis=1, keepdims=True)


def _tooth(
    arch: Arch, k: int, start: float, width: float, height: float, edge: float, up: float, side: float
) -> tuple[np.ndarray, np.ndarray]:
    """One tooth: (vertices [n, 3], colours [n, 3]). edge: height of the biting edge; up: +1 upper arch, -1 lower."""
    turn = np.arange(COLUMNS) * (2 * np.pi / COLUMNS)
    c, s = np.cos(turn), np.sin(turn)
    # A superellipse keeps the front flat and the corners round.
    ring = np.stack([np.sign(c) * np.abs(c) ** 0.55, np.sign(s) * np.abs(s) ** 0.62], 1)
    points, colours = [], []
    middle = start + width / 2
    for level, swell in zip(_LEVELS, _SWELL, strict=True):
        t = np.clip(level, 0, 1)
        depth = (DEPTH[k] * (1 - t**1.4) + EDGE_DEPTH[k] * t**1.4) * 1e-3
        along = side * (middle + 0.5 * width * 0.985 * swell * ring[:, 0])
        place, normal = arch.at(along)
        belly = 0.0005 * np.sin(np.pi * np.clip(level, 0, 1)) - 0.0006 * t**3
        inset = belly - 0.5 * depth + 0.5 * depth * ring[:, 1]
        flat = place + normal * inset[:, None]
        y = edge + up * height * (1 - level)
        points.append(np.stack([flat[:, 0], np.full(COLUMNS, y), flat[:, 1]], 1))
        colours.append(np.broadcast_to(NECK_RGB + (ENAMEL_RGB - NECK_RGB) * min(1, 0.35 + 1.1 * t), (COLUMNS, 3)))
    points.append(points[-1].mean(0, keepdims=True) - [[0, up * 0.03 * height, 0]])
    colours.append(0.92 * ENAMEL_RGB[None])
    return np.concatenate(points), np.concatenate(colours)


def _tooth_faces(flip: bool) -> np.ndarray:
    rows = len(_LEVELS)
    faces = grid_faces(rows, COLUMNS, closed=True)
    last, tip = (rows - 1) * COLUMNS, rows * COLUMNS
    fan = [[last + c, tip, last + (c + 1) % COLUMNS, -1] for c in range(COLUMNS)]
    faces = np.concatenate([faces, np.array(fan)])
    if flip:
        faces = np.where(faces[:, 3:] >= 0, faces[:, ::-1], faces[:, [2, 1, 0, 3]])
    return faces


def _gum(
    arch: Arch, starts: np.ndarray, heights: np.ndarray, edge_at: Callable[[np.ndarray], np.ndarray], up: float
) -> tuple[np.ndarray, np.ndarray]:
    """Gum vertices [rows * columns, 3] and faces: a band over the tooth necks with a scallop at each tooth."""
    s = np.linspace(-starts[-1], starts[-1], 14 * 4 + 1)
    place, normal = arch.at(s)
    k = np.clip(np.searchsorted(starts, np.abs(s), side="right") - 1, 0, 6)
    inside = (np.abs(s) - starts[k]) / (starts[k + 1] - starts[k])
    papilla = np.abs(2 * np.clip(inside, 0, 1) - 1) ** 2.2  # 1 between two teeth
    neck = edge_at(s) + up * heights[k] * (0.93 - 0.27 * papilla)
    depth = np.array(DEPTH)[k] * 1e-3
    profile = (  # (outwards from the labial line, towards the root from the neck), metres
        (0.0002, 0.008), (0.0014, 0.005), (0.0013, 0.0018), (0.0006, 0.0), (-0.0016, 0.0008),
        (None, 0.0008), (None, 0.0025), (None, 0.007),
    )  # fmt: skip
    rows = []
    for i, (out, root) in enumerate(profile):
        offset = np.full(len(s), out) if out is not None else -depth * (0.75, 1.05, 1.15)[i - 5]
        flat = place + normal * offset[:, None]
        rows.append(np.stack([flat[:, 0], neck + up * root, flat[:, 1]], 1))
    faces = grid_faces(len(rows), len(s))
    return np.concatenate(rows), faces if up > 0 else faces[:, ::-1].copy()


def labial_curves(upper_strip: np.ndarray) -> tuple[Arch, Arch]:
    """The fronts of the upper and the lower row in the neutral face: the lower arch stands 3 mm (overjet) behind."""
    return Arch(upper_strip, 0.0022), Arch(upper_strip, 0.0022 - 0.0030)


def arches(upper_strip: np.ndarray, lower_strip: np.ndarray, lip_y: float) -> dict[str, Piece]:
    """Pieces "teeth_upper", "gums_upper", "teeth_lower", "gums_lower" in the neutral face.

    upper_strip, lower_strip [n, 3]: hm08's tooth strips; lip_y: height where the closed lips meet; metres.
    """
    upper, lower = labial_curves(upper_strip)
    out: dict[str, Piece] = {}
    for name, arch, widths, heights, edge, up in (
        ("upper", upper, UPPER_WIDTH, UPPER_HEIGHT, lip_y - 0.0028, 1.0),
        ("lower", lower, LOWER_WIDTH, LOWER_HEIGHT, lip_y - 0.0012, -1.0),
    ):
        width, height = np.array(widths) * 1e-3, np.array(heights) * 1e-3
        starts = np.r_[0, np.cumsum(width)]

        def edge_at(s: np.ndarray, edge: float = edge, up: float = up) -> np.ndarray:
            # The occlusal plane rises towards the back; both arches share it, so molars meet.
            return edge + 1.4 * np.square(s) * (1.0 if up > 0 else 0.75)

        points: list[np.ndarray] = []
        colours, faces = [], []
        for side in (1.0, -1.0):
            for k in range(7):
                line = float(edge_at(np.array(starts[k] + width[k] / 2))) + up * EDGE_RISE[k] * 1e-3
                v, c = _tooth(arch, k, starts[k], width[k], height[k], line, up, side)
                faces.append(np.where((f := _tooth_faces(up * side > 0)) >= 0, f + sum(len(p) for p in points), -1))
                points.append(v)
                colours.append(c)
        out[f"teeth_{name}"] = Piece.plain(
            f"teeth_{name}", np.concatenate(points), np.concatenate(faces), "teeth", np.concatenate(colours)
        )
        v, f = _gum(arch, starts, height, edge_at, up)
        out[f"gums_{name}"] = Piece.plain(f"gums_{name}", v, f, "gums", GUM_RGB)
    return out
