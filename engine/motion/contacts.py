"""The guarantee that lips meet: geometry decides, whatever shapes are mixed.

In ARKit form every vertex is linear in the weights, so the gap between facing inner-lip vertices is too:
gap_p(w) = g_p + sum_k w_k G_kp (a head's correctives only part lips that would cross, and undo mouthClose beyond
jawOpen, which is kept from happening here). Where the motion holds a closure, the least correction that brings every
middle pair under `SEALED_M` is found in closed form, in the order: the `lipsTogether` corrective, `mouthClose`, then
less of what opens the lips, last the jaw. The same model keeps lips from passing through each other by more than
`PASS_M`, and keeps a talking mouth apart between closures: a closure is read against lips that are open before and
after it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.core.anatomy import Head
from engine.core.names import ARKIT, ARKIT_INDEX, EXTRA, EXTRA_INDEX

SEALED_M = 0.0003  # a held closure: no middle pair further apart than this
PASS_M = 0.0015  # soft lips press into each other by at most this at rest in a closure
PARTED_M = 0.0020  # least opening of the lips between contacts while someone speaks
# Before a phrase, after it, and how long the lips take. The last sound of a phrase dies away after the voice was last
# heard for sure: lips that meet before it has read as an m that nobody said (5 % of all false closures at 0.10 s).
BREATH_S, LINGER_S, RAMP_S = 0.12, 0.22, 0.08
_LOOSE_M = 0.04  # more than any mouth opens: no limit where nothing is held

_OPENERS = ("mouthUpperUpLeft", "mouthUpperUpRight", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthFunnel",
            "mouthShrugUpper", "mouthStretchLeft", "mouthStretchRight", "mouthSmileLeft", "mouthSmileRight",
            "mouthFrownLeft", "mouthFrownRight", "mouthPucker", "noseSneerLeft", "noseSneerRight", "jawForward",
            "mouthRollLower", "mouthRollUpper", "mouthShrugLower")  # fmt: skip
_PARTING = {"mouthLowerDownLeft": 1.0, "mouthLowerDownRight": 1.0, "mouthUpperUpLeft": 0.5, "mouthUpperUpRight": 0.5}


@dataclass(frozen=True)
class LipModel:
    """Signed vertical gap of the middle lip pairs in metres, positive = open: rest [p] + weights @ slope [59, p]."""

    rest: np.ndarray
    slope: np.ndarray

    def gap(self, weights: np.ndarray) -> np.ndarray:
        """[t, 59] -> [t, p] metres."""
        return self.rest + weights @ self.slope


def middle_pairs(head: Head) -> np.ndarray:
    """The middle third of `head.lip_pairs`. [p, 2]."""
    count = len(head.lip_pairs)
    return head.lip_pairs[count // 3 : count - count // 3]


def lip_model(head: Head) -> LipModel:
    """The head's lip gap as a linear function of arkit + extra weights; shapes the head lacks have no slope."""
    pairs = middle_pairs(head)
    upper, lower = pairs[:, 0], pairs[:, 1]
    rest = (head.template[upper, 1] - head.template[lower, 1]).astype(np.float64)
    slope = np.zeros((len(ARKIT) + len(EXTRA), len(pairs)))
    for row, name in enumerate((*ARKIT, *EXTRA)):
        if (k := head.shape_index.get(name)) is not None:
            slope[row] = head.shapes[k, upper, 1] - head.shapes[k, lower, 1]
    return LipModel(rest, slope)


def about_to_speak(times: np.ndarray, voice: np.ndarray) -> np.ndarray:
    """1 where someone speaks or is about to: lips part for the breath before a phrase and stay parted in short pauses.

    times [t] seconds, evenly spaced; voice [t] in [0, 1] -> [t] in [0, 1], rising over RAMP_S.
    """
    from scipy.ndimage import maximum_filter1d, uniform_filter1d

    step = float(times[1] - times[0]) if len(times) > 1 else 1.0
    before, after, ramp = (round(s / step) for s in (BREATH_S, LINGER_S, RAMP_S))
    size = before + after + 1
    origin = (before + after) // 2 - after  # a negative origin looks ahead
    wide = maximum_filter1d(voice, size, mode="nearest", origin=-origin)
    return uniform_filter1d(wide, max(1, ramp), mode="nearest")


def allowed_gap(closure: np.ndarray) -> np.ndarray:
    """[t, 1] metres that lips may stand apart where `closure` [t] in [0, 1] is held: falls smoothly, so that lips
    travel into a closure instead of jumping."""
    return SEALED_M + _LOOSE_M * (1.0 - np.clip(closure / 0.95, 0.0, 1.0))[:, None]


