"""Per-vertex zones of a face for surface shaders: where skin is oily, wet or lip, and where and how it folds.

A fold is a pair of columns: `<name>` in [0, 1], how strongly the skin there takes part, soft at the ends, and
`<name>_u`, a coordinate across the fold that is a whole number on each crease. A shader cuts the creases with
(1 - |sin(pi u)|)^n, so they are as sharp as the picture allows however coarse the mesh is. Which muscle deepens which
fold is Ekman and Friesen's description (FACS, 1978); the shader weighs the columns by shape-key values.

Everything is placed by landmarks, masks and parts, so it serves any `Head` that carries them (an imported FLAME model
too) and no vertex numbers are in here. Lengths are for a face with 60 mm between the eyes and scale with it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from engine.core.anatomy import Head
from engine.head.paint import scalp

EYE_LEFT, EYE_RIGHT = 3, 4  # rows of the joint regressor
_NEEDED = (
    "face68", "inner_eye_left", "outer_eye_left", "nose_tip", "nose_bridge", "subnasale", "mouth_left", "chin",
)  # fmt: skip
LIP_REACH_M = 0.008  # the signed distance to the lips' border ends here
# name -> what it says; the order is the order of the columns.
NAMES = (
    "lip_m",  # signed distance to the vermilion border, metres, positive on the lips
    "oily",  # forehead, nose and chin shine more than cheeks
    "wet",  # the lids' inner edge, where the tear film stands
    "deep",  # 0 at the lips, 1 far back in the mouth
    "scalp",  # where cropped hair is painted
    "root",  # on the teeth: 0 at the edge, 1 at the gum
    "forehead_inner", "forehead_outer", "forehead_u",  # frontalis: AU01 and AU02
    "glabella", "glabella_u",  # corrugator: AU04
    "crow", "crow_u",  # orbicularis oculi, outer part: AU06, with AU12
    "under_eye", "under_eye_u",  # orbicularis oculi, below: AU06, AU07
    "nasolabial", "nasolabial_u",  # AU12, AU09, AU10
    "nose", "nose_u",  # levator labii alaeque nasi and procerus: AU09
    "chin",  # mentalis: AU17 (dimples, so no direction)
    "eye_x", "eye_y", "eye_z",  # on the eyeballs: place from the eye's centre in radii, z along the axis of sight
)  # fmt: skip

Array = np.ndarray


def step(low: float, high: float, x: Array) -> Array:
    """Smooth step (3 t^2 - 2 t^3) from 0 at `low` to 1 at `high`; falls if high < low."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def bump(low: float, rise: float, fall: float, high: float, x: Array) -> Array:
    """0 outside low..high, 1 between rise and fall, smooth between."""
    return step(low, rise, x) * step(high, fall, x)


class _Face:
    """The skin with x folded to one side, and the landmarks as points; lengths in millimetres of a standard face."""

    def __init__(self, head: Head):
        self.head = head
        joints = head.joint_regressor.astype(np.float64) @ head.template
        self.unit = float(np.linalg.norm(joints[EYE_LEFT] - joints[EYE_RIGHT])) / 60.0
        self.joints = joints / self.unit
        self.points = head.template / self.unit
        self.x, self.y, self.z = np.abs(self.points[:, 0]), self.points[:, 1], self.points[:, 2]
        self.mark = {
            name: self.points[int(rows[0])] for name, rows in head.landmarks.items() if name != "face68" and len(rows)
        }
        self.line68 = self.points[head.landmarks["face68"]]
        self.eye = self.joints[EYE_LEFT]
        skin = head.masks.get("skin", np.ones(len(head.template)))
        self.skin = np.asarray(skin, np.float64) * (self.z > self.eye[2] - 75)


def zones(head: Head) -> dict[str, Array]:
    """Column name (see NAMES) -> [v] float32. Empty for a head without the landmarks that place them."""
    if any(name not in head.landmarks or not len(head.landmarks[name]) for name in _NEEDED):
        return {}
    if len(head.landmarks["face68"]) != 68:
        return {}
    face = _Face(head)
    found: dict[str, Array] = {"lip_m": lip_distance(head), **_surface(head, face)}
    for fold in (_forehead, _glabella, _crow, _under_eye, _nasolabial, _nose):
        found.update(fold(face))
    x, y, z = face.x, face.y, face.z
    chin = face.mark["chin"]
    found["chin"] = np.exp(-0.5 * ((x / 11) ** 4 + ((y - chin[1] - 2.5) / 8) ** 4)) * (z > chin[2] - 25)
    found.update(_eyes(head))
    for name in found:
        if not name.endswith(("_u", "_x", "_y", "_z", "_m")) and name not in ("wet", "deep", "root"):
            found[name] = np.clip(found[name], 0, 1) * face.skin
    return {name: found[name].astype(np.float32) for name in NAMES}


