"""Expression, jaw, neck, root and eyes of an imported FLAME model from mesh sequences.

Gauss-Newton with the expression eliminated (variable projection, Golub & Pereyra 1973; Kaufman's approximation of
1975): for given joint turns the expression is linear least squares with one normal matrix for all frames, so only the
turns and the translation are iterated, many frames at once, on a part of the vertices; the last expression uses all.
"""

from __future__ import annotations

import dataclasses
import time

import numpy as np

from engine.core.anatomy import Head
from engine.core.names import JOINTS
from engine.core.progress import SILENT, Reporter
from engine.core.units import MM
from engine.head import lbs
from engine.head.fit import BLOCK, Fit
from engine.head.unpose import Pose, offsets, unskin

ROUNDS = 30
STRIDE = 8  # frames solved from nothing; the others begin between their answers
ANEW = (0, 2, 6, 16)  # rounds that take new derivatives
SAMPLE, PER_JOINT = 320, 30  # vertices that the turns are found on
RIDGE = 1e-7  # part of the mean diagonal: settles expressions that the mesh does not decide
FIRM = 1e-6  # the same for turns; the root is held more, because the neck can do all it does but for the bust
ROOT_FIRM = 1e-3
STEP = 1e-4  # radians and metres / 10, of the difference quotients
ENOUGH = 2e-7  # metres: rounds end once the mean distance is below it or falls by less


class _Part:
    """The model cut down to some vertices: same joints, fewer rows."""

    def __init__(self, head: Head, rows: np.ndarray):
        self.rows = rows
        self.expression = np.moveaxis(head.expression[rows].astype(np.float64), 2, 0).reshape(
            len(head.expression_names), -1
        )
        joints = head.joint_regressor.astype(np.float64)
        self.joint_rest = joints @ head.template
        self.joint_basis = np.moveaxis(np.tensordot(joints, head.expression.astype(np.float64), 1), 2, 0)
        self.template = head.template[rows].astype(np.float64)
        self.posedirs = head.posedirs[rows].astype(np.float64).reshape(-1, head.posedirs.shape[2])
        self.weights = head.weights[rows].astype(np.float64)
        self.parents = head.parents
        wide = self.expression @ self.expression.T
        ridge = RIDGE * np.trace(wide) / max(len(wide), 1)
        self.inverse = np.linalg.inv(wide + ridge * np.eye(len(wide)))

    def joints(self, expression: np.ndarray) -> np.ndarray:
        """[t, 5, 3] of expression [t, e]."""
        return self.joint_rest + np.einsum("te,ejc->tjc", expression, self.joint_basis)

    def rest(self, verts: np.ndarray, pose: np.ndarray, translation: np.ndarray, expression: np.ndarray) -> np.ndarray:
        """[t, n * 3]: verts [t, n, 3] with pose, correctives and template taken off: what the expression must show."""
        transforms = lbs.joint_transforms(self.joints(expression), pose, self.parents)
        out = verts - translation[:, None]
        unskin(out, transforms, self.weights)
        out -= self.template
        turn = lbs.rodrigues_reference(pose.reshape(len(pose), -1, 3)[:, 1:]) - np.eye(3)
        return out.reshape(len(out), -1) - turn.reshape(len(pose), -1) @ self.posedirs.T

    def solve(self, rest: np.ndarray) -> np.ndarray:
        """[t, e] expression of rest [t, n * 3]."""
        return (rest @ self.expression.T) @ self.inverse


