"""`direct`: articulation and expression to shape weights by stated rules; no network of its own.

Mouth from speech: the articulatory channels are already coarticulated (engine/speech); here they become shapes.
Bilabials and labiodentals dominate (Cohen & Massaro 1993; JALI, Edwards et al. 2016): a closing mouth gives up its
opening, spreading and rounding in proportion. Expression from the controls is an AU set; where it meets speech, speech
owns the jaw (the maximum, never the sum), the lips' opening parts yield to a closure, and a smile yields to rounding.
How the expression lives over time is life.py, how it changes the way of speaking manner.py.
Geometry has the last word: contacts.py closes what these rules leave open on the given head.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from engine.controls.modulate import speech_gain
from engine.core.control import ControlTrack
from engine.core.names import ARKIT, ARKIT_INDEX, ARTICULATION_INDEX, EXTRA, EXTRA_INDEX
from engine.core.sound import Speech
from engine.head.action_units import to_shapes
from engine.motion.base import CONTROLS, MotionSlice
from engine.motion.calm import calm, decided
from engine.motion.life import living_au
from engine.motion.manner import MARGIN_ROWS, coloured

# Weight of each shape at channel value 1, chosen on the default head: jaw 0.62 opens the lips by about 18 mm at the
# centre, inside the 6-20 mm of stressed open vowels.
JAW = 0.62
BITE_JAW = 0.045  # where lowerLipToTeeth brings the lip nearest to the incisors
BITE_UPPER = {"mouthUpperUpLeft": 0.25, "mouthUpperUpRight": 0.25}  # the upper lip lets the bitten lip be seen
# Narrows the mouth by about 9 mm and brings the lips 8 mm forward; a sh is as far forward and less narrow.
ROUND = {"mouthPucker": 0.95, "mouthFunnel": 0.20}
FUNNEL = {"mouthFunnel": 0.75, "mouthPucker": 0.12}
ROUND_GAIN = 0.6  # lips are seen as round or not: half of a rounding shows as 0.65, all of it as 1
SPEAKING_JAW = 0.45  # speech's jaw channel from which an expression may open the jaw by all that it wants
ROUND_CLOSE = 0.08  # mouthClose of rounded lips: they leave a small hole, while the shapes above alone part them
SPREAD = {"mouthStretchLeft": 0.28, "mouthStretchRight": 0.28, "mouthSmileLeft": 0.14, "mouthSmileRight": 0.14}
UPPER = {"mouthUpperUpLeft": 0.50, "mouthUpperUpRight": 0.50}
LOWER = {"mouthLowerDownLeft": 0.55, "mouthLowerDownRight": 0.55}
CLOSE = {"mouthPressLeft": 0.20, "mouthPressRight": 0.20, "mouthRollLower": 0.10, "mouthRollUpper": 0.06}
SMILE_YIELD = 0.85  # of a smile, to lips that are wholly round


@dataclasses.dataclass(frozen=True)
class Lips:
    """How plainly lips show a round sound and a bite.

    round_shapes, funnel_shapes, bite_upper: weights of shapes at channel value 1. smile_gain in [-1, 1]: how early a
    smile yields to rounding, the gain of `rounded`.
    """

    round_shapes: dict[str, float]
    funnel_shapes: dict[str, float]
    bite_upper: dict[str, float]
    smile_gain: float


PERFORMED = Lips(ROUND, FUNNEL, BITE_UPPER, ROUND_GAIN)  # exact phones: what the performances are made of
# Channels that a net heard, which is not always sure. Drawn as plainly as exact phones they cost what a face says: half
# rounded lips are read as the tight ones of anger, a smile that goes at every trace of rounding as none of that mood,
# and what funnel and bite part the lips tells against the opening that belongs to the sounds (docs/lipsync.md).
HEARD = Lips(
    {"mouthPucker": 0.88, "mouthFunnel": 0.20}, {"mouthFunnel": 0.60, "mouthPucker": 0.12},
    {"mouthUpperUpLeft": 0.10, "mouthUpperUpRight": 0.10}, -0.4,
)  # fmt: skip

OPENING = ("mouthUpperUpLeft", "mouthUpperUpRight", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthFunnel",
            "mouthShrugUpper", "mouthStretchLeft", "mouthStretchRight")  # fmt: skip
TURN_S, EASE_S = 0.4, 0.12  # pauses in which the mouth is still speech's; how it takes and gives the mouth
_SMILE = ("mouthSmileLeft", "mouthSmileRight", "mouthDimpleLeft", "mouthDimpleRight", "mouthStretchLeft",
          "mouthStretchRight")  # fmt: skip
LOWER_LIP = ("mouthLowerDownLeft", "mouthLowerDownRight", "mouthShrugLower", "mouthRollLower", "mouthPressLeft",
              "mouthPressRight", "mouthPucker", "jawForward")  # fmt: skip
_MOUTH = tuple(name for name in ARKIT if name.startswith(("mouth", "jaw")))


def _columns(names: tuple[str, ...]) -> list[int]:
    return [ARKIT_INDEX[name] for name in names]


def late(contact: np.ndarray) -> np.ndarray:
    """A contact channel's approach: lips stay readable as open until late in its ramp, then meet fast."""
    return contact * contact


