"""Correctives of the default head: what mixes of shapes need so that lips, lids and gaze fit together.

Each counts max(0, a linear function of the shape weights) times, so it is nothing until two surfaces would pass
through each other and then takes back exactly the passage: the gap between two facing vertices is itself linear in
the weights. A driver of a shape key in Blender computes the same (blender_addon/scene/fixes.py); coefficients are
rounded to what its 255 characters hold, and the engine uses the rounded ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from engine.head.correct import LipField, mirrored
from engine.head.lids import FACING
from engine.head.mouth import CORNER, SIZE, Mouth
from engine.head.respond import TURNS
from engine.head.teeth import Arch

PREFIX = "fix_"
CM = 100.0  # drives of contact are in centimetres of passage, so that slider values stay near 1
DIGITS = 4  # of a coefficient: 0.001 mm
TERMS = 28  # coefficients a driver's 255 characters hold
LIP_SOFT_M = 0.0004  # closed lips press into each other by this much before they are parted
LID_SOFT_M = 0.0001
REACH_M = 0.0055  # over which a lip's correction fades
THICK_M = 0.007  # what moves as one when a lip is pushed off the teeth
TOOTH_SLACK_M = 0.0003  # kept between teeth and lips that are drawn in
WALL = 8  # index of the loop in `Mouth.loops` that lies against the teeth behind the lips
# Places on the lips' loops (right corner to left corner) where lips are kept off the teeth; upper, lower.
_PLACES = ((26, 30, 34, 0, 4, 8, 12), (26, 25, 23, 19, 15, 13, 12))
# Turn of the eye at which eyeLook shapes are full, radians (engine/motion writes both by the same figures).
LOOK_RAD = {"Up": np.radians(25), "Down": np.radians(30), "In": np.radians(30), "Out": np.radians(30)}
LOOK_SLACK = 0.02  # of a full look: sin(a) / sin(full) runs ahead of a / full by this much
_EYE = {"Left": 18, "Right": 27}  # where each eye's R - I begins among the 36 features
_CORNER_M = 0.0016  # about a lid's edge that a blink hardly moves: how far its corrective reaches
_LEAST_LID_M = 0.0010


@dataclass
class Fix:
    """One corrective on the base mesh. drive: shape or earlier corrective -> factor; turns: feature -> factor.

    offsets [m, 3] metres at value 1.
    """

    name: str
    drive: dict[str, float]
    bias: float
    offsets: np.ndarray
    turns: dict[int, float] = field(default_factory=dict)


def rounded(drive: dict[str, float]) -> dict[str, float]:
    """The TERMS largest factors, with DIGITS digits."""
    kept = sorted(drive, key=lambda name: -abs(drive[name]))[:TERMS]
    return {name: round(drive[name], DIGITS) for name in kept if abs(drive[name]) >= 5 * 10.0**-DIGITS}


def too_closed(shapes: dict[str, np.ndarray]) -> Fix:
    """Takes back mouthClose beyond jawOpen: it only says how much of an open jaw the lips make up for."""
    return Fix(PREFIX + "close", {"mouthClose": 1.0, "jawOpen": -1.0}, 0.0, -shapes["mouthClose"])


def lip_fixes(mouth: Mouth, neutral: np.ndarray, shapes: dict[str, np.ndarray], field_of: LipField) -> list[Fix]:
    """One corrective for each facing pair between the corners: lips that would pass through each other are parted
    there, half by each lip. shapes: corrected shapes and `too_closed` under its own name."""
    upper, lower = mouth.pairs[1:-1].T
    hats = _along_lips(mouth, neutral, field_of)
    out = []
    for k, (u, d) in enumerate(zip(upper, lower, strict=True)):
        offsets = np.zeros_like(neutral)
        for (rows, weight), sign in zip(hats, (0.5, -0.5), strict=True):
            offsets[rows, 1] = sign * weight[:, k] / CM
        drive = {name: -CM * float(s[u, 1] - s[d, 1]) for name, s in shapes.items()}
        bias = -CM * float(neutral[u, 1] - neutral[d, 1] + LIP_SOFT_M)
        out.append(Fix(f"{PREFIX}lips_{k:02d}", rounded(drive), round(bias, DIGITS), offsets))
    return out


def _along_lips(mouth: Mouth, neutral: np.ndarray, field_of: LipField) -> list[tuple[np.ndarray, np.ndarray]]:
    """For the upper and the lower lip: (base vertices, weight [n, 13] of each inner pair there).

    Linear between neighbouring pairs along the line of contact, 0 at the corners, fading over REACH_M away from it.
    """
    contact = mouth.contact
    orders = (np.r_[SIZE - CORNER : SIZE, 0 : CORNER + 1], np.r_[CORNER : SIZE - CORNER + 1][::-1])
    out = []
    for (_, rows, _), order, column in zip(field_of.sides, orders, (0, 1), strict=True):
        line = neutral[contact[order]]
        run = np.r_[0, np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))]
        at = {int(v): run[i] for i, v in enumerate(contact[order])}
        knots = np.array([at[int(v)] for v in mouth.pairs[:, column]])
        here, distance = _nearest_on(line, run, neutral[rows])
        weight = np.stack([np.interp(here, knots, np.eye(len(knots))[k]) for k in range(1, len(knots) - 1)], 1)
        out.append((rows, weight * np.exp(-0.5 * (distance / REACH_M) ** 2)[:, None]))
    return out


def _nearest_on(line: np.ndarray, run: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(run length, distance) of the place of a polyline [k, 3] nearest to each of points [n, 3]."""
    a, b = line[:-1], line[1:]
    step = b - a
    t = np.einsum("nkc,kc->nk", points[:, None] - a, step) / np.maximum((step**2).sum(1), 1e-18)
    t = np.clip(t, 0, 1)
    distance = np.linalg.norm(a + t[..., None] * step - points[:, None], axis=2)
    k = distance.argmin(1)
    rows = np.arange(len(points))
    return run[k] + t[rows, k] * (run[k + 1] - run[k]), distance[rows, k]


