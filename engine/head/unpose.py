"""From a posed mesh back to its rest: joint rotations from what moves rigidly, then skinning undone."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.core.anatomy import Head
from engine.core.names import JOINTS
from engine.head import lbs

STILL_M = 1e-6  # a vertex that no shape moves by more is rigid under its joint
FEW = 8


@dataclass(frozen=True)
class Pose:
    """pose [t, 15] axis-angle radians (jaw 0), translation [t, 3] metres."""

    pose: np.ndarray
    translation: np.ndarray


def kabsch(rest: np.ndarray, moved: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(turn [t, 3, 3], shift [t, 3]) with moved[t] ~ turn[t] @ rest + shift[t]: least squares for rest [n, 3] and
    moved [t, n, 3] (Kabsch 1976)."""
    a, b = rest - rest.mean(0), moved - moved.mean(1, keepdims=True)
    u, _, vt = np.linalg.svd(np.einsum("tni,nj->tij", b, a))
    sign = np.ones((len(moved), 3))
    sign[:, 2] = np.linalg.det(u @ vt)
    turn = np.einsum("tij,tj,tjk->tik", u, sign, vt)
    return turn, moved.mean(1) - np.einsum("tij,j->ti", turn, rest.mean(0))


def rigid_rows(head: Head) -> dict[str, np.ndarray]:
    """Joint -> vertices that follow it alone and that no shape moves (absent where there are fewer than eight)."""
    still = np.abs(head.shapes).max((0, 2)) < STILL_M if len(head.shapes) else np.ones(len(head.template), bool)
    rows = {name: np.flatnonzero(still & (head.weights[:, j] > 0.9999)) for j, name in enumerate(JOINTS)}
    return {name: found for name, found in rows.items() if len(found) >= FEW and name != "jaw"}


def find_pose(head: Head, verts: np.ndarray) -> Pose:
    """Root, neck and eye rotations and the translation of verts [t, v, 3], from the head's rigid vertices.

    A head without rigid vertices under its root (no bust) turns by its neck alone. Joints without any stay at 0.
    """
    from scipy.spatial.transform import Rotation

    t = len(verts)
    rest = head.template.astype(np.float64)
    joints = head.joint_regressor.astype(np.float64) @ rest
    rows = rigid_rows(head)
    pose = np.zeros((t, len(JOINTS), 3))
    translation = np.zeros((t, 3))
    turn, shift = np.tile(np.eye(3), (t, 1, 1)), np.zeros((t, 3))
    if "root" in rows:
        turn, shift = kabsch(rest[rows["root"]], verts[:, rows["root"]].astype(np.float64))
        pose[:, 0] = Rotation.from_matrix(turn).as_rotvec()
        translation = shift - joints[0] + np.einsum("tij,j->ti", turn, joints[0])
    base = turn
    if "neck" in rows:
        turn, shift = kabsch(rest[rows["neck"]], verts[:, rows["neck"]].astype(np.float64))
        pose[:, 1] = Rotation.from_matrix(np.swapaxes(base, 1, 2) @ turn).as_rotvec()
        if "root" not in rows:
            translation = shift - joints[1] + np.einsum("tij,j->ti", turn, joints[1])
    for j, name in enumerate(JOINTS):
        if name in rows and name.startswith("eye"):
            eye = kabsch(rest[rows[name]], verts[:, rows[name]].astype(np.float64))[0]
            pose[:, j] = Rotation.from_matrix(np.swapaxes(turn, 1, 2) @ eye).as_rotvec()
    # Below a hundred-thousandth of a radian lies rounding, and a pose of exact zeros costs nothing downstream.
    pose[np.abs(pose).max(2) < 1e-5] = 0
    translation[np.abs(translation) < 1e-8] = 0
    return Pose(pose.reshape(t, -1), translation)


