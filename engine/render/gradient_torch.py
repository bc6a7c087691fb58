"""`forward` and `backward` of gradient.py as one torch autograd function. Use `engine.render.gradient.render`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.core.splats import Camera, Gaussians
from engine.render.gradient import backward, forward


class Raster(torch.autograd.Function):
    """(means, quats, log_scales, logits, sh, normals or None, camera, flags, threads) -> (rgba, sums)."""

    @staticmethod
    def forward(
        ctx: Any, means: Tensor, quats: Tensor, log_scales: Tensor, logits: Tensor, sh: Tensor, normals: Tensor | None,
        camera: Camera, geometry: bool, antialiased: bool, threads: int,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        scales, opacity = log_scales.detach().exp(), torch.sigmoid(logits.detach())
        arrays = (a.detach().numpy() for a in (means, quats, scales, opacity, sh))
        given = None if normals is None else normals.detach().numpy()
        rgba, sums, ctx.tape = forward(Gaussians(*arrays), camera, geometry, given, antialiased, threads)
        return torch.from_numpy(rgba), torch.from_numpy(np.zeros((0, 0, 4), np.float32) if sums is None else sums)

    @staticmethod
    def backward(ctx: Any, v: Tensor, u: Tensor) -> Any:  # type: ignore[override]
        tape = ctx.tape
        d = backward(tape, v.numpy(), u.numpy() if tape.geometry else None)
        _, _, scales, opacity, _ = tape.inputs
        # Only where a gradient arrives: scales of what is not drawn may be infinite.
        d_scales = np.multiply(d.scales, scales, out=np.zeros_like(scales), where=d.scales != 0)
        d_logits = np.multiply(d.opacity, opacity * (1 - opacity), out=np.zeros_like(opacity), where=d.opacity != 0)
        n = len(opacity)
        d_sh = d.sh.reshape(len(d.sh) // 3, 3, n).transpose(2, 0, 1)
        d_normals = torch.from_numpy(d.normals.T) if ctx.needs_input_grad[5] else None
        gradients = (torch.from_numpy(a) for a in (d.means.T, d.quats.T, d_scales.T, d_logits, d_sh))
        return (*gradients, d_normals, None, None, None, None)
