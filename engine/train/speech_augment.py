"""Augmentation that a log-mel can carry: vocal-tract warp, colour, low-pass, noise, masks. Batched, in torch."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.speech.frontend import FLOOR, GATE, PRIOR_FRAMES, RANGE, SCALE, mel_matrix

NOISE_SNR_DB = (8.0, 60.0)
WARP = (0.88, 1.14)
NOISE_ONLY = 0.04  # share of windows that hold no voice at all


def _uniform(g: torch.Generator, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
    return low + (high - low) * torch.rand(*shape, generator=g)


def warp(mel: Tensor, factor: Tensor) -> Tensor:
    """Scale the mel axis (vocal-tract length). mel [b, t, m], factor [b] -> [b, t, m], linear interpolation."""
    m = mel.shape[-1]
    at = (torch.arange(m)[None] * factor[:, None]).clamp(0, m - 1.001)
    low = at.floor().long()
    share = (at - low)[:, None]
    take = lambda i: mel.gather(2, i[:, None].expand(-1, mel.shape[1], -1))  # noqa: E731
    return take(low) * (1 - share) + take(low + 1) * share


def loud_mask(mel: Tensor) -> tuple[Tensor, Tensor]:
    """(frames within GATE of the loud ones [b, t] bool, the loud level [b])."""
    level = torch.logsumexp(mel, -1)
    top = torch.quantile(level, 0.95, dim=1)
    return level > top[:, None] - GATE, top


def normalise(mel: Tensor, prior: Tensor) -> Tensor:
    """Batched twin of `engine.speech.frontend.normalise`. mel [b, t, 64], prior [64]."""
    loud = loud_mask(mel)[0].float()
    n = loud.sum(1)[:, None]
    own = (mel * loud[..., None]).sum(1) / n
    mean = (n * own + PRIOR_FRAMES * (prior + own.mean(1, keepdim=True))) / (n + PRIOR_FRAMES)
    return ((mel - mean[:, None]) / SCALE).clamp(*RANGE)


def flicker_shape() -> Tensor:
    """Shape of the gamma law that each band's power follows in stationary noise. [64].

    A filter sums a few bins whose powers are exponential; neighbouring bins of a Hann window share about 40 %.
    """
    weights = torch.from_numpy(mel_matrix())
    return (0.6 * weights.sum(0) ** 2 / (weights**2).sum(0)).clamp_min(1.0)


def augment(mel: Tensor, g: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random changes of voice, microphone and room noise. mel [b, t, 64] natural log power.

    Returns (mel, noise_only [b] bool: windows whose voice was taken out).
    """
    b, t, m = mel.shape
    mel = warp(mel, _uniform(g, b, low=WARP[0], high=WARP[1]))
    axis = torch.linspace(0, 3.1416, m)[None]
    colour = torch.zeros(b, m)
    for k in (1, 2, 3, 5):  # smooth equaliser, about +-6 dB
        colour += _uniform(g, b, 1, low=-0.7, high=0.7) * torch.cos(k * axis + _uniform(g, b, 1, high=6.28))
    mel = mel + colour[:, None]
    cut = torch.where(_uniform(g, b, 1) < 0.2, _uniform(g, b, 1, low=38, high=60), torch.tensor(99.0))
    mel = mel - ((torch.arange(m)[None] - cut).clamp(0) * 0.8)[:, None]  # a low-pass from 2.2 kHz up
    top = loud_mask(mel)[1] - 4.0  # logsumexp over 64 bands -> level of one
    snr = _uniform(g, b, low=NOISE_SNR_DB[0], high=NOISE_SNR_DB[1]) * 0.23026
    slope = _uniform(g, b, 1, low=-3.0, high=0.5) * torch.linspace(-0.5, 0.5, m)[None]
    bumps = sum(_uniform(g, b, 1, low=-0.6, high=0.6) * torch.cos(k * axis + 6.28 * _uniform(g, b, 1)) for k in (2, 4))
    noise = (top - snr)[:, None] + slope + bumps
    shape = flicker_shape()
    flicker = torch._standard_gamma(shape.expand(b, t, m).contiguous(), generator=g) / shape
    noise = noise[:, None] + torch.log(flicker.clamp_min(1e-4))
    noise_only = torch.rand(b, generator=g) < NOISE_ONLY
    mel = torch.where(noise_only[:, None, None], torch.full_like(mel, -18.4), mel)
    noisy = torch.logaddexp(torch.logaddexp(mel, noise), torch.log(torch.tensor(FLOOR)))
    return noisy, noise_only


def mask_bands(mel: Tensor, g: torch.Generator) -> Tensor:
    """Hide up to 8 neighbouring bands of some windows (normalised mels, 0 = mean). [b, t, 64]."""
    b, _, m = mel.shape
    start, width = _uniform(g, b, 1, high=m), _uniform(g, b, 1, high=8.0)
    hidden = (torch.arange(m)[None] >= start) & (torch.arange(m)[None] < start + width)
    hidden &= _uniform(g, b, 1) < 0.4
    return mel.masked_fill(hidden[:, None], 0.0)
