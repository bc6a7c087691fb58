"""Augmentation that a log-mel can carry: tempo, vocal-tract warp, colour, low-pass, other sounds, noise, masks.

Batched, in torch; tempo one window at a time, in numpy.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

from engine.speech.frontend import FLOOR, GATE, PRIOR_FRAMES, RANGE, SCALE, mel_matrix

NOISE_SNR_DB = (8.0, 60.0)
WARP = (0.88, 1.14)
NOISE_ONLY = 0.05  # share of windows that hold no voice at all
BESIDE_SNR_DB = (3.0, 30.0)  # of a voice over other sounds beside it
TEMPO, TEMPO_SHARE = (0.72, 1.4), 0.35
_BANK_FRAMES = 32_768  # of the flicker of noise: 5 minutes, drawn once


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


@cache
def _flicker_bank() -> Tensor:
    """Log of the flicker of stationary noise about its mean. [_BANK_FRAMES, 64]; the same in every process."""
    g = torch.Generator().manual_seed(7)
    shape = flicker_shape().expand(_BANK_FRAMES, -1).contiguous()
    return torch.log((torch._standard_gamma(shape, generator=g) / shape).clamp_min(1e-4))


def flicker(b: int, t: int, g: torch.Generator) -> Tensor:
    """Random windows of the bank. [b, t, 64]."""
    starts = torch.randint(_BANK_FRAMES - t, (b,), generator=g)
    return torch.stack([_flicker_bank()[i : i + t] for i in starts.tolist()])


def normalise_running(mel: Tensor, prior: Tensor) -> Tensor:
    """Batched twin of `engine.speech.frontend.normalise_running`. mel [b, t, 64], prior [64]."""
    level = torch.logsumexp(mel, -1, keepdim=True)
    amplitude = torch.exp(0.5 * (level - level.amax(1, keepdim=True))).clamp_min(1e-12).double()
    total = amplitude.cumsum(1)
    own = ((amplitude * mel).cumsum(1) / total).float()
    n = (total / amplitude.cummax(1).values).float()
    mean = (n * own + PRIOR_FRAMES * (prior + own.mean(2, keepdim=True))) / (n + PRIOR_FRAMES)
    return ((mel - mean) / SCALE).clamp(*RANGE)


def tempo(mel: np.ndarray, labels: np.ndarray, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Stretch a window to `frames` without touching its pitch. mel [t, 64], labels [t, k] -> [frames, ...]."""
    at = np.linspace(0, len(mel) - 1, frames)
    low = np.minimum(at.astype(int), len(mel) - 2)
    share = (at - low).astype(np.float32)[:, None]
    return mel[low] * (1 - share) + mel[low + 1] * share, labels[np.round(at).astype(int)]


def augment(mel: Tensor, g: torch.Generator, beside: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Random changes of voice, microphone and room noise. mel [b, t, 64] natural log power.

    beside: other sounds [b, t, 64] to mix in, -inf where a window has none.
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
    noise = noise[:, None] + flicker(b, t, g)
    noise_only = torch.rand(b, generator=g) < NOISE_ONLY
    mel = torch.where(noise_only[:, None, None], torch.full_like(mel, -18.4), mel)
    if beside is not None:
        louder = _uniform(g, b, low=BESIDE_SNR_DB[0], high=BESIDE_SNR_DB[1]) * 0.23026
        level = torch.logsumexp(beside, -1)
        own = torch.maximum(torch.quantile(level, 0.9, dim=1), level.amax(1) - 2.0)  # knocks stand out of their quiet
        shift = torch.where(torch.isfinite(own), top + 4.0 - louder - own, torch.zeros(()))
        mel = torch.logaddexp(mel, beside + shift[:, None, None])
    noisy = torch.logaddexp(torch.logaddexp(mel, noise), torch.log(torch.tensor(FLOOR)))
    return noisy, noise_only


def mask_bands(mel: Tensor, g: torch.Generator) -> Tensor:
    """Hide up to 8 neighbouring bands of some windows (normalised mels, 0 = mean). [b, t, 64]."""
    b, _, m = mel.shape
    start, width = _uniform(g, b, 1, high=m), _uniform(g, b, 1, high=8.0)
    hidden = (torch.arange(m)[None] >= start) & (torch.arange(m)[None] < start + width)
    hidden &= _uniform(g, b, 1) < 0.4
    return mel.masked_fill(hidden[:, None], 0.0)
