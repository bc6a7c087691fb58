"""Gaussians that belong to no face: hair, neck and shoulders where the head's mesh has none (EmoTalk3D section 4.3).

A free point moves as the nearest point of the face does, the less the farther it is (eq. 9):

    movement = movement of the nearest facial point * exp(-alpha * distance), alpha = 0.1 per mm

Near the face dynamic points, far from it canonical ones, which stand still; between 5 and 15 mm a point has both copies
and their opacities are blended (eq. 10). "Still" is relative to anchors, vertices that no expression moves: a head that
is carried about takes its shoulders with it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from engine.avatar import bind_kernels
from engine.core.anatomy import Head
from engine.core.errors import BadInput
from engine.core.splats import Avatar, Free
from engine.core.units import MM

Array = np.ndarray

ALPHA_PER_MM = 0.1  # eq. 9
NEAR_MM, BORDER_MM = 5.0, 10.0  # d0 and d_th of eq. 10
ANCHORS = 64
STILL_M = 1e-4  # an anchor moves less than this under every shape


def decay(distance_m: Array) -> Array:
    """exp(-alpha d) of distances in metres, in [0, 1] (EmoTalk3D eq. 9)."""
    return np.exp(-ALPHA_PER_MM * MM * np.asarray(distance_m, np.float64))


def canonical_share(distance_m: Array) -> Array:
    """Weight of the canonical copy in [0, 1]; the dynamic copy has the rest (EmoTalk3D eq. 10)."""
    return np.clip((np.asarray(distance_m, np.float64) * MM - NEAR_MM) / BORDER_MM, 0, 1)


def anchors(head: Head, count: int = ANCHORS) -> Array:
    """[a] vertices that shapes leave where they are, spread over the lower half of the head's skin."""
    moved = np.abs(head.shapes).max((0, 2))
    still = moved < max(STILL_M, float(np.quantile(moved, 0.1)))
    rows = np.flatnonzero(still & (head.template[:, 1] < np.quantile(head.template[:, 1], 0.5)))
    rows = rows if len(rows) >= 3 else np.flatnonzero(still)
    if len(rows) < 3:
        raise BadInput(f"every vertex of '{head.name}' moves with the face; free points have nothing to stand on")
    return rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)].astype(np.int32)


def rest_frames(head: Head) -> Array:
    """[m, 8] frames of the triangles of the neutral face (bind_kernels.frames)."""
    out = np.empty((len(head.triangles), bind_kernels.FRAME), np.float32)
    bind_kernels.frames(
        np.ascontiguousarray(head.triangles, np.int32), np.ascontiguousarray(head.template, np.float32), out
    )  # fmt: skip
    return out


def let_go(avatar: Avatar, head: Head, rows: Array, distance_m: Array, fused: bool = True) -> Avatar:
    """The avatar with the Gaussians `rows` [f] (bound to their nearest triangles) free, at distances [f] from the face.

    fused: with a canonical copy of each where eq. 10 wants one (they come last, so there may be more Gaussians).
    """
    rows, distance = np.asarray(rows, np.int32), np.asarray(distance_m, np.float64)
    follow = decay(distance)
    if fused:
        share = canonical_share(distance)
        both, only = (share > 0) & (share < 1), share >= 1
        follow = np.where(only, 0.0, follow)
        copies = rows[both]
        opacity = np.array(avatar.opacity)
        opacity[rows[both]] *= 1 - share[both]
        avatar = _with_copies(replace(avatar, opacity=opacity), copies, share[both] / (1 - share[both]))
        rows = np.concatenate([rows, np.arange(len(avatar) - len(copies), len(avatar), dtype=np.int32)])
        follow = np.concatenate([follow, np.zeros(len(copies))])
    frames, held = rest_frames(head), anchors(head)
    free = Free(
        rows, follow.astype(np.float32), frames[avatar.triangle[rows]], held, head.template[held].astype(np.float32)
    )  # fmt: skip
    return replace(avatar, free=free)


def _with_copies(avatar: Avatar, rows: Array, opacity: Array) -> Avatar:
    """The avatar with `rows` once more at its end, their opacity multiplied."""
    every = np.concatenate([np.arange(len(avatar)), rows])
    names = ("triangle", "local_means", "local_quats", "log_scales", "opacity", "sh", "layer")
    arrays = {name: np.asarray(getattr(avatar, name))[every] for name in names}
    arrays["opacity"] = arrays["opacity"].copy()
    arrays["opacity"][len(avatar) :] *= opacity
    return replace(avatar, **arrays)


def extended(avatar: Avatar, frames: Array, vertices: Array) -> tuple[Array, Array]:
    """(triangle [n], frames [m + f, 8]) with a frame of its own for each free Gaussian on the posed vertices [v, 3].

    A free frame is that of the triangle on the neutral face, carried as the anchors are (a similarity), and shifted by
    the decayed movement of the triangle's middle.
    """
    free = avatar.free
    if free is None or not len(free.rows):
        return avatar.triangle, frames
    scale, turn, shift = similarity(free.anchor_rest, vertices[free.anchors])
    own = np.array(free.rest, np.float64)
    own[:, :3] = scale * own[:, :3] @ turn.T + shift
    own[:, 3] *= scale
    own[:, 4:] = _turned(turn, own[:, 4:])
    moved = frames[avatar.triangle[free.rows], :3] - own[:, :3]
    own[:, :3] += free.follow[:, None] * moved
    triangle = np.array(avatar.triangle, np.int32)
    triangle[free.rows] = len(frames) + np.arange(len(free.rows), dtype=np.int32)
    return triangle, np.ascontiguousarray(np.concatenate([frames, own.astype(np.float32)]))


def similarity(rest: Array, now: Array) -> tuple[float, Array, Array]:
    """(scale, rotation [3, 3], shift [3]) that carry rest [a, 3] onto now with the least squares (Umeyama 1991)."""
    p, q = np.asarray(rest, np.float64), np.asarray(now, np.float64)
    a, b = p - p.mean(0), q - q.mean(0)
    u, s, vt = np.linalg.svd(b.T @ a)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt)) or 1.0])
    turn = (u * sign) @ vt
    spread = float((a * a).sum())
    scale = float((s * sign).sum() / spread) if spread > 1e-15 else 1.0
    return scale, turn, q.mean(0) - scale * turn @ p.mean(0)


def _turned(turn: Array, quats: Array) -> Array:
    """Quaternions [f, 4] turned by a rotation."""
    from engine.avatar.attach import multiply, quaternions

    return multiply(np.repeat(quaternions(turn[None]), len(quats), 0), quats)
