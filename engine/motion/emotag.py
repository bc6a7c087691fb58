"""`emotag`: EmoTaG's gated residual motion network (nets/grmn.py) as a motion system.

Obeys labels, intensity and valence-arousal, by label and by the AUs that they stand for (in place of OpenFace's, its
section 3.2.1); single sliders and words it follows only in part, so they are applied after it. The basis of head v1
takes the place of FLAME's expression and jaw. The checkpoint's `person` is the identity that speaks: nobody's in the
one that ships, the user's own after `train emotag_adapt`, whose file in the user's folder is taken first.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from engine.core.control import ControlTrack
from engine.core.names import ARKIT, ARKIT_INDEX, ARTICULATION_INDEX
from engine.core.sound import Speech
from engine.motion.after import obeyed
from engine.motion.base import MotionSlice
from engine.motion.nets import file
from engine.motion.nets.codes import asked, heard_channels
from engine.motion.nets.inputs import interface, label_input, slice_of, wide_rows

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


class EmoTaG:
    """GRMN at interface v1's 50 Hz; a window is made with the margin that its attention sees, so it needs no state."""

    name = NAME
    supports = frozenset({"labels", "intensity", "va"})
    native_fps = 50.0

    def __init__(self, path: Path | None = None):
        from engine.assets.registry import resolve
        from engine.motion.nets.grmn import GRMN

        path = path or resolve(NAME, "motion")
        checkpoint = file.read(path, NAME)
        self.basis, self.checkpoint_sha256 = checkpoint.basis, checkpoint.sha256
        self.net = file.load_into(lambda config: GRMN(self.basis.size, **config), checkpoint, path)

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

        from engine.motion.nets.grmn import EDGE

        heard, rows = cache
        first, last = (int(np.ceil(t * self.native_fps - 1e-6)) for t in (t0, t1))
        wide = np.arange(first - EDGE, last + EDGE) / self.native_fps
        au = asked(lambda times: obeyed(controls(times), self.supports), wide)
        inputs = (wide_rows(rows, first, last, EDGE), au, label_input(controls(wide)))
        with torch.inference_mode():
            made = self.net(*(torch.from_numpy(part)[None] for part in inputs), self.net.person[None])
            weights = self.basis.weights(made.motion[0, EDGE:-EDGE].numpy())
        return slice_of(weights, heard, controls, wide[EDGE:-EDGE], self.supports), state
