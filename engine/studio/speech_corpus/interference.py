"""Sounds that are not the voice: a music bed, many voices at once, handling noise; made here, mixed in training."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from engine.core.sound import SAMPLE_RATE
from engine.studio.speech_corpus.build import Clip, clips

MUSIC, BABBLE, CLATTER = "music", "babble", "clatter"
_PIECE_S = 20.0
_SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 3, 5, 7, 10))  # major, minor, minor pentatonic
_VOICES_AT_ONCE = (3, 7)


def _tone(hz: float, seconds: float, rng: np.random.Generator, timbre: np.ndarray, decay: float) -> np.ndarray:
    """One note: harmonics with the timbre's amplitudes, a soft attack, a decay, slight vibrato."""
    t = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    wobble = 1 + 0.003 * np.sin(2 * np.pi * rng.uniform(4, 6.5) * t)
    phase = 2 * np.pi * hz * np.cumsum(wobble) / SAMPLE_RATE
    k = np.arange(1, len(timbre) + 1)
    k = k[k * hz < 0.48 * SAMPLE_RATE]
    tone = (timbre[: len(k), None] * np.sin(k[:, None] * phase + rng.uniform(0, 6.28, (len(k), 1)))).sum(0)
    return tone * np.minimum(1.0, t / 0.02) * np.exp(-t * decay)


def music(rng: np.random.Generator, seconds: float = _PIECE_S) -> np.ndarray:
    """A made-up piece: chords, a tune over them, a bass and drums, at one tempo in one scale. [n] float32."""
    n = int(seconds * SAMPLE_RATE)
    out = np.zeros(n)
    beat = 60.0 / rng.uniform(70, 150)
    root, scale = 110.0 * 2 ** rng.uniform(-0.5, 0.8), _SCALES[int(rng.integers(len(_SCALES)))]
    pitch = lambda step: root * 2 ** (step // len(scale) + scale[step % len(scale)] / 12)  # noqa: E731
    timbres = [rng.uniform(0.2, 1.0, 12) / np.arange(1, 13) ** rng.uniform(0.7, 2.0) for _ in range(3)]
    parts = rng.random(4) < (0.9, 0.7, 0.6, 0.6)  # chords, tune, bass, drums

    def add(at: float, sound: np.ndarray, gain: float) -> None:
        a = int(at * SAMPLE_RATE)
        if a < n:
            piece = sound[: n - a]
            out[a : a + len(piece)] += gain * piece

    for number in range(int(seconds / beat) + 1):
        at = number * beat
        if number % 4 == 0:
            degree = int(rng.integers(len(scale)))
        if number % 4 == 0 and parts[0]:
            for third in (0, 2, 4):
                add(at, _tone(pitch(degree + third), 4 * beat, rng, timbres[0], 0.6), 0.25)
        if parts[1] and rng.random() < 0.75:
            add(at, _tone(2 * pitch(degree + int(rng.integers(7))), 1.5 * beat, rng, timbres[1], 2.5), 0.35)
        if parts[2]:
            add(at, _tone(pitch(degree) / 2, beat, rng, timbres[2], 3.0), 0.5)
        if parts[3]:
            hit = rng.normal(size=int(0.12 * SAMPLE_RATE)) * np.exp(-np.arange(int(0.12 * SAMPLE_RATE)) / 300.0)
            add(at + (beat / 2 if rng.random() < 0.5 else 0.0), np.diff(hit, prepend=0.0), 0.3)
            kick = np.sin(2 * np.pi * 60 * np.arange(1600) / SAMPLE_RATE) * np.exp(-np.arange(1600) / 500.0)
            add(at, kick, 0.8 * (number % 2 == 0))
    return _level(out)


def clatter(rng: np.random.Generator, seconds: float = _PIECE_S) -> np.ndarray:
    """Keys, knocks and rustling: short filtered bursts at random times over a hum of the mains. [n] float32."""
    from scipy.signal import butter, sosfilt

    n = int(seconds * SAMPLE_RATE)
    t = np.arange(n) / SAMPLE_RATE
    mains = float(rng.choice([50.0, 60.0]))
    out = sum(rng.uniform(0, 0.01) * np.sin(2 * np.pi * mains * k * t) for k in (1, 2, 3, 5, 7))
    for _ in range(int(seconds * rng.uniform(1, 8))):
        length = int(rng.uniform(0.004, 0.12) * SAMPLE_RATE)
        low = float(np.exp(rng.uniform(np.log(80), np.log(3000))))
        band = butter(2, [low, min(low * rng.uniform(1.5, 6), 7800)], "band", fs=SAMPLE_RATE, output="sos")
        burst = sosfilt(band, rng.normal(size=length) * np.exp(-np.arange(length) / (0.25 * length)))
        at = int(rng.integers(0, n - length))
        out[at : at + length] += rng.uniform(0.05, 1.0) * burst
    return _level(out)


def babble(pool: list[np.ndarray], rng: np.random.Generator, seconds: float = _PIECE_S) -> np.ndarray:
    """Several voices at once, played backwards: speech's sound without its words. [n] float32."""
    n = int(seconds * SAMPLE_RATE)
    out = np.zeros(n)
    for _ in range(int(rng.integers(*_VOICES_AT_ONCE))):
        at = 0
        while at < n:
            piece = pool[int(rng.integers(len(pool)))][::-1][: n - at]
            out[at : at + len(piece)] += piece / max(float(np.abs(piece).max()), 1e-3) * rng.uniform(0.3, 1.0)
            at += len(piece) + int(rng.integers(0, SAMPLE_RATE))
    return _level(out)


def _level(samples: np.ndarray) -> np.ndarray:
    return (0.5 * samples / max(float(np.abs(samples).max()), 1e-6)).astype(np.float32)


def pieces(minutes: float, seed: int = 0) -> Iterator[Clip]:
    """Clips without segments until `minutes` are made: music, clatter, babble in turn; source names which."""
    rng = np.random.default_rng(seed)
    pool = [clip.samples for clip in clips(0.1, seed + 1)]
    makers = {MUSIC: lambda: music(rng), CLATTER: lambda: clatter(rng), BABBLE: lambda: babble(pool, rng)}
    for number in range(max(3, round(minutes * 60 / _PIECE_S))):
        name = list(makers)[number % len(makers)]
        yield Clip(name, name, "", makers[name](), ())
