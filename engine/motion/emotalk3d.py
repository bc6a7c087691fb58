"""`emotalk3d`: EmoTalk3D's S2GNet (nets/s2g.py) as a motion system. Obeys labels and their intensity."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from engine.core.control import ControlTrack
from engine.core.sound import Speech
from engine.motion.base import MotionSlice
from engine.motion.nets import file
from engine.motion.nets.inputs import interface, label_input, slice_of, wide_rows

NAME = "emotalk3d"


class EmoTalk3D:
    """S2GNet at interface v1's 50 Hz, its GRU's state passed from window to window."""

    name = NAME
    supports = frozenset({"labels", "intensity"})
    native_fps = 50.0

    def __init__(self, path: Path | None = None):
        import torch

        from engine.assets.registry import resolve
        from engine.motion.nets.s2g import S2GNet

        checkpoint = file.read(path or resolve(NAME, "motion"), NAME)
        self.basis, self.checkpoint_sha256 = checkpoint.basis, checkpoint.sha256
        self.net = S2GNet(checkpoint.basis.size, **checkpoint.header["config"])
        self.net.load_state_dict({k: torch.from_numpy(v) for k, v in checkpoint.tensors.items()})
        self.net.eval()

    def prepare(self, speech: Speech) -> tuple[Speech, np.ndarray]:
        return speech, interface(speech)

    def run(
        self,
        cache: tuple[Speech, np.ndarray],
        controls: Callable[[np.ndarray], ControlTrack],
        t0: float,
        t1: float,
        state: Any = None,
    ) -> tuple[MotionSlice, Any]:
        import torch

        from engine.motion.nets.s2g import EDGE

        heard, rows = cache
        first, last = (int(np.ceil(t * self.native_fps - 1e-6)) for t in (t0, t1))
        times = np.arange(first, last) / self.native_fps
        with torch.inference_mode():
            speech = torch.from_numpy(wide_rows(rows, first, last, EDGE))[None]
            emotion = torch.from_numpy(label_input(controls(times)))[None]
            out, state = self.net(speech, emotion, state)
        return slice_of(self.basis.weights(out[0].numpy()), heard, controls, times, self.supports), state
