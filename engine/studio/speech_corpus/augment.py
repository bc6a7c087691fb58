"""Changes of a voice and a room that must be made on samples (those that a spectrum can carry are made in training)."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from engine.core.phones import Segment
from engine.core.sound import SAMPLE_RATE

SPEED = (0.82, 1.25)  # resampling: tempo, pitch and vocal tract together
ROOM_SHARE = 0.4


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


def vary(
    samples: np.ndarray, segments: tuple[Segment, ...], rng: np.random.Generator
) -> tuple[np.ndarray, tuple[Segment, ...], float]:
    """One random variant of a clip, speed and perhaps a room: (samples, segments, new length / old length)."""
    out, moved, scale = respeed(samples, segments, float(np.exp(rng.uniform(*np.log(SPEED)))))
    return (room(out, rng) if rng.random() < ROOM_SHARE else out), moved, scale
