"""What the motion systems that are networks share: their checkpoint, what they hear, rows in and a MotionSlice out.

A system of its own is a subclass that says `name`, `supports`, `build` and `weights`; everything else is here. What is
made hangs on rows of interface v1, so the windows that a voice is run in leave no seam.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from engine.core.control import ControlTrack
from engine.core.sound import Speech
from engine.motion.base import MotionSlice
from engine.motion.nets import file
from engine.motion.nets.inputs import ROWS_HZ, interface, slice_of

Sampled = Callable[[np.ndarray], ControlTrack]  # the controls at times [t] in seconds


class NetSystem:
    """A `MotionSystem` around a network whose last layer is a basis of faces; `native_fps`: its own frames a second."""

    name: str
    supports: frozenset[str]
    native_fps: float = ROWS_HZ

    def __init__(self, path: Path | None = None):
        """path: a checkpoint; None = the one that is registered under the name. Raises BadFile."""
        from engine.assets.registry import resolve

        self.path = path or resolve(self.name, "motion")
        checkpoint = file.read(self.path, self.name)
        self.basis, self.header, self.checkpoint_sha256 = checkpoint.basis, checkpoint.header, checkpoint.sha256
        self.net = file.load_into(self.build, checkpoint, self.path)

    def build(self, config: dict[str, Any]) -> Any:
        """The network (a torch module) of a checkpoint's configuration, untrained."""
        raise NotImplementedError

    def weights(
        self, rows: np.ndarray, controls: Sampled, first: int, last: int, state: Any
    ) -> tuple[np.ndarray, Any]:  # fmt: skip
        """Weights [last - first, 59] of rows first .. last of interface v1, and the state for the rows after them.

        rows [t, 75]: the whole voice. Runs without gradients.
        """
        raise NotImplementedError

    def prepare(self, speech: Speech) -> tuple[Speech, np.ndarray]:
        """The voice and its rows of interface v1 [t, 75]. Raises BadInput for an encoder without adapter."""
        return speech, interface(speech)

    def run(
        self, cache: tuple[Speech, np.ndarray], controls: Sampled, t0: float, t1: float, state: Any = None
    ) -> tuple[MotionSlice, Any]:
        """Motion for seconds [t0, t1) and the state to pass to the next, adjoining call."""
        import torch

        heard, rows = cache
        first, last = (int(np.ceil(t * ROWS_HZ - 1e-6)) for t in (t0, t1))
        with torch.inference_mode():
            made, state = self.weights(rows, controls, first, last, state)
        return slice_of(made, heard, controls, np.arange(first, last) / ROWS_HZ, self.supports), state
