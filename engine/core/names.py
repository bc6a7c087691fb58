"""The field's standard names, in the one order that every array of this project uses.

Columns are looked up by name (`AU_INDEX["AU12"]`), never by a number written elsewhere: the two public
17-AU sets differ in one member, and a shifted column is a wrong face that no test of shapes can see.
"""

from __future__ import annotations

# Apple's 52 blend shapes, as ARKit spells them and in the order in which its face capture lists them.
ARKIT: tuple[str, ...] = (
    "eyeBlinkLeft", "eyeLookDownLeft", "eyeLookInLeft", "eyeLookOutLeft", "eyeLookUpLeft",
    "eyeSquintLeft", "eyeWideLeft",
    "eyeBlinkRight", "eyeLookDownRight", "eyeLookInRight", "eyeLookOutRight", "eyeLookUpRight",
    "eyeSquintRight", "eyeWideRight",
    "jawForward", "jawLeft", "jawRight", "jawOpen",
    "mouthClose", "mouthFunnel", "mouthPucker", "mouthLeft", "mouthRight",
    "mouthSmileLeft", "mouthSmileRight", "mouthFrownLeft", "mouthFrownRight",
    "mouthDimpleLeft", "mouthDimpleRight", "mouthStretchLeft", "mouthStretchRight",
    "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper",
    "mouthPressLeft", "mouthPressRight", "mouthLowerDownLeft", "mouthLowerDownRight",
    "mouthUpperUpLeft", "mouthUpperUpRight",
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight",
    "cheekPuff", "cheekSquintLeft", "cheekSquintRight", "noseSneerLeft", "noseSneerRight",
    "tongueOut",
)  # fmt: skip

# Channels that ARKit lacks and our heads add: the medial brow (AU04 needs it), three tongue places,
# and two lip correctives (inner lips together whatever the mix; lower lip against the upper teeth).
EXTRA: tuple[str, ...] = (
    "browMedialDown_L", "browMedialDown_R",
    "tongueTipUp", "tongueBetweenTeeth", "tongueBackUp",
    "lipsTogether", "lowerLipToTeeth",
)  # fmt: skip

# FACS action units; each has a left and a right value in [0, 1] (FACS intensity / 5).
AUS: tuple[str, ...] = (
    "AU01", "AU02", "AU04", "AU05", "AU06", "AU07", "AU09", "AU10", "AU12",
    "AU14", "AU15", "AU17", "AU20", "AU23", "AU24", "AU25", "AU26", "AU45",
)  # fmt: skip
AU_NAMES: dict[str, str] = {
    "AU01": "inner brow raiser", "AU02": "outer brow raiser", "AU04": "brow lowerer",
    "AU05": "upper lid raiser", "AU06": "cheek raiser", "AU07": "lid tightener",
    "AU09": "nose wrinkler", "AU10": "upper lip raiser", "AU12": "lip corner puller",
    "AU14": "dimpler", "AU15": "lip corner depressor", "AU17": "chin raiser",
    "AU20": "lip stretcher", "AU23": "lip tightener", "AU24": "lip pressor",
    "AU25": "lips part", "AU26": "jaw drop", "AU45": "blink",
}  # fmt: skip
PAPER17: tuple[str, ...] = tuple(au for au in AUS if au != "AU20")  # EmoDiffTalk
OPENFACE17: tuple[str, ...] = tuple(au for au in AUS if au != "AU24")  # OpenFace 2
SIDES: tuple[str, str] = ("L", "R")

# EmoTalk3D's eight labels, then EmoVOCA v2's six additions.
EMOTIONS: tuple[str, ...] = (
    "neutral", "angry", "contempt", "disgusted", "fear", "happy", "sad", "surprised",
    "moody", "drunk", "ill", "suspicious", "pleased", "upset",
)  # fmt: skip

# Continuous articulatory channels in [0, 1], at 50 Hz (`Speech.articulation`).
ARTICULATION: tuple[str, ...] = (
    "jaw_open", "lip_close", "labiodental", "round", "funnel", "spread",
    "upper_lip_raise", "lower_lip_drop", "tongue_tip", "tongue_back", "voice",
)  # fmt: skip
ARTICULATION_RATE_HZ = 50.0

# FLAME's kinematic tree: pose (15,) = five axis-angle vectors in this order.
JOINTS: tuple[str, ...] = ("root", "neck", "jaw", "eye_left", "eye_right")
PARENTS: tuple[int, ...] = (-1, 0, 1, 1, 1)

ARKIT_INDEX = {name: i for i, name in enumerate(ARKIT)}
EXTRA_INDEX = {name: i for i, name in enumerate(EXTRA)}
AU_INDEX = {name: i for i, name in enumerate(AUS)}
EMOTION_INDEX = {name: i for i, name in enumerate(EMOTIONS)}
ARTICULATION_INDEX = {name: i for i, name in enumerate(ARTICULATION)}

assert len(ARKIT) == len(set(ARKIT)) == 52 and len(AUS) == 18 and len(EMOTIONS) == 14
