"""A performance as FLAME parameters on an imported FLAME model: expression, jaw, lids; lips meet there too.

Shape weights become parameters linearly (`Head.shape_expression`, `Head.shape_pose`). The jaw then turns where the
shapes move along lines, which shifts lips by up to a few millimetres between shut and wide open. So the contacts are
settled again on FLAME's own lips: for a given jaw their gap is linear in the expression, as in contacts.py.
"""

from __future__ import annotations

import numpy as np

from engine.core.anatomy import Head
from engine.core.names import JOINTS
from engine.core.take import FlameTrack
from engine.head import lbs
from engine.head.evaluate import shape_weights
from engine.motion.contacts import PASS_M, SEALED_M, allowed_gap, middle_pairs, wanted_gap

_JAW = slice(3 * JOINTS.index("jaw"), 3 * JOINTS.index("jaw") + 3)
_ROUNDS = 2
_MOST_TOGETHER, _MOST_CLOSE, _MOST_PART = 1.5, 0.5, 0.8  # weights of the correcting shapes
_JAW_STEPS = (0.85, 0.7, 0.5, 0.3, 0.0)  # of the jaw's turn, tried in this order where nothing else shuts the lips
_LEAST_M = 1e-5  # a gap change smaller than this at weight 1 moves no lips


class FlameLips:
    """The middle lip pairs of a FLAME head as functions of its parameters; only their few vertices are computed."""

    def __init__(self, head: Head) -> None:
        pairs = middle_pairs(head)
        rows = np.unique(pairs)
        self.pairs = np.searchsorted(rows, pairs)
        self.template = head.template[rows].astype(np.float64)
        self.expression = head.expression[rows].astype(np.float64)
        self.posedirs = head.posedirs[rows].astype(np.float64)
        self.weights = head.weights[rows].astype(np.float64)
        regressor = head.joint_regressor.astype(np.float64)
        self.joints = regressor @ head.template
        self.joint_basis = np.tensordot(regressor, head.expression.astype(np.float64), 1)
        self.parents = head.parents

    def gap(self, expression: np.ndarray, jaw: np.ndarray) -> np.ndarray:
        """Heights [t, p] in metres between the lips on an upright head, for expression [t, e] and jaw [t, 3]."""
        pose = np.zeros((len(jaw), 15))
        pose[:, _JAW] = jaw
        shaped = self.template + np.moveaxis(np.tensordot(self.expression, expression, (2, 1)), -1, 0)
        joints = self.joints + np.moveaxis(np.tensordot(self.joint_basis, expression, (2, 1)), -1, 0)
        turn = lbs.rodrigues_reference(pose.reshape(-1, 5, 3)[:, 1:]) - np.eye(3)
        shaped = shaped + np.moveaxis(np.tensordot(self.posedirs, turn.reshape(len(pose), -1), (2, 1)), -1, 0)
        points = lbs.skin_reference(shaped, lbs.joint_transforms(joints, pose, self.parents), self.weights)
        return points[:, self.pairs[:, 0], 1] - points[:, self.pairs[:, 1], 1]


def flame_form(
    head: Head, arkit: np.ndarray, extra: np.ndarray, pose: np.ndarray, closure: np.ndarray, held: np.ndarray,
    voice: np.ndarray,
) -> FlameTrack:  # fmt: skip
    """The FLAME track of ARKit-form motion on an imported FLAME head.

    arkit [t, 52], extra [t, 7]; pose [t, 15] without the jaw's part; closure, held (closure or lip on teeth), voice [t]
    in [0, 1], see contacts.py.
    """
    weights = shape_weights(head, arkit, extra).astype(np.float64)
    expression = weights @ head.shape_expression
    turned = pose.astype(np.float64) + weights @ head.shape_pose
    jaw = turned[:, _JAW]
    lips = FlameLips(head)
    ways = {name: head.shape_expression[head.shape_index[name]].astype(np.float64) for name in head.shape_names}
    parting = 0.5 * sum(ways[f"{n}{s}"] * w for n, w in (("mouthLowerDown", 1), ("mouthUpperUp", 0.5))
                        for s in ("Left", "Right"))  # fmt: skip
    _part(lips, expression, jaw, parting, wanted_gap(voice, held))
    _seal(lips, expression, jaw, ways, allowed_gap(closure), closure)
    turned[:, _JAW] = jaw
    columns = [head.expression_names.index(n) for n in ("eyelid_left", "eyelid_right") if n in head.expression_names]
    blinks = [weights[:, head.shape_index[f"eyeBlink{side}"]] for side in ("Left", "Right")]
    lids = np.clip(expression[:, columns] if len(columns) == 2 else np.stack(blinks, 1), 0.0, 1.0)
    return FlameTrack(
        head.flame_version, np.zeros(0, np.float32), expression.astype(np.float32), turned.astype(np.float32),
        np.zeros((len(arkit), 3), np.float32), lids.astype(np.float32),
    )  # fmt: skip


