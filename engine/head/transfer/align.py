"""Picked points, and the similarity that brings one head's marks onto another's."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from engine.core.anatomy import Head
from engine.core.errors import BadFile, BadInput
from engine.core.files import read_json

LEAST = 6  # marks that fix position, turn and size with some to spare against a slip of the hand
DOUBT = 0.09  # radians
# Marks that mean the same spot on everyone; iBUG's jaw line and brows are where each annotator sees them.
SHARED68 = tuple(range(27, 68))


@dataclass(frozen=True)
class Similarity:
    """x -> scale * turn @ x + shift."""

    scale: float
    turn: np.ndarray
    shift: np.ndarray

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Points [..., 3] carried over."""
        return self.scale * points @ self.turn.T + self.shift

    def offsets(self, offsets: np.ndarray) -> np.ndarray:
        """Offsets [..., 3] carried over (no shift)."""
        return self.scale * offsets @ self.turn.T


def fit_similarity(source: np.ndarray, target: np.ndarray) -> Similarity:
    """Least-squares similarity of target [n, 3] ~ source [n, 3]: Umeyama (1991), equations 40-43. Raises BadInput if
    the points lie on a line."""
    cs, ct = source.mean(0), target.mean(0)
    a, b = source - cs, target - ct
    u, d, vt = np.linalg.svd(b.T @ a)
    if d[1] < 1e-6 * max(d[0], 1e-30):
        raise BadInput("the picked points lie on one line; pick points on both sides of the face")
    sign = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt)) or 1.0])
    turn = u @ sign @ vt
    scale = float(np.trace(np.diag(d) @ sign) / (a**2).sum())
    return Similarity(scale, turn, ct - scale * turn @ cs)


def read_picks(path: str | os.PathLike[str]) -> dict[str, object]:
    """Picked points of a file: {"points": {name: vertex number or [x, y, z] in metres}}. Raises BadFile."""
    value = read_json(path)
    points = value.get("points", value) if isinstance(value, dict) else None
    if not isinstance(points, dict) or not points:
        raise BadFile(path, 'holds no picked points; write {"points": {"nose_tip": 123, "mouth_left": [x, y, z], …}}')
    return points


def place_of(head: Head, name: str) -> np.ndarray | None:
    """[3] metres of a named mark of a head (its first vertex), or None."""
    rows = head.landmarks.get(name)
    if rows is None or name == "face68":
        return None
    return head.template[int(np.atleast_1d(rows)[0])].astype(np.float64)


def pairs(source: Head, target: Head, picks: Mapping[str, object] | None) -> tuple[np.ndarray, np.ndarray]:
    """(vertex numbers on the source [n], places on the target [n, 3] metres) of the marks that both have.

    picks: name -> vertex number or [x, y, z]; without any, the target's own landmarks. Raises BadInput for unknown
    names, places that are no place, fewer than LEAST marks or a wrongly named side.
    """
    rows, places = [], []
    if picks:
        for name, value in picks.items():
            found = source.landmarks.get(name)
            if found is None or name == "face68":
                known = ", ".join(sorted(n for n in source.landmarks if n != "face68"))
                raise BadInput(f"'{name}' is no mark of the face; there are: {known}")
            rows.append(int(np.atleast_1d(found)[0]))
            places.append(_place(target, name, value))
    else:
        names = [n for n in source.landmarks if n != "face68" and n in target.landmarks]
        rows = [int(np.atleast_1d(source.landmarks[n])[0]) for n in names]
        places = [target.template[int(np.atleast_1d(target.landmarks[n])[0])].astype(np.float64) for n in names]
        if "face68" in source.landmarks and "face68" in target.landmarks:
            rows += source.landmarks["face68"][list(SHARED68)].tolist()
            places += list(target.template[target.landmarks["face68"][list(SHARED68)]].astype(np.float64))
    unique = dict(zip(rows, places, strict=True))
    if len(unique) < LEAST:
        wanted = "outer_eye_right, outer_eye_left, nose_tip, mouth_right, mouth_left, menton"
        raise BadInput(f"{len(unique)} points are too few: pick at least {LEAST}, such as {wanted}")
    if picks:
        _check_sides(picks, dict(zip(picks, places, strict=True)))
    return np.array(list(unique)), np.array(list(unique.values()))


def _place(target: Head, name: str, value: object) -> np.ndarray:
    count = len(target.template)
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        if not 0 <= value < count:
            raise BadInput(f"the point '{name}' is vertex {value}, but the mesh has {count}")
        return target.template[int(value)].astype(np.float64)
    if isinstance(value, list | tuple | np.ndarray) and len(value) == 3:
        try:
            place = [float(x) for x in value]
        except (TypeError, ValueError):
            place = [math.nan]
        if all(math.isfinite(x) for x in place):
            return np.array(place)
    raise BadInput(f"the point '{name}' must be a vertex number or three finite coordinates in metres")


def _check_sides(picks: Mapping[str, object], places: Mapping[str, np.ndarray]) -> None:
    """The subject's left has the larger x: a swap of the two is the usual slip, and would turn the face inside out."""
    for name in picks:
        other = name.replace("_left", "_right")
        if name.endswith("_left") and other in places and places[name][0] <= places[other][0]:
            raise BadInput(f"'{name}' and '{other}' look swapped: left is the subject's left, not the viewer's")


def believed(turn: np.ndarray) -> np.ndarray:
    """A rotation without its first DOUBT radians: the marks of two people who both look straight ahead are turned
    against each other by that much, because one has the longer nose or the higher brow."""
    from scipy.spatial.transform import Rotation

    vector = Rotation.from_matrix(turn).as_rotvec()
    angle = float(np.linalg.norm(vector))
    return Rotation.from_rotvec(vector * max(0.0, 1 - DOUBT / max(angle, 1e-9))).as_matrix()


def align(source: Head, rows: np.ndarray, places: np.ndarray) -> Similarity:
    """The similarity of the marks. Raises BadInput where it would turn the face by more than 60 degrees."""
    found = fit_similarity(source.template[rows].astype(np.float64), places)
    if np.trace(found.turn) < 2.0:  # 1 + 2 cos(60 degrees)
        raise BadInput(
            "the picked points say that the face is turned away; set the up axis, or check the points' names"
        )
    return found
