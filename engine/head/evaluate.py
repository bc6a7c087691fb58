"""Shape weights and pose in, vertices out: one matrix product and compiled skinning; a plain twin for the tests."""

from __future__ import annotations

import weakref
from dataclasses import dataclass

import numpy as np

from engine.core.anatomy import Head
from engine.core.errors import BadInput
from engine.core.names import ARKIT, EXTRA, JOINTS
from engine.head import lbs, respond

_POSE = 15
_JAW = JOINTS.index("jaw")
_BLOCK = 64  # frames per product: the block of vertices stays in the second-level cache's reach


@dataclass(frozen=True)
class _Plan:
    """What a head's fast path needs again and again. shapes [k, v * 3]; columns: which of the 36 pose features do
    anything; posedirs [c, v, 3] their directions; joints [5, 3] of the template; weights [v, 5]; fixes: what
    correctives move."""

    shapes: np.ndarray
    columns: np.ndarray
    posedirs: np.ndarray
    joints: np.ndarray
    weights: np.ndarray
    fixes: respond.Sparse


_plans: dict[int, _Plan] = {}


def _plan(head: Head) -> _Plan:
    """The head's plan, made once and forgotten with it."""
    plan = _plans.get(id(head))
    if plan is None:
        columns = np.flatnonzero(head.posedirs.any((0, 1)))
        plan = _plans[id(head)] = _Plan(
            np.ascontiguousarray(head.shapes, np.float32).reshape(len(head.shape_names), -1),
            columns,
            np.ascontiguousarray(np.moveaxis(head.posedirs[:, :, columns], -1, 0), np.float32),
            head.joint_regressor.astype(np.float64) @ head.template,
            np.ascontiguousarray(head.weights, np.float32),
            respond.sparse(head.correctives[: len(head.corrective_names)]),
        )
        weakref.finalize(head, _plans.pop, id(head), None)
    return plan


def shape_weights(head: Head, arkit: np.ndarray, extra: np.ndarray | None = None) -> np.ndarray:
    """[t, k] float32 weights in the order of head.shape_names from arkit [t, 52] and extra [t, 7] (order names.EXTRA).

    Shapes that this head does not have are dropped; shapes of the head beyond the standard names get 0.
    """
    arkit = np.asarray(arkit, np.float32)
    if arkit.ndim != 2 or arkit.shape[1] != len(ARKIT):
        raise BadInput(f"arkit weights must be [frames, {len(ARKIT)}], got {list(arkit.shape)}")
    columns = {name: arkit[:, i] for i, name in enumerate(ARKIT)}
    if extra is not None:
        extra = np.asarray(extra, np.float32)
        if extra.shape != (len(arkit), len(EXTRA)):
            raise BadInput(f"extra weights must be [{len(arkit)}, {len(EXTRA)}], got {list(extra.shape)}")
        columns.update({name: extra[:, i] for i, name in enumerate(EXTRA)})
    weights = np.zeros((len(arkit), len(head.shape_names)), np.float32)
    for name, column in columns.items():
        if name in head.shape_index:
            weights[:, head.shape_index[name]] = column
    return weights


def _checked_pose(pose: np.ndarray | None, frames: int) -> np.ndarray | None:
    if pose is None:
        return None
    pose = np.asarray(pose, np.float64)
    if pose.shape != (frames, _POSE):
        raise BadInput(f"pose must be [{frames}, {_POSE}] axis-angles in radians, got {list(pose.shape)}")
    return pose if pose.any() else None


def _place(verts: np.ndarray, translation: np.ndarray | None) -> np.ndarray:
    if translation is not None:
        translation = np.asarray(translation, verts.dtype)
        if translation.shape != (len(verts), 3):
            raise BadInput(f"translation must be [{len(verts)}, 3] metres, got {list(translation.shape)}")
        verts += translation[:, None]
    return verts


