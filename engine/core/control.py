"""The will of the animator as data: keys in seconds, and what they are at given times.

The keys are the record; sampling them belongs to `engine.controls`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

Keys = tuple[tuple[float, float], ...]  # (second, value), ascending; linear between, constant outside


@dataclass(frozen=True)
class Prompt:
    """A typed direction as a strip on the timeline.

    start, end: seconds; blend_in, blend_out: seconds of ease inside the strip; strength in [0, 1].
    activation: {"AU12_L": 0.8, ...} as recognised from the text (None: recognise when sampled).
    """

    text: str
    start: float
    end: float
    blend_in: float = 0.3
    blend_out: float = 0.4
    strength: float = 1.0
    mute: bool = False
    activation: dict[str, float] | None = None


@dataclass(frozen=True)
class Layer:
    """One automatic layer (blink, gaze, head, life): switched, scaled in [0, 2] and seeded on its own."""

    on: bool = True
    strength: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Controls:
    """Everything keyed or typed for one performance. Times in seconds from the voice's first sample.

    emotions: label -> keys in [0, 1] (the curve is the transition); intensity in [0, 1];
    valence, arousal in [-1, 1]; au: "AU12_L" -> keys in [-1, 1], added after everything else;
    gaze: where the animator makes the eyes look: "yaw" (radians, to the subject's left), "pitch" (up) and "influence"
    in [0, 1] over the automatic layer; blinks: (second, how far the lids shut in [0, 1]) in place of the drawn ones,
    None: draw them; layers: "blink", "gaze", "head", "life" and, from the voice's prosody, "nod" (within "head"),
    "brow", "accent"; dials: keys of engine.controls.files.DIALS, applied to finished motion (engine.motion.dials);
    modulation: how words meet what is there ("soft"; "paper": eq. 7 literally).
    """

    emotions: dict[str, Keys] = field(default_factory=dict)
    intensity: Keys = ((0.0, 1.0),)
    valence: Keys = ((0.0, 0.0),)
    arousal: Keys = ((0.0, 0.0),)
    prompts: tuple[Prompt, ...] = ()
    au: dict[str, Keys] = field(default_factory=dict)
    gaze: dict[str, Keys] = field(default_factory=dict)
    blinks: Keys | None = None
    layers: dict[str, Layer] = field(default_factory=dict)
    dials: dict[str, Keys] = field(default_factory=dict)
    modulation: str = "soft"
    seed: int = 0


@dataclass(frozen=True)
class ControlTrack:
    """Controls at t given times. Left is column 0 of a side axis.

    emotion [t, 14]; intensity [t]; va [t, 2]; prompt_activation, prompt_suppress, prompt_floor [t, 18, 2]
    in [0, 1] (what the words raise, deny, and at least demand); prompt_level [t] in [0, 1]: how much any recognised
    direction is in force; au_offset [t, 18, 2]. The rest holds for the whole performance: modulation and seed as in
    Controls; life in [0, 2]: strength of the layer "life", 0 when it is off.
    """

    times: np.ndarray
    emotion: np.ndarray
    intensity: np.ndarray
    va: np.ndarray
    prompt_activation: np.ndarray
    prompt_suppress: np.ndarray
    prompt_floor: np.ndarray
    prompt_level: np.ndarray
    au_offset: np.ndarray
    modulation: str = "soft"
    life: float = 0.0
    seed: int = 0
