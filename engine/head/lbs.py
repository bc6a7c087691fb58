"""Linear blend skinning of a FLAME-layout head: a plain reference and a compiled twin.

Li et al., "Learning a model of facial shape and expression from 4D scans" (2017), equation 2; the skinning of Loper et
al., "SMPL" (2015), equations 2-7. Written from the papers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

# smplx computes the angle as |r + 1e-8|; the difference to the exact norm is below 1e-8 and is left out here.
_TINY = 1e-8


def rodrigues_reference(axis_angle: np.ndarray) -> np.ndarray:
    """Rotation matrices [..., 3, 3] of axis-angle vectors [..., 3] in radians (Rodrigues' formula), in float64."""
    r = np.asarray(axis_angle, np.float64)
    angle = np.linalg.norm(r, axis=-1)[..., None, None]
    axis = r / np.maximum(angle[..., 0], _TINY)
    x, y, z = np.moveaxis(axis, -1, 0)
    zero = np.zeros_like(x)
    k = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*r.shape[:-1], 3, 3)
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * (k @ k)


def joint_transforms(joints: np.ndarray, pose: np.ndarray, parents: Sequence[int]) -> np.ndarray:
    """World transforms [t, j, 3, 4] that take rest points to posed ones; joints [t or 1, j, 3] m, pose [t, j * 3]."""
    t, j = len(pose), len(parents)
    turn = rodrigues_reference(pose.reshape(t, j, 3))
    joints = np.broadcast_to(joints, (t, j, 3))
    world = np.zeros((t, j, 3, 3))
    place = np.zeros((t, j, 3))
    for i, parent in enumerate(parents):
        if parent < 0:
            world[:, i], place[:, i] = turn[:, i], joints[:, i]
        else:
            world[:, i] = world[:, parent] @ turn[:, i]
            place[:, i] = place[:, parent] + np.einsum("tab,tb->ta", world[:, parent], joints[:, i] - joints[:, parent])
    shift = place - np.einsum("tjab,tjb->tja", world, joints)
    return np.concatenate([world, shift[..., None]], -1)


def skin_reference(points: np.ndarray, transforms: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """points [t, v, 3], transforms [t, j, 3, 4], weights [v, j] -> posed points [t, v, 3], float64."""
    blended = np.einsum("vj,tjab->tvab", np.asarray(weights, np.float64), transforms)
    return np.einsum("tvab,tvb->tva", blended[..., :3], points) + blended[..., 3]


@functools.cache
def _kernel() -> Callable[..., Any]:
    import numba

    @numba.njit(cache=True, fastmath={"contract"}, error_model="numpy")
    def skin(points: np.ndarray, transforms: np.ndarray, weights: np.ndarray) -> None:
        m = np.empty(12, np.float32)
        for t in range(points.shape[0]):
            for v in range(points.shape[1]):
                m[:] = 0
                for j in range(weights.shape[1]):
                    w = weights[v, j]
                    if w != 0:
                        for k in range(12):
                            m[k] += w * transforms[t, j, k]
                x, y, z = points[t, v, 0], points[t, v, 1], points[t, v, 2]
                points[t, v, 0] = m[0] * x + m[1] * y + m[2] * z + m[3]
                points[t, v, 1] = m[4] * x + m[5] * y + m[6] * z + m[7]
                points[t, v, 2] = m[8] * x + m[9] * y + m[10] * z + m[11]

    return skin


def skin(points: np.ndarray, transforms: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Fast twin of `skin_reference` in float32; works in place on `points` [t, v, 3] and returns it."""
    flat = np.ascontiguousarray(transforms, np.float32).reshape(*transforms.shape[:2], 12)
    _kernel()(points, flat, np.ascontiguousarray(weights, np.float32))
    return points