def _part(lips: FlameLips, expression: np.ndarray, jaw: np.ndarray, way: np.ndarray, wanted: np.ndarray) -> None:
    """Open lips that are nearer than `wanted` [t] metres on average, in place, along `way` [e]."""
    gap = lips.gap(expression, jaw)
    rows = np.flatnonzero((wanted > 0) & (gap.mean(1) < wanted))
    if not len(rows):
        return
    slope = (lips.gap(expression[rows] + way, jaw[rows]) - gap[rows]).mean(1)
    need = (wanted[rows] - gap[rows].mean(1)) / np.maximum(slope, _LEAST_M)
    expression[rows] += np.where(slope > _LEAST_M, np.clip(need, 0, _MOST_PART), 0.0)[:, None] * way


def _seal(
    lips: FlameLips, expression: np.ndarray, jaw: np.ndarray, ways: dict[str, np.ndarray], allowed: np.ndarray,
    closure: np.ndarray,
) -> None:  # fmt: skip
    """Bring every middle pair under `allowed` [t, 1] metres, in place: lips together, then mouthClose, then less jaw.

    Lips that pass through each other by more than PASS_M are parted again, as far as `allowed` lets them.
    """
    rows = np.flatnonzero(allowed[:, 0] < np.maximum(lips.gap(expression, jaw).max(1), 0.02))
    if not len(rows):
        return
    e, j, limit = expression[rows], jaw[rows], allowed[rows]
    for _ in range(_ROUNDS):
        for name, most in (("lipsTogether", _MOST_TOGETHER), ("mouthClose", _MOST_CLOSE)):
            _close(lips, e, j, ways[name], limit, most / _ROUNDS)
    for share in _JAW_STEPS:
        left = np.flatnonzero((lips.gap(e, j) - limit).max(1) > SEALED_M)
        if not len(left):
            break
        j[left] = jaw[rows[left]] * share
    gap = lips.gap(e, j)
    crossed = np.flatnonzero((np.median(gap, axis=1) < -PASS_M) & (closure[rows] > 0))
    if len(crossed):
        _uncross(lips, e, j, ways["lipsTogether"], limit, crossed)
    expression[rows], jaw[rows] = e, j


def _close(
    lips: FlameLips, expression: np.ndarray, jaw: np.ndarray, way: np.ndarray, limit: np.ndarray, most: float
) -> None:
    """Add the least of `way` [e] (up to `most`) that brings the gap under `limit` [t, 1], in place."""
    gap = lips.gap(expression, jaw)
    closing = np.maximum(gap - lips.gap(expression + way, jaw), 0.0)
    useful = closing > _LEAST_M
    need = np.where(useful, np.maximum(gap - limit, 0) / np.maximum(closing, _LEAST_M), 0.0).max(1)
    expression += np.minimum(need, most)[:, None] * way


def _uncross(
    lips: FlameLips, expression: np.ndarray, jaw: np.ndarray, way: np.ndarray, limit: np.ndarray, rows: np.ndarray
) -> None:
    """Take back `way` [e] (at most once over) where lips cross, in place."""
    e, j = expression[rows], jaw[rows]
    gap = lips.gap(e, j)
    opening = np.maximum(lips.gap(e - way, j) - gap, _LEAST_M)
    want = (-PASS_M - np.median(gap, axis=1)) / np.median(opening, axis=1)
    slack = (np.maximum(limit[rows] - gap, 0.0) / opening).min(1)
    expression[rows] = e - np.clip(np.minimum(want, slack), 0, 1)[:, None] * way
