"""A FLAME take for a program that poses bones and shape keys: the weights of every column, and where joints move.

FLAME finds its joints on the expressive face, so they wander with it; a rig's bones stand still. `joint_shifts` is
what each bone must be moved by, in its parent's frame, for the same skin.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.core.anatomy import Head
from engine.core.take import Take
from engine.head import lbs


def joint_shifts(head: Head, shape: np.ndarray | None, expression: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """[t, 15] metres: (I - R)(joint - resting joint) of each joint, for expression [t, e] and pose [t, 15].

    A bone that turns by R about its resting joint and is then moved by this equals FLAME's turn about its own joint.
    """
    regressor = head.joint_regressor.astype(np.float64)
    basis = np.tensordot(regressor, head.expression.astype(np.float64), 1)
    wander = np.moveaxis(np.tensordot(basis, np.asarray(expression, np.float64), (2, 1)), -1, 0)
    if shape is not None and len(shape):
        wander = wander + np.tensordot(regressor, head.identity[:, :, : len(shape)].astype(np.float64) @ shape, 1)
    turn = lbs.rodrigues_reference(np.asarray(pose, np.float64).reshape(len(pose), -1, 3))
    return (wander - np.einsum("tjab,tjb->tja", turn, wander)).reshape(len(pose), -1)


def rig_arrays(head: Head, take: Take) -> dict[str, Any]:
    """The `speak` job's "weights", "pose" and "shifts" of a FLAME take."""
    flame = take.flame
    return {
        "weights": flame.expression.astype(np.float32),
        "pose": flame.pose.astype(np.float32),
        "shifts": joint_shifts(head, flame.shape, flame.expression, flame.pose).astype(np.float32),
    }
