"""How many times faster than real time each motion system is (`bench motion`)."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from engine.core.control import Controls
from engine.core.names import ARTICULATION
from engine.core.sound import Audio, Features, Speech
from engine.motion.base import SYSTEMS
from engine.motion.perform import perform

SECONDS = 60
REPEATS = 3


def _speech(seconds: int) -> Speech:
    rows = seconds * 50
    articulation = np.random.default_rng(0).random((rows, len(ARTICULATION)), np.float32)
    features = Features("bench", "none", 50.0, 0.0, np.zeros((rows, 64), np.float16))
    return Speech(articulation, features, float(seconds), {"energy": articulation[:, 0].copy()})


def run() -> dict[str, Any]:
    """{"systems": {name: {"x_realtime", "seconds"}}}: best of three, a finished take of 60 s at 25 frames/s.

    The speech encoder is not in it (`bench speech`).
    """
    speech = _speech(SECONDS)
    audio = Audio(np.zeros(SECONDS * 16_000, np.float32), "0" * 64)
    systems = {}
    for name in SYSTEMS:
        best = float("inf")
        for _ in range(REPEATS):
            start = time.perf_counter()
            perform(audio, Controls(), motion=name, speech=speech)
            best = min(best, time.perf_counter() - start)
        systems[name] = {"x_realtime": round(SECONDS / best, 1), "seconds": SECONDS}
    return {"systems": systems}
