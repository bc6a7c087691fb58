"""EmoVOCA's DE-SD (its section 3.2): two encoders, of talking and of expressions, and one decoder that joins them.

In training each encoder's feature is put in twice (sections 3.2.1, 3.2.3); at inference the two features are put in
side by side, scaled by mu_t and mu_e: D(mu_t f_t ⊕ mu_e f_e). The other ways to join that its table 2 compares, and the
single-encoder ablation of table 1, are here too.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engine.motion.nets.spiral import Levels, Pool, SpiralConv

JOINS = ("concat", "reverse", "zero", "sum", "mult")
WIDTHS = (16, 32, 64)
LATENT = 64


class Encoder(nn.Module):
    """Displacements [b, n0, 3] -> feature [b, LATENT]."""

    def __init__(self, levels: Levels):
        super().__init__()
        sizes = (3, *WIDTHS)
        self.convs = nn.ModuleList(SpiralConv(s, a, b) for s, a, b in zip(levels.spirals, sizes, WIDTHS, strict=False))
        self.pools = nn.ModuleList(Pool(table) for table in levels.down)
        self.leave = nn.Linear(len(levels.spirals[-1]) * WIDTHS[-1], LATENT)

    def forward(self, x: Tensor) -> Tensor:
        for i, conv in enumerate(self.convs):
            x = nn.functional.elu(conv(x))
            if i < len(self.pools):
                x = self.pools[i](x)
        return self.leave(x.flatten(1))


class Decoder(nn.Module):
    """Joined feature [b, width] -> displacements [b, n0, 3]."""

    def __init__(self, levels: Levels, width: int):
        super().__init__()
        self.coarse = len(levels.spirals[-1])
        self.enter = nn.Linear(width, self.coarse * WIDTHS[-1])
        self.pools = nn.ModuleList(Pool(table) for table in reversed(levels.up))
        widths = (WIDTHS[-1], *reversed(WIDTHS))
        self.convs = nn.ModuleList(
            SpiralConv(s, a, b) for s, a, b in zip(reversed(levels.spirals), widths, widths[1:], strict=False)
        )
        self.leave = SpiralConv(levels.spirals[0], WIDTHS[0], 3)

    def forward(self, f: Tensor) -> Tensor:
        x = self.enter(f).reshape(len(f), self.coarse, WIDTHS[-1])
        for i, conv in enumerate(self.convs):
            x = nn.functional.elu(conv(x))
            if i < len(self.pools):
                x = self.pools[i](x)
        return self.leave(x)


class DESD(nn.Module):
    """Double encoder, shared decoder. join: one of JOINS; single: one encoder for both kinds (ablation)."""

    def __init__(self, levels: Levels, join: str = "concat", single: bool = False):
        super().__init__()
        self.join = join
        self.talk = Encoder(levels)
        self.feel = self.talk if single else Encoder(levels)
        self.decode = Decoder(levels, LATENT if join in ("sum", "mult") else 2 * LATENT)

    def joined(self, talk: Tensor, feel: Tensor) -> Tensor:
        """What the decoder is given of two features [b, LATENT] each."""
        if self.join == "sum":
            return talk + feel
        if self.join == "mult":
            return talk * feel
        if self.join == "reverse":
            return torch.cat([feel, talk], 1)
        return torch.cat([talk, feel], 1)

    def rebuild(self, x: Tensor, kind: str) -> Tensor:
        """A training sample of one kind ("talk", "feel") through its encoder, its feature put in twice."""
        f = (self.talk if kind == "talk" else self.feel)(x)
        if self.join == "zero":
            none = torch.zeros_like(f)
            return self.decode(torch.cat([f, none] if kind == "talk" else [none, f], 1))
        if self.join in ("sum", "mult"):
            return self.decode(f)
        return self.decode(torch.cat([f, f], 1))

    def mix(self, talk: Tensor, feel: Tensor, talk_share: float = 1.0, feel_share: float = 1.0) -> Tensor:
        """Talking and expressive displacements joined: D(mu_t f_t ⊕ mu_e f_e)."""
        return self.decode(self.joined(talk_share * self.talk(talk), feel_share * self.feel(feel)))


def landmark_weights(template: Tensor, landmarks: Tensor, least: float = 0.004) -> Tensor:
    """Eq. 3's weight of each point: inverse distance to the closest landmark (at least `least` metres), mean 1. [n]."""
    distance = torch.cdist(template, landmarks).min(1).values
    weight = 1.0 / torch.clamp(distance, min=least)
    return weight / weight.mean()


def reconstruction_loss(seen: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Eq. 3: mean over points of weight times the length of the error. [b, n, 3] twice, [n]."""
    return (weight * (seen - truth).square().sum(-1).add(1e-12).sqrt()).mean()
