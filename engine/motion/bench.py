"""How many times faster than real time each motion system is (`bench motion`)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.audio.read import audio_of
from engine.core.control import Controls
from engine.core.names import ARTICULATION
from engine.core.sound import SAMPLE_RATE, Audio, Features, Speech
from engine.motion.base import offered
from engine.motion.perform import perform

SECONDS = 60
REPEATS = 3


def _speech(seconds: int) -> Speech:
    rows = seconds * 50
    articulation = np.random.default_rng(0).random((rows, len(ARTICULATION)), np.float32)
    features = Features("bench", "none", 50.0, 0.0, np.zeros((rows, 64), np.float16))
    return Speech(articulation, features, float(seconds), {"energy": articulation[:, 0].copy()})


def _voice(seconds: int) -> np.ndarray:
    """A made voice-like sound: harmonics that swell four times a second. [n] float32."""
    t = np.arange(seconds * SAMPLE_RATE) / SAMPLE_RATE
    wave = sum(np.sin(2 * np.pi * 120 * k * t) / k for k in range(1, 20)) * (0.5 + 0.5 * np.sin(2 * np.pi * 4 * t))
    return (0.1 * wave).astype(np.float32)


def run(names: Sequence[str] = (), whole_way: bool = True) -> dict[str, Any]:
    """{"systems": {name: {"x_realtime", "seconds", "cpu_s", "voice_to_take_s"}}}: best of three, a take of 60 s at 25
    frames/s, of these systems (all that are offered if none is named; NAME@CHECKPOINT
    too).

    x_realtime leaves the speech encoder out (`bench speech`); cpu_s is the processor time of the same, which other work
    on the machine hardly changes; voice_to_take_s is the whole way from samples to a finished take in a process where
    everything is loaded (left out without `whole_way`).
    """
    speech = _speech(SECONDS)
    audio = Audio(np.zeros(SECONDS * 16_000, np.float32), "0" * 64)
    systems = {}
    voice = audio_of(_voice(SECONDS))
    for name in names or [row["name"] for row in offered()]:
        best = whole = cpu = float("inf")
        for _ in range(REPEATS):
            start, used = time.perf_counter(), time.process_time()
            perform(audio, Controls(), motion=name, speech=speech)
            best, cpu = min(best, time.perf_counter() - start), min(cpu, time.process_time() - used)
            if whole_way:
                start = time.perf_counter()
                perform(voice, Controls(), motion=name)
                whole = min(whole, time.perf_counter() - start)
        row = {"x_realtime": round(SECONDS / best, 1), "seconds": SECONDS, "cpu_s": round(cpu, 3)}
        systems[name] = row | ({"voice_to_take_s": round(whole, 3)} if whole_way else {})
    return {"systems": systems}