@dataclass(frozen=True)
class Row:
    """A row of teeth that lips lie on: the labial curve, the height of its front edge, and how it moves: (shape, place)
    -> offset [3]."""

    arch: Arch
    edge: float
    follow: Callable[[str, np.ndarray], np.ndarray]


def tooth_fixes(
    mouth: Mouth, neutral: np.ndarray, shapes: dict[str, np.ndarray], field_of: LipField, rows: tuple[Row, Row]
) -> list[Fix]:
    """Lips that would be drawn into the teeth are pushed out in front of them, at five places of each lip (its inner
    wall, then its line of contact) and at the corners. rows: upper and lower teeth.

    The teeth's curve bulges forwards, so its tangent at each place lies in front of it: clearing that clears the teeth.
    """
    out: list[Fix] = []
    contact, wall = mouth.contact, mouth.loops[WALL]
    reach = _around_lips(mouth, neutral, field_of)
    for lip, (row, places) in enumerate(zip(rows, _PLACES, strict=True)):
        near, share = reach[lip]
        column = {int(v): i for i, v in enumerate(near)}
        for k, place in enumerate(places):
            push = None
            for loop, letter in ((wall, "w"), (contact, "c")):
                v = int(loop[place])
                if push is None:
                    point, normal = _on_arch(row.arch, neutral[v])
                    push = np.zeros_like(neutral)
                    push[near] = share[:, k, None] * normal / CM
                free = float((neutral[v] - point) @ normal)
                drive = {name: -CM * float((s[v] - row.follow(name, point)) @ normal) for name, s in shapes.items()}
                if letter == "c":
                    drive[out[-1].name] = -float(share[column[v], k])
                name = f"{PREFIX}teeth_{'ul'[lip]}{letter}{k}"
                out.append(Fix(name, rounded(drive), round(CM * (TOOTH_SLACK_M - free), DIGITS), push))
    return [*out, *_bites(mouth, neutral, shapes, reach[1], rows[0])]


def _bites(
    mouth: Mouth, neutral: np.ndarray, shapes: dict[str, np.ndarray], reach: tuple[np.ndarray, np.ndarray], row: Row
) -> list[Fix]:
    """The lower lip's line is kept in front of the upper teeth while it stands higher than their edge.

    How far it must go is the smaller of two lengths, how deep it is in the row and how far above the edge: the first
    less what it exceeds the second by, so each place has a corrective without offsets that only counts the excess.
    """
    out = []
    near, share = reach
    for k in (2, 3, 4):
        v = int(mouth.contact[_PLACES[1][k]])
        point, normal = _on_arch(row.arch, neutral[v])
        inside = {name: -CM * float(s[v] @ normal) for name, s in shapes.items()}
        above = {name: CM * float(s[v, 1]) for name, s in shapes.items()}
        depth = CM * (TOOTH_SLACK_M - float((neutral[v] - point) @ normal))
        height = CM * float(neutral[v, 1] - row.edge)
        excess = Fix(
            f"{PREFIX}bite_over_{k}", rounded({n: inside[n] - above[n] for n in shapes}), round(depth - height, DIGITS),
            np.zeros_like(neutral),
        )  # fmt: skip
        push = np.zeros_like(neutral)
        push[near] = share[:, k, None] * normal / CM
        drive = rounded(inside) | {excess.name: -1.0}
        out += [excess, Fix(f"{PREFIX}bite_{k}", drive, round(depth, DIGITS), push)]
    return out


