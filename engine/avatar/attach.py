"""The way back of bind.py: Gaussians in space -> in the frames of their triangles. Plain numpy, run once per avatar."""

from __future__ import annotations

import numpy as np

from engine.avatar import bind_kernels

Array = np.ndarray


def attach(triangle: Array, points: Array, quats: Array, scales: Array, corners: Array) -> tuple[Array, Array, Array]:
    """Local means [n, 3], quaternions [n, 4] and log-scales [n, 3], float32; `bind` on the same corners gives back
    points [n, 3], quats [n, 4] wxyz and scales [n, 3] metres. triangle [n] into corners [m, 3, 3]."""
    frames = np.empty((len(corners), bind_kernels.FRAME), np.float32)
    flat = np.arange(3 * len(corners), dtype=np.int32).reshape(-1, 3)
    bind_kernels.frames(flat, np.ascontiguousarray(corners.reshape(-1, 3), np.float32), frames)
    frame = frames[triangle].astype(np.float64)
    size, back = frame[:, 3:4], frame[:, 4:] * [1, -1, -1, -1]
    local_means = rotate(back, points - frame[:, :3]) / size
    local_quats = multiply(back, quats)
    log_scales = np.log(np.maximum(scales, 1e-9) / size)
    return tuple(np.asarray(a, np.float32) for a in (local_means, local_quats, log_scales))  # type: ignore[return-value]


def multiply(p: Array, q: Array) -> Array:
    """Product of quaternions [n, 4] wxyz: first q's rotation, then p's."""
    a, b, c, d = p.T
    w, x, y, z = q.T
    return np.stack(
        [
            a * w - b * x - c * y - d * z, a * x + b * w + c * z - d * y,
            a * y - b * z + c * w + d * x, a * z + b * y - c * x + d * w,
        ], 1,
    )  # fmt: skip


def rotate(quats: Array, points: Array) -> Array:
    """Points [n, 3] turned by unit quaternions [n, 4]."""
    u = quats[:, 1:]
    cross = 2 * np.cross(u, points)
    return points + quats[:, :1] * cross + np.cross(u, cross)


def axes_from_normals(normals: Array) -> Array:
    """[n, 3, 3] rotations whose second column is the unit normal; the others lie anyhow in the surface."""
    least = np.eye(3)[np.abs(normals).argmin(1)]
    first = np.cross(normals, least)
    first /= np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-12)
    return np.stack([first, normals, np.cross(first, normals)], -1)


def quaternions(matrices: Array) -> Array:
    """[n, 4] wxyz of rotation matrices [n, 3, 3], by the largest component (Shepperd 1978)."""
    m = matrices
    diagonal = np.stack([m[:, 0, 0], m[:, 1, 1], m[:, 2, 2]], 1)
    trace = diagonal.sum(1)
    # Squares of 2w, 2x, 2y, 2z.
    squares = np.concatenate([1 + trace[:, None], 1 - trace[:, None] + 2 * diagonal], 1)
    out = np.empty((len(m), 4))
    pairs = {
        (0, 1): m[:, 2, 1] - m[:, 1, 2], (0, 2): m[:, 0, 2] - m[:, 2, 0], (0, 3): m[:, 1, 0] - m[:, 0, 1],
        (1, 2): m[:, 1, 0] + m[:, 0, 1], (1, 3): m[:, 0, 2] + m[:, 2, 0], (2, 3): m[:, 2, 1] + m[:, 1, 2],
    }  # fmt: skip
    best = squares.argmax(1)
    root = np.sqrt(squares[np.arange(len(m)), best])
    for k in range(4):
        rows = best == k
        for j in range(4):
            product = pairs[min(j, k), max(j, k)] if j != k else root * root
            out[rows, j] = 0.5 * product[rows] / root[rows]
    return out
