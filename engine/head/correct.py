"""Corrections of hm08's face units and the extra lip channels, on the base mesh.

The units were sculpted one by one; added up they push the lips through each other (smiling on both sides crosses
them by 2.6 mm). Evaluation is a plain sum (Blender's shape keys are), so each shape is made well-behaved by itself:
a shape that should keep the lips shut moves both contact lines by the same amount, and then every mix does.
"""

from __future__ import annotations

import numpy as np

from engine.head.mouth import CONTACT, CORNER, LIP_LOOPS, SIZE, Mouth

# Shapes that keep closed lips closed -> share of the upper lip in the common motion of both contact lines.
KEEP_SHUT = {
    "mouthSmileLeft": 0.5, "mouthSmileRight": 0.5, "mouthFrownLeft": 0.5, "mouthFrownRight": 0.5,
    "mouthDimpleLeft": 0.5, "mouthDimpleRight": 0.5, "mouthStretchLeft": 0.5, "mouthStretchRight": 0.5,
    "mouthPressLeft": 0.5, "mouthPressRight": 0.5, "mouthLeft": 0.5, "mouthRight": 0.5, "mouthPucker": 0.6,
    "cheekPuff": 0.5, "mouthShrugLower": 0.15, "mouthRollLower": 0.35, "mouthRollUpper": 0.65,
    "noseSneerLeft": 0.5, "noseSneerRight": 0.5, "jawForward": 0.5, "jawLeft": 0.5, "jawRight": 0.5,
}  # fmt: skip
MAY_PART = (
    "mouthFunnel", "mouthShrugUpper", "mouthLowerDownLeft", "mouthLowerDownRight",
    "mouthUpperUpLeft", "mouthUpperUpRight",
    "jawOpen",
)  # fmt: skip
# hm08's own shapes times these: what a full action unit asks for must be reached at weight 1, where takes end.
GAIN = {
    "browInnerUp": 1.5, "browOuterUpLeft": 1.25, "noseSneerLeft": 1.2, "mouthDimpleLeft": 1.2,
    "mouthShrugLower": 1.1, "cheekSquintLeft": 1.3, "eyeWideLeft": 0.8,
}  # fmt: skip
TOGETHER_M = 0.005  # the gap that lipsTogether = 1 closes in the middle of the mouth
SLIT_M = 0.0004
PRESS_M = 0.00025  # by which closed lips press into each other: no tooth shines through between two vertices
SMILE_DROP = 0.7
_REACH = 0.0055  # metres over which a correction of the contact line fades on the lip


class LipField:
    """Spreads offsets given on the contact line smoothly over the lips and the mouth bag's edge.

    The upper and the lower lip are separate: a correction of one never drags the other.
    """

    def __init__(
        self, mouth: Mouth, neutral: np.ndarray, candidates: np.ndarray,
        line: np.ndarray | None = None, reach: float = _REACH,
    ):  # fmt: skip
        """neutral [m, 3] base vertices; candidates [c]: vertices that may move (the body); line [38]: the loop on
        which offsets are given (the contact loop if None); reach: metres over which they fade."""
        contact = mouth.contact if line is None else line
        upper = np.r_[0 : CORNER + 1, SIZE - CORNER : SIZE]
        lower = np.r_[CORNER : SIZE - CORNER + 1]
        known_upper = set(mouth.loops[:-2, np.r_[0:CORNER, SIZE - CORNER + 1 : SIZE]].ravel().tolist())
        known_lower = set(mouth.loops[:-2, np.r_[CORNER + 1 : SIZE - CORNER]].ravel().tolist())
        lip_y = neutral[contact[[CORNER, SIZE - CORNER]], 1].mean()
        is_upper = np.array(
            [(v in known_upper) or (v not in known_lower and neutral[v, 1] > lip_y) for v in candidates]
        )
        self.candidates_upper, self.candidates_lower = candidates[is_upper], candidates[~is_upper]
        self.sides = []
        for ring, mask in ((upper, is_upper), (lower, ~is_upper)):
            rows = candidates[mask]
            distance = np.linalg.norm(neutral[rows][:, None] - neutral[contact[ring]][None], axis=2)
            rows, distance = rows[distance.min(1) < 4 * reach], distance[distance.min(1) < 4 * reach]
            near = distance.min(1)
            weight = np.exp(-0.5 * ((distance**2 - near[:, None] ** 2) / 0.0025**2))
            weight /= weight.sum(1, keepdims=True)
            self.sides.append((ring, rows, weight * np.exp(-0.5 * (near / reach) ** 2)[:, None]))
        self.contact = contact

    def spread(self, on_contact: np.ndarray, out: np.ndarray) -> None:
        """Add offsets on_contact [38, 3] (index as the contact loop) to `out` [m, 3], faded over each lip."""
        for ring, rows, weight in self.sides:
            out[rows] += weight @ on_contact[ring]


