"""Silent expressions drawn from a table of their own (silent.json): what the measuring net learns from.

The table was written apart from the prototypes of `engine.controls`, so that a face is legible only if it looks like
the feeling and not merely like our own code for it.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np

from engine.core.names import AU_INDEX, EMOTIONS

_DATA = Path(__file__).with_name("silent.json")
UNEVEN, NOISE = 0.12, 0.06  # left against right; other AUs that a person's face happens to show


@functools.cache
def table() -> dict[str, Any]:
    return json.loads(_DATA.read_text(encoding="utf-8"))


def circle() -> np.ndarray:
    """Valence and arousal of each label. [14, 2] in [-1, 1]."""
    return np.array([table()[name]["va"] for name in EMOTIONS], np.float32)


def draw(label: str, intensity: float, rng: np.random.Generator) -> np.ndarray:
    """One silent face of this label. intensity in [0, 1] -> AUs [18, 2] in [0, 1]."""
    variants = table()[label]["variants"]
    au = np.zeros((len(AU_INDEX), 2), np.float32)
    one = int(rng.integers(2))  # an uneven face has one side that acts
    for name, (low, high) in variants[rng.integers(len(variants))].items():
        unit, _, side = name.partition("_")
        level = rng.uniform(low, high)
        if side:
            au[AU_INDEX[unit], one if side == "1" else "LR".index(side)] = level
        else:
            au[AU_INDEX[unit]] = level * rng.uniform(1 - UNEVEN, 1 + UNEVEN, 2)
    au = au * intensity + np.abs(rng.normal(0, NOISE, (len(AU_INDEX), 1))) * rng.uniform(0, 1, au.shape)
    return np.clip(au, 0, 1)


def batch(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Faces of every label in turn: (AUs [n, 18, 2], label index [n], intensity [n] from mild 0.35 to strong 1)."""
    labels = np.arange(count) % len(EMOTIONS)
    intensity = rng.uniform(0.35, 1.0, count).astype(np.float32)
    au = np.stack([draw(EMOTIONS[k], i, rng) for k, i in zip(labels, intensity, strict=True)])
    return au, labels, intensity
