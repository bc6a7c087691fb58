"""Gaussians in the frames of their triangles -> Gaussians in space (EmoTaG eq. 2-7; GaussianAvatars, Qian et al. 2024).

The frame of a triangle (p0, p1, p2): edge e = unit(p1 - p0), normal n = unit((p1 - p0) x (p2 - p0)), third t = e x n,
as columns R = [e, n, t], a rotation (det +1; n x e instead would be a reflection, which no quaternion holds).
Origin: the centroid. Size: (|p1 - p0| + distance of p2 from that edge) / 2. Then

    mean = centroid + size R local_mean,  rotation = R local_rotation,  scale = size exp(log_scale).

A triangle without area takes any frame around its edge (or the axes), keeps its size and stays finite.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from engine.avatar import bind_kernels, free
from engine.avatar.bind_kernels import AREA_MIN, LENGTH_MIN, SLIVER
from engine.avatar.layout import planes
from engine.core.errors import BadInput
from engine.core.splats import Avatar, Gaussians

if TYPE_CHECKING:
    from torch import Tensor


def bind(avatar: Avatar, triangles: np.ndarray, vertices: np.ndarray) -> Gaussians:
    """Place an avatar on a posed head.

    triangles [m, 3] int32 (`Head.triangles`), vertices [v, 3] metres, in any axes: the Gaussians come out in the same.
    Arrays of the result are transposed views of [3, n] and [4, n], which is what the cpu rasteriser reads without a
    copy; colours and opacity are the avatar's own arrays. Raises BadInput where triangles or vertices do not fit.
    """
    n = len(avatar)
    tri = np.ascontiguousarray(triangles, np.int32)
    verts = np.ascontiguousarray(vertices, np.float32)
    if tri.ndim != 2 or tri.shape[1] != 3 or verts.ndim != 2 or verts.shape[1] != 3:
        raise BadInput(f"triangles [m, 3] and vertices [v, 3] are needed, got {tri.shape} and {verts.shape}")
    if n and int(avatar.triangle.max()) >= len(tri):
        raise BadInput(f"the avatar is bound to {int(avatar.triangle.max()) + 1} triangles, the head has {len(tri)}")
    if len(tri) and not 0 <= int(tri.min()) <= int(tri.max()) < len(verts):
        raise BadInput(f"triangles name vertices up to {int(tri.max())}, but there are {len(verts)}")
    frames = np.empty((len(tri), bind_kernels.FRAME), np.float32)
    bind_kernels.frames(tri, verts, frames)
    triangle, frames = free.extended(avatar, frames, verts)
    means, quats, scales = (np.empty((k, n), np.float32) for k in (3, 4, 3))
    bind_kernels.place(
        np.ascontiguousarray(triangle, np.int32), frames, planes(avatar.local_means),
        planes(avatar.local_quats), planes(avatar.log_scales), means, quats, scales,
    )  # fmt: skip
    return Gaussians(means.T, quats.T, scales.T, avatar.opacity, avatar.sh)


def frames_reference(corners: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Corners [m, 3, 3] (triangle, corner, axis) -> centroid [m, 3], rotation [m, 3, 3] (columns e, n, t), size [m]."""
    import torch

    edge, side = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    # The small terms keep the gradients of the roots finite where there is no length or area.
    length = (edge.square().sum(-1) + LENGTH_MIN**2).sqrt()
    cross = torch.linalg.cross(edge, side)
    area = (cross.square().sum(-1) + AREA_MIN**2).sqrt()
    axes = torch.eye(3).to(corners)
    e = torch.where((length > 2 * LENGTH_MIN)[:, None], edge / length[:, None], axes[0])
    # No area: the axis least along the edge gives a direction across it.
    spare = torch.linalg.cross(e, axes[e.detach().abs().argmin(-1)])
    spare = spare / spare.norm(dim=-1, keepdim=True)
    flat = (area <= 2 * AREA_MIN) | (area <= SLIVER * length * length)
    n = torch.where(flat[:, None], spare, cross / area[:, None])
    # One step of Gram-Schmidt: for slivers the cross product is not quite across the edge in float32.
    n = n - (n * e).sum(-1, keepdim=True) * e
    n = n / n.norm(dim=-1, keepdim=True)
    return corners.mean(1), torch.stack([e, n, torch.linalg.cross(e, n)], -1), (length + area / length) / 2


def bind_reference(
    triangle: Tensor, local_means: Tensor, local_quats: Tensor, log_scales: Tensor, corners: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Plain torch twin of `bind`, differentiable in everything but `triangle` [n] int64.

    corners [m, 3, 3]: `vertices[triangles]`. Returns means [n, 3], rotation matrices [n, 3, 3], scales [n, 3].
    """
    from engine.avatar.rotations import matrices

    centroid, rotation, size = frames_reference(corners)
    r, s = rotation[triangle], size[triangle]
    means = centroid[triangle] + s[:, None] * (r @ local_means[:, :, None])[:, :, 0]
    return means, r @ matrices(local_quats), s[:, None] * log_scales.exp()
