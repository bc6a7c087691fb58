"""The standard names as the add-on needs them, in the engine's order.

These are copies: the add-on must work where the engine is not installed. `tests/addon/test_convert_names.py`
compares every one of them with `engine.core.names`.
"""

from __future__ import annotations

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

EXTRA: tuple[str, ...] = (
    "browMedialDown_L", "browMedialDown_R",
    "tongueTipUp", "tongueBetweenTeeth", "tongueBackUp",
    "lipsTogether", "lowerLipToTeeth",
)  # fmt: skip

AU_NAMES: dict[str, str] = {
    "AU01": "inner brow raiser", "AU02": "outer brow raiser", "AU04": "brow lowerer",
    "AU05": "upper lid raiser", "AU06": "cheek raiser", "AU07": "lid tightener",
    "AU09": "nose wrinkler", "AU10": "upper lip raiser", "AU12": "lip corner puller",
    "AU14": "dimpler", "AU15": "lip corner depressor", "AU17": "chin raiser",
    "AU20": "lip stretcher", "AU23": "lip tightener", "AU24": "lip pressor",
    "AU25": "lips part", "AU26": "jaw drop", "AU45": "blink",
}  # fmt: skip
AUS: tuple[str, ...] = tuple(AU_NAMES)
SIDES: tuple[str, str] = ("L", "R")
AU_SLIDERS: tuple[str, ...] = tuple(f"{au}_{side}" for au in AUS for side in SIDES)

EMOTIONS: tuple[str, ...] = (
    "neutral", "angry", "contempt", "disgusted", "fear", "happy", "sad", "surprised",
    "moody", "drunk", "ill", "suspicious", "pleased", "upset",
)  # fmt: skip

# What the engine is told of a face in each frame, beside its mesh, in this order.
FACE_VALUES: tuple[str, ...] = (*ARKIT, *EXTRA, *AU_SLIDERS, *EMOTIONS, "intensity")

JOINTS: tuple[str, ...] = ("root", "neck", "jaw", "eye_left", "eye_right")
PARENTS: tuple[int, ...] = (-1, 0, 1, 1, 1)
# Blender mirrors poses and weights by the .L/.R ending, so the bones carry it.
BONES: dict[str, str] = {
    "root": "root", "neck": "neck", "jaw": "jaw", "eye_left": "eye.L", "eye_right": "eye.R",
}  # fmt: skip

LAYERS: tuple[str, ...] = ("blink", "gaze", "head", "life", "nod", "brow", "accent")
# name -> (least, most, value that leaves the motion as generated); a curve over time each
DIALS: dict[str, tuple[float, float, float]] = {
    "mouth_lead": (-4.0, 4.0, 0.0), "jaw": (0.0, 2.0, 1.0), "articulation": (0.0, 2.0, 1.0),
    "lip_press": (0.0, 2.0, 1.0), "upper": (0.0, 2.0, 1.0), "lower": (0.0, 2.0, 1.0),
    "smoothing": (0.0, 1.0, 0.0), "asymmetry": (0.0, 2.0, 1.0),
}  # fmt: skip
# Channels that close the mouth: whoever drops frames must not drop these moments.
CLOSURES: tuple[str, ...] = ("mouthClose", "lipsTogether", "lowerLipToTeeth")


def shape_lookup(keys: list[str]) -> dict[str, str]:
    """Standard shape name -> the character's own key name, for the keys that it has.

    Spelling may differ in case, in underscores and in `_L`/`_R` for `Left`/`Right` (as ICT and many
    exporters write it). An exact name wins over a similar one.
    """
    plain: dict[str, str] = {}
    for key in keys:
        plain.setdefault(_plain(key), key)
    exact = set(keys)
    found = {}
    for name in ARKIT + EXTRA:
        own = name if name in exact else plain.get(_plain(name))
        if own is not None:
            found[name] = own
    return found


def _plain(name: str) -> str:
    for ending, word in (("_L", "Left"), ("_R", "Right"), (".L", "Left"), (".R", "Right")):
        if name.endswith(ending):
            name = name[: -len(ending)] + word
    return name.replace("_", "").replace(".", "").lower()
