"""`emotalkinggaussian`: EmoTalkingGaussian's branches for mouth, face and emotion (nets/face_branches.py) as a motion
system.

Obeys valence-arousal, labels and their intensity: a label stands for its place on the pad (core/affect.py) and for its
upper-face action units, which take the place of OpenFace's of the driving frames. Single sliders and words are applied
after it. The branches are read at points of the default head; the shared basis makes a mesh of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.core.affect import affect_of
from engine.core.names import AU_INDEX
from engine.motion.after import obeyed
from engine.motion.nets.codes import asked
from engine.motion.nets.inputs import ROWS_HZ, label_input, wide_rows
from engine.motion.nets.system import NetSystem, Sampled

NAME = "emotalkinggaussian"
# Upper-face units as OpenFace counts them for the paper, and the nose's: valence and arousal cannot tell disgust from
# its neighbours. Both sides of each, in 36 codes.
UPPER = ("AU01", "AU02", "AU04", "AU05", "AU06", "AU07", "AU09", "AU45")
UPPER_CODES = tuple(2 * AU_INDEX[name] + side for name in UPPER for side in (0, 1))


class EmoTalkingGaussian(NetSystem):
    """The branches at interface v1's 50 Hz; no row hangs on its window, so no state is passed on."""

    name = NAME
    supports = frozenset({"labels", "intensity", "va"})

    def build(self, config: dict[str, Any]) -> Any:
        """FaceBranches, at points of the default head."""
        from engine.head.library import load_head
        from engine.motion.nets.face_branches import of_config

        return of_config(load_head(), self.basis, config)

    def weights(
        self, rows: np.ndarray, controls: Sampled, first: int, last: int, state: Any
    ) -> tuple[np.ndarray, Any]:  # fmt: skip
        """As in NetSystem; without state."""
        import torch

        from engine.motion.nets.face_branches import CHUNK, EDGE

        times = np.arange(first, last) / ROWS_HZ
        track = controls(times)
        units = asked(lambda at: obeyed(controls(at), self.supports), times)[:, UPPER_CODES]
        affect, speech = affect_of(label_input(track), track.va), wide_rows(rows, first, last, EDGE)
        made = []
        for start in range(0, len(times), CHUNK):
            end = min(start + CHUNK, len(times))
            parts = (speech[start : end + 2 * EDGE], units[start:end], affect[start:end])
            given = (torch.from_numpy(np.ascontiguousarray(part, np.float32))[None] for part in parts)
            made.append(self.net(*given).coefficients[0].numpy())
        return self.basis.weights(np.concatenate(made)), state
