"""Emotion labels and valence-arousal as AU targets. The prototypes are data: emotions.json.

Mixed labels are joined per AU as independent causes, 1 - prod(1 - w p): two labels that share an AU reinforce
it, and while the weights sum to at most 1 the result is monotone in each of them. Weights that together exceed 1 are
scaled to sum to 1 first, so that no mix is stronger than a whole label: keying a second label at full weight takes half
from the first, and `neutral` counts as a label that asks for nothing.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from engine.core.names import AU_INDEX, EMOTIONS

_DATA = Path(__file__).with_name("emotions.json")
_CONCENTRATION = 6.0  # von Mises kappa: neighbours 45 degrees apart blend, those 90 apart do not
_ROUND = 0.12  # radius of the rounded tip at the origin: without it a curve through neutral has a kink there


def _row(table: Mapping[str, float | list[float]]) -> np.ndarray:
    row = np.zeros((len(AU_INDEX), 2), np.float32)
    for au, value in table.items():
        row[AU_INDEX[au]] = value
    return row


@functools.cache
def prototypes() -> np.ndarray:
    """AU sets of the 14 labels at full intensity. [14, 18, 2] float32 in [0, 1]."""
    labels = json.loads(_DATA.read_text(encoding="utf-8"))["labels"]
    return np.stack([_row(labels[name]) for name in EMOTIONS])


@functools.cache
def _circle() -> tuple[np.ndarray, np.ndarray]:
    places = json.loads(_DATA.read_text(encoding="utf-8"))["circle"]
    return np.radians([p["degrees"] for p in places]), np.stack([_row(p["au"]) for p in places])


def label_au(emotion: np.ndarray, intensity: np.ndarray) -> np.ndarray:
    """AU targets of label weights. emotion [t, 14] in [0, 1], intensity [t] in [0, 1] -> [t, 18, 2] in [0, 1]."""
    total = np.maximum(emotion.sum(1, keepdims=True), 1.0)
    strength = emotion / total * intensity[:, None]
    return 1.0 - np.prod(1.0 - strength[:, :, None, None] * prototypes()[None], axis=1)


def affect_au(va: np.ndarray) -> np.ndarray:
    """AU targets of valence and arousal. va [t, 2] in [-1, 1] -> [t, 18, 2] in [0, 1].

    A von Mises blend of eight places on Russell's circle, scaled by the distance from the origin (at most 1). Zero at
    the origin with zero slope there, so a curve through neutral has no kink.
    """
    angles, places = _circle()
    theta = np.arctan2(va[:, 1], va[:, 0])
    weight = np.exp(_CONCENTRATION * (np.cos(theta[:, None] - angles[None]) - 1.0))
    weight /= weight.sum(1, keepdims=True)
    squared = np.minimum((va * va).sum(1), 1.0)
    radius = (np.sqrt(squared + _ROUND**2) - _ROUND) / (np.sqrt(1.0 + _ROUND**2) - _ROUND)
    return np.einsum("tp,pas->tas", weight, places) * radius[:, None, None]


def join(*parts: np.ndarray) -> np.ndarray:
    """AU targets of independent causes joined: 1 - prod(1 - part). Each [t, 18, 2] in [0, 1]."""
    rest = np.ones_like(parts[0])
    for part in parts:
        rest = rest * (1.0 - part)
    return 1.0 - rest
