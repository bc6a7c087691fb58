"""RotNet, the feature line and OPCNet (EmoDiffTalk eq. 5, 6, 31-34): rotation and opacity follow the action units.

The line holds 16 numbers for each of 17 units and each vertex (the paper: each facial Gaussian; per vertex it is 1.4 MB
instead of 65), mixed by the units' values. In eq. 34 the opacity does not occur, so it gives OPCNet no gradient, and by
eq. 33 a chin that swings would change its opacity: both are written below and are off unless asked for.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engine.avatar.appearance.base import AUS, CM, Appearance, Drive, Rest, mlp

HIDDEN, LINE = 64, 16
SPARSE, SMOOTH = 0.01, 0.001  # eq. 31


class EmoDiffTalk(Appearance):
    """rotation, opacity: which nets there are; codes: whether OPCNet sees the units (the ablation w/o Codes4O)."""

    def __init__(
        self, rest: Rest, rotation: bool = True, opacity: bool = True, codes: bool = True, hidden: int = HIDDEN
    ):
        super().__init__(rest, rotation=rotation, opacity=opacity, codes=codes, hidden=hidden)
        self.codes = codes
        self.rot_net = mlp((3 + AUS + 3, hidden, hidden, 3)) if rotation else None
        if opacity:
            self.line = nn.Parameter(0.01 * torch.randn(AUS, len(rest), LINE))
            self.opc_net: nn.Sequential | None = mlp((LINE + AUS + 3, hidden, hidden, 1))
        else:
            self.opc_net = None

    def raw(self, drive: Drive) -> dict[str, Tensor]:
        """{"turns": [q, 3], "logits": [q, 1]}, those that there are."""
        place = CM * (self.rest_positions + drive.moved)
        codes, out = self.everywhere(drive.aus), {}
        if self.rot_net is not None:
            out["turns"] = self.rot_net(torch.cat([self.rest_normals, codes, place], 1))
        if self.opc_net is not None:
            aus = drive.aus if self.codes else torch.zeros_like(drive.aus)
            mixed = (aus[:, None, None] * self.line).sum(0)
            out["logits"] = self.opc_net(torch.cat([mixed, self.everywhere(aus), place], 1))
        return out

    def regularity(self) -> Tensor:
        """Eq. 31 (mean instead of sum, so that it does not hang on the number of vertices); 0 without a line."""
        if self.opc_net is None:
            return torch.zeros(())
        steps = (self.line[1:] - self.line[:-1]).square().sum(-1)
        return SPARSE * self.line.abs().mean() + SMOOTH * steps.mean()


def motion_coupling(moved: Tensor, opacity_change: Tensor, per_mm: float) -> Tensor:
    """Eq. 33 over vertices: (|moved| - gamma |change of opacity|)², mean; moved [q, 3] metres, in the jaw's own
    frame where the jaw carries a vertex; opacity_change [q]; per_mm: gamma in mm (the paper prints neither)."""
    return (1000 * moved.norm(dim=-1) - per_mm * opacity_change.abs()).square().mean()


def displacement_limit(moved: Tensor, tau_mm: float) -> Tensor:
    """Eq. 34: mean of min(|moved|, tau) in mm. A constant for nets that do not move vertices."""
    return (1000 * moved.norm(dim=-1)).clamp_max(tau_mm).mean()
