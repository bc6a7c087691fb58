"""Samples -> normalised log-mel frames, the input of the speech nets. One implementation (numpy, scipy's FFT).

Frame k is centred on second k / 100. Mel scale: O'Shaughnessy 1987, mel = 2595 log10(1 + f / 700).
"""

from __future__ import annotations

from functools import cache

import numpy as np

from engine.core.progress import SILENT, Reporter
from engine.core.sound import SAMPLE_RATE

MELS = 64
FRAME_RATE_HZ = 100
HOP = SAMPLE_RATE // FRAME_RATE_HZ  # 160 samples, 10 ms
WINDOW = 400  # 25 ms
FFT = 512
LOW_HZ, HIGH_HZ = 60.0, 7600.0
FLOOR = 1e-8  # power added before the log: -80 dB below a full-scale mel band, under any recording's noise
GATE = 5.8  # natural-log units (25 dB): frames this far below the loud ones are not speech for the mean
PRIOR_FRAMES = 100.0  # a clip's own mean counts as much as the prior after one second of speech
SCALE = 2.5  # log-mel standard deviation within speech, about
RANGE = (-4.0, 3.0)  # what the net sees, in units of SCALE
_BLOCK = 6000  # frames at once: one minute


@cache
def mel_matrix() -> np.ndarray:
    """Triangular filters, each of unit sum. [257, 64] float32."""
    mel = lambda f: 2595.0 * np.log10(1.0 + f / 700.0)  # noqa: E731
    edges = 700.0 * (10.0 ** (np.linspace(mel(LOW_HZ), mel(HIGH_HZ), MELS + 2) / 2595.0) - 1.0)
    f = np.arange(FFT // 2 + 1)[:, None] * SAMPLE_RATE / FFT
    up = (f - edges[:-2]) / (edges[1:-1] - edges[:-2])
    down = (edges[2:] - f) / (edges[2:] - edges[1:-1])
    weights = np.clip(np.minimum(up, down), 0.0, None)
    # The lowest filters are narrower than a bin: give each its nearest bin, so that none is empty.
    empty = np.flatnonzero(weights.sum(0) < 1e-3)
    weights[np.abs(f - edges[1:-1][empty]).argmin(0), empty] = 1.0
    return (weights / weights.sum(0)).astype(np.float32)


def frame_count(samples: int) -> int:
    """Mel frames of a clip: two for each 50 Hz row that covers it."""
    return 2 * rows_of(samples)


def rows_of(samples: int) -> int:
    """Rows at 50 Hz that cover a clip: ceil(50 duration), at least one."""
    return max(1, -(-samples // (SAMPLE_RATE // 50)))


def log_mel(samples: np.ndarray, report: Reporter = SILENT) -> np.ndarray:
    """Natural log of mel power. samples [n] float32 at 16 kHz -> [2 ceil(50 s), 64] float32."""
    from scipy.fft import rfft

    frames = frame_count(len(samples))
    window = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
    window /= np.sqrt(np.sum(window**2) * FFT / 2)
    padded = np.zeros((frames - 1) * HOP + WINDOW, np.float32)
    usable = min(len(samples), len(padded) - WINDOW // 2)
    padded[WINDOW // 2 : WINDOW // 2 + usable] = samples[:usable]
    view = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    out = np.empty((frames, MELS), np.float32)
    for at in range(0, frames, _BLOCK):
        report.step("spectrum", at, frames)
        spectrum = rfft(view[at : at + _BLOCK] * window, FFT, axis=1)
        power = spectrum.real**2 + spectrum.imag**2
        out[at : at + _BLOCK] = np.log(power @ mel_matrix() + FLOOR)
    return out


def loudness(mel: np.ndarray) -> np.ndarray:
    """Log of the mean mel power of each frame. [..., t, 64] -> [..., t]."""
    peak = mel.max(-1, keepdims=True)
    return np.log(np.mean(np.exp(mel - peak), -1)) + peak[..., 0]


def normalise(mel: np.ndarray, prior: np.ndarray, heard: np.ndarray | None = None) -> np.ndarray:
    """Remove the recording's level and colour: subtract each band's mean over the loud frames.

    mel: [t, 64] natural log power. prior [64]: the mean spectrum of speech about its own level; a short clip leans
    on it, because its own mean would erase what it says. heard: the frames to measure where `mel` also holds others.
    Returns [t, 64] float32 within RANGE.
    """
    heard = mel if heard is None else heard
    level = loudness(heard)
    loud = level > np.percentile(level, 95) - GATE
    n = float(loud.sum())
    own = heard[loud].mean(0)
    mean = (n * own + PRIOR_FRAMES * (prior + own.mean())) / (n + PRIOR_FRAMES)
    return np.clip((mel - mean) / SCALE, *RANGE).astype(np.float32)


def normalise_running(mel: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """`normalise` for live use: the mean of each frame is that of the sound so far, louder frames counting for more.

    mel: [t, 64] natural log power; prior [64]. A frame's weight is its amplitude, so background hardly counts once
    speech was heard. Returns [t, 64] float32 within RANGE.
    """
    amplitude = np.exp(0.5 * loudness(mel).astype(np.float64))[:, None]
    total = np.cumsum(amplitude, 0)
    own = np.cumsum(amplitude * mel, 0) / total
    n = total / np.maximum.accumulate(amplitude, 0)  # how many loud frames that amounts to
    mean = (n * own + PRIOR_FRAMES * (prior + own.mean(1, keepdims=True))) / (n + PRIOR_FRAMES)
    return np.clip((mel - mean) / SCALE, *RANGE).astype(np.float32)
