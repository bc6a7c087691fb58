"""EmoDiffTalk's speech-to-AU encoder and AU-prompt diffusion (its sections 3.2 and 7), on interface v1 and the basis.

The encoder's lower layers attend near (fast articulation), the upper ones far (slow prosody); a residual head maps to
17 AUs (PAPER17, both sides alike). The denoiser predicts the clean motion x0 (eq. 4, 30) of a window from noisy motion,
AU codes, speech and the step; its template P is one for all here and so no input. Windows lie on one grid, whatever
stretch is asked for, and overlap: each row is a blend of the windows around it, so any cut of a voice gives the same
motion. Not printed in the paper and ours: N = 8 steps of DDIM on a cosine schedule; L_deform is the mean square error
of points that hardly move in the training faces (a face may not drift where it rests).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from engine.core.names import ARTICULATION, PAPER17
from engine.motion.nets.grmn import NearAttention

INPUT = len(ARTICULATION) + 64
WINDOW, OVERLAP = 100, 30  # rows made at once (2 s), and rows that two windows share
HOP = WINDOW - OVERLAP
MARGIN = 8  # rows of speech to either side of a window that the denoiser's convolutions hear
LISTEN = 50  # rows of speech to either side of a window that the encoder hears
STEADY = 0.5  # share of the noise that is the same in every row, so that windows agree on how a person is
SMOOTH = 3.0  # rows: standard deviation of the Gaussian that the rest is smoothed by; a face does not shiver
SMOOTH_REACH = 9  # rows to either side
STEPS = 8
TRAIN_STEPS = 500
VERTEX, MOTION, DEFORM, LIP = 1.0, 0.5, 0.1, 0.8  # lambdas of eq. 29
# Velocity and acceleration are meant per frame of a video, whose rate is not printed: 25 a second here. Two rows are
# one frame, so a row's velocity counts 2² and its acceleration 4² times.
FRAME_ROWS = 2
SPOKEN = ("AU25", "AU26")  # the voice's own codes that are used: columns behind those that are asked for


class SpeechToAU(nn.Module):
    """speech [b, t, 75] -> AU codes [b, t, 17] in [0, 1] (eq. 3).

    pool: rows that the paper's frame pooling takes the mean of (a row's neighbours, the ends held); 1 = none.
    """

    def __init__(self, width: int = 96, pool: int = 1):
        super().__init__()
        self.pool = pool
        self.enter = nn.Conv1d(INPUT, width, 5, padding=2)
        self.near = nn.Sequential(NearAttention(width), NearAttention(width))
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, 0.1, batch_first=True, norm_first=True)
        self.far = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.leave = nn.Linear(width, len(PAPER17))
        self.residual = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, speech: Tensor) -> Tensor:
        x = self.near(self.enter(speech.transpose(1, 2)).transpose(1, 2))
        x = self.far(x)
        codes = self.leave(x + self.residual(x)).sigmoid()
        if self.pool == 1:
            return codes
        rows = nn.functional.pad(codes.transpose(1, 2), (self.pool // 2, (self.pool - 1) // 2), mode="replicate")
        return nn.functional.avg_pool1d(rows, self.pool, stride=1).transpose(1, 2)


def audio_loss(seen: Tensor, truth: Tensor) -> Tensor:
    """Eq. 21-23 as means: L1 + 0.1 x squared change from frame to frame (FRAME_ROWS)."""
    change = FRAME_ROWS * (seen[:, 1:] - seen[:, :-1])
    return (seen - truth).abs().mean() + 0.1 * change.square().mean()


def signal_share(step: Tensor) -> Tensor:
    """alpha-bar of the cosine schedule (Nichol & Dhariwal 2021) at step [..] in [0, 1]."""
    share = torch.cos((step + 0.008) / 1.008 * math.pi / 2).square() / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    return torch.where(
        step <= 0, torch.ones_like(share), share
    )  # exactly clean, where rounding leaves a trace of noise


class Denoiser(nn.Module):
    """Noisy motion [b, w, k] -> clean [b, w, k], in units of `spread` [k] (standard deviations of the training motion).

    au [b, w, codes] on the same rows, speech [b, w + 2 MARGIN, 75] around them; step [b] in [0, 1]. use_codes: the
    paper's ablation (A), without Codes4P. yields: what is heard may weaken what the codes move, component by component
    (speech takes its share of an expression's mouth).
    """

    def __init__(
        self, size: int, codes: int = 36, width: int = 128, layers: int = 4, use_codes: bool = True,
        yields: bool = False,
    ):  # fmt: skip
        super().__init__()
        self.use_codes = use_codes
        self.spread: Tensor
        self.register_buffer("spread", torch.ones(size))
        self.enter = nn.Linear(size, width)
        self.code, self.hear = nn.Linear(codes, width), _ears(width)
        self.answer, self.weaken = _answer(codes, size), _weaken(width, size) if yields else None
        self.step = nn.Sequential(nn.Linear(64, width), nn.GELU(), nn.Linear(width, width))
        self.place = nn.Parameter(torch.randn(WINDOW, width) * 0.02)
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, 0.05, batch_first=True, norm_first=True)
        self.body = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.leave = nn.Linear(width, size)

    def forward(self, noisy: Tensor, au: Tensor, speech: Tensor, step: Tensor) -> Tensor:
        return self.clean(noisy, self.given(au, speech), step)

    def given(self, au: Tensor, speech: Tensor) -> tuple[Tensor, Tensor]:
        """What a window is made from, the same in every step of its sampling: what is heard [b, w, width] and what the
        codes move as such [b, w, k]."""
        heard = self.hear(speech.transpose(1, 2)).transpose(1, 2)
        if not self.use_codes:
            return heard, self.answer(torch.zeros_like(au))
        return heard + self.code(au), _answered(self.answer, self.weaken, au, heard)

    def clean(self, noisy: Tensor, given: tuple[Tensor, Tensor], step: Tensor) -> Tensor:
        """The clean motion from noisy motion and what `given` says."""
        frequency = torch.exp(torch.arange(32, device=noisy.device) * (-math.log(1000.0) / 31))
        angle = step[:, None] * 1000.0 * frequency
        x = self.enter(noisy) + given[0] + self.step(torch.cat([angle.sin(), angle.cos()], -1))[:, None]
        return self.leave(self.body(x + self.place[: x.shape[1]])) + given[1]


def _answer(codes: int, size: int) -> nn.Linear:
    """What each code moves as such, learned from the head's own table on (`answer_of`): the binding of AU codes to
    points that the paper hopes for, told instead of found."""
    out = nn.Linear(codes, size, bias=False)
    nn.init.zeros_(out.weight)
    return out


def _weaken(width: int, size: int) -> nn.Linear:
    """How far what is heard weakens each component of that answer; not at all before anything is learned."""
    out = nn.Linear(width, size)
    nn.init.zeros_(out.weight), nn.init.zeros_(out.bias)
    return out


def _answered(answer: nn.Linear, weaken: nn.Linear | None, au: Tensor, heard: Tensor) -> Tensor:
    """What the codes move as such, [b, w, k]."""
    return answer(au) * 2.0 * weaken(heard).sigmoid() if weaken is not None else answer(au)


def _ears(width: int) -> nn.Module:
    """Convolutions over speech without padding: MARGIN rows fewer on either side."""
    return nn.Sequential(nn.Conv1d(INPUT, width, 9), nn.GELU(), nn.Conv1d(width, width, 9))


class Recurrent(nn.Module):
    """The paper's ablation (C): a GRU in place of the diffusion, about as many parameters. (au, speech) as the
    denoiser's -> motion [b, w, k] in units of `spread`."""

    def __init__(self, size: int, codes: int = 36, width: int = 144, yields: bool = False):
        super().__init__()
        self.spread: Tensor
        self.register_buffer("spread", torch.ones(size))
        self.code, self.hear, self.answer = nn.Linear(codes, width), _ears(width), _answer(codes, size)
        self.weaken = _weaken(width, size) if yields else None
        self.body = nn.GRU(width, width, 2, batch_first=True, bidirectional=True)
        self.leave = nn.Linear(2 * width, size)

    def forward(self, au: Tensor, speech: Tensor) -> Tensor:
        heard = self.hear(speech.transpose(1, 2)).transpose(1, 2)
        made, _ = self.body(heard + self.code(au))
        return self.leave(made) + _answered(self.answer, self.weaken, au, heard)


def build(size: int, config: Mapping[str, Any]) -> Denoiser | Recurrent:
    """Stage 2's network of a configuration."""
    options = dict(config)
    return Recurrent(size, **options) if options.pop("recurrent", False) else Denoiser(size, **options)


class Both(nn.Module):
    """Encoder and stage 2's network as one checkpoint: tensors `ear.*` and `net.*`."""

    def __init__(self, ear: SpeechToAU, net: Denoiser | Recurrent):
        super().__init__()
        self.ear, self.net = ear, net

    @classmethod
    def of(cls, size: int, config: Mapping[str, Any]) -> Both:
        """Untrained, of a checkpoint's configuration: {"ear": .., "net": ..}."""
        return cls(SpeechToAU(**config["ear"]), build(size, config["net"]))


def window_starts(first: int, last: int) -> range:
    """First rows of the windows on the grid that rows [first, last) are made from. Row 0 lies whole in window 0."""
    low = max(0, (first + OVERLAP - WINDOW) // HOP + 1)
    high = max(low, (last - 1 + OVERLAP) // HOP)
    return range(low * HOP - OVERLAP, high * HOP - OVERLAP + 1, HOP)


def blend(windows: Tensor, starts: range, first: int, last: int) -> Tensor:
    """Rows [first, last) of overlapping windows [n, w, k]: each row's windows in shares that rise and fall smoothly and
    sum to 1. [last - first, k]."""
    ramp = 0.5 - 0.5 * torch.cos(math.pi * (torch.arange(OVERLAP) + 0.5) / OVERLAP)
    share = torch.cat([ramp, torch.ones(WINDOW - 2 * OVERLAP), ramp.flip(0)])[:, None].to(windows)
    out = windows.new_zeros(last - first, windows.shape[-1])
    for window, start in zip(windows, starts, strict=True):
        a, b = max(start, first), min(start + WINDOW, last)
        if a < b:
            out[a - first : b - first] += (window * share)[a - start : b - start]
    return out


def smooth_kernel() -> Tensor:
    """Gaussian over time, [2 REACH + 1], whose output has unit spread where white unit noise goes in."""
    at = torch.arange(-SMOOTH_REACH, SMOOTH_REACH + 1, dtype=torch.float32) / SMOOTH
    kernel = torch.exp(-0.5 * at.square())
    return kernel / kernel.square().sum().sqrt()


def steady(noise: Tensor, common: Tensor) -> Tensor:
    """Unit noise [b, w, k] that the windows are made from: the share STEADY is `common` [b or 1, 1, k], the rest white
    noise [b, w + 2 SMOOTH_REACH, k] made smooth in time."""
    b, w, k = noise.shape
    rows = noise.transpose(1, 2).reshape(b * k, 1, w)
    smooth = nn.functional.conv1d(rows, smooth_kernel().to(noise)[None, None]).reshape(b, k, -1).transpose(1, 2)
    return STEADY**0.5 * common + (1.0 - STEADY) ** 0.5 * smooth


def add_noise(clean: Tensor, step: Tensor, noise: Tensor) -> Tensor:
    """q(x^n | x^0). step [b] in [0, 1]."""
    share = signal_share(step)[:, None, None]
    return share.sqrt() * clean + (1 - share).sqrt() * noise


@torch.no_grad()
def sample(net: Denoiser, au: Tensor, speech: Tensor, noise: Tensor, steps: int = STEPS) -> Tensor:
    """Clean motion [b, w, k] of windows from `noise` (same noise, same motion): DDIM without added noise."""
    x, given = noise, net.given(au, speech)
    times = torch.linspace(1.0, 0.0, steps + 1, dtype=noise.dtype)
    for now, then in itertools.pairwise(times):
        clean = net.clean(x, given, now.expand(len(x)))
        share_now, share_then = signal_share(now), signal_share(then)
        rest = (x - share_now.sqrt() * clean) / (1 - share_now).clamp_min(1e-6).sqrt()
        x = share_then.sqrt() * clean + (1 - share_then).clamp_min(0).sqrt() * rest
    return x


def make(net: Denoiser | Recurrent, au: Tensor, speech: Tensor, noise: Tensor) -> Tensor:
    """Motion [b, w, k] of windows by either network; the recurrent one draws nothing, so it leaves the noise unused."""
    return net(au, speech) if isinstance(net, Recurrent) else sample(net, au, speech, noise)


def geometry_loss(seen: Tensor, truth: Tensor, lips: Tensor, resting: Tensor | None = None) -> Tensor:
    """Eq. 24-29 on coefficients of the orthonormal basis. lips [k, r]: the region's metric; resting [k, r] or None:
    metric of points that should hardly move (L_deform)."""
    missed = seen - truth
    vertex = missed.square().sum(-1).mean()
    speed = FRAME_ROWS * (missed[:, 1:] - missed[:, :-1])
    change = FRAME_ROWS * (speed[:, 1:] - speed[:, :-1])
    motion = speed.square().sum(-1).mean() + change.square().sum(-1).mean()
    lip = (missed @ lips).square().sum(-1).mean()
    deform = (missed @ resting).square().sum(-1).mean() if resting is not None else torch.zeros(())
    return VERTEX * vertex + MOTION * motion + LIP * lip + DEFORM * deform