def offsets(
    head: Head, verts: np.ndarray, where: Pose, rows: np.ndarray, joints: np.ndarray | None = None
) -> np.ndarray:
    """[t, n, 3] float32: how vertices `rows` of verts [t, v, 3] differ from the template once the pose is undone.

    joints [t, 5, 3]: where the joints lie in each frame; those of the template if None.
    """
    out = np.ascontiguousarray(verts[:, rows], np.float32)
    if where.translation.any():
        out -= where.translation[:, None].astype(np.float32)
    if where.pose.any():
        if joints is None:
            joints = (head.joint_regressor.astype(np.float64) @ head.template)[None]
        transforms = lbs.joint_transforms(joints, where.pose, head.parents)
        unskin(out, transforms, head.weights[rows])
        _uncorrect(head, out, where.pose, rows)
    out -= head.template[rows]
    return out


def unskin(points: np.ndarray, transforms: np.ndarray, weights: np.ndarray) -> None:
    """Undo `lbs.skin` in place: points [t, n, 3], transforms [t, j, 3, 4], weights [n, j]."""
    _kernel()(points, np.ascontiguousarray(transforms), np.ascontiguousarray(weights, np.float64))


def offsets_reference(head: Head, verts: np.ndarray, where: Pose, rows: np.ndarray) -> np.ndarray:
    """Plain float64 twin of `offsets`."""
    joints = head.joint_regressor.astype(np.float64) @ head.template
    transforms = lbs.joint_transforms(joints[None], where.pose, head.parents)
    blend = np.einsum("vj,tjab->tvab", head.weights[rows].astype(np.float64), transforms)
    moved = verts[:, rows].astype(np.float64) - where.translation[:, None] - blend[..., 3]
    out = np.linalg.solve(blend[..., :3], moved[..., None])[..., 0]
    _uncorrect(head, out, where.pose, rows)
    return out - head.template[rows]


def _uncorrect(head: Head, points: np.ndarray, pose: np.ndarray, rows: np.ndarray) -> None:
    columns = np.flatnonzero(head.posedirs[rows].any((0, 1)))
    turn = lbs.rodrigues_reference(pose.reshape(len(pose), -1, 3)[:, 1:]) - np.eye(3)
    feature = turn.reshape(len(pose), -1)
    for c in columns:
        if feature[:, c].any():
            points -= (feature[:, c, None, None] * head.posedirs[rows, :, c]).astype(points.dtype)


@functools.cache
def _kernel() -> Callable[..., Any]:
    import numba

    @numba.njit(cache=True)
    def undo(points: np.ndarray, transforms: np.ndarray, weights: np.ndarray) -> None:
        """points [t, n, 3] <- inverse of each vertex's blended transform, by the adjugate."""
        m = np.empty((3, 4))
        for t in range(points.shape[0]):
            for v in range(points.shape[1]):
                m[:] = 0
                for j in range(weights.shape[1]):
                    w = weights[v, j]
                    if w != 0:
                        for a in range(3):
                            for b in range(4):
                                m[a, b] += w * transforms[t, j, a, b]
                x = points[t, v, 0] - m[0, 3]
                y = points[t, v, 1] - m[1, 3]
                z = points[t, v, 2] - m[2, 3]
                c0 = m[1, 1] * m[2, 2] - m[1, 2] * m[2, 1]
                c1 = m[1, 2] * m[2, 0] - m[1, 0] * m[2, 2]
                c2 = m[1, 0] * m[2, 1] - m[1, 1] * m[2, 0]
                det = m[0, 0] * c0 + m[0, 1] * c1 + m[0, 2] * c2
                d0 = m[0, 2] * m[2, 1] - m[0, 1] * m[2, 2]
                d1 = m[0, 0] * m[2, 2] - m[0, 2] * m[2, 0]
                d2 = m[0, 1] * m[2, 0] - m[0, 0] * m[2, 1]
                e0 = m[0, 1] * m[1, 2] - m[0, 2] * m[1, 1]
                e1 = m[0, 2] * m[1, 0] - m[0, 0] * m[1, 2]
                e2 = m[0, 0] * m[1, 1] - m[0, 1] * m[1, 0]
                points[t, v, 0] = (c0 * x + d0 * y + e0 * z) / det
                points[t, v, 1] = (c1 * x + d1 * y + e1 * z) / det
                points[t, v, 2] = (c2 * x + d2 * y + e2 * z) / det

    return undo
