"""How fast a voice becomes `Speech`: the figure of `bench speech`."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from engine.audio.read import audio_of
from engine.core.sound import SAMPLE_RATE
from engine.speech.encode import encode, load_encoder

ROUNDS = 3


def bench(seconds: float = 60.0, names: tuple[str, ...] = ("default",), threads: int = 1) -> dict[str, Any]:
    """Encode `seconds` of made sound a few times. Returns {"systems": {name: {"x_realtime", "seconds", "threads"}}}.

    The best of three rounds counts (a shared machine only ever slows a round down), the model's loading does not.
    """
    import torch

    torch.set_num_threads(threads)
    rng = np.random.default_rng(0)
    t = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    voice = sum(np.sin(2 * np.pi * 120 * k * t) / k for k in range(1, 20)) * (0.5 + 0.5 * np.sin(2 * np.pi * 4 * t))
    audio = audio_of((0.1 * voice + 0.003 * rng.normal(size=len(t))).astype(np.float32))
    systems = {}
    for name in names:
        load_encoder(name)
        took = []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            encode(audio, name)
            took.append(time.perf_counter() - start)
        systems[name] = {"x_realtime": round(seconds / min(took), 1), "seconds": seconds, "threads": threads}
    return {"systems": systems}
