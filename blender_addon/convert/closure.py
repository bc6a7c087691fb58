"""Lips that must meet do meet on the character's own face.

A performance says how far lips must be together in each frame (`contact`). On a character with shape keys the gap of
facing lip vertices is linear in the weights, so the least correction that closes it is found in closed form: mouthClose
first, then less of what opens the lips, last the jaw. Where lip vertices cannot be found, ARKit's own rule is used:
lips are sealed where mouthClose equals jawOpen.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

SEALED = 0.01  # of a full jawOpen's lip opening (about 0.3 mm on an adult): no held pair further apart than this
PARTED = 0.06  # least opening between contacts while someone speaks
PASS = 0.05  # soft lips press into each other by at most this
LOOSE = 1.5  # no limit where nothing is held
OPENERS = (
    "mouthUpperUpLeft", "mouthUpperUpRight", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthFunnel",
    "mouthShrugUpper", "mouthStretchLeft", "mouthStretchRight", "mouthSmileLeft", "mouthSmileRight", "mouthFrownLeft",
    "mouthFrownRight", "mouthDimpleLeft", "mouthDimpleRight", "mouthPucker", "noseSneerLeft", "noseSneerRight",
    "jawForward", "mouthRollLower", "mouthRollUpper", "mouthShrugLower",
)  # fmt: skip
CLOSERS = ("mouthClose", "lipsTogether", "lowerLipToTeeth")
_PARTING = {"mouthLowerDownLeft": 1.0, "mouthLowerDownRight": 1.0, "mouthUpperUpLeft": 0.5, "mouthUpperUpRight": 0.5}
_BINS = 12  # across the middle of the mouth
_NEAR = 0.12  # of the jaw's largest movement: lips closer than this at rest are closed

Channels = dict[str, np.ndarray]


def contact(channels: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(closure, bite) [t] in [0, 1] of weights alone, for takes that do not say: mouthClose is the jaw's opening taken
    back at the lips, so their ratio is how far lips are held together."""
    jaw, close = channels["jawOpen"], channels["mouthClose"]
    zeros = np.zeros(len(jaw))
    held = np.where(jaw > 0.01, close / np.maximum(jaw, 0.01), 0.0)
    held = np.maximum(held, channels.get("lipsTogether", zeros))
    return np.clip(held, 0.0, 1.0), np.clip(channels.get("lowerLipToTeeth", zeros), 0.0, 1.0)


@dataclass(frozen=True)
class LipModel:
    """Opening of facing middle lip pairs against rest, as a share of what jawOpen = 1 opens: sum of weight x slope.

    slope: source -> [p]. Sources that do not move the lips are left out.
    """

    slope: dict[str, np.ndarray]

    @property
    def pairs(self) -> int:
        return len(self.slope["jawOpen"])

    def gap(self, channels: Mapping[str, np.ndarray]) -> np.ndarray:
        """[t, p]."""
        length = len(next(iter(channels.values())))
        out = np.zeros((length, self.pairs))
        for name, slope in self.slope.items():
            if name in channels:
                out += np.asarray(channels[name], np.float64)[:, None] * slope
        return out


def find_lip_pairs(rest: np.ndarray, jaw_open: np.ndarray) -> tuple[np.ndarray, int, float] | None:
    """(pairs [p, 2] upper, lower; up axis 0..2; its sign) of a closed mouth, from how jawOpen tears it apart.

    rest [v, 3]; jaw_open [v, 3] the key's offsets. Lip vertices lie close together at rest, the lower one moves with
    the jaw and the upper one stays. None if no such vertices exist (an open mouth, or a jaw that is not in the key).
    """
    moved = np.linalg.norm(jaw_open, axis=1)
    reach = float(moved.max(initial=0.0))
    if reach <= 1e-9:
        return None
    down = jaw_open[moved > 0.6 * reach].mean(0)
    axis = int(np.abs(down).argmax())
    sign = -float(np.sign(down[axis]))
    lower, upper = np.flatnonzero(moved > 0.35 * reach), np.flatnonzero(moved < 0.15 * reach)
    if not len(lower) or not len(upper):
        return None
    near = _join(rest[upper], rest[lower], _NEAR * reach)
    if len(near) < 8:
        return None
    pairs = np.stack([upper[near[:, 0]], lower[near[:, 1]]], 1)
    pairs = _frontmost(rest, pairs, axis, sign, reach)
    return (pairs, axis, sign) if len(pairs) >= 3 else None


