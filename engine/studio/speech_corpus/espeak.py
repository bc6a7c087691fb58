"""Speech of espeak-ng with the times of its phones: ~130 languages, about 100 variants of voice."""

from __future__ import annotations

import numpy as np

from engine.core.errors import BadInput
from engine.core.phones import Segment, is_pause
from engine.speech.espeak import available, library, segments_of

__all__ = ["available", "speak"]


def speak(
    text: str, voice: str = "en-us", wpm: int = 175, pitch: int = 50, spread: int = 50
) -> tuple[np.ndarray, int, list[Segment]]:
    """Synthesise. Returns (samples [n] float32, rate in Hz, IPA segments in seconds).

    voice: language and variant ("en-us+f3"). wpm: words per minute, 80-450. pitch, spread: 0-99.
    Raises BadInput for a voice that espeak lacks or a text without a sound.
    """
    lib = library()
    lib.say(text, voice, rate=wpm, pitch=pitch, spread=spread)
    if not lib.wave or all(is_pause(p or "_") for _, p in lib.phones):
        raise BadInput(f"espeak said nothing for {text!r}")
    samples = np.concatenate(lib.wave).astype(np.float32) / 32768
    return samples, lib.rate, _start_stops_at_closure(segments_of(lib), samples, lib.rate)


def _start_stops_at_closure(segments: list[Segment], samples: np.ndarray, rate: int) -> list[Segment]:
    """Move a stop's start back over the silence before its burst.

    espeak marks voiceless stops at the burst and leaves their closure, 30-90 ms of silence, to the phone before.
    Everywhere else a stop is closure + burst, so the silent tail (5 ms peaks below -40 dB of full scale) is given back.
    In a pause 60 ms are taken: a closure after silence cannot be heard, but the lips must have met.
    """
    hop = int(0.005 * rate)
    level = np.abs(samples[: len(samples) // hop * hop]).reshape(-1, hop).max(1)
    out = list(segments)
    for i in range(1, len(out)):
        symbol, start, end = out[i]
        before, a, _ = out[i - 1]
        if symbol[:1] not in "pbtdkgɡtcqʈɖ":
            continue
        k = k0 = int(start * 200) - 1
        while k > 0 and k0 - k < (12 if is_pause(before) else 20) and level[min(k, len(level) - 1)] < 0.01:
            k -= 1
        moved = max((k + 1) / 200, a + (0.0 if is_pause(before) else 0.4 * (start - a)))
        if moved < start - 0.004:
            out[i - 1], out[i] = (before, a, moved), (symbol, moved, end)
    return [s for s in out if s[2] > s[1]]
