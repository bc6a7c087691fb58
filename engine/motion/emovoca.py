"""`emovoca`: EmoVOCA's E-FaceFormer (nets/faceformer.py) as a motion system. Obeys labels and their intensity.

The network runs at 25 frames a second, each frame after the one before; a cubic spline joins them to the 50 rows a
second of interface v1, because contacts are heard at that rate and a closure may be shorter than a frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.core.control import ControlTrack
from engine.motion.nets.inputs import ROWS_HZ, wide_rows
from engine.motion.nets.system import NetSystem, Sampled

NAME = "emovoca"
BEFORE, AFTER = 1, 2  # frames that the cubic needs around the one it starts from


@dataclass
class State:
    """Where free running has come: the network's memory, its last frames [n, k] and the number of the first of them."""

    memory: Any
    frames: np.ndarray
    first: int


def between(frames: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Frames [n, k] at fractional numbers `at` [t] by a uniform cubic B-spline, the ends held. [t, k].

    It passes near the frames, not through them, and its acceleration is continuous: a curve through them (Catmull-Rom)
    trembles at the frame rate, a seventh more unrest in held vowels for 0.01 mm less error of the lips.
    """
    whole = np.floor(at).astype(int)
    u = (at - whole)[:, None].astype(frames.dtype)
    a, b, c, d = (frames[np.clip(whole + i, 0, len(frames) - 1)] for i in (-1, 0, 1, 2))
    v = 1.0 - u
    return (v**3 * a + (3 * u**3 - 6 * u**2 + 4) * b + (3 * v**3 - 6 * v**2 + 4) * c + u**3 * d) / 6


def strength(track: ControlTrack) -> np.ndarray:
    """How strongly anything is felt: the sum of the labels (at most 1) times the intensity. [t] in [0, 1]."""
    return np.minimum(track.emotion[:, 1:].sum(1), 1.0) * track.intensity


class EmoVOCA(NetSystem):
    """E-FaceFormer, free running; its memory is passed from window to window."""

    name = NAME
    supports = frozenset({"labels", "intensity"})
    native_fps = 25.0

    def build(self, config: dict[str, Any]) -> Any:
        """E-FaceFormer."""
        from engine.motion.nets.faceformer import EFaceFormer

        return EFaceFormer(self.basis.size, **config)

    def weights(
        self, rows: np.ndarray, controls: Sampled, first: int, last: int, state: State | None
    ) -> tuple[np.ndarray, State]:  # fmt: skip
        """As in NetSystem; the frames that the rows lie between are run as far as they are not there."""
        from engine.motion.nets.faceformer import MEMORY

        at = np.arange(first, last) / ROWS_HZ * self.native_fps
        begin, end = int(first // 2) - BEFORE, int(last // 2) + AFTER + 1
        if state is None:  # in the middle of a voice it needs a run-up
            state = State(None, np.zeros((0, self.basis.size), np.float32), max(0, begin - MEMORY))
        state = self._advance(rows, controls, state, end)
        out = self.basis.weights(between(state.frames, at - state.first))
        keep = max(0, int(last // 2) - BEFORE - state.first)
        return out, State(state.memory, state.frames[keep:], state.first + keep)

    def _advance(self, rows: np.ndarray, controls: Sampled, state: State, end: int) -> State:
        """Run until frame `end` is there; `state` itself stays as it is, so that a window can be run again."""
        import torch

        from engine.motion.nets.faceformer import AHEAD, Memory, conditions

        begin = state.first + len(state.frames)
        if end <= begin:
            return state
        memory = state.memory.copy() if state.memory is not None else Memory.empty(len(self.net.layers), begin)
        track = controls(np.arange(begin, end) / self.native_fps)
        given = (wide_rows(rows, 2 * begin, 2 * end, AHEAD), *conditions(track.emotion, strength(track)))
        said, label, level = (torch.from_numpy(np.asarray(x, np.float32))[None] for x in given)
        frames, memory = self.net.roll(said, label, level, memory)
        return State(memory, np.concatenate([state.frames, frames[0].numpy()]), state.first)