def facing_on(loop: np.ndarray, neutral: np.ndarray) -> np.ndarray:
    """[38, 38] weights: row k interpolates, on the other lip, the place that vertex k faces (same width)."""
    x = neutral[loop, 0]
    upper = np.r_[SIZE - CORNER : SIZE, 0 : CORNER + 1]  # right corner ... left corner
    lower = np.r_[CORNER : SIZE - CORNER + 1][::-1]
    out = np.zeros((SIZE, SIZE))
    for own, other in ((upper, lower), (lower, upper)):
        order = np.maximum.accumulate(x[other])  # widths grow from corner to corner; ties at the corners are harmless
        for k in own:
            j = int(np.clip(np.searchsorted(order, x[k]) - 1, 0, len(other) - 2))
            span = max(order[j + 1] - order[j], 1e-9)
            t = float(np.clip((x[k] - order[j]) / span, 0, 1))
            out[k] = 0
            out[k, other[j]] += 1 - t
            out[k, other[j + 1]] += t
    return out


def _is_upper() -> np.ndarray:
    k = np.arange(SIZE)
    return (k <= CORNER) | (k >= SIZE - CORNER)


def lower_smile(shapes: dict[str, np.ndarray], mouth: Mouth, neutral: np.ndarray, wide: LipField) -> None:
    """Take SMILE_DROP of the lift out of the middle of a smiling mouth, in place: hm08 raises the lower lip with the
    corners, over the teeth that a smile should show. A smile's corners rise, its middle hardly does."""
    x = neutral[mouth.contact, 0]
    middle = np.exp(-0.5 * (x / 0.0105) ** 2)
    for name in ("mouthSmileLeft", "mouthSmileRight"):
        lift = shapes[name][mouth.contact, 1]
        change = np.zeros((SIZE, 3))
        change[:, 1] = -SMILE_DROP * middle * 0.5 * (lift[0] + lift[19])
        wide.spread(change, shapes[name])


def keep_shut(shapes: dict[str, np.ndarray], mouth: Mouth, neutral: np.ndarray, field: LipField) -> None:
    """Make the shapes of KEEP_SHUT, and jawOpen + mouthClose together, move both contact lines alike in height, and
    let no other shape of the mouth push one line through the other; in place."""
    facing = facing_on(mouth.contact, neutral)
    for name, share in KEEP_SHUT.items():
        field.spread(_levelled(shapes[name][mouth.contact], facing, share, only_crossing=False), shapes[name])
    both = (shapes["jawOpen"] + shapes["mouthClose"])[mouth.contact]
    field.spread(_levelled(both, facing, 0.5, only_crossing=False), shapes["mouthClose"])
    for name in MAY_PART:
        field.spread(_levelled(shapes[name][mouth.contact], facing, 0.5, only_crossing=True), shapes[name])


def _levelled(own: np.ndarray, facing: np.ndarray, share: float, only_crossing: bool) -> np.ndarray:
    """Change [38, 3] after which the contact line's offsets own [38, 3] have equal heights on facing places.

    share: of the upper lip in the common height. only_crossing: change just the places where the lines would cross.
    """
    upper = _is_upper()
    other = facing @ own
    top, bottom = np.where(upper, own[:, 1], other[:, 1]), np.where(upper, other[:, 1], own[:, 1])
    change = np.zeros_like(own)
    change[:, 1] = share * top + (1 - share) * bottom - own[:, 1]
    if only_crossing:
        change[top >= bottom] = 0
    return change


def sealed(mouth: Mouth, neutral: np.ndarray, body: np.ndarray) -> np.ndarray:
    """The neutral face [m, 3] with its lips shut: hm08's stand up to 2 mm apart beside the middle.

    First the loop in front of the contact (SLIT_M is left, the dark line of a mouth), then the contact itself, which is
    pressed together by PRESS_M.
    """
    out = neutral.copy()
    upper = _is_upper()
    for loop, left, reach in (
        (mouth.loops[LIP_LOOPS.index(CONTACT) - 1], SLIT_M, 0.0028),
        (mouth.contact, -PRESS_M, _REACH),
    ):
        field = LipField(mouth, out, body, loop, reach)
        here = out[loop]
        gap = np.where(upper, 1, -1) * (here[:, 1] - (facing_on(loop, out) @ here)[:, 1]) - left
        change = np.zeros((SIZE, 3))
        change[:, 1] = np.where(upper, -0.5, 0.5) * gap
        field.spread(change, out)
    return out


