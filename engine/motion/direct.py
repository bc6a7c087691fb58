"""`direct`: articulation and expression to shape weights by stated rules; no network of its own.

Mouth from speech: the articulatory channels are already coarticulated (engine/speech); here they become shapes.
Bilabials and labiodentals dominate (Cohen & Massaro 1993; JALI, Edwards et al. 2016): a closing mouth gives up its
opening, spreading and rounding in proportion. Expression from the controls is an AU set; where it meets speech, speech
owns the jaw (the maximum, never the sum), the lips' opening parts yield to a closure, and a smile yields to rounding.
Geometry has the last word: contacts.py closes what these rules leave open on the given head.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from engine.controls.track import expression_au
from engine.core.control import ControlTrack
from engine.core.names import ARKIT, ARKIT_INDEX, ARTICULATION_INDEX, AU_INDEX, EXTRA, EXTRA_INDEX
from engine.core.sound import Speech
from engine.head.action_units import to_shapes
from engine.motion.base import CONTROLS, MotionSlice

# Weight of each shape at channel value 1, chosen on the default head: jaw 0.62 opens the lips by about 18 mm at the
# centre, inside the 6-20 mm of stressed open vowels.
JAW = 0.62
BITE_JAW = 0.045  # where lowerLipToTeeth brings the lip nearest to the incisors
ROUND = {"mouthPucker": 0.75, "mouthFunnel": 0.18}
FUNNEL = {"mouthFunnel": 0.70, "mouthPucker": 0.15}
ROUND_CLOSE = 0.08  # mouthClose of rounded lips: they leave a small hole, while the shapes above alone part them
SPREAD = {"mouthStretchLeft": 0.28, "mouthStretchRight": 0.28, "mouthSmileLeft": 0.14, "mouthSmileRight": 0.14}
UPPER = {"mouthUpperUpLeft": 0.50, "mouthUpperUpRight": 0.50}
LOWER = {"mouthLowerDownLeft": 0.55, "mouthLowerDownRight": 0.55}
CLOSE = {"mouthPressLeft": 0.20, "mouthPressRight": 0.20, "mouthRollLower": 0.10, "mouthRollUpper": 0.06}

_OPENING = ("mouthUpperUpLeft", "mouthUpperUpRight", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthFunnel",
            "mouthShrugUpper", "mouthStretchLeft", "mouthStretchRight")  # fmt: skip
_SMILE = ("mouthSmileLeft", "mouthSmileRight", "mouthDimpleLeft", "mouthDimpleRight", "mouthStretchLeft",
          "mouthStretchRight")  # fmt: skip
_LOWER_LIP = ("mouthLowerDownLeft", "mouthLowerDownRight", "mouthShrugLower", "mouthRollLower", "mouthPressLeft",
              "mouthPressRight", "mouthPucker", "jawForward")  # fmt: skip
_MOUTH = tuple(name for name in ARKIT if name.startswith(("mouth", "jaw")))


def _columns(names: tuple[str, ...]) -> list[int]:
    return [ARKIT_INDEX[name] for name in names]


def late(contact: np.ndarray) -> np.ndarray:
    """A contact channel's approach: lips stay readable as open until late in its ramp, then meet fast."""
    return contact * contact