def fit_flame(head: Head, verts: np.ndarray, report: Reporter = SILENT) -> Fit:
    """Parameters of verts [t, v, 3] metres on a FLAME model's mesh; the error is over all of its vertices.

    weights are the ARKit weights whose parameters come nearest (`Head.shape_expression`), for other characters.
    """
    start = time.perf_counter()
    part = _Part(head, _sample(head))
    pose, translation, expression = (np.zeros((len(verts), n)) for n in (15, 3, len(head.expression_names)))
    first = _outline(part, verts, report)
    for at in range(0, len(verts), BLOCK):
        block = slice(at, at + BLOCK)
        points = verts[block, part.rows].astype(np.float64)
        found = _turns(part, points, first[block], report, at, len(verts))
        pose[block], translation[block], expression[block] = found
    _finish(head, verts, pose, translation, expression)
    weights = _weights(head, expression, pose)
    fit = Fit(weights, pose, translation, np.zeros((len(verts), 2)), 0.0, expression.astype(np.float32))
    error = np.empty((len(verts), 2))
    for at in range(0, len(verts), BLOCK):
        block = slice(at, at + BLOCK)
        away = shown(head, expression[block], pose[block], translation[block])
        away -= verts[block]
        distance = np.sqrt(np.einsum("tvc,tvc->tv", away, away)) * MM
        error[block, 0], error[block, 1] = distance.mean(1), distance.max(1)
    report.step("fit", len(verts), len(verts))
    return dataclasses.replace(fit, error=error, seconds=time.perf_counter() - start)


