"""A frame of a take, of a capture or of Blender's scene -> what the appearance nets are given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from engine.avatar.appearance.anchors import Anchors, motion_of
from engine.avatar.appearance.base import Appearance, Drive
from engine.core.affect import affect_of
from engine.core.anatomy import Head
from engine.core.errors import BadInput
from engine.core.names import ARKIT_INDEX, AU_INDEX, EMOTION_INDEX, EXTRA_INDEX, PAPER17

Array = np.ndarray

SPEECH = 64  # features of the voice (interface v1)
# What the mouth does: the jaw, the lips' openness and roundness, the tongue.
MOUTH = (
    "jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "tongueOut", "tongueTipUp", "tongueBetweenTeeth",
    "tongueBackUp",
)  # fmt: skip
# What a capture's pose tells; valence and arousal are those of its labels (core/affect.py). A take's frame holds more
# (what is keyed on the pad, features of the voice), which a net that was trained on captures has never met: both give
# it these fields alone.
TOLD = ("moved", "aus", "emotion", "va", "mouth")
_COLUMNS = [
    ARKIT_INDEX[name] if name in ARKIT_INDEX else len(ARKIT_INDEX) + EXTRA_INDEX[name] for name in MOUTH
]  # fmt: skip
_UNITS = [AU_INDEX[name] for name in PAPER17]


def untold(kind: type[Appearance], config: Mapping[str, Any]) -> dict[str, str]:
    """{branch: field of Drive} of a net's branches that are on and whose field captures do not hold."""
    return {b: f for b, f in kind.needs_of(config).items() if config.get(b, True) and f not in TOLD}


def drive_of(
    head: Head, anchors: Anchors, vertices: Array, weights: Array, au: Array, emotion: Array | None = None,
    intensity: float = 1.0, va: Array | None = None, speech: Array | None = None,
) -> Drive:  # fmt: skip
    """vertices [v, 3] of the posed head in any place; weights [59]: ARKit's shapes, then the extra ones; au [18, 2];
    emotion [14] with intensity, speech [64] (None: zeros), va [2] (None: that of the emotion). Raises BadInput for
    other shapes."""
    given = {
        "weights": (weights, (len(ARKIT_INDEX) + len(EXTRA_INDEX),)), "au": (au, (len(AU_INDEX), 2)),
        "emotion": (np.zeros(len(EMOTION_INDEX)) if emotion is None else emotion, (len(EMOTION_INDEX),)),
        "va": (np.zeros(2) if va is None else va, (2,)),
        "speech": (np.zeros(SPEECH) if speech is None else speech, (SPEECH,)),
    }  # fmt: skip
    for name, (value, shape) in given.items():
        if np.shape(value) != shape:
            raise BadInput(f"'{name}' must be {list(shape)}, got {list(np.shape(value))}")
    share = np.asarray(given["emotion"][0], np.float64) * intensity
    feeling, place = share[1:], affect_of(share) if va is None else given["va"][0]
    values = (
        motion_of(head, anchors, vertices), np.asarray(au)[_UNITS].mean(1), feeling, place,
        given["speech"][0], np.asarray(weights)[_COLUMNS],
    )  # fmt: skip
    return Drive(*(torch.as_tensor(np.ascontiguousarray(a, np.float32)) for a in values))