def mouth(articulation: np.ndarray, jaw_gain: float = 1.0, mouth_gain: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Articulation [t, 11] in [0, 1] -> speech shape weights arkit [t, 52] and extra [t, 7]."""
    channel = {name: articulation[:, i] for name, i in ARTICULATION_INDEX.items()}
    close, bite = late(channel["lip_close"]), channel["labiodental"]
    free = (1.0 - close) * (1.0 - bite)  # what a closing or biting lip leaves to the open shapes
    arkit = np.zeros((len(articulation), len(ARKIT)), np.float32)
    extra = np.zeros((len(articulation), len(EXTRA)), np.float32)

    def add(shapes: dict[str, float], level: np.ndarray) -> None:
        for name, weight in shapes.items():
            arkit[:, ARKIT_INDEX[name]] += weight * level

    # The jaw rises in a bilabial but seldom shuts; mouthClose seals what stays open.
    jaw = jaw_gain * JAW * channel["jaw_open"] * (1.0 - 0.65 * close)
    jaw = jaw * (1.0 - bite) + BITE_JAW * bite
    arkit[:, ARKIT_INDEX["jawOpen"]] = jaw
    pursed = ROUND_CLOSE * np.maximum(channel["round"], channel["funnel"]) * free
    arkit[:, ARKIT_INDEX["mouthClose"]] = np.minimum(jaw * close + pursed, jaw + 0.02)
    add(ROUND, mouth_gain * channel["round"] * (1.0 - 0.5 * close) * (1.0 - 0.8 * bite))
    add(FUNNEL, mouth_gain * channel["funnel"] * free)
    add(SPREAD, mouth_gain * channel["spread"] * (1.0 - 0.6 * np.maximum(close, bite)) * (1.0 - channel["round"]))
    add(UPPER, mouth_gain * channel["upper_lip_raise"] * free)
    add(LOWER, mouth_gain * channel["lower_lip_drop"] * free)
    add(CLOSE, mouth_gain * close)
    extra[:, EXTRA_INDEX["lowerLipToTeeth"]] = bite * (1.0 - close)
    extra[:, EXTRA_INDEX["tongueTipUp"]] = channel["tongue_tip"]
    extra[:, EXTRA_INDEX["tongueBackUp"]] = channel["tongue_back"]
    return arkit, extra


def blend(speech: np.ndarray, expression: np.ndarray, articulation: np.ndarray) -> np.ndarray:
    """Speech and expression weights [t, 52] each -> one face [t, 52], by the rules at the module's head."""
    channel = {name: articulation[:, i] for name, i in ARTICULATION_INDEX.items()}
    close = np.maximum(late(channel["lip_close"]), 0.8 * channel["labiodental"])
    face = expression.copy()
    # A talking mouth shows four fifths of its expression: articulation must stay legible.
    face[:, _columns(_MOUTH)] *= (1.0 - 0.2 * channel["voice"])[:, None]
    # How far the lips part is speech's to say: a grin held open would hide every vowel.
    face[:, _columns(_OPENING)] *= ((1.0 - close) * (1.0 - 0.5 * channel["voice"]))[:, None]
    face[:, _columns(_SMILE)] *= (1.0 - 0.6 * channel["round"])[:, None]
    lower = _columns(_LOWER_LIP)
    face[:, lower] *= (1.0 - channel["labiodental"])[:, None]  # the lower lip is on the teeth
    jaw = ARKIT_INDEX["jawOpen"]
    emotional_jaw = face[:, jaw] * (1.0 - close)
    out = speech + face
    out[:, jaw] = np.maximum(speech[:, jaw], emotional_jaw)
    return np.clip(out, 0.0, 1.0)


def _ease_limits(expression: np.ndarray, dials: dict[str, float]) -> np.ndarray:
    """AU targets [t, 18, 2] scaled by the dials "upper" (brows, lids, nose) and "lower" (mouth, chin)."""
    upper = [AU_INDEX[au] for au in ("AU01", "AU02", "AU04", "AU05", "AU06", "AU07", "AU09", "AU45")]
    lower = [i for i in range(expression.shape[1]) if i not in upper]
    scaled = expression.copy()
    scaled[:, upper] *= dials.get("upper", 1.0)
    scaled[:, lower] *= dials.get("lower", 1.0)
    return np.clip(scaled, 0.0, 1.0)


class Direct:
    """The default system: runs on any machine, obeys every control."""

    name = "direct"
    supports = frozenset(CONTROLS)
    native_fps = 50.0
    checkpoint_sha256 = ""

    def __init__(self, dials: dict[str, float] | None = None):
        self.dials = dict(dials or {})

    def prepare(self, speech: Speech) -> Speech:
        return speech

    def run(
        self, cache: Speech, controls: Callable[[np.ndarray], ControlTrack], t0: float, t1: float, state: Any = None
    ) -> tuple[MotionSlice, Any]:
        rows = np.arange(int(np.ceil(t0 * self.native_fps - 1e-6)), int(np.ceil(t1 * self.native_fps - 1e-6)))
        times = rows / self.native_fps
        articulation = cache.articulation[np.clip(rows, 0, len(cache.articulation) - 1)]
        au = _ease_limits(expression_au(controls(times)), self.dials)
        speech, extra = mouth(articulation, self.dials.get("jaw", 1.0), self.dials.get("mouth", 1.0))
        express, express_extra = to_shapes(au)
        motion = MotionSlice(
            times=times,
            arkit=blend(speech, express, articulation).astype(np.float32),
            extra=np.clip(extra + express_extra, 0.0, 1.0).astype(np.float32),
            au=au,
            closure=late(articulation[:, ARTICULATION_INDEX["lip_close"]]),
            labiodental=articulation[:, ARTICULATION_INDEX["labiodental"]].copy(),
            voice=articulation[:, ARTICULATION_INDEX["voice"]].copy(),
            pose=np.zeros((len(times), 15), np.float32),
        )
        return motion, state