def vertices(
    head: Head, arkit: np.ndarray, extra: np.ndarray | None = None,
    pose: np.ndarray | None = None, translation: np.ndarray | None = None, identity: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """Vertices [t, v, 3] float32 in metres of a head driven by ARKit weights.

    arkit [t, 52] and extra [t, 7] weigh the shapes linearly (jawOpen among them), the head's correctives answer them,
    then pose [t, 15] (root, neck, jaw, eye left, eye right; axis-angle, radians) turns the joints and translation
    [t, 3] (metres) moves the whole. The jaw joint should be 0 here: jawOpen opens the mouth. identity [i] weighs
    head.identity and is folded into the template.
    """
    weights = shape_weights(head, arkit, extra)
    frames = len(weights)
    pose = _checked_pose(pose, frames)
    plan = _plan(head)
    template = head.template if identity is None else _template(head, identity).astype(np.float32)
    out = np.empty((frames, *template.shape), np.float32)
    used = np.flatnonzero(weights.any(0))
    matrix = plan.shapes if len(used) == len(plan.shapes) else plan.shapes[used]
    transforms = turn = None
    if pose is not None:
        turn = pose_features(pose)
        joints = plan.joints if identity is None else head.joint_regressor.astype(np.float64) @ template
        transforms = lbs.joint_transforms(joints[None], pose, head.parents)
    for at in range(0, frames, _BLOCK):
        block = out[at : at + _BLOCK]
        np.matmul(weights[at : at + _BLOCK, used], matrix, out=block.reshape(len(block), -1))
        block += template
        rows = slice(at, at + _BLOCK)
        if len(plan.fixes.rows):
            _fix(head, block, weights[rows], None if turn is None else turn[rows])
        if transforms is not None and turn is not None:
            _correct(head, block, turn[rows])
            lbs.skin(block, transforms[at : at + _BLOCK], plan.weights)
    return _place(out, translation)


def vertices_reference(
    head: Head, arkit: np.ndarray, extra: np.ndarray | None = None,
    pose: np.ndarray | None = None, translation: np.ndarray | None = None, identity: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """Plain float64 twin of `vertices`."""
    weights = shape_weights(head, arkit, extra).astype(np.float64)
    template = _template(head, identity)
    out = template + np.einsum("tk,kvc->tvc", weights, head.shapes.astype(np.float64))
    checked = _checked_pose(pose, len(weights))
    turn = None if checked is None else pose_features(checked)
    if len(head.corrective_names):
        out += np.einsum("tk,kvc->tvc", respond.responses_reference(head, weights, turn), head.correctives)
    if checked is not None and turn is not None:
        _correct(head, out, turn)
        joints = head.joint_regressor.astype(np.float64) @ template
        out = lbs.skin_reference(out, lbs.joint_transforms(joints[None], checked, head.parents), head.weights)
    return _place(out, translation)


def flame_vertices(head: Head, shape: np.ndarray | None, expression: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """Vertices [t, v, 3] float64 of FLAME parameters, as smplx computes them.

    shape [i] weighs head.identity, expression [t, e] head.expression, pose [t, 15] the joints (jaw included). Joints
    are regressed from the shaped face of each frame; pose correctives are linear in R - I of neck, jaw and eyes.
    """
    expression = np.asarray(expression, np.float64)
    if expression.ndim != 2 or expression.shape[1] != len(head.expression_names):
        raise BadInput(f"expression must be [frames, {len(head.expression_names)}], got {list(expression.shape)}")
    posed = _checked_pose(pose, len(expression))
    basis = head.expression.astype(np.float64).reshape(-1, len(head.expression_names))
    out = _template(head, shape) + (expression @ basis.T).reshape(-1, *head.template.shape)
    joints = np.matmul(head.joint_regressor.astype(np.float64), out)
    turn = None if posed is None else pose_features(posed)
    if len(head.corrective_names):
        _fix(head, out, _weights_of_flame(head, expression, posed), turn, None if posed is None else posed[:, 6:9])
    if posed is None or turn is None:
        return out
    _correct(head, out, turn)
    return lbs.skin_reference(out, lbs.joint_transforms(joints, posed, head.parents), head.weights)


def joints_of(head: Head, identity: np.ndarray | None = None) -> np.ndarray:
    """Joint positions [5, 3] in metres of the neutral face."""
    return head.joint_regressor.astype(np.float64) @ _template(head, identity)


def _template(head: Head, identity: np.ndarray | None) -> np.ndarray:
    """Neutral face [v, 3] float64 with the identity folded in."""
    template = head.template.astype(np.float64)
    if identity is None:
        return template
    identity = np.asarray(identity, np.float64)
    if identity.ndim != 1 or len(identity) > head.identity.shape[2]:
        raise BadInput(f"identity must hold at most {head.identity.shape[2]} values, got {list(identity.shape)}")
    return template + head.identity[:, :, : len(identity)].astype(np.float64) @ identity


def pose_features(pose: np.ndarray) -> np.ndarray:
    """[t, 36] entries of R - I of neck, jaw, left and right eye (nine each, row by row) of pose [t, 15]."""
    turn = lbs.rodrigues_reference(pose.reshape(len(pose), -1, 3)[:, 1:]) - np.eye(3)
    return turn.reshape(len(pose), -1)


def _correct(head: Head, points: np.ndarray, turn: np.ndarray) -> None:
    """Add the pose correctives for features turn [t, 36] to points [t, v, 3], in place; joints that do not turn cost
    nothing."""
    plan = _plan(head)
    feature = turn[:, plan.columns].astype(points.dtype)
    for k in np.flatnonzero(feature.any(0)):
        points += feature[:, k, None, None] * plan.posedirs[k]


def shape_offsets(head: Head, weights: np.ndarray, pose: np.ndarray | None = None) -> np.ndarray:
    """[t, v, 3] float32 metres before skinning: shapes at weights [t, k] with the correctives that answer them and the
    turned joints of pose [t, 15]."""
    weights = np.asarray(weights, np.float32)
    out = (weights @ _plan(head).shapes).reshape(len(weights), *head.template.shape)
    if len(head.corrective_names):
        checked = _checked_pose(pose, len(weights))
        _fix(head, out, weights, None if checked is None else pose_features(checked))
    return out


def _fix(
    head: Head, points: np.ndarray, weights: np.ndarray, turn: np.ndarray | None, jaw: np.ndarray | None = None
) -> None:
    """Add the head's correctives to points [t, v, 3], in place. weights [t, k] of its shapes, turn [t, 36] or None.

    jaw [t, 3]: turn of the jaw joint that skinning is going to apply; correctives are made for a jaw that shapes open.
    """
    plan = _plan(head)
    active = respond.responses(head, weights, turn)
    if jaw is None or not jaw.any():
        respond.add_to(points, active, plan.fixes)
        return
    moved = np.zeros_like(points)
    respond.add_to(moved, active, plan.fixes)
    rows = np.unique(plan.fixes.rows)
    share = head.weights[rows, _JAW, None, None].astype(np.float64)
    blend = share * (lbs.rodrigues_reference(jaw)[:, None] - np.eye(3)) + np.eye(3)
    points[:, rows] += np.linalg.solve(blend, moved[:, rows, :, None])[..., 0]


def _weights_of_flame(head: Head, expression: np.ndarray, pose: np.ndarray | None) -> np.ndarray:
    """[t, k] weights of the head's shapes that expression [t, e] and the jaw of pose [t, 15] stand for."""
    weights = np.zeros((len(expression), len(head.shape_names)))
    for column, name in enumerate(head.expression_names):
        if name in head.shape_index:
            weights[:, head.shape_index[name]] = expression[:, column]
    if (
        pose is not None
        and head.jaw_open_rad
        and "jawOpen" in head.shape_index
        and "jawOpen" not in head.expression_names
    ):
        weights[:, head.shape_index["jawOpen"]] = pose[:, 6] / head.jaw_open_rad
    return weights
