"""EmoDiffTalk's speech-to-AU encoder and AU-prompt diffusion (its sections 3.2 and 7), on interface v1 and the basis.

The encoder's lower layers attend near (fast articulation), the upper ones far (slow prosody); a residual head maps to
17 AUs (PAPER17, both sides alike). The denoiser predicts the clean motion x0 (eq. 4, 30) from noisy motion, AU codes,
speech and the step; windows overlap, and the end of one is the beginning of the next. The number of steps N and the
form of L_deform are not printed in the paper: N = 8 at inference on a cosine schedule, and L_deform is the mean square
motion of points that no shape of the truth moves in that frame (a face may not drift where it rests).
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from engine.core.names import ARTICULATION, PAPER17
from engine.motion.nets.grmn import NearAttention

INPUT = len(ARTICULATION) + 64
WINDOW, BEFORE = 100, 10  # rows made at once (2 s), and rows of the window before it that it sees
STEPS = 8
TRAIN_STEPS = 500
VERTEX, MOTION, DEFORM, LIP = 1.0, 0.5, 0.1, 0.8  # lambdas of eq. 29


class SpeechToAU(nn.Module):
    """speech [b, t, 75] -> AU codes [b, t, 17] in [0, 1] (eq. 3)."""

    def __init__(self, width: int = 96):
        super().__init__()
        self.enter = nn.Conv1d(INPUT, width, 5, padding=2)
        self.near = nn.Sequential(NearAttention(width), NearAttention(width))
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, 0.1, batch_first=True, norm_first=True)
        self.far = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.leave = nn.Linear(width, len(PAPER17))
        self.residual = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, speech: Tensor) -> Tensor:
        x = self.near(self.enter(speech.transpose(1, 2)).transpose(1, 2))
        x = self.far(x)
        return self.leave(x + self.residual(x)).sigmoid()


def audio_loss(seen: Tensor, truth: Tensor) -> Tensor:
    """Eq. 21-23 as means: L1 + 0.1 x squared change from row to row."""
    return (seen - truth).abs().mean() + 0.1 * (seen[:, 1:] - seen[:, :-1]).square().mean()


def signal_share(step: Tensor) -> Tensor:
    """alpha-bar of the cosine schedule (Nichol & Dhariwal 2021) at step [..] in [0, 1]."""
    share = torch.cos((step + 0.008) / 1.008 * math.pi / 2).square() / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    return torch.where(
        step <= 0, torch.ones_like(share), share
    )  # exactly clean, where rounding leaves a trace of noise


class Denoiser(nn.Module):
    """Noisy motion [b, w, k] -> clean [b, w, k].

    before [b, BEFORE, k]: the clean motion before the window; au [b, BEFORE + w, codes] and speech [b, BEFORE + w, 75]
    on the same rows; step [b] in [0, 1].
    """

    def __init__(self, size: int, codes: int = 36, width: int = 128, layers: int = 4):
        super().__init__()
        self.enter = nn.Linear(size, width)
        self.code, self.hear = nn.Linear(codes, width), nn.Conv1d(INPUT, width, 5, padding=2)
        self.step = nn.Sequential(nn.Linear(64, width), nn.GELU(), nn.Linear(width, width))
        self.place = nn.Parameter(torch.randn(BEFORE + WINDOW, width) * 0.02)
        self.known = nn.Parameter(torch.randn(2, width) * 0.02)
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, 0.05, batch_first=True, norm_first=True)
        self.body = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.leave = nn.Linear(width, size)

    def forward(self, noisy: Tensor, before: Tensor, au: Tensor, speech: Tensor, step: Tensor) -> Tensor:
        x = self.enter(torch.cat([before, noisy], 1))
        frequency = torch.exp(torch.arange(32, device=x.device) * (-math.log(1000.0) / 31))
        angle = step[:, None] * 1000.0 * frequency
        x = x + self.step(torch.cat([angle.sin(), angle.cos()], -1))[:, None]
        x = x + self.code(au) + self.hear(speech.transpose(1, 2)).transpose(1, 2)
        known = torch.cat([self.known[0].expand(BEFORE, -1), self.known[1].expand(noisy.shape[1], -1)])
        x = x + self.place[: x.shape[1]] + known
        return self.leave(self.body(x))[:, BEFORE:]


def add_noise(clean: Tensor, step: Tensor, noise: Tensor) -> Tensor:
    """q(x^n | x^0). step [b] in [0, 1]."""
    share = signal_share(step)[:, None, None]
    return share.sqrt() * clean + (1 - share).sqrt() * noise


@torch.no_grad()
def sample(net: Denoiser, before: Tensor, au: Tensor, speech: Tensor, noise: Tensor, steps: int = STEPS) -> Tensor:
    """Clean motion [b, w, k] of one window from `noise` (same noise, same motion): DDIM without added noise."""
    x = noise
    times = torch.linspace(1.0, 0.0, steps + 1, dtype=noise.dtype)
    for now, then in itertools.pairwise(times):
        clean = net(x, before, au, speech, now.expand(len(x)))
        share_now, share_then = signal_share(now), signal_share(then)
        rest = (x - share_now.sqrt() * clean) / (1 - share_now).clamp_min(1e-6).sqrt()
        x = share_then.sqrt() * clean + (1 - share_then).clamp_min(0).sqrt() * rest
    return x


def geometry_loss(seen: Tensor, truth: Tensor, lips: Tensor, resting: Tensor | None = None) -> Tensor:
    """Eq. 24-29 on coefficients of the orthonormal basis. lips [k, r]: the region's metric; resting [k, r] or None:
    metric of points that should hardly move (L_deform)."""
    missed = seen - truth
    vertex = missed.square().sum(-1).mean()
    speed = missed[:, 1:] - missed[:, :-1]
    change = speed[:, 1:] - speed[:, :-1]
    motion = speed.square().sum(-1).mean() + change.square().sum(-1).mean()
    lip = (missed @ lips).square().sum(-1).mean()
    deform = (missed @ resting).square().sum(-1).mean() if resting is not None else torch.zeros(())
    return VERTEX * vertex + MOTION * motion + LIP * lip + DEFORM * deform
