"""Joints, regressor, skinning weights and pose correctives in FLAME's layout."""

from __future__ import annotations

import numpy as np

from engine.core.names import JOINTS
from engine.head.lbs import rodrigues_reference

NECK, JAW, EYE_LEFT, EYE_RIGHT = (JOINTS.index(n) for n in ("neck", "jaw", "eye_left", "eye_right"))


def fit_hinge(rest: np.ndarray, moved: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre [3] (x = 0) and angle about +x, radians, of the rotation that takes rest [n, 3] to moved [n, 3].

    Least squares in the sagittal plane (Kabsch in 2-D); the fixed point of the fitted motion is the hinge.
    """
    a, b = rest[:, 1:], moved[:, 1:]
    ca, cb = a.mean(0), b.mean(0)
    cross = ((a - ca)[:, 0] * (b - cb)[:, 1] - (a - ca)[:, 1] * (b - cb)[:, 0]).sum()
    dot = ((a - ca) * (b - cb)).sum()
    angle = float(np.arctan2(cross, dot))
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, -s], [s, c]])
    centre = np.linalg.solve(np.eye(2) - turn, cb - turn @ ca)
    return np.array([0.0, *centre]), angle


def neck_weight(points: np.ndarray, neck: np.ndarray, chin_y: float) -> np.ndarray:
    """[n] in [0, 1]: how much a skin vertex turns with the head; 0 on the shoulders, 1 from the jaw's underside up.

    The blend runs along a line tilted forwards, because the jaw's underside lies lower than the nape's top.
    """
    height = points[:, 1] - chin_y + 0.45 * (points[:, 2] - neck[2])
    t = np.clip((height + 0.050) / 0.085, 0, 1)
    return t * t * (3 - 2 * t)


def jaw_weight(rest: np.ndarray, opened: np.ndarray, hinge: np.ndarray, angle: float) -> np.ndarray:
    """[n] in [0, 1]: part of the jaw's rotation that jawOpen gives each vertex.

    Projection of the shape's offset on the offset that the full rotation would give (least squares), clipped.
    """
    turn = rodrigues_reference(np.array([angle, 0, 0]))
    full = (rest - hinge) @ turn.T + hinge - rest
    weight = (opened * full).sum(1) / np.maximum((full**2).sum(1), 1e-10)
    moved = np.linalg.norm(opened, axis=1) > 1e-5
    return np.where(moved, np.clip(weight, 0, 1), 0.0)


def static_regressor(rest: np.ndarray, joints: np.ndarray, still: list[np.ndarray]) -> np.ndarray:
    """[5, v] rows summing to 1 that give `joints` [5, 3] exactly from vertices that no expression moves.

    still: for each joint the candidate vertices; the solution nearest to equal weights is taken.
    """
    out = np.zeros((len(joints), len(rest)))
    for j, rows in enumerate(still):
        n = len(rows)
        system = np.c_[rest[rows], np.ones(n)].T
        goal = np.r_[joints[j], 1.0]
        equal = np.full(n, 1.0 / n)
        out[j, rows] = equal + np.linalg.pinv(system) @ (goal - system @ equal)
    return out


def jaw_correctives(
    rest: np.ndarray, opened: np.ndarray, weight: np.ndarray, hinge: np.ndarray, angle: float
) -> np.ndarray:
    """[v, 3, 36] pose correctives by which the jaw joint reproduces jawOpen at weight t = turn / angle.

    Two features of (R - I) vary with a turn about x (sin and cos - 1): two conditions per vertex are met exactly, at
    the full and at half the angle; between them the residual is of third order in the angle.
    """
    rows, goals = [], []
    for part in (0.5, 1.0):
        turn = rodrigues_reference(np.array([part * angle, 0, 0]))
        blend = (1 - weight)[:, None, None] * np.eye(3) + weight[:, None, None] * turn
        wanted = part * opened - weight[:, None] * ((rest - hinge) @ (turn - np.eye(3)).T)
        goals.append(np.linalg.solve(blend, wanted[..., None])[..., 0])
        rows.append((np.cos(part * angle) - 1, np.sin(part * angle)))
    solved = np.einsum("fp,pvc->fvc", np.linalg.inv(np.array(rows)), np.stack(goals))
    out = np.zeros((len(rest), 3, 36))
    at = 9 * (JAW - 1)
    # R - I for a turn about x: [4] = [8] = cos - 1, [5] = -sin, [7] = sin; shared so that other axes get half.
    out[:, :, at + 4] = out[:, :, at + 8] = 0.5 * solved[0]
    out[:, :, at + 7] = 0.5 * solved[1]
    out[:, :, at + 5] = -0.5 * solved[1]
    return out


def unbend(offsets: np.ndarray, weight: np.ndarray, angle: float) -> np.ndarray:
    """Offsets [v, 3] such that skinning with the jaw turned by `angle` gives back the given ones."""
    turn = rodrigues_reference(np.array([angle, 0, 0]))
    blend = (1 - weight)[:, None, None] * np.eye(3) + weight[:, None, None] * turn
    return np.linalg.solve(blend, offsets[..., None])[..., 0]
