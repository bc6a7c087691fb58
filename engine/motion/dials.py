"""Dials: what an animator turns after the motion is made. Any system's motion, no new inference.

The voice's part of a face is what exceeds the expression's own shapes, so no system has to say which is which.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from fractions import Fraction

import numpy as np

from engine.controls.files import DIALS
from engine.controls.track import at
from engine.core.control import Controls
from engine.core.names import ARKIT, ARKIT_INDEX, AUS
from engine.head.action_units import to_shapes
from engine.motion.base import MotionSlice
from engine.motion.resample import to_times

UPPER = ("AU01", "AU02", "AU04", "AU05", "AU06", "AU07", "AU09", "AU45")
SMOOTH_S = 0.12  # deviation of the Gaussian at smoothing 1
PRESS = {"mouthPressLeft": 0.30, "mouthPressRight": 0.30, "mouthRollLower": 0.15, "mouthRollUpper": 0.10}
_UPPER_SHAPES = ("eye", "brow", "cheekSquint", "nose")
_GAZE_AND_LIDS = ("eyeLook", "eyeBlink")


def _columns(prefixes: tuple[str, ...], names: tuple[str, ...] = ARKIT) -> list[int]:
    return [i for i, name in enumerate(names) if name.startswith(prefixes)]


_MOUTH = _columns(("mouth", "jaw", "tongue", "cheekPuff"))
_FACE = [i for i in _columns(_UPPER_SHAPES) if i not in _columns(_GAZE_AND_LIDS)]
_SPEAKING = [i for i in _MOUTH if ARKIT[i] not in ("jawOpen", "mouthClose")]


def sampled(controls: Controls, times: np.ndarray) -> dict[str, np.ndarray]:
    """Every dial at `times` [t]; a dial without keys is at the value that changes nothing."""
    out = {}
    for name, (_, _, neutral) in DIALS.items():
        keys = controls.dials.get(name)
        out[name] = at(keys, times) if keys else np.full(len(times), neutral, np.float32)
    return out


def untouched(dials: Mapping[str, np.ndarray]) -> bool:
    """Whether every dial is where it changes nothing."""
    return all(np.all(dials[name] == neutral) for name, (_, _, neutral) in DIALS.items())


def turned(native: MotionSlice, times: np.ndarray, fps: Fraction, dials: Mapping[str, np.ndarray]) -> MotionSlice:
    """The motion at the take's `times` [t] with its dials applied. `dials` as from `sampled`."""
    out = to_times(native, times)
    if untouched(dials):
        return out
    lead = dials["mouth_lead"] / float(fps)
    # A lead that changes may not run the voice backwards: keys that fast are held until time has caught up.
    mouth = to_times(native, np.maximum.accumulate(times + lead)) if lead.any() else out
    spoken, spoken_extra = _speech_part(mouth)
    au = _scaled(out.au, dials)
    face = _face(out, au)
    arkit = face.copy()
    jaw, speak = dials["jaw"][:, None], dials["articulation"][:, None]
    open_jaw = [ARKIT_INDEX["jawOpen"], ARKIT_INDEX["mouthClose"]]
    arkit[:, open_jaw] += spoken[:, open_jaw] * jaw
    arkit[:, _SPEAKING] += spoken[:, _SPEAKING] * speak
    for name, weight in PRESS.items():
        arkit[:, ARKIT_INDEX[name]] += weight * (dials["lip_press"] - 1.0) * mouth.closure
    _, face_extra = to_shapes(au)
    extra = np.minimum(out.extra, face_extra) + spoken_extra
    moved = dataclasses.replace(
        out, au=au, closure=mouth.closure, labiodental=mouth.labiodental, voice=mouth.voice,
        arkit=np.clip(arkit, 0.0, 1.0).astype(np.float32), extra=np.clip(extra, 0.0, 1.0).astype(np.float32),
    )  # fmt: skip
    return _smoothed(moved, dials["smoothing"])


def _speech_part(motion: MotionSlice) -> tuple[np.ndarray, np.ndarray]:
    """What the voice adds to the expression: arkit [t, 52] (mouth only) and extra [t, 7], not negative."""
    express, express_extra = to_shapes(motion.au)
    spoken = np.zeros_like(motion.arkit)
    spoken[:, _MOUTH] = np.maximum(motion.arkit - express, 0.0)[:, _MOUTH]
    return spoken, np.maximum(motion.extra - express_extra, 0.0)


def _scaled(au: np.ndarray, dials: Mapping[str, np.ndarray]) -> np.ndarray:
    """AUs [t, 18, 2] with the dials upper, lower and asymmetry."""
    upper = np.isin(AUS, UPPER)
    gain = np.where(upper, dials["upper"][:, None], dials["lower"][:, None])[..., None]
    middle = au.mean(2, keepdims=True)
    uneven = middle + (au - middle) * dials["asymmetry"][:, None, None]
    return np.clip(uneven * gain, 0.0, 1.0).astype(np.float32)


def _face(out: MotionSlice, au: np.ndarray) -> np.ndarray:
    """The face's expression part after its AUs became `au`: each shape keeps the share of its AUs that it showed."""
    before, _ = to_shapes(out.au)
    after, _ = to_shapes(au)
    shown = np.minimum(out.arkit, before)
    shown[:, _FACE] = out.arkit[:, _FACE]
    share = np.divide(after, before, out=np.ones_like(after), where=before > 1e-6)
    face = shown * share
    rest = np.setdiff1d(np.arange(len(ARKIT)), [*_MOUTH, *_FACE])
    face[:, rest] = out.arkit[:, rest]
    return face


def _smoothed(motion: MotionSlice, amount: np.ndarray) -> MotionSlice:
    """Shapes drawn towards their Gaussian mean by `amount` [t]; contacts keep their times (they are sealed later)."""
    from scipy.ndimage import gaussian_filter1d

    if not amount.any() or len(motion.times) < 3:
        return motion
    rows = SMOOTH_S / float(motion.times[1] - motion.times[0])
    share = amount[:, None].astype(np.float32)

    def eased(values: np.ndarray) -> np.ndarray:
        return values + share * (gaussian_filter1d(values, rows, axis=0, mode="nearest") - values)

    return dataclasses.replace(motion, arkit=eased(motion.arkit), extra=eased(motion.extra))
