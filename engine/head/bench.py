"""How long a posed face takes: shapes and skinning, against the plain reference (`bench head`)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from engine.core.names import ARKIT, EXTRA
from engine.head.evaluate import vertices, vertices_reference
from engine.head.library import load_head

FRAMES, REFERENCE_FRAMES, ROUNDS = 100, 5, 3
_POSE = 15


def _best_ms(evaluate: Callable[[], object], frames: int, rounds: int = ROUNDS) -> float:
    """Milliseconds a frame of the quickest round: a shared machine only ever slows one down."""
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        evaluate()
        best = min(best, time.perf_counter() - start)
    return 1000 * best / frames


def run(name: str = "default") -> dict[str, Any]:
    """{head: {"vertices", "shapes", "ms", "reference_ms", "times_faster"}}, every shape and joint at work."""
    head = load_head(name)
    rng = np.random.default_rng(0)
    arkit = rng.random((FRAMES, len(ARKIT)), np.float32)
    extra = rng.random((FRAMES, len(EXTRA)), np.float32)
    pose = rng.normal(0, 0.1, (FRAMES, _POSE))
    vertices(head, arkit[:1], extra[:1], pose[:1])  # the plan of this head is made once
    n = REFERENCE_FRAMES
    fast = _best_ms(lambda: vertices(head, arkit, extra, pose), FRAMES)
    plain = _best_ms(lambda: vertices_reference(head, arkit[:n], extra[:n], pose[:n]), n)
    return {
        name: {
            "vertices": len(head.template), "shapes": len(head.shape_names), "ms": round(fast, 3),
            "reference_ms": round(plain, 3), "times_faster": round(plain / fast, 1),
        }
    }  # fmt: skip