def mirrored(offsets: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """Offsets [m, 3] as seen in a mirror; mirror [m]: vertex on the other side."""
    return offsets[mirror] * (-1, 1, 1)


def mirror_map(vertices: np.ndarray) -> np.ndarray:
    """[m] index of each vertex's mirror image (x -> -x). Raises ValueError if the mesh is not symmetric to 0.1 mm."""
    from scipy.spatial import cKDTree

    gap, twin = cKDTree(vertices).query(vertices * (-1, 1, 1))
    if gap.max() > 1e-4:
        raise ValueError(f"the base mesh is not symmetric: {gap.max() * 1000:.2f} mm")
    return twin


def keep_to_side(shapes: dict[str, np.ndarray], vertices: np.ndarray) -> None:
    """Fade left lid shapes out across the middle of the face (hm08's blink also moves the other eye's socket)."""
    for name in shapes:
        if name.startswith("eye") and name.endswith(("Left", "Right")):
            sign = 1 if name.endswith("Left") else -1
            shapes[name] *= np.clip((sign * vertices[:, :1] + 0.003) / 0.006, 0, 1)


def soften(shapes: dict[str, np.ndarray], faces: np.ndarray, rounds: int = 4) -> None:
    """Smooth the brow shapes' offsets over the skin (each vertex half its own, half its neighbours' mean), in place.

    hm08's brows move in one narrow row, which gives a raised brow a spike. Peaks shrink by a tenth or two; the shapes
    are scaled back so that the largest offset stays.
    """
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 3]], faces[:, [3, 0]]])
    count = np.bincount(edges.ravel(), minlength=len(next(iter(shapes.values()))))[:, None]
    for name in [name for name in shapes if name.startswith("brow")]:
        peak = np.linalg.norm(shapes[name], axis=1).max()
        for _ in range(rounds):
            total = np.zeros_like(shapes[name])
            np.add.at(total, edges[:, 0], shapes[name][edges[:, 1]])
            np.add.at(total, edges[:, 1], shapes[name][edges[:, 0]])
            shapes[name] = np.where(count > 0, 0.5 * shapes[name] + 0.5 * total / np.maximum(count, 1), shapes[name])
        shapes[name] *= peak / np.linalg.norm(shapes[name], axis=1).max()


def strengthen(shapes: dict[str, np.ndarray]) -> None:
    """Scale the shapes of GAIN, both sides, in place."""
    for name, gain in GAIN.items():
        for side in {name, name.replace("Left", "Right")}:
            shapes[side] *= gain


def symmetrise(shapes: dict[str, np.ndarray], mirror: np.ndarray) -> None:
    """Average each left shape with the mirror image of its right twin (only mouthSmile differs), in place."""
    for left in [name for name in shapes if name.endswith(("Left", "_L"))]:
        right = left[:-4] + "Right" if left.endswith("Left") else left[:-2] + "_R"
        shapes[left] = 0.5 * (shapes[left] + mirrored(shapes[right], mirror))
        shapes[right] = mirrored(shapes[left], mirror)
    for name in shapes:
        if not name.endswith(("Left", "_L", "Right", "_R")):
            shapes[name] = 0.5 * (shapes[name] + mirrored(shapes[name], mirror))


def lip_extras(
    mouth: Mouth, neutral: np.ndarray, field: LipField, wide: LipField, incisor: np.ndarray
) -> dict[str, np.ndarray]:
    """The channels lipsTogether and lowerLipToTeeth as offsets [m, 3] on the base mesh.

    field, wide: how a lip follows its contact line, the second with a longer reach (the whole lip is drawn in).
    incisor [3]: middle of the upper incisors' biting edge (front).
    lipsTogether closes a gap of TOGETHER_M in the middle, less towards the corners, two fifths by the upper lip.
    lowerLipToTeeth brings the lower lip's inner edge back against the upper incisors, as for f and v; it is a little
    too high at a shut jaw and meets their edge at the 2 mm by which f and v part the teeth.
    """
    x = neutral[mouth.contact, 0]
    profile = np.clip(1 - (x / x.max()) ** 2, 0, 1)
    upper = _is_upper()
    together = np.zeros((SIZE, 3))
    together[:, 1] = np.where(upper, -0.4, 0.6) * TOGETHER_M * profile
    labial = np.zeros((SIZE, 3))
    middle = neutral[mouth.contact[19]]
    aim = incisor + (0.0, 0.0012, 0.0009) - middle
    spread = np.clip(1 - (x / (0.86 * x.max())) ** 4, 0, 1)
    labial[~upper] = spread[~upper, None] * aim
    labial[upper, 1] = 0.0022 * profile[upper]
    labial[upper, 2] = 0.0008 * profile[upper]
    out = {"lipsTogether": np.zeros_like(neutral), "lowerLipToTeeth": np.zeros_like(neutral)}
    field.spread(together, out["lipsTogether"])
    wide.spread(labial, out["lowerLipToTeeth"])
    return out
