"""What a face does in one frame beside its mesh: shape weights, action units, emotion. Colour channels and appearance
nets follow it; it comes from a take, or from a client's scene as one row of numbers by agreed names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.avatar.channels import COUNT
from engine.core.names import ARKIT, AUS, EMOTIONS, EXTRA, SIDES
from engine.core.take import Take

Array = np.ndarray

# What a client may send, by the names of the control Empty's properties; units as "AU12_L".
NAMES: tuple[str, ...] = (*ARKIT, *EXTRA, *(f"{au}_{side}" for au in AUS for side in SIDES), *EMOTIONS, "intensity")


@dataclass(frozen=True)
class FaceValues:
    """weights [59]: ARKit's shapes, then the extra ones; au [18, 2] left, right; emotion [14], times intensity. None:
    not known."""

    weights: Array | None = None
    au: Array | None = None
    emotion: Array | None = None
    intensity: float = 1.0

    @property
    def motion_known(self) -> bool:
        """Whether anything says how the face moves; zeros in its place would say that it rests."""
        return self.weights is not None or self.au is not None


def of_take(take: Take, row: int) -> FaceValues:
    """A take's frame."""
    said = take.drive
    return FaceValues(
        weights=np.concatenate([take.arkit[row], take.extra[row]]),
        au=said["au_final"][row] if "au_final" in said else take.au[row],
        emotion=said["emotion"][row] if "emotion" in said else None,
        intensity=float(said["intensity"][row]) if "intensity" in said else 1.0,
    )


class Reader:
    """Rows of numbers in a client's order -> FaceValues. Names that are not in NAMES are passed over."""

    def __init__(self, names: Sequence[str]):
        place = {name: i for i, name in enumerate(NAMES)}
        known = [(i, place[name]) for i, name in enumerate(names) if name in place]
        self._from = np.array([i for i, _ in known], np.int64)
        self._to = np.array([i for _, i in known], np.int64)

    def read(self, row: Array) -> FaceValues:
        """row [names] float32. What is not finite is not known; a group of which nothing is known is None, else what
        is missing in it counts as 0."""
        every = np.full(len(NAMES), np.nan, np.float32)
        every[self._to] = row[self._from]
        edges = np.cumsum([COUNT, len(AUS) * len(SIDES), len(EMOTIONS)])
        weights, au, emotion, intensity = (_known(part) for part in np.split(every, edges))
        return FaceValues(
            weights, None if au is None else au.reshape(len(AUS), len(SIDES)), emotion,
            1.0 if intensity is None else float(intensity[0]),
        )  # fmt: skip


def _known(values: Array) -> Array | None:
    finite = np.isfinite(values)
    return np.where(finite, values, np.float32(0)) if finite.any() else None