def _sample(head: Head) -> np.ndarray:
    """Vertices that the turns are found on: of those that move, and some of each joint's own (an eyeball has no
    expression, and is all that shows where it looks)."""
    moving = np.flatnonzero((np.abs(head.expression).max((1, 2)) > 1e-6) | (head.weights.max(1) < 0.999))
    rows = [moving[:: max(1, len(moving) // SAMPLE)]]
    for j in range(len(JOINTS)):
        own = np.flatnonzero(head.weights[:, j] > 0.999)
        rows.append(own[:: max(1, len(own) // PER_JOINT)])
    return np.unique(np.concatenate(rows))


def shown(head: Head, expression: np.ndarray, pose: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """[t, v, 3] float32: `evaluate.flame_vertices` of an imported model, compiled skinning on float32."""
    basis = np.ascontiguousarray(head.expression, np.float32).reshape(-1, len(head.expression_names))
    out = (expression.astype(np.float32) @ basis.T).reshape(len(expression), *head.template.shape)
    out += head.template
    joints = np.matmul(head.joint_regressor.astype(np.float64), out)
    turn = lbs.rodrigues_reference(pose.reshape(len(pose), -1, 3)[:, 1:]) - np.eye(3)
    directions = head.posedirs.astype(np.float32).reshape(-1, head.posedirs.shape[2])
    out += (turn.reshape(len(pose), -1).astype(np.float32) @ directions.T).reshape(out.shape)
    lbs.skin(out, lbs.joint_transforms(joints, pose, head.parents), head.weights)
    out += translation[:, None].astype(np.float32)
    return out


def _outline(part: _Part, verts: np.ndarray, report: Reporter) -> np.ndarray:
    """[t, 18] first guess of turns and translation: every STRIDE-th frame solved, straight lines between."""
    at = np.unique(np.r_[np.arange(0, len(verts), STRIDE), len(verts) - 1])
    state = np.empty((len(at), 18))
    for k in range(0, len(at), BLOCK):
        rows = at[k : k + BLOCK]
        points = verts[rows][:, part.rows].astype(np.float64)
        pose, translation, _ = _turns(part, points, np.zeros((len(rows), 18)), report, 0, len(verts))
        state[k : k + BLOCK] = np.c_[pose, translation]
    frames = np.arange(len(verts))
    return np.stack([np.interp(frames, at, column) for column in state.T], 1)


def _turns(
    part: _Part, points: np.ndarray, first: np.ndarray, report: Reporter, done: int, total: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(pose [t, 15], translation [t, 3], expression [t, e]) of points [t, n, 3], from a first guess [t, 18] on."""
    t = len(points)
    state = first.copy()
    expression = np.zeros((t, len(part.expression)))
    hold = np.full(18, FIRM)
    hold[:3] = ROOT_FIRM
    best, stuck = np.inf, 0
    columns, normal, scale = np.zeros(0), np.zeros(0), np.zeros(0)
    for number in range(ROUNDS):
        report.step("fit", done, total)
        rest = part.rest(points, state[:, :15], state[:, 15:], expression)
        expression = part.solve(rest)
        left = rest - expression @ part.expression
        now = float(np.sqrt((left.reshape(t, -1, 3) ** 2).sum(2)).mean())
        stuck = 0 if now < best - ENOUGH else stuck + 1
        best = min(best, now)
        if now < ENOUGH or stuck > 2:
            break
        if number in ANEW:  # between, the last derivatives serve again: steps are cheap, derivatives are not
            columns = _derivatives(part, points, state, expression, rest, report)
            # Less what the expression can do instead: the product with the projected columns, without making them.
            share = columns @ part.expression.T
            normal = columns @ np.swapaxes(columns, 1, 2) - share @ part.inverse @ np.swapaxes(share, 1, 2)
            scale = np.einsum("tkk->t", normal) / 18
            normal += scale[:, None, None] * np.diag(hold)
        right = (columns @ left[..., None])[..., 0] + scale[:, None] * hold * state
        state -= np.linalg.solve(normal, right[..., None])[..., 0]
    return state[:, :15], state[:, 15:], expression


def _derivatives(
    part: _Part, points: np.ndarray, state: np.ndarray, expression: np.ndarray, rest: np.ndarray, report: Reporter
) -> np.ndarray:
    """[t, 18, n * 3]: how the rest changes with each turn and shift."""
    columns = np.empty((len(rest), 18, rest.shape[1]))
    for k in range(18):
        report.check()
        step = state.copy()
        size = STEP if k < 15 else 0.1 * STEP
        step[:, k] += size
        columns[:, k] = (part.rest(points, step[:, :15], step[:, 15:], expression) - rest) / size
    return columns


def _finish(head: Head, verts: np.ndarray, pose: np.ndarray, translation: np.ndarray, expression: np.ndarray) -> None:
    """The expression once more, from every vertex that it moves; in place. The joints stay as the sample put them."""
    rows = np.flatnonzero(np.abs(head.expression).max((1, 2)) > 1e-7)
    basis = np.moveaxis(head.expression[rows].astype(np.float64), 2, 0).reshape(len(head.expression_names), -1)
    wide = basis @ basis.T
    inverse = np.linalg.inv(wide + RIDGE * np.trace(wide) / max(len(wide), 1) * np.eye(len(wide)))
    joints = head.joint_regressor.astype(np.float64)
    drift = np.tensordot(joints, head.expression.astype(np.float64), 1)
    for at in range(0, len(verts), BLOCK):
        block = slice(at, at + BLOCK)
        place = joints @ head.template + np.einsum("jce,te->tjc", drift, expression[block])
        moved = offsets(head, verts[block], Pose(pose[block], translation[block]), rows, place)
        expression[block] = (moved.reshape(len(moved), -1) @ basis.T) @ inverse


def _weights(head: Head, expression: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """[t, k] in [0, 1]: the shapes whose parameters come nearest, measured on the vertices of the rest pose."""
    from engine.head.boxls import solve_box

    jaw = slice(3 * JOINTS.index("jaw"), 3 * JOINTS.index("jaw") + 3)
    # A radian of the jaw weighs as the lower face's mean way for it does.
    reach = 0.07 * np.sqrt(len(head.template))
    basis = head.shape_expression.astype(np.float64)
    metric = np.einsum("vce,vcf->ef", head.expression.astype(np.float64), head.expression.astype(np.float64))
    turn = head.shape_pose[:, jaw].astype(np.float64)
    normal = basis @ metric @ basis.T + reach**2 * turn @ turn.T
    right = expression @ metric @ basis.T + reach**2 * pose[:, jaw] @ turn.T
    return solve_box(normal, right, 1e-3, 1e-5).astype(np.float32)
