"""The demo's own voice, for whoever has no recording at hand: about ten seconds of synthesised English."""

from __future__ import annotations

import os

import numpy as np

from engine.audio.read import write_wav
from engine.core.phones import Segment
from engine.core.sound import SAMPLE_RATE
from engine.studio.speech_corpus import espeak
from engine.studio.speech_corpus.augment import room
from engine.studio.speech_corpus.build import resample

# (text, words per minute, pitch, pitch range, pause after in seconds): one feeling a line, which a flat voice lacks.
LINES = (
    ("Oh, you came back!", 165, 58, 80, 0.40),
    ("I was so worried about you.", 145, 46, 55, 0.45),
    ("But why, why did you not call me?", 170, 56, 85, 0.50),
    ("Never mind. My heart is beating, and I am happy.", 155, 52, 70, 0.35),
    ("Come in, before the soup gets cold!", 165, 56, 80, 0.50),
)
VOICE = "en-us+Andrea"  # a plain female variant: fewer buzzing low harmonics than the standard voice


def speak_sample(seed: int = 0) -> tuple[np.ndarray, list[Segment]]:
    """The sample's samples [n] float32 at 16 kHz in [-1, 1] and its IPA segments in seconds. Raises Missing."""
    rng = np.random.default_rng(seed)
    parts, segments = [np.zeros(int(0.3 * SAMPLE_RATE), np.float32)], [("_", 0.0, 0.3)]
    at = 0.3
    for text, wpm, pitch, spread, pause in LINES:
        wave, rate, marks = espeak.speak(text, VOICE, wpm, pitch, spread)
        wave = resample(wave, rate)
        segments += [(p, a + at, b + at) for p, a, b in marks]
        parts += [wave, np.zeros(int(pause * SAMPLE_RATE), np.float32)]
        at += (len(parts[-2]) + len(parts[-1])) / SAMPLE_RATE
    voice = _soften(np.concatenate(parts), rng)
    return (voice * (0.7 / np.abs(voice).max())).astype(np.float32), segments


def _soften(voice: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Take off the synthesiser's hard edge: less above 5 kHz, a small room, a breath of noise."""
    from scipy.signal import butter, sosfilt

    mild = sosfilt(butter(2, 5000, fs=SAMPLE_RATE, output="sos"), voice).astype(np.float32)
    return room(mild, rng) + rng.normal(0, 2e-4, len(voice)).astype(np.float32)


def make_sample(path: str | os.PathLike[str]) -> None:
    """Write the sample voice as a 16 kHz wav. Raises Missing where espeak-ng cannot be loaded."""
    write_wav(path, speak_sample()[0])