def rounded(level: np.ndarray, gain: float = ROUND_GAIN) -> np.ndarray:
    """How far lips round for a channel `level` in [0, 1]: a short u between two consonants is seen as one."""
    return level * (1.0 + gain * (1.0 - level))


def jaw_freedom(jaw_open: np.ndarray) -> np.ndarray:
    """How much of its jaw an expression keeps while someone speaks, by how far speech itself opens it. [t] in [0, 1].

    An astonished s is still said with the teeth together; the astonishment shows in its vowels.
    """
    return np.clip(jaw_open / SPEAKING_JAW, 0.0, 1.0) ** 2


def mouth(
    articulation: np.ndarray, press: np.ndarray | float = 1.0, lips: Lips = PERFORMED
) -> tuple[np.ndarray, np.ndarray]:
    """Articulation [t, 11] in [0, 1] -> speech shape weights arkit [t, 52] and extra [t, 7].

    press: firmness of lip closures, [t] or one number; 1 is plain. lips: how plainly they round and bite.
    """
    channel = {name: articulation[:, i] for name, i in ARTICULATION_INDEX.items()}
    close, bite = late(channel["lip_close"]), channel["labiodental"]
    round_, funnel = rounded(channel["round"]), rounded(channel["funnel"])
    free = (1.0 - close) * (1.0 - bite)  # what a closing or biting lip leaves to the open shapes
    arkit = np.zeros((len(articulation), len(ARKIT)), np.float32)
    extra = np.zeros((len(articulation), len(EXTRA)), np.float32)

    def add(shapes: dict[str, float], level: np.ndarray) -> None:
        for name, weight in shapes.items():
            arkit[:, ARKIT_INDEX[name]] += weight * level

    # The jaw rises in a bilabial but seldom shuts; mouthClose seals what stays open.
    jaw = JAW * channel["jaw_open"] * (1.0 - 0.65 * close)
    jaw = jaw * (1.0 - bite) + BITE_JAW * bite
    arkit[:, ARKIT_INDEX["jawOpen"]] = jaw
    pursed = ROUND_CLOSE * np.maximum(round_, funnel) * free
    arkit[:, ARKIT_INDEX["mouthClose"]] = np.minimum(jaw * close + pursed, jaw + 0.02)
    add(lips.round_shapes, round_ * (1.0 - 0.5 * close) * (1.0 - bite))
    add(lips.funnel_shapes, funnel * free)
    add(SPREAD, channel["spread"] * (1.0 - 0.6 * np.maximum(close, bite)) * (1.0 - round_))
    add(UPPER, channel["upper_lip_raise"] * free)
    add(LOWER, channel["lower_lip_drop"] * free)
    add(lips.bite_upper, bite * (1.0 - close))
    add(CLOSE, press * close)
    extra[:, EXTRA_INDEX["lowerLipToTeeth"]] = bite * (1.0 - close)
    extra[:, EXTRA_INDEX["tongueTipUp"]] = channel["tongue_tip"]
    extra[:, EXTRA_INDEX["tongueBackUp"]] = channel["tongue_back"]
    return arkit, extra


def blend_share(
    closure: np.ndarray,
    labiodental: np.ndarray,
    voice: np.ndarray,
    talking: np.ndarray | None = None,
    rounding: np.ndarray | float = 0.0,
    jaw_open: np.ndarray | float = 1.0,
    lips: Lips = PERFORMED,
) -> np.ndarray:
    """How much of each expression weight a speaking face shows: the one rule of all who lay expression over speech.

    closure (as `late` gives it), labiodental, voice, talking (`conversing`; the voice itself where it is not given),
    rounding (the larger of round and funnel), jaw_open [t] in [0, 1] -> [t, 59] in [0, 1], ARKit's shapes, then extra.
    """
    talking = voice if talking is None else talking
    close = np.maximum(closure, 0.8 * labiodental)
    share = np.ones((len(closure), len(ARKIT) + len(EXTRA)), np.float32)
    # A talking mouth shows four fifths of its expression: articulation must stay legible.
    share[:, _columns(_MOUTH)] *= (1.0 - 0.2 * talking)[:, None]
    # How far the lips part is speech's to say: a grin held open would hide every vowel.
    share[:, _columns(OPENING)] *= ((1.0 - close) * (1.0 - 0.5 * talking))[:, None]
    # For the same reason tight lips (AU23, AU24) are pressed together in silence only.
    share[:, len(ARKIT) + EXTRA_INDEX["lipsTogether"]] *= 1.0 - voice
    smiling = 1.0 - SMILE_YIELD * rounded(np.asarray(rounding), lips.smile_gain)
    share[:, _columns(_SMILE)] *= np.reshape(smiling * (1.0 - 0.3 * labiodental), (-1, 1))
    share[:, _columns(LOWER_LIP)] *= (1.0 - labiodental)[:, None]  # the lower lip is on the teeth
    share[:, ARKIT_INDEX["jawOpen"]] *= (1.0 - close) * (1.0 - talking * (1.0 - jaw_freedom(np.asarray(jaw_open))))
    return share


