"""Engine axes (right-handed, Y up, Z forward) -> Blender's (right-handed, Z up, facing -Y), and back.

A point (x, y, z) becomes (x, -z, y): a turn of +90 degrees about X, so rotations keep their angle and
their axis turns like a point. Metres and radians on both sides.
"""

from __future__ import annotations

import numpy as np

# Rows: Blender's x, y, z from the engine's.
TO_BLENDER = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])


def to_blender(points: np.ndarray) -> np.ndarray:
    """[..., 3] engine -> [..., 3] Blender; exact (a swap and a sign), the dtype is kept."""
    points = np.asarray(points)
    if points.shape[-1:] != (3,):
        raise ValueError(f"points must be [..., 3], got {list(points.shape)}")
    return np.stack([points[..., 0], -points[..., 2], points[..., 1]], -1)


def to_engine(points: np.ndarray) -> np.ndarray:
    """[..., 3] Blender -> [..., 3] engine; the inverse of `to_blender`."""
    points = np.asarray(points)
    if points.shape[-1:] != (3,):
        raise ValueError(f"points must be [..., 3], got {list(points.shape)}")
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], -1)


def quaternions(axis_angles: np.ndarray) -> np.ndarray:
    """Axis-angle vectors [t, 3] (radians) -> unit quaternions [t, 4], wxyz, without sign jumps along t."""
    r = np.asarray(axis_angles, np.float64)
    angle = np.linalg.norm(r, axis=-1, keepdims=True)
    half = angle / 2
    # sin(a/2)/a tends to 1/2; below 1e-8 rad the difference is under double precision.
    scale = np.where(angle > 1e-8, np.sin(half) / np.maximum(angle, 1e-8), 0.5)
    q = np.concatenate([np.cos(half), r * scale], -1)
    flips = np.sign(np.sum(q[1:] * q[:-1], -1))
    flips[flips == 0] = 1
    q[1:] *= np.cumprod(flips)[:, None]
    return q


def bone_quaternions(axis_angles: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Engine rotations [t, 3] of a joint -> the pose bone's `rotation_quaternion` [t, 4] wxyz.

    rest [3, 3]: the bone's rest axes as columns, in armature space (`bone.matrix_local.to_3x3()`).
    A pose bone turns in its own axes: with the skinning matrix R asked for, its basis is restᵀ R rest, which
    for an axis-angle vector is restᵀ r.
    """
    return quaternions(to_blender(np.asarray(axis_angles, np.float64)) @ np.asarray(rest, np.float64))


def bone_locations(translations: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Engine translations [t, 3] metres -> the root pose bone's `location` [t, 3] in its rest axes."""
    return to_blender(np.asarray(translations, np.float64)) @ np.asarray(rest, np.float64)


def gaze_angles(targets: np.ndarray, eyes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the eyes must turn to look at targets [t, 3] from `eyes` [3], both in the rig's Blender axes.

    Returns yaw [t] (radians, to the subject's left) and pitch [t] (up) in the engine's axes.
    """
    d = to_engine(np.asarray(targets, np.float64) - np.asarray(eyes, np.float64))
    return np.arctan2(d[:, 0], d[:, 2]), np.arctan2(d[:, 1], np.hypot(d[:, 0], d[:, 2]))
