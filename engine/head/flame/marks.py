"""Where a face is on a mesh of unknown numbering: eyes, lids, nose, chin and the lips' seam, by geometry alone.

The same rules read our own head and any FLAME template, so equal names mean equal places. They use what every
FLAME-layout head has: joints, eyeballs, and a jaw weight that is high on the lower lip and low on the upper one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SECTORS = 16  # marks on each eye's lid margin
SEAM_MARKS = 9  # marks on each lip along the seam
_JUMP = 0.3  # of the jaw's weight, from lip to lip; on skin it changes by less along an edge


@dataclass(frozen=True)
class Face:
    """Skin of a face: points [n, 3] metres, triangles [m, 3], jaw [n] (weight of the jaw joint), eyes [2, 3] centres
    (left, right) and radius of the eyeballs in metres."""

    points: np.ndarray
    triangles: np.ndarray
    jaw: np.ndarray
    eyes: np.ndarray
    radius: float

    @property
    def span(self) -> float:
        """Distance between the eyes' centres, metres: the unit of every proportion here."""
        return float(np.linalg.norm(self.eyes[0] - self.eyes[1]))

    @property
    def lower(self) -> np.ndarray:
        """[n] bool: belongs to the lower lip's side."""
        return self.jaw > 0.5 * self.jaw.max()


def face_marks(face: Face) -> dict[str, int]:
    """name -> row of face.points. Names that a mesh does not show are left out; "nose", "lip_upper_4" and
    "lip_lower_4" (the middle of the seam) are always there. ValueError if the face has no mouth below its eyes."""
    out = _seam(face)
    middle = face.points[[out[f"lip_upper_{SEAM_MARKS // 2}"], out[f"lip_lower_{SEAM_MARKS // 2}"]]].mean(0)
    out.update(_profile(face, middle))
    for side, eye in zip(("left", "right"), face.eyes, strict=True):
        out.update(_lids(face, eye, side))
    return out


def boundary_loops(triangles: np.ndarray) -> list[np.ndarray]:
    """Closed loops of edges that only one triangle has, as rows in order, longest first."""
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    known = set(map(tuple, edges.tolist()))
    follow = {a: b for a, b in edges.tolist() if (b, a) not in known}
    loops = []
    while follow:
        start, at = next(iter(follow.items()))
        loop = [start]
        del follow[start]
        while at != start and at in follow:
            loop.append(at)
            at = follow.pop(at)
        loops.append(np.array(loop))
    return sorted(loops, key=len, reverse=True)


def _lids(face: Face, eye: np.ndarray, side: str) -> dict[str, int]:
    """The lid margin: in each direction from the eye's axis, the skin in front that comes nearest to it."""
    rel = face.points - eye
    outwards = rel[:, 0] * (1.0 if side == "left" else -1.0)
    radial = np.hypot(rel[:, 0], rel[:, 1])
    near = (np.linalg.norm(rel, axis=1) < 1.7 * face.radius) & (rel[:, 2] > 0.1 * face.radius)
    angle = np.arctan2(rel[:, 1], outwards)
    out = {}
    for k in range(SECTORS):
        centre = -np.pi + (k + 0.5) * 2 * np.pi / SECTORS
        off = np.abs((angle - centre + np.pi) % (2 * np.pi) - np.pi)
        rows = np.flatnonzero(near & (off < 1.2 * np.pi / SECTORS))
        if len(rows):
            out[f"lid_{side}_{k}"] = int(rows[np.argmin(radial[rows] * (1 + off[rows]))])
    return out