def blend(
    speech: np.ndarray,
    expression: np.ndarray,
    articulation: np.ndarray,
    talking: np.ndarray | None = None,
    lips: Lips = PERFORMED,
) -> np.ndarray:
    """Speech and expression weights [t, 59] each -> one face [t, 59], by the rules at the module's head.

    talking [t] in [0, 1]: how far the mouth belongs to speech (`conversing`); the voice itself where it is not given.
    """
    channel = {name: articulation[:, i] for name, i in ARTICULATION_INDEX.items()}
    shown = blend_share(
        late(channel["lip_close"]), channel["labiodental"], channel["voice"], talking,
        np.maximum(channel["round"], channel["funnel"]), channel["jaw_open"], lips,
    )  # fmt: skip
    face = expression * shown
    jaw = ARKIT_INDEX["jawOpen"]
    out = speech + face
    out[:, jaw] = np.maximum(speech[:, jaw], face[:, jaw])
    return np.clip(out, 0.0, 1.0).astype(np.float32)


def conversing(voice: np.ndarray, rate_hz: float = 50.0) -> np.ndarray:
    """How far the mouth belongs to speech: voice [t] with its pauses of up to TURN_S filled and its ends eased over
    EASE_S, so that no expression jumps into the gap between two words. [t] in [0, 1]."""
    from scipy.ndimage import grey_closing, uniform_filter1d

    if len(voice) < 3:
        return voice
    filled = np.maximum(voice, grey_closing(voice, size=round(TURN_S * rate_hz) | 1, mode="nearest"))
    ease = round(EASE_S * rate_hz)
    for _ in range(2):  # twice a box is a tent: onset and offset without corners
        filled = uniform_filter1d(filled, ease, mode="nearest")
    return np.clip(filled, 0.0, 1.0).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Heard:
    """A voice as the rules use it: articulation [t, 11], and `conversing` [t]."""

    articulation: np.ndarray
    talking: np.ndarray


class Direct:
    """The default system: runs on any machine, obeys every control."""

    name = "direct"
    supports = frozenset(CONTROLS)
    native_fps = 50.0
    checkpoint_sha256 = ""

    def prepare(self, speech: Speech) -> Heard:
        articulation = calm(decided(speech.articulation))
        return Heard(articulation, conversing(articulation[:, ARTICULATION_INDEX["voice"]], self.native_fps))

    def run(
        self,
        cache: Heard,
        controls: Callable[[np.ndarray], ControlTrack],
        t0: float,
        t1: float,
        state: Any = None,
    ) -> tuple[MotionSlice, Any]:
        first, last = (int(np.ceil(t * self.native_fps - 1e-6)) for t in (t0, t1))
        # Smoothed vowels look around: a window with margins agrees with the whole voice.
        wide = np.arange(first - MARGIN_ROWS, last + MARGIN_ROWS)
        within = np.clip(wide, 0, len(cache.articulation) - 1)
        inner = slice(MARGIN_ROWS, len(wide) - MARGIN_ROWS)
        track = controls(wide / self.native_fps)
        articulation, press = (part[inner] for part in coloured(_worded(cache.articulation[within], track), track))
        times = wide[inner] / self.native_fps
        au = living_au(controls, times)
        face = blend(
            np.concatenate(mouth(articulation, press, HEARD), 1), np.concatenate(to_shapes(au), 1), articulation,
            cache.talking[within][inner], HEARD,
        )  # fmt: skip
        motion = MotionSlice(
            times=times,
            arkit=face[:, : len(ARKIT)],
            extra=face[:, len(ARKIT) :],
            au=au,
            closure=late(articulation[:, ARTICULATION_INDEX["lip_close"]]),
            labiodental=articulation[:, ARTICULATION_INDEX["labiodental"]].copy(),
            voice=articulation[:, ARTICULATION_INDEX["voice"]].copy(),
            pose=np.zeros((len(times), 15), np.float32),
        )
        return motion, state


def _worded(articulation: np.ndarray, track: ControlTrack) -> np.ndarray:
    """Articulation [t, 11] with lips and jaw opened as typed directions ask."""
    if not track.prompt_level.any():
        return articulation
    lips, jaw = speech_gain(track)
    out = articulation.copy()
    out[:, ARTICULATION_INDEX["jaw_open"]] *= jaw
    for channel in ("upper_lip_raise", "lower_lip_drop"):
        out[:, ARTICULATION_INDEX[channel]] *= lips
    return np.clip(out, 0.0, 1.0)
