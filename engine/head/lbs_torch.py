"""Differentiable twin of FLAME's skinning in torch, for fitting and training (see lbs.py for the papers)."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.core.anatomy import Head


def rodrigues(axis_angle: Any) -> Any:
    """Rotation matrices [..., 3, 3] of axis-angle tensors [..., 3] in radians; smooth at 0, where it is I + [r]."""
    import torch

    square = (axis_angle**2).sum(-1)
    small = square < 1e-8
    # sin(a)/a and (1 - cos a)/a^2 by their series near 0: the root's gradient is infinite there.
    safe = torch.where(small, torch.ones_like(square), square)
    angle = safe.sqrt()
    first = torch.where(small, 1 - square / 6, angle.sin() / angle)
    second = torch.where(small, 0.5 - square / 24, (1 - angle.cos()) / safe)
    x, y, z = axis_angle.unbind(-1)
    zero = torch.zeros_like(x)
    k = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*axis_angle.shape, 3)
    eye = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    return eye + first[..., None, None] * k + second[..., None, None] * (k @ k)


class TorchHead:
    """A head's constants as tensors; calling it gives vertices [t, v, 3] with gradients to every parameter."""

    def __init__(self, head: Head, dtype: Any = None, device: str = "cpu") -> None:
        import torch

        def tensor(array: np.ndarray) -> Any:
            return torch.as_tensor(np.ascontiguousarray(array), dtype=dtype or torch.float32, device=device)

        v = len(head.template)
        self.template = tensor(head.template)
        self.identity = tensor(head.identity.reshape(v * 3, -1))
        self.expression = tensor(head.expression.reshape(v * 3, -1))
        self.posedirs = tensor(head.posedirs.reshape(v * 3, -1))
        self.regressor = tensor(head.joint_regressor)
        self.weights = tensor(head.weights)
        self.parents = head.parents

    def __call__(self, shape: Any, expression: Any, pose: Any) -> Any:
        """shape [i] or None, expression [t, e], pose [t, 15] axis-angle radians -> [t, v, 3] metres.

        Twin of `engine.head.evaluate.flame_vertices`.
        """
        import torch

        t, v = len(expression), len(self.template)
        rest = self.template
        if shape is not None and len(shape):
            rest = rest + (self.identity[:, : len(shape)] @ shape).reshape(v, 3)
        shaped = rest + (expression @ self.expression.T).reshape(t, v, 3)
        joints = torch.einsum("jv,tvc->tjc", self.regressor, shaped)
        turn = rodrigues(pose.reshape(t, -1, 3))
        eye = torch.eye(3, dtype=turn.dtype, device=turn.device)
        posed = shaped + ((turn[:, 1:] - eye).reshape(t, -1) @ self.posedirs.T).reshape(t, v, 3)
        world: list[Any] = []
        place: list[Any] = []
        for i, parent in enumerate(self.parents):
            if parent < 0:
                world.append(turn[:, i])
                place.append(joints[:, i])
            else:
                world.append(world[parent] @ turn[:, i])
                arm = (joints[:, i] - joints[:, parent])[..., None]
                place.append(place[parent] + (world[parent] @ arm)[..., 0])
        worlds, places = torch.stack(world, 1), torch.stack(place, 1)
        shift = places - (worlds @ joints[..., None])[..., 0]
        blended = torch.einsum("vj,tjab->tvab", self.weights, torch.cat([worlds, shift[..., None]], -1))
        return (blended[..., :3] @ posed[..., None])[..., 0] + blended[..., 3]