def _profile(face: Face, mouth: np.ndarray) -> dict[str, int]:
    """Tip of the nose and most forward point of the chin."""
    x, y, z = face.points.T
    eye_y, span = face.eyes[:, 1].mean(), face.span
    midline = np.abs(x - face.eyes[:, 0].mean()) < 0.12 * span
    out = {}
    nose = np.flatnonzero(midline & (y > mouth[1] + 0.2 * span) & (y < eye_y))
    if not len(nose):
        raise ValueError("no nose between the eyes and the mouth")
    out["nose"] = int(nose[np.argmax(z[nose])])
    chin = np.flatnonzero(midline & (y < mouth[1] - 0.3 * span) & (y > mouth[1] - 0.75 * span))
    if len(chin):
        out["chin"] = int(chin[np.argmax(z[chin])])
    return out


def _seam(face: Face) -> dict[str, int]:
    """Both lips' contact along the mouth: SEAM_MARKS places from the right corner to the left one.

    At each place the upper lip's mark is its lowest vertex and the lower lip's its highest one.
    """
    x, y, z = face.points.T
    centre, eye_y, span = face.eyes[:, 0].mean(), face.eyes[:, 1].mean(), face.span
    zone = (np.abs(x - centre) < 0.75 * span) & (y < eye_y - 0.5 * span) & (y > eye_y - 2.0 * span)
    zone &= z > face.eyes[:, 2].mean() - 0.3 * span
    middle = np.flatnonzero(zone & (np.abs(x - centre) < 0.08 * span))
    low = face.lower
    upper, lower = middle[~low[middle]], middle[low[middle]]
    if not len(upper) or not len(lower):
        raise ValueError("no lips: the jaw joint moves nothing below the eyes")
    place = 0.5 * (y[upper].min() + y[lower].max())
    corners = _corners(face, zone, place)
    out = {}
    for k in range(SEAM_MARKS):
        at = corners[0] + (corners[1] - corners[0]) * k / (SEAM_MARKS - 1)
        off = np.abs(x - at[0])
        near = zone & (np.abs(y - at[1]) < 0.22 * span) & (off < 0.07 * span)
        up, down = np.flatnonzero(near & ~low), np.flatnonzero(near & low)
        if len(up) and len(down):
            out[f"lip_upper_{k}"] = int(up[np.argmin(y[up] + 0.7 * off[up])])
            out[f"lip_lower_{k}"] = int(down[np.argmax(y[down] - 0.7 * off[down])])
    if f"lip_upper_{SEAM_MARKS // 2}" not in out:
        raise ValueError("no lips: nothing lies on both sides of the mouth")
    return out


def _corners(face: Face, zone: np.ndarray, seam_y: float) -> np.ndarray:
    """Corners of the mouth [2, 3], right then left: ends of the mouth's own border.

    Without a border, the innermost place where skin joins the upper lip's side to the lower one's; and where a membrane
    does so all along the mouth, the outermost place where the jaw's weight jumps from one lip to the other.
    """
    low = face.lower
    for loop in boundary_loops(face.triangles):
        if zone[loop].all() and low[loop].any() and not low[loop].all():
            ends = loop[[np.argmin(face.points[loop, 0]), np.argmax(face.points[loop, 0])]]
            return face.points[ends]
    edges = np.unique(np.sort(face.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), 1), axis=0)
    edges = edges[(low[edges[:, 0]] != low[edges[:, 1]]) & zone[edges].all(1)]
    middle = face.points[edges].mean(1)
    near = np.abs(middle[:, 1] - seam_y) < 0.35 * face.span
    centre, out = face.eyes[:, 0].mean(), []
    shut = bool((near & (np.abs(middle[:, 0] - centre) < 0.1 * face.span)).any())
    if shut:
        near &= np.abs(face.jaw[edges[:, 0]] - face.jaw[edges[:, 1]]) > _JUMP * face.jaw.max()
        near &= np.abs(middle[:, 0] - centre) < 0.6 * face.span
    middle = middle[near]
    for sign in (-1.0, 1.0):
        side = middle[sign * (middle[:, 0] - centre) > 0.15 * face.span]
        if not len(side):
            raise ValueError("no corners of the mouth")
        apart = np.abs(side[:, 0] - centre)
        out.append(side[apart.argmax() if shut else apart.argmin()])
    return np.array(out)
