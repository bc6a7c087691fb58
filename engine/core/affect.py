"""Where the emotion labels lie on the pad of valence and arousal, for what hears a feeling as two numbers.

Placed by us so that no two lie on one ray from the middle: a label's strength is its distance from there. The paper's
own places (EmoTalkingGaussian S6) serve a figure of its own: they call pleasant and calm "contempt", which on the
animator's pad is relaxed and pleased.
"""

from __future__ import annotations

import numpy as np

from engine.core.names import EMOTIONS

LABEL_AFFECT: dict[str, tuple[float, float]] = {
    "neutral": (0.0, 0.0), "happy": (0.80, 0.35), "surprised": (0.20, 0.85), "fear": (-0.35, 0.80),
    "angry": (-0.65, 0.65), "suspicious": (-0.50, 0.28), "disgusted": (-0.75, 0.25), "contempt": (-0.45, 0.05),
    "upset": (-0.75, -0.10), "moody": (-0.55, -0.25), "sad": (-0.70, -0.50), "ill": (-0.45, -0.65),
    "drunk": (0.35, -0.45), "pleased": (0.65, -0.15),
}  # fmt: skip
_PLACES = np.array([LABEL_AFFECT[name] for name in EMOTIONS], np.float32)


def affect_of(shares: np.ndarray, va: np.ndarray | float = 0.0) -> np.ndarray:
    """Valence and arousal of labels and of what is keyed on the pad itself, kept within the circle.

    shares [.., 14]: weight times intensity of each label; va [.., 2] in [-1, 1] -> [.., 2] float32.
    """
    both = np.asarray(shares, np.float32) @ _PLACES + np.asarray(va, np.float32)
    return both / np.maximum(np.linalg.norm(both, axis=-1, keepdims=True), np.float32(1.0))