def as_columns(columns: Mapping[str, Array]) -> Array:
    """[v, z] float32 in the order of NAMES."""
    return np.stack([columns[name] for name in NAMES], 1).astype(np.float32)


def _surface(head: Head, face: _Face) -> dict[str, Array]:
    """Oil, wetness and depth."""
    x, y, z, eye = face.x, face.y, face.z, face.eye
    nose, chin, bridge = face.mark["nose_tip"], face.mark["chin"], face.mark["nose_bridge"]
    oily = 0.8 * step(34, 12, x) * bump(eye[1] + 16, eye[1] + 26, eye[1] + 46, eye[1] + 62, y)
    oily += bump(nose[1] - 12, nose[1] - 6, bridge[1], bridge[1] + 14, y) * step(16, 7, x) * (z > eye[2])
    oily += 0.7 * np.exp(-0.5 * ((x / 10) ** 2 + ((y - chin[1]) / 8) ** 2)) * (z > chin[2] - 20)
    wet = np.zeros(len(x))
    for joint, part in ((EYE_LEFT, "eye_left"), (EYE_RIGHT, "eye_right")):
        rows = head.parts.get(part, np.zeros(0, int))
        if len(rows):
            centre = face.joints[joint]
            radius = np.median(np.linalg.norm(face.points[rows] - centre, axis=1))
            away = np.linalg.norm(face.points - centre, axis=1) - radius
            wet = np.maximum(wet, step(1.5, 0.5, away) * (z > centre[2]))
    wet *= head.masks.get("skin", np.ones(len(x)))
    lips = face.line68[60:68].mean(0)
    return {
        "oily": oily, "wet": wet, "deep": step(lips[2] - 9, lips[2] - 50, z),
        "scalp": scalp(face.points * 1e-3, eye * 1e-3), "root": _roots(head, face),
    }  # fmt: skip


def _roots(head: Head, face: _Face) -> Array:
    """0 at the edges of the teeth's crowns, 1 at the gums, which lie 9 mm away."""
    out = np.zeros(len(face.y))
    for part, sign in (("teeth_upper", 1.0), ("teeth_lower", -1.0)):
        rows = head.parts.get(part, np.zeros(0, int))
        if len(rows):
            up = sign * face.y[rows]
            out[rows] = np.clip((up - up.min()) / 9.0, 0, 1)
    return out


def lip_distance(head: Head) -> Array:
    """[v] metres to the border of the "lips" mask, positive on the lips, within +-LIP_REACH_M.

    The border is taken where the mask crosses one half along the mesh's edges.
    """
    from scipy.spatial import cKDTree

    out = np.full(len(head.template), -LIP_REACH_M)
    mask = head.masks.get("lips")
    if mask is None:
        return out
    outer = head.masks.get("skin", np.ones(len(mask))) > 0.5
    edges = np.concatenate([head.triangles[:, [0, 1]], head.triangles[:, [1, 2]], head.triangles[:, [2, 0]]])
    edges = edges[outer[edges].all(1)]
    a, b = mask[edges[:, 0]].astype(np.float64) - 0.5, mask[edges[:, 1]].astype(np.float64) - 0.5
    cross = a * b < 0
    if not cross.any():
        return out
    t = (a / np.where(cross, a - b, 1.0))[cross][:, None]
    border = head.template[edges[cross, 0]] * (1 - t) + head.template[edges[cross, 1]] * t
    near = np.minimum(cKDTree(border).query(head.template)[0], LIP_REACH_M)
    inside = mask > 0.5
    behind = np.asarray(head.masks.get("mouth_inside", np.zeros(len(mask)))) > 0.5
    return np.where(inside | behind, near, -near)


def _forehead(face: _Face) -> dict[str, Array]:
    """Level lines that follow the brows' arch near them and flatten higher up."""
    brow = face.line68[22:27]
    arch = np.interp(face.x, brow[:, 0], brow[:, 1]) - brow[0, 1]
    above = face.y - brow[0, 1] - 0.55 * arch * step(46, 6, face.y - brow[0, 1])
    tall = bump(4, 11, 33, 48, above) * (face.z > face.eye[2] - 45)
    return {
        "forehead_inner": tall * step(38, 12, face.x),
        "forehead_outer": tall * step(4, 20, face.x) * step(56, 36, face.x),
        "forehead_u": (above - 0.5) / 10.5,
    }


