"""Offsets of the Gaussians inside the mouth (EmoTaG eq. 8): position, rotation, scale; opacity and SH stay.

    mu* = mu + d_mu,  r* = r + d_r,  s* = s + d_s

Offsets are per vertex in the head's axes (base.PARTS), the scale one logarithm, where the paper has three linear ones
for each Gaussian. The paper's motion decoder gives the offsets; here a small net does, from what
the mouth does and a learned place for each vertex, so that any motion system may drive it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engine.avatar.appearance.base import CM, Appearance, Drive, Rest, mlp

HIDDEN, PLACE = 64, 8
LARGEST = {"means": 0.005, "turns": 0.5, "log_scales": 0.5}  # metres, radians, logarithm: offsets are bounded


class IntraOral(Appearance):
    """mouth: length of Drive.mouth; position, rotation, scale: which offsets there are."""

    def __init__(
        self, rest: Rest, mouth: int = 8, position: bool = True, rotation: bool = True, scale: bool = True,
        hidden: int = HIDDEN,
    ):  # fmt: skip
        super().__init__(rest, mouth=mouth, position=position, rotation=rotation, scale=scale, hidden=hidden)
        self.widths = {"means": 3 * position, "turns": 3 * rotation, "log_scales": 1 * scale}
        self.place = nn.Parameter(0.1 * torch.randn(len(rest), PLACE))
        self.net = mlp((PLACE + 3 + mouth, hidden, hidden, sum(self.widths.values())))

    def raw(self, drive: Drive) -> dict[str, Tensor]:
        """Those of "means", "turns", "log_scales" that there are; zero outside the mouth."""
        seen = [self.place, CM * self.rest_positions, self.everywhere(drive.mouth)]
        all_of_it = torch.tanh(self.net(torch.cat(seen, 1))) * self.rest_mouth[:, None]
        parts = all_of_it.split(list(self.widths.values()), 1)
        return {name: LARGEST[name] * part for name, part in zip(self.widths, parts, strict=True) if part.shape[1]}
