"""`emotalk3d`: EmoTalk3D's S2GNet (nets/s2g.py) as a motion system. Obeys labels and their intensity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from engine.core.names import ARTICULATION
from engine.core.sound import Speech
from engine.motion.nets.inputs import ROWS_HZ, label_input, wide_rows
from engine.motion.nets.system import NetSystem, Sampled

NAME = "emotalk3d"
# How much of interface v1's 64 features it hears beside the articulation. They were learned from synthesised voices, of
# which they tell more (LVE 2.14 mm with, 2.34 without); of recorded people they mislead: the jaw's correlation with
# what is said is .72 with and .76 without, rounding .83 and .86, lag 10 and 5 ms.
FEATURES = 0.0


class EmoTalk3D(NetSystem):
    """S2GNet at interface v1's 50 Hz, its GRU's state passed from window to window."""

    name = NAME
    supports = frozenset({"labels", "intensity"})

    def __init__(self, path: Path | None = None, features: float = FEATURES):
        super().__init__(path)
        self.features = features

    def build(self, config: dict[str, Any]) -> Any:
        """S2GNet."""
        from engine.motion.nets.s2g import S2GNet

        return S2GNet(self.basis.size, **config)

    def prepare(self, speech: Speech) -> tuple[Speech, np.ndarray]:
        """As in NetSystem, with `features` of the encoder's."""
        heard, rows = super().prepare(speech)
        rows[:, len(ARTICULATION) :] *= self.features
        return heard, rows

    def weights(
        self, rows: np.ndarray, controls: Sampled, first: int, last: int, state: Any
    ) -> tuple[np.ndarray, Any]:  # fmt: skip
        """As in NetSystem; the state is the GRU's."""
        import torch

        from engine.motion.nets.s2g import EDGE

        speech = torch.from_numpy(wide_rows(rows, first, last, EDGE))[None]
        emotion = torch.from_numpy(label_input(controls(np.arange(first, last) / ROWS_HZ)))[None]
        out, state = self.net(speech, emotion, state)
        return self.basis.weights(out[0].numpy()), state