def _on_arch(arch: Arch, point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(place [3] on the labial curve nearest to a point, seen from above and at its height; unit normal [3])."""
    s = np.linspace(-arch.s[-1], arch.s[-1], 801)
    place, normal = arch.at(s)
    k = int(((place - point[[0, 2]]) ** 2).sum(1).argmin())
    return np.array([place[k, 0], point[1], place[k, 1]]), np.array([normal[k, 0], 0.0, normal[k, 1]])


def _around_lips(mouth: Mouth, neutral: np.ndarray, field_of: LipField) -> list[tuple[np.ndarray, np.ndarray]]:
    """For the upper and the lower lip: (base vertices, share [n, places]): linear between the places of `_PLACES` along
    the line of contact, full within THICK_M of it, fading over REACH_M beyond."""
    contact = mouth.contact
    orders = (np.r_[SIZE - CORNER : SIZE, 0 : CORNER + 1], np.r_[CORNER : SIZE - CORNER + 1][::-1])
    out = []
    for order, places, loops in zip(orders, _PLACES, (orders[0], orders[1]), strict=True):
        line = neutral[contact[order]]
        run = np.r_[0, np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))]
        knots = np.array([run[list(order).index(p)] for p in places])
        mask = np.zeros(len(neutral), bool)
        mask[field_of.candidates_upper if order is orders[0] else field_of.candidates_lower] = True
        mask[mouth.loops[:, loops].ravel()] = True
        rows = np.flatnonzero(mask)
        here, distance = _nearest_on(line, run, neutral[rows])
        kept = distance < THICK_M + 3 * REACH_M
        rows, here, distance = rows[kept], here[kept], distance[kept]
        share = np.stack([np.interp(here, knots, np.eye(len(knots))[k]) for k in range(len(knots))], 1)
        out.append((rows, share * np.exp(-0.5 * (np.maximum(distance - THICK_M, 0) / REACH_M) ** 2)[:, None]))
    return out


def gaze_fixes(shapes: dict[str, np.ndarray]) -> list[Fix]:
    """Lids that follow an eyeball turned by its joint as far as eyeLook weights do not say so already."""
    out = []
    for side, at in _EYE.items():
        for way, full in LOOK_RAD.items():
            name = f"eyeLook{way}{side}"
            if way in ("Up", "Down"):  # R[1, 2] is the sine of looking up
                feature, sign = at + 5, 1.0 if way == "Up" else -1.0
            else:  # R[0, 2] is the sine of looking to the subject's left
                feature, sign = at + 2, 1.0 if (way == "Out") == (side == "Left") else -1.0
            factor = round(float(sign / np.sin(full)), 4)
            out.append(Fix(f"{PREFIX}{name[3:]}", {name: -1.0}, -LOOK_SLACK, shapes[name], {feature: factor}))
    return out


def lid_fixes(neutral: np.ndarray, front: np.ndarray, shapes: dict[str, np.ndarray]) -> list[Fix]:
    """For the left eye: at each facing place one corrective that lets a blink end at 0 whatever else opens the
    eye, and one that keeps the upper lid from passing the lower. front [28]: the lid's front edge.

    The opening may be at most ceiling x (1 - blink), where the ceiling is more than any mix of shapes opens.
    """
    rows, fields = _lid_fields(neutral, front, shapes["eyeBlinkLeft"])
    out = []
    for k, (u, d) in enumerate(FACING):
        opened = {name: CM * float(s[front[u], 1] - s[front[d], 1]) for name, s in shapes.items()}
        rest = CM * float(neutral[front[u], 1] - neutral[front[d], 1])
        ceiling = rest + sum(max(v, 0.0) for name, v in opened.items() if not name.startswith(PREFIX))
        down = np.zeros_like(neutral)
        down[rows] = fields[:, k] / CM
        shut = opened | {"eyeBlinkLeft": opened["eyeBlinkLeft"] + ceiling}
        out.append(Fix(f"{PREFIX}lid_shut_{k}_L", rounded(shut), round(rest - ceiling, DIGITS), down))
        passed = {name: -value for name, value in opened.items()}
        bias = round(-rest - CM * LID_SOFT_M, DIGITS)
        out.append(Fix(f"{PREFIX}lid_pass_{k}_L", rounded(passed), bias, -down))
    return out


def close_fully(neutral: np.ndarray, front: np.ndarray, shapes: dict[str, np.ndarray]) -> None:
    """Make eyeBlinkLeft close the lids at every facing place by itself, in place: what its correctives would add."""
    blink = shapes["eyeBlinkLeft"]
    own = {"eyeBlinkLeft": blink.copy()}
    for fix in lid_fixes(neutral, front, own):
        blink += max(fix.drive.get("eyeBlinkLeft", 0.0) + fix.bias, 0.0) * fix.offsets


def _lid_fields(neutral: np.ndarray, front: np.ndarray, blink: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(base vertices [n], offsets [n, 13, 3]): how the upper lid comes down by 1 at each facing place alone.

    Along the blink's own way where it has one, straight down at the corners; linear between places, then mixed so that
    a correction of one place moves that place's edge by 1 and no other place's.
    """
    upper = front[[u for u, _ in FACING]]
    x = neutral[upper, 0]
    way = np.maximum(-blink[upper, 1], _LEAST_LID_M)
    moved = blink[:, 1] < -1e-6
    unit = np.where(moved[:, None], blink / np.interp(neutral[:, 0], x, way)[:, None], 0.0)
    for u, _ in FACING:
        v = front[u]
        if -blink[v, 1] < _LEAST_LID_M:
            reach = np.exp(-0.5 * (((neutral - neutral[v]) ** 2).sum(1) / _CORNER_M**2))
            reach[front[[d for _, d in FACING]]] = 0
            unit[:, 1] = np.minimum(unit[:, 1], np.where(reach > 0.01, -reach, 0.0))
    rows = np.flatnonzero(np.abs(unit).max(1) > 1e-4)
    share = np.stack([np.interp(neutral[rows, 0], x, np.eye(len(x))[k]) for k in range(len(x))], 1)
    closing = np.zeros((len(neutral), len(x)))
    closing[rows] = -unit[rows, 1:2] * share
    reached = closing[upper] - closing[front[[d for _, d in FACING]]]
    return rows, (share @ np.linalg.inv(reached))[..., None] * unit[rows, None]


def other_side(fix: Fix, mirror: np.ndarray) -> Fix:
    """The left eye's corrective for the right eye. mirror [m]: base vertex on the other side."""
    drive = {_twin(name): value for name, value in fix.drive.items()}
    return Fix(_twin(fix.name), drive, fix.bias, mirrored(fix.offsets, mirror))


def _twin(name: str) -> str:
    for a, b in (("Left", "Right"), ("Right", "Left"), ("_L", "_R"), ("_R", "_L")):
        if name.endswith(a):
            return name[: -len(a)] + b
    return name


def all_fixes(
    mouth: Mouth, neutral: np.ndarray, body: np.ndarray, front: np.ndarray, mirror: np.ndarray,
    shapes: dict[str, np.ndarray], rows: tuple[Row, Row],
) -> list[Fix]:  # fmt: skip
    """Every corrective of the default head, in the order in which they may read each other. rows: see tooth_fixes."""
    first = [too_closed(shapes), *gaze_fixes(shapes)]
    known = shapes | {fix.name: fix.offsets for fix in first}
    lip_field = LipField(mouth, neutral, body)
    lips = [*lip_fixes(mouth, neutral, known, lip_field), *tooth_fixes(mouth, neutral, known, lip_field, rows)]
    left = lid_fixes(neutral, front, known)
    return [*first, *lips, *left, *(other_side(fix, mirror) for fix in left)]


def drive_table(fixes: list[Fix], names: tuple[str, ...]) -> np.ndarray:
    """`Head.corrective_drive` [c, k + c + 36 + 1] float32 of correctives on a head with these shape names."""
    k, c = len(names), len(fixes)
    column = {name: i for i, name in enumerate((*names, *(fix.name for fix in fixes)))}
    out = np.zeros((c, k + c + TURNS + 1), np.float32)
    for row, fix in zip(out, fixes, strict=True):
        for name, factor in fix.drive.items():
            if name in column:
                row[column[name]] = factor
        for feature, factor in fix.turns.items():
            row[k + c + feature] = factor
        row[-1] = fix.bias
    return out
