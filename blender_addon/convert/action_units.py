"""Action units -> shape weights in the add-on, so that sliders move the face without the engine.

The table is a copy of the engine's (a test compares them). Here units add up plainly: the engine's finer rules (the jaw
takes the larger of two, a blink fades a squint) come with the next generation.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np

from .names import ARKIT, AUS, EXTRA, SIDES

SHAPES: tuple[str, ...] = (*ARKIT, *EXTRA)
# A closing mouth gives these up: a slider moved by hand does not undo p, b and m.
OPENING: tuple[str, ...] = (
    "mouthUpperUpLeft", "mouthUpperUpRight", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthFunnel",
    "mouthShrugUpper", "mouthStretchLeft", "mouthStretchRight", "jawOpen",
)  # fmt: skip


def _twin(name: str) -> str:
    if name.endswith("Left"):
        return name[:-4] + "Right"
    return name[:-2] + "_R" if name.endswith("_L") else name


@functools.cache
def matrix() -> np.ndarray:
    """Weight of every shape for each unit and side at 1. [18, 2, 59] float32."""
    raw = json.loads(Path(__file__).with_name("action_units.json").read_text(encoding="utf-8"))
    out = np.zeros((len(AUS), len(SIDES), len(SHAPES)), np.float32)
    for unit, mixture in raw["units"].items():
        for name, weight in mixture.items():
            twin = _twin(name)
            share = 1.0 if twin != name or name in raw["join_max"] else 0.5
            for side, shape in enumerate((name, twin)):
                out[AUS.index(unit), side, SHAPES.index(shape)] += share * weight
    for name in raw["join_max"]:  # one value from two sides: their mean, where the engine takes the larger
        out[:, :, SHAPES.index(name)] *= 0.5
    return out


STEPS, RIDGE = 60, 0.02  # of `units_after`; the ridge shares a shape out evenly among units that all move it


def units_after(au: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """Action units [18, 2] of a face whose shapes [59] were moved by hand from where the units `au` [18, 2] had them:
    the nearest ones in [0, 1] by the table (least squares by projected gradients); `au` itself where nothing moved."""
    table, gram, rate = _normal()
    asked = table @ np.asarray(moved, np.float64)
    start = np.asarray(au, np.float64).ravel()
    low, high = np.minimum(-start, 0.0), np.maximum(1.0 - start, 0.0)
    change = np.zeros_like(start)
    for _ in range(STEPS):
        change = np.clip(change + rate * (asked - gram @ change), low, high)
    return (start + change).astype(np.float32).reshape(len(AUS), len(SIDES))


@functools.cache
def _normal() -> tuple[np.ndarray, np.ndarray, float]:
    """(table [36, 59], its Gram matrix with the ridge, step that surely converges)."""
    table = matrix().reshape(-1, len(SHAPES)).astype(np.float64)
    gram = table @ table.T + RIDGE * np.eye(len(table))
    return table, gram, 1.0 / float(np.linalg.eigvalsh(gram)[-1])


def change(before: np.ndarray, after: np.ndarray, closure: np.ndarray) -> np.ndarray:
    """What moving the sliders does to the shapes. before, after [t, 18, 2]; closure [t] in [0, 1] -> [t, 59]."""
    out = np.einsum("tas,ask->tk", after - before, matrix())
    opening = [SHAPES.index(name) for name in OPENING]
    out[:, opening] = np.where(out[:, opening] > 0, out[:, opening] * (1.0 - closure)[:, None], out[:, opening])
    return out
