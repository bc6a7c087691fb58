"""Changes of a voice, a room and a recording that must be made on samples (spectral ones are made in training).

`vary` draws one variant of a clip: another speaker (speed, vocal tract), now and then a whisper, then a room, then a
microphone or a codec. Phone times follow.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from engine.core.phones import Segment
from engine.core.sound import SAMPLE_RATE
from engine.studio.speech_corpus import codecs

SPEED = (0.82, 1.25)  # resampling: tempo, pitch and vocal tract together
ROOM_SHARE, TRACT_SHARE, WHISPER_SHARE, MICROPHONE_SHARE, CODEC_SHARE = 0.4, 0.5, 0.06, 0.3, 0.25
_FFT, _HOP = 512, 128  # of the tract's filter: 32 ms windows, every 8 ms
_LIFTER = 24  # cepstral terms of an envelope: formants stay, harmonics of voices below 600 Hz go


def respeed(
    samples: np.ndarray, segments: tuple[Segment, ...], factor: float
) -> tuple[np.ndarray, tuple[Segment, ...], float]:
    """Play `factor` times as fast: pitch, formants and tempo rise together; segments follow.

    Returns (samples, segments, new length / old length).
    """
    from scipy.signal import resample_poly

    ratio = Fraction(1.0 / factor).limit_denominator(40)
    out = resample_poly(samples, ratio.numerator, ratio.denominator).astype(np.float32)
    scale = float(ratio)
    return out, tuple((p, a * scale, b * scale) for p, a, b in segments), scale


def room(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add a small room: a direct sound and a decaying noise tail, RT60 0.1-0.5 s. [n] -> [n]."""
    from scipy.signal import fftconvolve

    rt60 = rng.uniform(0.1, 0.5)
    n = int(rt60 * SAMPLE_RATE)
    tail = rng.normal(size=n) * np.exp(-6.9 * np.arange(n) / n)
    tail[: int(rng.uniform(0.002, 0.015) * SAMPLE_RATE)] = 0.0  # before the first reflection
    tail *= rng.uniform(0.15, 0.7) / np.sqrt(np.sum(tail**2) + 1e-9)
    tail[0] = 1.0
    return fftconvolve(samples, tail)[: len(samples)].astype(np.float32)


def _frames(samples: np.ndarray) -> np.ndarray:
    """Spectra of Hann windows, `_HOP` apart, the clip padded by one window. [n] -> [k, 257] complex64."""
    padded = np.pad(samples, (_FFT, _FFT + _HOP))
    view = np.lib.stride_tricks.sliding_window_view(padded, _FFT)[::_HOP]
    return np.fft.rfft(view * np.hanning(_FFT + 1)[:-1], axis=1).astype(np.complex64)


def _overlap(spectra: np.ndarray, length: int) -> np.ndarray:
    """Inverse of `_frames` (weighted overlap-add with the same window). -> [length] float32."""
    window = np.hanning(_FFT + 1)[:-1]
    parts = np.fft.irfft(spectra, _FFT, axis=1) * window
    out = np.zeros((len(parts) + _FFT // _HOP) * _HOP)
    norm = np.zeros_like(out)
    for k in range(_FFT // _HOP):  # each quarter of every window at once
        piece = slice(k * _HOP, (k + 1) * _HOP)
        out[k * _HOP : k * _HOP + len(parts) * _HOP] += parts[:, piece].ravel()
        norm[k * _HOP : k * _HOP + len(parts) * _HOP] += np.tile(window[piece] ** 2, len(parts))
    return (out / np.maximum(norm, 1e-3))[_FFT : _FFT + length].astype(np.float32)


def _envelope(spectra: np.ndarray) -> np.ndarray:
    """Log magnitude with the harmonics smoothed away by a short cepstrum. [k, 257] -> [k, 257]."""
    cepstrum = np.fft.irfft(np.log(np.abs(spectra) + 1e-6), _FFT, axis=1)
    cepstrum[:, _LIFTER : _FFT - _LIFTER + 1] = 0.0
    return np.fft.rfft(cepstrum, axis=1).real


def vocal_tract(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another throat under the same larynx: formants move by up to 15 %, unevenly, and the pitch stays. [n] -> [n].

    The spectral envelope is read at warped frequencies; what is left of the envelope (the voice's source) is kept.
    """
    spectra = _frames(samples)
    envelope = _envelope(spectra)
    bins = spectra.shape[1]
    knots = np.array([0.0, 0.08, 0.2, 0.4, 1.0])  # of 8 kHz: the formants' regions
    scale = np.exp(rng.uniform(-0.12, 0.12) + np.append(rng.uniform(-0.05, 0.05, 4), 0.0))
    at = np.arange(bins) * np.interp(np.linspace(0, 1, bins), knots, scale)
    low = np.minimum(at.astype(int), bins - 2)
    share = np.minimum(at - low, 1.0)
    moved = envelope[:, low] * (1 - share) + envelope[:, low + 1] * share
    return _overlap(spectra * np.exp(np.clip(moved - envelope, -3.0, 3.0)), len(samples))


def whisper(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same words without a voice: noise through each frame's envelope, less bass, as whispers have. [n] -> [n]."""
    spectra = _frames(samples)
    noise = _frames(rng.normal(size=len(samples)).astype(np.float32))
    tilt = -np.clip(1.0 - np.arange(spectra.shape[1]) * 31.25 / 1000.0, 0.0, 1.0) * rng.uniform(1.0, 3.0)
    out = _overlap(noise / np.abs(noise).mean() * np.exp(_envelope(spectra) + tilt), len(samples))
    return (out * (0.5 * np.abs(samples).max() / max(float(np.abs(out).max()), 1e-6))).astype(np.float32)


def microphone(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A cheap microphone: two resonances, a high-pass, sometimes an overdriven input. [n] -> [n]."""
    from scipy.signal import butter, iirpeak, lfilter, sosfilt

    out = sosfilt(butter(2, rng.uniform(60, 280), "highpass", fs=SAMPLE_RATE, output="sos"), samples)
    for _ in range(2):
        b, a = iirpeak(np.exp(rng.uniform(np.log(250), np.log(6500))), rng.uniform(1.0, 5.0), fs=SAMPLE_RATE)
        out = out + rng.uniform(-0.6, 1.5) * lfilter(b, a, out)
    if rng.random() < 0.35:
        drive = rng.uniform(1.5, 6.0) / max(float(np.abs(out).max()), 1e-6)
        out = np.tanh(out * drive) / drive
    return out.astype(np.float32)


def vary(
    samples: np.ndarray, segments: tuple[Segment, ...], rng: np.random.Generator
) -> tuple[np.ndarray, tuple[Segment, ...], float]:
    """One random variant of a clip: (samples [n'] float32, segments, new length / old length)."""
    out, moved, scale = respeed(samples, segments, float(np.exp(rng.uniform(*np.log(SPEED)))))
    if rng.random() < TRACT_SHARE:
        out = vocal_tract(out, rng)
    if rng.random() < WHISPER_SHARE:
        out = whisper(out, rng)
    if rng.random() < ROOM_SHARE:
        out = room(out, rng)
    if rng.random() < MICROPHONE_SHARE:
        out = microphone(out, rng)
    if rng.random() < CODEC_SHARE:
        out = codecs.through(out, str(rng.choice(codecs.NAMES)))
    return out, moved, scale
