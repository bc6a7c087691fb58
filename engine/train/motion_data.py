"""A set of performances as arrays for training: inputs on interface v1, targets as coefficients of the basis."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.core.anatomy import Head
from engine.core.names import EMOTION_INDEX
from engine.motion.nets.basis import Basis, fit
from engine.studio.performances import store


@dataclass(frozen=True)
class Example:
    """One clip at 50 Hz. speech [t, 75]; emotion [t, 14], rows sum to 1; va [t, 2]; asked [t, 36]; au [t, 36];
    weights [t, 59]; person: name of the speaker."""

    speech: np.ndarray
    emotion: np.ndarray
    va: np.ndarray
    asked: np.ndarray
    au: np.ndarray
    weights: np.ndarray
    person: str
    kind: str

    def __len__(self) -> int:
        return len(self.speech)


def examples(folder: Path, split: str, kinds: tuple[str, ...] = ()) -> list[Example]:
    """Clips of a split (of these kinds, or all). Raises BadFile where the set is not there."""
    return [_example(clip) for clip in store.read_split(folder, split) if not kinds or clip.kind in kinds]


def _example(clip: store.Clip) -> Example:
    rows = clip.rows
    emotion = rows["emotion"] / np.maximum(rows["emotion"].sum(1, keepdims=True), 1.0) * rows["intensity"]
    emotion[:, EMOTION_INDEX["neutral"]] = 0.0
    emotion[:, EMOTION_INDEX["neutral"]] = 1.0 - emotion.sum(1)
    return Example(
        np.concatenate([rows["articulation"], rows["features"]], 1), emotion.astype(np.float32), rows["va"],
        rows["asked"], rows["au"], np.concatenate([rows["arkit"], rows["extra"]], 1), clip.person, clip.kind,
    )  # fmt: skip


def basis_of(head: Head, clips: list[Example]) -> Basis:
    """The basis of the training faces."""
    return fit(head, np.concatenate([clip.weights for clip in clips]).astype(np.float64))


def crops(
    clips: list[Example], batch: int, rows: int, edge: int, rng: np.random.Generator
) -> Iterator[tuple[list[Example], np.ndarray, np.ndarray]]:
    """Endless batches: (clips, first rows [b], row numbers [b, rows + 2 edge] held at each clip's ends).

    A clip is drawn in proportion to its length.
    """
    length = np.array([len(clip) for clip in clips], np.float64)
    share = length / length.sum()
    while True:
        chosen = [clips[i] for i in rng.choice(len(clips), batch, p=share)]
        first = np.array([rng.integers(max(1, len(clip) - rows + 1)) for clip in chosen])
        number = first[:, None] + np.arange(-edge, rows + edge)
        last = np.array([len(clip) - 1 for clip in chosen])[:, None]
        yield chosen, first, np.clip(number, 0, last)
