"""Landmarks, masks and parts of the default head. Vertex numbers are hm08's (the mesh is pinned by its digest)."""

from __future__ import annotations

import numpy as np

from engine.head.lids import FACING
from engine.head.mouth import CORNER, SIZE, Mouth

# Rings of 28 vertices round the left eye: the lid's front edge and the wet edge behind it.
LID_FRONT, LID_WET = (6784, 6790), (13353, 13358)
# Where on those rings: middle of the upper lid is 0, then outwards.
OUTER_CORNER, INNER_CORNER = 7, 20
UPPER_OUTER, UPPER_INNER, LOWER_INNER, LOWER_OUTER = 1, 26, 15, 12
NOSE_TIP, SUBNASALE, CHIN, MENTON = 5054, 343, 5162, 5296


def _nearest(rest: np.ndarray, allowed: np.ndarray, point: np.ndarray) -> int:
    return int(allowed[np.argmin(((rest[allowed] - point) ** 2).sum(1))])


def _jaw_line(rest: np.ndarray, skin: np.ndarray, eye_y: float, menton: np.ndarray) -> list[int]:
    """17 vertices from the right ear along the jaw to the left ear: the silhouette seen from the front."""
    face = skin[(rest[skin, 2] > menton[2] - 0.075) & (rest[skin, 1] > menton[1] - 0.001)]
    centre = np.array([0.0, menton[1] + 0.55 * (eye_y - menton[1])])
    out = []
    for turn in np.linspace(-0.5 * np.pi - 0.05, 0.5 * np.pi + 0.05, 17):
        direction = np.array([np.sin(turn), -np.cos(turn)])
        rel = rest[face][:, :2] - centre
        along = rel @ direction
        across = np.abs(rel @ np.array([direction[1], -direction[0]]))
        out.append(int(face[np.argmax(np.where((along > 0), along - 3 * across, -1))]))
    return out


def landmarks(
    rest: np.ndarray, skin: np.ndarray, mirror: np.ndarray, mouth: Mouth, lid: list[int], brow: np.ndarray
) -> dict[str, np.ndarray]:
    """name -> hm08 vertex numbers. "face68" [68] in the order of the iBUG 300-W marks (from the subject's right);
    "lid_upper_left" and so on [13]: facing places of the lids' front edges, from the inner to the outer corner.

    rest [m, 3] neutral base vertices; skin: numbers that may be used; lid: the left LID_FRONT ring; brow [n, 3]: points
    along the left brow from its inner end.
    """
    lips = mouth.loops[0]
    inner = mouth.contact
    eye_y = rest[lid, 1].mean()
    front = skin[rest[skin, 2] > rest[SUBNASALE, 2] - 0.06]
    bridge_y = np.linspace(eye_y + 0.002, rest[NOSE_TIP, 1] + 0.008, 3)
    midline = front[np.abs(rest[front, 0]) < 1e-4]
    outside = midline[rest[midline, 2] > rest[SUBNASALE, 2] - 0.03]
    bridge = [int(outside[np.argmin(np.abs(rest[outside, 1] - y) - 0.2 * rest[outside, 2])]) for y in bridge_y]
    left_brow = [_nearest(rest, front, p) for p in brow[np.linspace(0, len(brow) - 1, 5).round().astype(int)]]
    wing, side = (
        _nearest(rest, front, rest[SUBNASALE] + np.array(d)) for d in ((0.0145, 0.003, -0.006), (0.007, 0.001, 0.0))
    )
    left_eye = [lid[k] for k in (INNER_CORNER, UPPER_INNER, UPPER_OUTER, OUTER_CORNER, LOWER_OUTER, LOWER_INNER)]
    right_eye = [int(mirror[left_eye[k]]) for k in (3, 2, 1, 0, 5, 4)]
    up = [SIZE - CORNER, SIZE - 7, SIZE - 3, 0, 3, 7, CORNER]  # right corner over the top to the left corner
    down = [15, 17, 19, SIZE - 17, SIZE - 15]  # and back below, from the left
    jaw = _jaw_line(rest, skin, eye_y, rest[MENTON])
    jaw[8] = MENTON
    face68 = [
        *jaw,
        *[int(mirror[v]) for v in left_brow[::-1]], *left_brow,
        *bridge, NOSE_TIP, int(mirror[wing]), int(mirror[side]), SUBNASALE, side, wing,
        *right_eye, *left_eye,
        *lips[up], *lips[down],
        *inner[[SIZE - CORNER, SIZE - 5, 0, 5, CORNER]], *inner[[17, 19, SIZE - 17]],
    ]  # fmt: skip
    one = {
        "chin": CHIN, "menton": MENTON, "nose_tip": NOSE_TIP, "nose_bridge": bridge[0], "subnasale": SUBNASALE,
        "inner_eye_left": lid[INNER_CORNER], "outer_eye_left": lid[OUTER_CORNER],
        "upper_lid_left": lid[0], "lower_lid_left": lid[13],
        "mouth_left": lips[CORNER], "mouth_right": lips[SIZE - CORNER],
        "lip_upper_outer": lips[0], "lip_lower_outer": lips[19],
        "lip_upper_inner": inner[0], "lip_lower_inner": inner[19],
        "brow_inner_left": left_brow[0], "brow_outer_left": left_brow[4],
    }  # fmt: skip
    for name in [name for name in one if name.endswith("_left") and name != "mouth_left"]:
        one[name.replace("_left", "_right")] = int(mirror[one[name]])
    edges = {}
    for name, column in (("upper", 0), ("lower", 1)):
        edges[f"lid_{name}_left"] = np.array([lid[pair[column]] for pair in FACING])
        edges[f"lid_{name}_right"] = mirror[edges[f"lid_{name}_left"]]
    return {"face68": np.array(face68), **edges, **{name: np.array([v]) for name, v in one.items()}}


def upper_face_mask(rest: np.ndarray, eye_y: float, nose_y: float) -> np.ndarray:
    """[n] in [0, 1]: 1 from the lower lids up, fading to 0 at the height of the nose's tip."""
    t = np.clip((rest[:, 1] - nose_y) / (eye_y - 0.016 - nose_y), 0, 1)
    return t * t * (3 - 2 * t)