def _glabella(face: _Face) -> dict[str, Array]:
    """The two upright lines between the brows, a little apart at the top."""
    inner = face.line68[22]
    up = face.y - inner[1]
    across = face.x - (6.6 + 0.12 * up)
    mask = bump(-11, -3, 5, 18, up) * step(16, 10, face.x) * (face.z > inner[2] - 12)
    return {"glabella": mask, "glabella_u": across / 11.0}


def _crow(face: _Face) -> dict[str, Array]:
    """Rays from the outer corner of the eye; the way back along the temple is measured on the skin."""
    corner = face.mark["outer_eye_left"]
    back = face.x - corner[0] + corner[2] - face.z
    along = np.sign(back) * np.hypot(face.x - corner[0], corner[2] - face.z) + 5.0
    up = face.y - corner[1] + 0.5
    angle, far = np.arctan2(up, along), np.hypot(along, up)
    mask = bump(9, 15, 22, 36, far) * bump(-1.0, -0.6, 0.45, 0.85, angle)
    mask *= step(corner[0], corner[0] + 4, face.x)  # not the lids' backs
    return {"crow": mask, "crow_u": angle / 0.37 + 0.5}


def _under_eye(face: _Face) -> dict[str, Array]:
    """Lines along the lower lid, strongest below its outer half."""
    lid = face.line68[[42, 47, 46, 45]]
    lid = lid[np.argsort(lid[:, 0])]
    below = np.interp(face.x, lid[:, 0], lid[:, 1]) - face.y
    mask = bump(2, 5, 8, 14, below) * bump(15, 27, 40, 50, face.x) * (face.z > face.eye[2] - 5)
    return {"under_eye": mask, "under_eye_u": (below - 0.5) / 5.2}


def _nasolabial(face: _Face) -> dict[str, Array]:
    """One fold from above the wing of the nose round the mouth's corner: distance to a curve, plus is cheek.

    The curve is drawn on the smiling face, where the fold is seen most: a smile would bend a line drawn at rest.
    """
    head, smile = face.head, face.points.copy()
    for name in ("mouthSmileLeft", "mouthSmileRight"):
        if name in head.shape_index:
            smile += 0.8 * head.shapes[head.shape_index[name]] / face.unit
    smile[:, 0] = np.abs(smile[:, 0])
    wing, corner = smile[head.landmarks["face68"][35]][:2], smile[int(head.landmarks["mouth_left"][0])][:2]
    ends = wing + (1.8, 6.5), corner + (8.0, -8.0)
    bend = np.array([corner[0] + 6.0, 0.6 * wing[1] + 0.4 * corner[1] + 2.0])
    t = np.linspace(0, 1, 80)[:, None]
    curve = (1 - t) ** 2 * ends[0] + 2 * t * (1 - t) * bend + t**2 * ends[1]
    flat = smile[:, :2]
    away = np.linalg.norm(flat[:, None] - curve[None], axis=2)
    near = away.argmin(1)
    tangent = np.gradient(curve, axis=0)[near]
    gap = flat - curve[near]
    side = np.sign(gap[:, 0] * -tangent[:, 1] + gap[:, 1] * tangent[:, 0])
    part = near / (len(t) - 1)
    mask = bump(0.0, 0.2, 0.45, 0.95, part) * step(13, 7, away.min(1)) * (face.z > face.mark["mouth_left"][2] - 22)
    return {"nasolabial": mask, "nasolabial_u": side * away.min(1) / 20.0}


def _nose(face: _Face) -> dict[str, Array]:
    """Lines on the sides of the nose's root that climb towards the inner corners of the eyes; faint on the ridge."""
    bridge, tip = face.mark["nose_bridge"], face.mark["nose_tip"]
    part = (face.y - tip[1]) / (bridge[1] - tip[1])
    mask = bump(0.40, 0.62, 0.92, 1.15, part) * step(16, 9, face.x) * step(-4, 7, face.x) * (face.z > face.eye[2] + 8)
    return {"nose": mask, "nose_u": (face.y - bridge[1] - 0.035 * face.x**2) / 6.0}


def _eyes(head: Head) -> dict[str, Array]:
    """Each eyeball in its own frame; 0 elsewhere."""
    out = np.zeros((len(head.template), 3))
    for joint, part in ((EYE_LEFT, "eye_left"), (EYE_RIGHT, "eye_right")):
        rows = head.parts.get(part, np.zeros(0, int))
        if len(rows):
            local = head.template[rows] - head.joint_regressor[joint].astype(np.float64) @ head.template
            out[rows] = local / np.median(np.linalg.norm(local, axis=1))
    return dict(zip(("eye_x", "eye_y", "eye_z"), out.T, strict=True))
