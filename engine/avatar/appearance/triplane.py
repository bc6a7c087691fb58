"""Three planes of hashed features at several resolutions (Müller et al. 2022; on planes: ER-NeRF, Li et al. 2023)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from engine.avatar.appearance import kernels

LEVELS, WIDTH, LOG2_ROWS = 8, 2, 12
COARSE, FINE = 16, 256
_PRIME = 2654435761
_CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))


class TriPlaneHash(nn.Module):
    """Points [n, 3] -> features [n, 3 * levels * width]: bilinear in each plane, hashed where a plane has more nodes
    than rows."""

    low: Tensor
    span: Tensor

    def __init__(self, low: Tensor, high: Tensor, levels: int = LEVELS, width: int = WIDTH, log2_rows: int = LOG2_ROWS):
        super().__init__()
        self.levels, self.rows = levels, 1 << log2_rows
        self.out = 3 * levels * width
        self.register_buffer("low", low.float(), persistent=False)
        self.register_buffer("span", (high - low).float().clamp_min(1e-6), persistent=False)
        growth = (FINE / COARSE) ** (1 / max(levels - 1, 1))
        self.sizes = [round(COARSE * growth**level) for level in range(levels)]
        for level, size in enumerate(self.sizes):
            x, y = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
            self.register_buffer(f"_rows{level}", self._row(x, y, size).flatten(), persistent=False)
        self.table = nn.Parameter(1e-4 * (2 * torch.rand(3, levels, self.rows, width) - 1))

    def forward(self, points: Tensor) -> Tensor:
        """[n, out]; without gradients by a compiled loop, with them by torch's bilinear sampling of the planes."""
        unit = ((points - self.low) / self.span).clamp(0, 1)
        if not torch.is_grad_enabled() and unit.dtype == torch.float32 and unit.device.type == "cpu":
            found = np.empty((len(unit), self.out), np.float32)
            table = self.table.detach().contiguous().numpy()
            kernels.triplane(unit.contiguous().numpy(), table, np.array(self.sizes, np.int64), found)
            return torch.from_numpy(found)
        return self.sampled(unit)

    def sampled(self, unit: Tensor) -> Tensor:
        """The same as `plain` in a third of its time: each level's planes are spread out of its table and sampled."""
        # grid_sample wants (along columns, along rows) of each picture: the plane's second axis first.
        at = torch.stack([unit[:, [1, 0]], unit[:, [2, 0]], unit[:, [2, 1]]])[:, None] * 2 - 1
        out, width = [], self.table.shape[-1]
        for level, size in enumerate(self.sizes):
            rows = self.table[:, level].index_select(1, getattr(self, f"_rows{level}"))
            planes = rows.reshape(3, size, size, width).permute(0, 3, 1, 2)
            found = nn.functional.grid_sample(planes, at, "bilinear", "border", align_corners=True)
            out.append(found[:, :, 0])
        return torch.stack(out, 1).permute(3, 0, 1, 2).reshape(len(unit), self.out)

    def plain(self, unit: Tensor) -> Tensor:
        """Features of points in the unit cube, in plain torch."""
        out = []
        for plane, axes in enumerate(((0, 1), (0, 2), (1, 2))):
            at = unit[:, axes]
            for level, size in enumerate(self.sizes):
                place = at * (size - 1)
                node = place.detach().floor().clamp(0, size - 2)
                part = place - node
                cell, found = node.long(), torch.zeros(())
                for i, j in _CORNERS:
                    weight = (part[:, 0] if i else 1 - part[:, 0]) * (part[:, 1] if j else 1 - part[:, 1])
                    row = self._row(cell[:, 0] + i, cell[:, 1] + j, size)
                    found = found + weight[:, None] * self.table[plane, level][row]
                out.append(found)
        return torch.cat(out, 1)

    def _row(self, x: Tensor, y: Tensor, size: int) -> Tensor:
        return x * size + y if size * size <= self.rows else (x ^ (y * _PRIME)) % self.rows
