"""`emotag`: EmoTaG's gated residual motion network (nets/grmn.py) as a motion system.

Obeys labels, intensity and valence-arousal, by label and by the AUs that they stand for (in place of OpenFace's, its
section 3.2.1); single sliders and words it follows only in part, so they are applied after it. The basis of head v1
takes the place of FLAME's expression and jaw. The checkpoint's `person` is the identity that speaks: nobody's in the
one that ships, the user's own after `train emotag_adapt`, whose file in the user's folder is taken first.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.core.names import ARKIT, ARKIT_INDEX, ARTICULATION_INDEX
from engine.motion.after import obeyed
from engine.motion.nets.codes import asked, heard_channels
from engine.motion.nets.inputs import ROWS_HZ, label_input, wide_rows
from engine.motion.nets.system import NetSystem, Sampled

NAME = "emotag"
NEUTRAL_ROWS = 50  # the paper pools the 50 most neutral frames
_REST = tuple(i for i, name in enumerate(ARKIT) if not name.startswith(("eyeLook", "jaw", "tongue")))
# (shape, articulatory channel that moves it): how far a person goes for a sound
_HABITS = (
    ("jawOpen", "jaw_open"), ("mouthLowerDownLeft", "lower_lip_drop"), ("mouthUpperUpLeft", "upper_lip_raise"),
    ("mouthPucker", "round"), ("mouthFunnel", "funnel"), ("mouthStretchLeft", "spread"),
)  # fmt: skip
IDENTITY = len(_REST) + len(_HABITS)


def identity_of(weights: np.ndarray, speech: np.ndarray) -> np.ndarray:
    """What a few seconds say of a person: the resting face and how far the mouth goes for its sounds. [IDENTITY].

    In place of AdaFace over the most neutral frames. weights [t, 59], speech [t, 75] on the same rows. The face's own
    shape is left out: motion does not hang on it here, so it would only be a name tag.
    """
    said = heard_channels(speech)
    voice = said[:, ARTICULATION_INDEX["voice"]]
    busy = weights[:, _REST].sum(1) + voice
    rest = weights[np.argsort(busy, kind="stable")[:NEUTRAL_ROWS]][:, _REST].mean(0)
    slopes = []
    for shape, channel in _HABITS:
        moved, level = weights[:, ARKIT_INDEX[shape]], said[:, ARTICULATION_INDEX[channel]]
        slopes.append(float((moved * level).sum() / (np.square(level).sum() + 2.0)))
    return np.concatenate([rest, slopes]).astype(np.float32)


class EmoTaG(NetSystem):
    """GRMN at interface v1's 50 Hz; a window is made with the margin that its attention sees, so it needs no state."""

    name = NAME
    supports = frozenset({"labels", "intensity", "va"})

    def build(self, config: dict[str, Any]) -> Any:
        """GRMN."""
        from engine.motion.nets.grmn import GRMN

        return GRMN(self.basis.size, **config)

    def weights(
        self, rows: np.ndarray, controls: Sampled, first: int, last: int, state: Any
    ) -> tuple[np.ndarray, Any]:  # fmt: skip
        """As in NetSystem; without state."""
        import torch

        from engine.motion.nets.grmn import EDGE

        wide = np.arange(first - EDGE, last + EDGE) / ROWS_HZ
        au = asked(lambda times: obeyed(controls(times), self.supports), wide)
        inputs = (wide_rows(rows, first, last, EDGE), au, label_input(controls(wide)))
        made = self.net(*(torch.from_numpy(part)[None] for part in inputs), self.net.person[None])
        return self.basis.weights(made.motion[0, EDGE:-EDGE].numpy()), state
