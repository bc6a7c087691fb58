"""Opinions of nets -> a face, a gate's verdict, and the words that caused it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from engine.controls.text.lexicon import read
from engine.core.names import AU_INDEX, AUS, SIDES

SURE = 0.30  # probability from which an AU is shown: half of the F1 within reach maximises it (Lipton et al. 2014)
FACELESS = ("neutral", "nothing")


@dataclass(frozen=True)
class Gate:
    """Logistic gate "does this ask for a face?": weights of (logit of "something", greatest class, share of known
    words, 1). Fitted on held-out entries (engine/train/text_gate.py)."""

    weights: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)
    threshold: float = 0.5

    def __call__(self, classes: np.ndarray, known: float) -> float:
        """Probability in [0, 1] that the text asks for a face."""
        z = sum(w * x for w, x in zip(self.weights, gate_features(classes, known), strict=True))
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, z))))


def gate_features(classes: np.ndarray, known: float) -> tuple[float, float, float, float]:
    """What the gate looks at. classes: probabilities, "nothing" last."""
    nothing = min(max(float(classes[-1]), 1e-4), 1 - 1e-4)
    return math.log((1 - nothing) / nothing), float(classes[:-1].max()), known, 1.0


def faces_of(families: Sequence[str]) -> np.ndarray:
    """[classes, 18, 2] strengths of the classes' faces; zero for those without one."""
    table = read("english")["families"]
    out = np.zeros((len(families), len(AUS), len(SIDES)), np.float32)
    for i, name in enumerate(families):
        for au, value in table.get(name, {}).items():
            out[i, AU_INDEX[au]] = value
    return out


def face(classes: np.ndarray, aus: np.ndarray, families: Sequence[str]) -> dict[str, float]:
    """ "AU12_L" -> strength of what the nets expect. classes [k] and aus [18] are probabilities.

    An AU is shown if the mean of both heads reaches SURE; its strength is the expected one among the classes that have
    it. Classes without a face are left out first: the gate has already decided that there is one.
    """
    table = faces_of(families)
    p = np.array([0.0 if f in FACELESS else v for f, v in zip(families, classes, strict=True)])
    if p.sum() <= 0:
        return {}
    p /= p.sum()
    has = table > 0
    share = np.einsum("k,kas->as", p, has)
    mean = np.einsum("k,kas->as", p, table) / np.maximum(share, 1e-6)
    sure = (share.max(1) + aus) / 2
    out = {}
    for au, i in AU_INDEX.items():
        if sure[i] >= SURE:
            for s, name in enumerate(SIDES):
                if share[i, s] >= 0.5 * share[i].max() and mean[i, s] > 0:
                    out[f"{au}_{name}"] = float(np.clip(mean[i, s], 0.08, 1.0))
    return out


def causes(text: str, judge: Callable[[str], np.ndarray], limit: int = 3) -> str:
    """The words of a text that speak most for its likeliest class: those without which its probability falls most."""
    words = text.split()
    if len(words) < 2:
        return text.strip()
    whole = judge(text)
    best = int(np.argmax(whole[:-1]))
    falls = [whole[best] - judge(" ".join(words[:i] + words[i + 1 :]))[best] for i in range(len(words))]
    top = sorted(sorted(range(len(words)), key=lambda i: -falls[i])[:limit])
    kept = [i for i in top if falls[i] > 0.15 * max(falls)] or top[:1]
    return " … ".join(words[i].strip(",.;:!?") for i in kept)
