"""Three planes of hashed features at several resolutions (Müller et al. 2022; on planes: ER-NeRF, Li et al. 2023).

The encoder H of EmoTalkingGaussian for a few hundred points in many rows: each level's plane is spread out of its table
once, then read by torch's own bilinear sampling, whose gradients reach tables and points. The appearance nets have one
for thousands of points in one frame, a compiled loop (engine/avatar/appearance/triplane.py); both tables mean the same.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

# ER-NeRF and TalkingGaussian leave the resolution to who uses them; ours to set. Finer nodes than 3 mm would shake the
# features of a point that moves by millimetres.
LEVELS, WIDTH, LOG2_ROWS = 6, 2, 11
COARSE, FINE = 16, 64
_PRIME = 2654435761


def sizes_of(levels: int, coarse: int, fine: int) -> list[int]:
    """Nodes along a side of each level's planes, from `coarse` to `fine`, growing by one factor."""
    growth = (fine / coarse) ** (1 / max(levels - 1, 1))
    return [round(coarse * growth**level) for level in range(levels)]


def rows_of(size: int, rows: int) -> np.ndarray:
    """Row of a table of `rows` for each node of a plane: by place, or hashed where there are more nodes. [size, size].

    Entry [x, y]; collisions are the price of a small table, as in Müller et al. (eq. 4 with the primes 1, 2654435761).
    """
    x, y = np.meshgrid(np.arange(size, dtype=np.int64), np.arange(size, dtype=np.int64), indexing="ij")
    return x * size + y if size * size <= rows else (x ^ (y * _PRIME)) % rows


class TriPlaneHash(nn.Module):
    """Points [n, 3] -> features [n, 3 * levels * width], plane by plane (xy, xz, yz) and level by level.

    low, high [3]: the box of the planes; outside it features are the border's.
    """

    def __init__(
        self, low: Tensor, high: Tensor, levels: int = LEVELS, width: int = WIDTH, log2_rows: int = LOG2_ROWS,
        fine: int = FINE,
    ):  # fmt: skip
        super().__init__()
        self.low: Tensor
        self.span: Tensor
        self.levels, self.rows, self.out = levels, 1 << log2_rows, 3 * levels * width
        self.sizes = sizes_of(levels, COARSE, fine)
        self.register_buffer("low", low.float(), persistent=False)
        self.register_buffer("span", (high - low).float().clamp_min(1e-6), persistent=False)
        self.table = nn.Parameter(1e-4 * (2 * torch.rand(3, levels, self.rows, width) - 1))
        for level, size in enumerate(self.sizes):
            self.register_buffer(f"_rows{level}", torch.from_numpy(rows_of(size, self.rows).flatten()), False)
        self._kept: list[Tensor] | None = None

    def train(self, mode: bool = True) -> TriPlaneHash:
        self._kept = None
        super().train(mode)
        return self

    def _load_from_state_dict(self, *args: object, **kwargs: object) -> None:
        self._kept = None
        super()._load_from_state_dict(*args, **kwargs)  # type: ignore[arg-type]

    def planes(self) -> list[Tensor]:
        """Each level spread out: [3, width, size, size], first axis of the plane along the rows."""
        if self._kept is not None and not torch.is_grad_enabled():
            return self._kept
        width = self.table.shape[-1]
        out = [
            self.table[:, level].index_select(1, getattr(self, f"_rows{level}"))
            .reshape(3, size, size, width).permute(0, 3, 1, 2)
            for level, size in enumerate(self.sizes)
        ]  # fmt: skip
        if not self.training and not torch.is_grad_enabled():
            self._kept = [plane.contiguous() for plane in out]
        return out

    def forward(self, points: Tensor) -> Tensor:
        """[n, out]."""
        unit = ((points - self.low) / self.span).clamp(0, 1) * 2 - 1
        # grid_sample wants (along columns, along rows) of each picture: the plane's second axis first.
        at = torch.stack([unit[:, [1, 0]], unit[:, [2, 0]], unit[:, [2, 1]]])[:, None]
        found = [
            nn.functional.grid_sample(plane, at, mode="bilinear", padding_mode="border", align_corners=True)[:, :, 0]
            for plane in self.planes()
        ]
        return torch.stack(found, 1).permute(3, 0, 1, 2).reshape(len(points), self.out)