def _join(a: np.ndarray, b: np.ndarray, radius: float) -> np.ndarray:
    """All pairs [n, 2] of rows of a and b nearer than radius, by a grid of cells."""
    low = np.minimum(a.min(0), b.min(0)) - radius
    cell_a, cell_b = ((x - low) // radius for x in (a, b))
    size = np.maximum(cell_a.max(0), cell_b.max(0)).astype(np.int64) + 3
    step = np.array([size[1] * size[2], size[2], 1])
    code_a = cell_a.astype(np.int64) @ step
    order = np.argsort(code_a, kind="stable")
    found = []
    for shift in np.stack(np.meshgrid(*[[-1, 0, 1]] * 3), -1).reshape(-1, 3):
        code_b = (cell_b.astype(np.int64) + shift) @ step
        first, last = (np.searchsorted(code_a[order], code_b, side) for side in ("left", "right"))
        count = last - first
        rows = np.repeat(np.arange(len(b)), count)
        offset = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        found.append(np.stack([order[np.repeat(first, count) + offset], rows], 1))
    pairs = np.concatenate(found)
    return pairs[np.linalg.norm(a[pairs[:, 0]] - b[pairs[:, 1]], axis=1) < radius]


def _frontmost(rest: np.ndarray, pairs: np.ndarray, axis: int, sign: float, reach: float) -> np.ndarray:
    """One pair for each strip of the middle of the mouth: lips, not the teeth behind them."""
    middle = (rest[pairs[:, 0]] + rest[pairs[:, 1]]) / 2
    level = np.abs(rest[:, axis] - np.median(middle[:, axis])) < 2 * reach
    others = [a for a in range(3) if a != axis]
    # Faces are mirror images: the lateral axis is the one along which pairs lie on both sides of the head's middle.
    centre = (rest[level].max(0) + rest[level].min(0)) / 2
    spread = np.abs(middle.mean(0) - centre)[others] / np.ptp(rest[level][:, others], axis=0)
    side, depth = others[int(spread.argmin())], others[int(spread.argmax())]
    front = np.sign(middle[:, depth].mean() - centre[depth])
    ahead = front * middle[:, depth]
    across = middle[:, side] - centre[side]
    width = np.quantile(np.abs(across), 0.98)
    chosen = []
    apart = np.linalg.norm(rest[pairs[:, 0]] - rest[pairs[:, 1]], axis=1)
    facing = sign * (rest[pairs[:, 0], axis] - rest[pairs[:, 1], axis]) > -0.02 * reach
    edges = np.linspace(-0.4 * width, 0.4 * width, _BINS + 1)
    for low, high in itertools.pairwise(edges):
        strip = np.flatnonzero((across >= low) & (across < high) & facing)
        if not len(strip):
            continue
        strip = strip[ahead[strip] > ahead[strip].max() - 0.25 * reach]
        chosen.append(strip[np.argmin(apart[strip])])
    return pairs[chosen]


def lip_model(pairs: np.ndarray, axis: int, sign: float, offsets: Mapping[str, np.ndarray]) -> LipModel | None:
    """offsets: source -> [v, 3], what one unit of the source does to the mesh (rows' gains included). None if its
    jawOpen does not open the lips."""
    upper, lower = pairs[:, 0], pairs[:, 1]
    slope = {name: sign * (d[upper, axis] - d[lower, axis]).astype(np.float64) for name, d in offsets.items()}
    full = float(np.median(slope["jawOpen"])) if "jawOpen" in slope else 0.0
    if full <= 1e-9:
        return None
    # A vertex that the sculptor left out of a shape is no measure of the lips.
    good = slope["jawOpen"] > 0.5 * full
    if "mouthClose" in slope:
        closing = -slope["mouthClose"]
        good &= closing > 0.5 * max(float(np.median(closing)), 0.0)
    if good.sum() < 3:
        return None
    slope = {name: s[good] for name, s in slope.items()}
    return LipModel({name: s / full for name, s in slope.items() if np.abs(s).max() > 1e-4 * full})


def seal(
    channels: Mapping[str, np.ndarray], closure: np.ndarray, model: LipModel | None, voice: np.ndarray | None = None
) -> Channels:
    """Copies of the channels with lips together where `closure` is held, and apart elsewhere while someone speaks.

    channels: ARKit and extra source -> [t]; closure [t] in [0, 1]; voice [t] in [0, 1] or None (not known).
    """
    out = {name: np.array(value, np.float64) for name, value in channels.items()}
    closure = np.clip(np.asarray(closure, np.float64), 0.0, 1.0)
    if model is None:
        return _by_rule(out, closure)
    # mouthClose = jawOpen is to mean sealed; heads are sculpted with more or less, and would shut early or late.
    if "mouthClose" in model.slope and "mouthClose" in out:
        out["mouthClose"] /= float(np.clip(-np.median(model.slope["mouthClose"]), 0.6, 1.6))
    if voice is not None:
        _part(out, model, closure, np.clip(voice, 0.0, 1.0))
    allowed = SEALED + LOOSE * (1.0 - np.clip(closure / 0.95, 0.0, 1.0))[:, None]
    if "mouthClose" not in model.slope or "mouthClose" not in out:
        # Where there is no mouthClose to take the jaw's opening back as contact grows, the opening itself must shrink.
        allowed = np.minimum(allowed, SEALED + (1.0 - closure)[:, None] * np.maximum(model.gap(out), 0.0))
    _raise(out, model, "mouthClose", allowed, np.minimum(1.15 * out["jawOpen"] + 0.05, 1.0))
    _less(out, model, [n for n in OPENERS if n in out and n in model.slope and model.slope[n].max() > 1e-3], allowed)
    _less(out, model, ["jawOpen"], allowed)
    _uncross(out, model, allowed)
    return out


def _by_rule(out: Channels, closure: np.ndarray) -> Channels:
    """ARKit's rule: mouthClose equal to jawOpen is a sealed mouth; what opens the lips gives way. Without mouthClose
    the jaw shuts."""
    for name in OPENERS[:8]:
        if name in out:
            out[name] *= 1.0 - closure
    if "mouthClose" in out and "jawOpen" in out:
        out["mouthClose"] = np.maximum(out["mouthClose"], out["jawOpen"] * closure)
    elif "jawOpen" in out:
        out["jawOpen"] *= 1.0 - closure
    return out


def _part(out: Channels, model: LipModel, closure: np.ndarray, voice: np.ndarray) -> None:
    """The least of the parting shapes (lower : upper lip 2 : 1) that opens the middle pairs while speech goes on."""
    bite = np.clip(out.get("lowerLipToTeeth", np.zeros(len(closure))), 0.0, 1.0)
    held = np.maximum(closure, bite)
    wanted = PARTED * voice * np.clip((0.95 - held) / 0.45, 0.0, 1.0)
    missing = np.where(wanted > 0, np.maximum(wanted - model.gap(out).mean(1), 0.0), 0.0)
    opened = sum(share * model.slope[n].mean() for n, share in _PARTING.items() if n in model.slope)
    if opened > 1e-3:
        for name, share in _PARTING.items():
            if name in out:
                out[name] = np.clip(out[name] + share * np.minimum(missing / opened, 0.5), 0.0, 1.0)


def _raise(out: Channels, model: LipModel, name: str, allowed: np.ndarray, limit: np.ndarray) -> None:
    """Raise one closing weight, up to `limit` [t], by the least that removes the excess gap."""
    if name not in model.slope or name not in out:
        return
    closing = np.maximum(-model.slope[name], 0.0)
    excess = np.maximum(model.gap(out) - allowed, 0.0)
    need = np.where(closing > 1e-3, excess / np.maximum(closing, 1e-3), 0.0).max(1)
    out[name] = np.minimum(out[name] + need, np.maximum(limit, out[name]))


def _less(out: Channels, model: LipModel, names: list[str], allowed: np.ndarray) -> None:
    """Scale opening weights down by the least that removes the excess gap."""
    if not names:
        return
    opened = sum(out[n][:, None] * np.maximum(model.slope[n], 0.0) for n in names)
    excess = np.maximum(model.gap(out) - allowed, 0.0)
    share = np.where(opened > 1e-6, excess / np.maximum(opened, 1e-6), 0.0).max(1)
    for name in names:
        out[name] = out[name] * (1.0 - np.clip(share, 0.0, 1.0))


def _uncross(out: Channels, model: LipModel, allowed: np.ndarray) -> None:
    """Where lips pass through each other by more than PASS (the median pair): first mouthClose is taken back, never so
    far that a pair opens beyond `allowed`, then whatever else presses the lips together gives way."""
    gap = model.gap(out)
    crossed = np.maximum(-PASS - np.median(gap, axis=1), 0.0)
    if "mouthClose" in model.slope and "mouthClose" in out:
        opening = np.maximum(-model.slope["mouthClose"], 1e-3)
        slack = (np.maximum(allowed - gap, 0.0) / opening).min(1)
        out["mouthClose"] = out["mouthClose"] - np.minimum.reduce(
            [crossed / float(np.median(opening)), slack, out["mouthClose"]]
        )
    crossed = np.maximum(-PASS - np.median(model.gap(out), axis=1), 0.0)
    pressing = [n for n in model.slope if n in out and n not in CLOSERS and np.median(model.slope[n]) < -1e-3]
    closed = sum((-float(np.median(model.slope[n])) * out[n] for n in pressing), np.zeros(len(crossed)))
    share = np.clip(crossed / np.maximum(closed, 1e-6), 0.0, 1.0)
    for name in pressing:
        out[name] = out[name] * (1.0 - share)
