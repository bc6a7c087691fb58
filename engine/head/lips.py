"""Gaps of the mouth measured on vertices: between the lips, and between the lower lip and the upper teeth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.core.anatomy import Head
from engine.core.errors import BadInput

# Vertices that move with the skull: they say which way is up on a turned head.
RIGID = ("outer_eye_right", "inner_eye_right", "inner_eye_left", "outer_eye_left", "nose_bridge")
CONTACT_M = 0.0008  # lips nearer than this touch: the red border is soft, and meshes meet to about half a millimetre


@dataclass(frozen=True)
class LipGaps:
    """gap [t]: mean opening of the middle third, metres, negative where the lips overlap. contact [t] in [0, 1]: part
    of all facing pairs nearer than CONTACT_M. overlap [t] >= 0: deepest crossing of any pair, metres."""

    gap: np.ndarray
    contact: np.ndarray
    overlap: np.ndarray


def up_axis(head: Head, verts: np.ndarray) -> np.ndarray:
    """[t, 3] unit vectors: the neutral face's up direction carried along by the skull (Kabsch on RIGID)."""
    rows = [int(np.atleast_1d(head.landmarks[name])[0]) for name in RIGID if name in head.landmarks]
    if len(rows) < 3:
        return np.tile([0.0, 1.0, 0.0], (len(verts), 1))
    rest = head.template[rows].astype(np.float64)
    now = verts[:, rows].astype(np.float64)
    cross = np.einsum("ni,tnj->tij", rest - rest.mean(0), now - now.mean(1, keepdims=True))
    u, _, vt = np.linalg.svd(cross)
    fix = np.ones((len(verts), 3))
    fix[:, 2] = np.linalg.det(u @ vt)
    turn = np.einsum("tji,tj,tkj->tik", vt, fix, u)  # V diag(1, 1, det) U^T
    return turn[:, :, 1]


def lip_gaps(head: Head, verts: np.ndarray) -> LipGaps:
    """Gaps of verts [t, v, 3] (metres): height differences of the facing pairs along the face's own up direction."""
    verts = _checked(head, verts)
    pairs = head.lip_pairs
    if not len(pairs):
        raise BadInput(f"head '{head.name}' has no lip pairs, so its lip gap cannot be measured")
    between = verts[:, pairs[:, 0]].astype(np.float64) - verts[:, pairs[:, 1]]
    height = np.einsum("tpc,tc->tp", between, up_axis(head, verts))
    return LipGaps(
        height[:, _middle(len(pairs))].mean(1), (height < CONTACT_M).mean(1), np.maximum(-height.min(1), 0.0)
    )


def lip_gap(head: Head, verts: np.ndarray) -> np.ndarray:
    """[t] metres: opening between the inner lips, mean over the middle third of the pairs; never below 0."""
    return np.maximum(lip_gaps(head, verts).gap, 0.0)


def labiodental_gap(head: Head, verts: np.ndarray) -> np.ndarray:
    """[t] metres: smallest distance from the middle of the lower lip's inner edge to the upper incisors' edge."""
    verts = _checked(head, verts)
    teeth = head.landmarks.get("incisors_upper")
    if teeth is None or not len(head.lip_pairs):
        raise BadInput(f"head '{head.name}' has no upper teeth landmarks, so no labiodental gap can be measured")
    middle = head.lip_pairs[_middle(len(head.lip_pairs)), 1]
    apart = verts[:, middle, None].astype(np.float64) - verts[:, None, np.atleast_1d(teeth)]
    return np.linalg.norm(apart, axis=-1).min((1, 2))


def _middle(n: int) -> slice:
    third = max(1, n // 3)
    start = (n - third) // 2
    return slice(start, start + third)


def _checked(head: Head, verts: np.ndarray) -> np.ndarray:
    verts = np.asarray(verts)
    if verts.ndim != 3 or verts.shape[1:] != head.template.shape:
        raise BadInput(f"vertices must be [frames, {len(head.template)}, 3], got {list(verts.shape)}")
    return verts