def wanted_gap(voice: np.ndarray, held: np.ndarray) -> np.ndarray:
    """[t] metres that lips stand apart at least while someone speaks and no contact is near; see `part`."""
    return PARTED_M * np.clip(voice, 0.0, 1.0) * np.clip((0.95 - held) / 0.45, 0.0, 1.0)


def part(head: Head, arkit: np.ndarray, voice: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Weights whose lips stay apart while someone speaks and no contact is near.

    arkit [t, 52]; voice, held [t] in [0, 1] (held: the larger of closure and lip-to-teeth contact) -> corrected copy.
    Adds the least of mouthLowerDown and mouthUpperUp (2 : 1) that opens the middle pairs by PARTED_M on average.
    """
    model = lip_model(head)
    out = arkit.astype(np.float64)
    padded = np.concatenate([out, np.zeros((len(out), len(EXTRA)))], 1)
    wanted = wanted_gap(voice, held)
    missing = np.maximum(wanted - model.gap(padded).mean(1), 0.0) * (wanted > 0)
    rows = [ARKIT_INDEX[name] for name in _PARTING]
    opened = float((np.array(list(_PARTING.values()))[:, None] * model.slope[rows]).sum(0).mean())
    if opened > 1e-5:
        out[:, rows] += (np.minimum(missing / opened, 0.5)[:, None]) * np.array(list(_PARTING.values()))
    return np.clip(out, 0.0, 1.0).astype(np.float32)


def _raise_to_close(model: LipModel, weights: np.ndarray, row: int, excess: np.ndarray, limit: np.ndarray) -> None:
    """Raise weight `row` (up to `limit` [t]) by the least that removes `excess` [t, p] where it closes the lips."""
    closing = np.maximum(-model.slope[row], 0.0)
    useful = closing > 1e-5
    if not useful.any():
        return
    need = np.where(useful, np.maximum(excess, 0.0) / np.maximum(closing, 1e-9), 0.0).max(1)
    weights[:, row] = np.minimum(weights[:, row] + need, np.maximum(limit, weights[:, row]))


def _less_opening(model: LipModel, weights: np.ndarray, rows: list[int], excess: np.ndarray) -> None:
    """Scale the weights `rows` down by the least that removes `excess` [t, p], where they open the lips."""
    opened = np.einsum("tk,kp->tp", weights[:, rows], np.maximum(model.slope[rows], 0.0))
    share = np.where(opened > 1e-7, np.maximum(excess, 0.0) / np.maximum(opened, 1e-7), 0.0).max(1)
    weights[:, rows] *= (1.0 - np.clip(share, 0.0, 1.0))[:, None]


def seal(head: Head, arkit: np.ndarray, extra: np.ndarray, closure: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights whose middle lip pairs meet where `closure` is held.

    arkit [t, 52], extra [t, 7], closure [t] in [0, 1] -> corrected copies.
    """
    model = lip_model(head)
    weights = np.concatenate([arkit, extra], 1).astype(np.float64)
    allowed = allowed_gap(closure)

    def excess() -> np.ndarray:
        return model.gap(weights) - allowed

    jaw, close = ARKIT_INDEX["jawOpen"], ARKIT_INDEX["mouthClose"]
    together = len(ARKIT) + EXTRA_INDEX["lipsTogether"]
    openers = [ARKIT_INDEX[name] for name in _OPENERS if model.slope[ARKIT_INDEX[name]].max() > 1e-5]
    weights[:, close] = np.minimum(weights[:, close], weights[:, jaw])  # more than the jaw's opening shows nothing
    _raise_to_close(model, weights, close, excess(), weights[:, jaw])
    _raise_to_close(model, weights, together, excess(), np.ones(len(weights)))
    _less_opening(model, weights, openers, excess())
    _less_opening(model, weights, [len(ARKIT) + EXTRA_INDEX["lowerLipToTeeth"]], excess())
    _less_opening(model, weights, [jaw], excess())
    weights[:, jaw] = np.maximum(weights[:, jaw], weights[:, close])
    _part_crossed(model, weights, close, allowed)
    out = weights.astype(np.float32)
    return out[:, : len(ARKIT)], out[:, len(ARKIT) :]


def _part_crossed(model: LipModel, weights: np.ndarray, close: int, allowed: np.ndarray) -> None:
    """Take back mouthClose where lips pass through each other by more than PASS_M (the median pair).

    Never so far that a pair opens beyond `allowed` [t, 1].
    """
    gap = model.gap(weights)
    crossed = np.maximum(-PASS_M - np.median(gap, axis=1), 0.0)
    opening = np.maximum(-model.slope[close], 1e-6)
    slack = (np.maximum(allowed - gap, 0.0) / opening).min(1)
    weights[:, close] -= np.minimum.reduce([crossed / np.median(opening), slack, weights[:, close]])
