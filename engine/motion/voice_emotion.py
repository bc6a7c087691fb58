"""EmoTalk3D's emotion extractor: from a voice to keys of emotion that the animator sees, edits and may throw away.

The paper feeds the extracted emotion to S2GNet at once. Here it becomes `controls.json`, for `speak --controls`:
nothing is felt that nobody asked for. It learned synthesised voices whose pitch, rate and loudness followed the label
(`train emotalk3d_extractor`), so of human voices it claims nothing, and no weights of it come with the engine.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engine.core.control import Controls
from engine.core.names import EMOTIONS
from engine.core.sound import Speech
from engine.motion.nets import file
from engine.motion.nets.inputs import interface

NAME = "emotalk3d_extractor"
RATE_HZ = 50
WINDOW, HOP = 1000, 500  # rows heard at once (20 s) and between windows, which fade into each other
KEY_S = 0.5  # between two keys
LEAST = 0.15  # a label that never gets this far is left out


def shares(speech: Speech, path: Path) -> np.ndarray:
    """Probability of each label over time, [t, 14] at 50 Hz, rows sum to 1. Raises BadFile for another checkpoint."""
    import torch

    from engine.motion.nets.s2g import EmotionExtractor

    checkpoint = file.read(path, NAME)
    net = file.load_into(lambda config: EmotionExtractor(**config), checkpoint, path)
    rows = interface(speech)
    out = np.zeros((len(rows), len(EMOTIONS)))
    weight = np.zeros((len(rows), 1))
    with torch.inference_mode():
        for start in range(0, max(len(rows) - HOP, 1), HOP):
            part = rows[start : start + WINDOW]
            seen = net(torch.from_numpy(part)[None])[0].numpy()
            fade = 1.0 - np.abs(np.linspace(-1, 1, len(part) + 2)[1:-1, None])
            out[start : start + len(part)] += fade * seen
            weight[start : start + len(part)] += fade
    return (out / weight).astype(np.float32)


def extract(speech: Speech, path: Path) -> Controls:
    """Keys of emotion every half second, of the labels that the extractor hears (see `shares`)."""
    heard = shares(speech, path)
    width = round(KEY_S * RATE_HZ)
    middles = np.arange(0, len(heard), width)
    level = np.stack([heard[max(0, m - width) : m + width].mean(0) for m in middles])
    emotions = {
        name: tuple(
            (round(float(m / RATE_HZ), 3), round(float(v), 3)) for m, v in zip(middles, level[:, i], strict=True)
        )
        for i, name in enumerate(EMOTIONS)
        if name != "neutral" and level[:, i].max() >= LEAST
    }
    return Controls(emotions=emotions)
