"""The rasteriser in plain torch: the truth that every fast backend is compared with. Clear and slow.

3D Gaussian Splatting (Kerbl et al. 2023) with gsplat's constants. Differentiable by autograd in every input; runs in
the dtype of its input (tests use float64). Rules, also of the other backends:

- 2-D covariance J W Σ Wᵀ Jᵀ + 0.3 px² I; in J, x/z and y/z are clamped to the image plus 15 % of its size.
- Anti-aliased, opacity is multiplied by sqrt(det(undilated covariance) / det(dilated)), at least 1e-6: what the
  dilation adds in area it takes in strength (Mip-Splatting, Yu et al. 2024, eq. 10; gsplat's "antialiased" mode).
- alpha = min(0.999, opacity exp(-½ dᵀ Σ⁻¹ d)) at pixel centres; below 1/255 nothing is drawn.
- Drawn in order of camera depth rounded to float32, equal depths by index. A pixel stops before the Gaussian that
  would bring its transmittance to 1e-4 or below.
- Colour = max(0, 0.5 + SH), degree 0-3, in the direction from the camera's position to the Gaussian's centre;
  for an orthographic camera in the direction that it looks in.
- Perspective cameras draw depths between 0.01 m and 1e10 m; orthographic ones have no near plane.
- Gaussians with a value that is not finite, or with a zero quaternion, are not drawn. Opacity above 1 counts as 1.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from engine.avatar import harmonics
from engine.avatar.rotations import matrices
from engine.core.splats import Camera

NEAR_PLANE, FAR_PLANE, DILATION = 0.01, 1e10, 0.3
SHARE_MIN = 1e-12  # least ratio of determinants in the anti-aliased mode: its root has no slope at 0
ALPHA_MIN, ALPHA_MAX, TRANSMITTANCE_MIN = 1.0 / 255.0, 0.999, 1e-4
LIMIT = 1e30  # covariances and colours beyond this are treated as not finite
TILE = 32  # pixels a side worked on at once: bounds the memory, changes no value


class Projected(NamedTuple):
    """mean [n, 2] pixels; covariance [n, 2, 2] pixels², dilated; depth [n]; seen [n] bool; share [n]: the factor of
    opacity in the anti-aliased mode."""

    mean: Tensor
    covariance: Tensor
    depth: Tensor
    seen: Tensor
    share: Tensor


class Rendered(NamedTuple):
    """rgba [h, w, 4] premultiplied, in the space of the Gaussians' colours; depth [h, w]: mean depth of what is seen,
    0 where nothing is; normal [h, w, 3]: unit, 0 where nothing is."""

    rgba: Tensor
    depth: Tensor
    normal: Tensor


def project(means: Tensor, quats: Tensor, scales: Tensor, camera: Camera) -> Projected:
    """Gaussians [n, ...] in world space -> ellipses on the image (Kerbl et al. 2023, eq. 5 and appendix A)."""
    view = torch.as_tensor(camera.world_to_camera, dtype=means.dtype, device=means.device)
    half = matrices(quats) * scales[:, None, :]
    half = view[:3, :3] @ half
    centre = means @ view[:3, :3].T + view[:3, 3]
    x, y, z = centre.unbind(-1)
    zero = torch.zeros_like(z)
    fx, fy, cx, cy = camera.fx, camera.fy, camera.cx, camera.cy
    if camera.orthographic:
        jacobian = torch.stack([zero + fx, zero, zero, zero, zero + fy, zero], -1)
        mean = torch.stack([fx * x + cx, fy * y + cy], -1)
        seen = z.abs() < FAR_PLANE
    else:
        u = _clamp(x / z, camera.width, fx, cx)
        v = _clamp(y / z, camera.height, fy, cy)
        jacobian = torch.stack([fx / z, zero, -fx * u / z, zero, fy / z, -fy * v / z], -1)
        mean = torch.stack([fx * x / z + cx, fy * y / z + cy], -1)
        seen = (z > NEAR_PLANE) & (z < FAR_PLANE)
    half = jacobian.reshape(-1, 2, 3) @ half
    covariance = half @ half.transpose(1, 2) + DILATION * torch.eye(2, dtype=means.dtype, device=means.device)
    # The undilated determinant by the cross product of the rows: never negative, and exact for thin ellipses.
    sharp = torch.linalg.cross(half[:, 0], half[:, 1]).square().sum(-1)
    trace = half.square().sum((1, 2))
    share = (sharp / (sharp + DILATION * trace + DILATION**2)).clamp_min(SHARE_MIN).sqrt()
    seen = seen & (covariance.abs().amax((1, 2)) < LIMIT) & (quats.norm(dim=-1) > 1e-15)
    return Projected(mean, covariance, z, seen, share)


def _clamp(slope: Tensor, size: int, focal: float, centre: float) -> Tensor:
    low, high = sorted(((-0.15 * size - centre) / focal, (1.15 * size - centre) / focal))
    return slope.clamp(low, high)


def sh_basis(directions: Tensor, terms: int) -> Tensor:
    """Real spherical harmonics at unit directions [n, 3] -> [n, terms], terms in {1, 4, 9, 16} (3DGS's signs)."""
    return torch.stack(harmonics.columns(*directions.unbind(-1))[:terms], -1)


def colours(means: Tensor, sh: Tensor, camera: Camera) -> Tensor:
    """sh [n, terms, 3] -> [n, 3] = max(0, 0.5 + SH) as this camera sees them."""
    view = torch.as_tensor(camera.world_to_camera, dtype=means.dtype, device=means.device)
    towards = view[2, :3].expand_as(means) if camera.orthographic else means - torch.linalg.inv(view)[:3, 3]
    basis = sh_basis(torch.nn.functional.normalize(towards, dim=-1), sh.shape[1])
    return (0.5 + (basis[:, :, None] * sh).sum(1)).clamp_min(0)


def facing_normals(means: Tensor, quats: Tensor, scales: Tensor, camera: Camera) -> Tensor:
    """Shortest axis of each Gaussian, turned towards the camera. [n, 3] unit."""
    axes = matrices(quats)
    shortest = scales.argmin(-1)
    return turn_to_camera(axes[torch.arange(len(axes)), :, shortest], means, camera)


def turn_to_camera(normals: Tensor, means: Tensor, camera: Camera) -> Tensor:
    """Normals [n, 3] made unit, and negated where they point away from the camera."""
    view = torch.as_tensor(camera.world_to_camera, dtype=means.dtype, device=means.device)
    ray = view[2, :3].expand_as(means) if camera.orthographic else means - torch.linalg.inv(view)[:3, 3]
    away = (normals * ray).sum(-1, keepdim=True) > 0
    return torch.nn.functional.normalize(torch.where(away, -normals, normals), dim=-1)


def blend_pixels(pixels: Tensor, mean: Tensor, covariance: Tensor, opacity: Tensor, features: Tensor) -> Tensor:
    """Front-to-back blending of sorted Gaussians [n] at pixel centres [p, 2].

    features [n, c] -> [p, c + 1]: sums of weight times feature, then alpha (Kerbl et al. 2023, eq. 3).
    """
    offset = pixels[:, None, :] - mean[None]  # [p, n, 2]
    a, b, c = covariance[:, 0, 0], covariance[:, 0, 1], covariance[:, 1, 1]
    dx, dy = offset.unbind(-1)
    sigma = 0.5 * (c * dx * dx - 2 * b * dx * dy + a * dy * dy) / (a * c - b * b)
    alpha = (opacity * torch.exp(-sigma)).clamp_max(ALPHA_MAX)
    alpha = torch.where(alpha >= ALPHA_MIN, alpha, 0.0)
    after = torch.cumprod(1 - alpha, 1)
    before = torch.cat([torch.ones_like(after[:, :1]), after[:, :-1]], 1)
    # `after` never grows, so this mask also drops everything behind the Gaussian that finished the pixel.
    weight = torch.where(after > TRANSMITTANCE_MIN, alpha * before, 0.0)
    return torch.cat([weight @ features, weight.sum(1, keepdim=True)], 1)


def rasterise(
    means: Tensor, quats: Tensor, scales: Tensor, opacity: Tensor, sh: Tensor, camera: Camera,
    normals: Tensor | None = None, antialiased: bool = False,
) -> Rendered:  # fmt: skip
    """Draw n Gaussians (shapes as in `core.splats.Gaussians`; normals [n, 3] instead of the shortest axes)."""
    shape = project(means, quats, scales, camera)
    opacity = opacity.clamp_max(1.0) * (shape.share if antialiased else 1.0)
    rgb = colours(means, sh, camera)
    facing = facing_normals(means, quats, scales, camera) if normals is None else turn_to_camera(normals, means, camera)
    # Radl et al. 2024: alpha >= 1/255 only within sqrt(2 ln(255 opacity)) standard deviations.
    reach = (2 * torch.log((255 * opacity).clamp_min(1))).sqrt()[:, None]
    half = reach * torch.diagonal(shape.covariance, dim1=1, dim2=2).sqrt()
    drawn = shape.seen & (opacity >= ALPHA_MIN) & (rgb.sum(-1) < LIMIT)
    drawn &= torch.isfinite(half).all(-1) & torch.isfinite(shape.mean).all(-1)
    index = torch.nonzero(drawn)[:, 0]
    index = index[torch.sort(shape.depth[index].detach().float(), stable=True).indices]
    features = torch.cat([rgb, shape.depth[:, None], facing], 1)
    out = means.new_zeros((camera.height, camera.width, 8))
    low, high = (shape.mean - half).detach(), (shape.mean + half).detach()
    for top in range(0, camera.height, TILE):
        for left in range(0, camera.width, TILE):
            size = torch.tensor([min(TILE, camera.width - left), min(TILE, camera.height - top)])
            corner = torch.tensor([left, top])
            touches = (high[index] >= corner).all(-1) & (low[index] <= corner + size).all(-1)
            i = index[touches]
            if len(i) == 0:
                continue
            y, x = torch.meshgrid(torch.arange(int(size[1])), torch.arange(int(size[0])), indexing="ij")
            pixels = torch.stack([x.reshape(-1) + left + 0.5, y.reshape(-1) + top + 0.5], -1).to(means.dtype)
            tile = blend_pixels(pixels, shape.mean[i], shape.covariance[i], opacity[i], features[i])
            out[top : top + size[1], left : left + size[0]] = tile.reshape(int(size[1]), int(size[0]), 8)
    alpha = out[..., 7:]
    length = out[..., 4:7].norm(dim=-1, keepdim=True)
    return Rendered(
        torch.cat([out[..., :3], alpha], -1),
        out[..., 3] / alpha[..., 0].clamp_min(1e-12),
        torch.where(length > 1e-4, out[..., 4:7] / length.clamp_min(1e-4), 0.0),
    )
