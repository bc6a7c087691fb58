"""Blink, gaze and head motion: automatic layers, each with its switch, strength and seed.

Events are drawn in seconds, so the same seed gives the same performance at any frame rate. Figures from the
literature: 17 blinks a minute in conversation, closing in 80 ms and opening in 160 (Bentivoglio 1997; Evinger 1991);
saccades follow the main sequence, about 2.2 ms a degree + 21 ms (Carpenter 1988). Nods on stressed syllables are a
layer of their own within head motion (accents.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.core.control import Controls
from engine.core.sound import Speech
from engine.motion.accents import layer_of, nods
from engine.motion.gaze import keyed_gaze, turning

BLINK_CLOSE_S, BLINK_HOLD_S, BLINK_OPEN_S = 0.08, 0.03, 0.16
_IDS = {"blink": 1, "gaze": 2, "head": 3}


@dataclass(frozen=True)
class Layers:
    """blink [t, 2] in [0, 1]; gaze [t, 2] radians (yaw to the subject's left, pitch up), both eyes;
    head [t, 3] axis-angle of the neck joint."""

    blink: np.ndarray
    gaze: np.ndarray
    head: np.ndarray


def _random(controls: Controls, name: str) -> np.random.Generator:
    return np.random.default_rng([controls.seed, _IDS[name], layer_of(controls, name).seed])


def make_layers(speech: Speech, controls: Controls, times: np.ndarray) -> Layers:
    """All layers at `times` [t] seconds; a layer that is off is zero. A keyed gaze overrules the automatic one."""
    blink, gaze, head = (np.zeros((len(times), n), np.float32) for n in (2, 2, 3))
    if (layer := layer_of(controls, "blink")).on:
        blink = _blinks(speech, controls, times) * min(layer.strength, 1.0)
    if (layer := layer_of(controls, "gaze")).on:
        gaze = _gaze(speech.duration, _random(controls, "gaze"), times) * layer.strength
    target, influence = keyed_gaze(controls, times)
    gaze = gaze * (1.0 - influence) + target * influence
    if (layer := layer_of(controls, "head")).on:
        head = _head(speech, _random(controls, "head"), times)
        head[:, 0] += nods(speech, controls, times)  # +x turns the chin down
        turn = turning(controls, times, layer.strength)
        gaze[:, 0] -= turn[:, 1]
        gaze[:, 1] += turn[:, 0]
        head = head * layer.strength + turn
    return Layers(blink.astype(np.float32), gaze.astype(np.float32), head.astype(np.float32))


def blink_times(speech: Speech, controls: Controls) -> np.ndarray:
    """Seconds at which the lids are shut: 2-6 s apart, drawn to the nearest pause within 0.6 s."""
    rng = _random(controls, "blink")
    voice = speech.articulation[:, -1]
    pauses = speech.times[1:][(voice[1:] < 0.5) & (voice[:-1] >= 0.5)]
    out: list[float] = []
    t = float(rng.uniform(0.6, 2.5))
    while t < speech.duration - 0.1:
        near = pauses[np.abs(pauses - t) < 0.6]
        t = float(near[np.argmin(np.abs(near - t))] + 0.06) if len(near) else t
        if not out or t - out[-1] > 0.5:
            out.append(t)
        t += float(np.clip(rng.gamma(4.0, 0.9), 1.6, 6.5))
    return np.asarray(out)


def blink_events(speech: Speech, controls: Controls) -> list[tuple[float, float]]:
    """(second at which the lids are shut, how far in [0, 1]): the animator's list, or the drawn ones."""
    if controls.blinks is not None:
        return [(t, amount) for t, amount in controls.blinks if amount > 0]
    return [(float(t), 1.0) for t in blink_times(speech, controls)]


def _blinks(speech: Speech, controls: Controls, times: np.ndarray) -> np.ndarray:
    lids = np.zeros((len(times), 2), np.float32)
    for blink, amount in blink_events(speech, controls):
        # Lids must meet on at least one frame, so the blink is moved by less than half a frame.
        after = min(int(np.searchsorted(times, blink)), len(times) - 1)
        shut = float(times[after if after == 0 or times[after] - blink < blink - times[after - 1] else after - 1])
        rows = slice(*np.searchsorted(times, (shut - BLINK_CLOSE_S, shut + BLINK_HOLD_S + BLINK_OPEN_S + 1e-9)))
        near = times[rows]
        rise = np.clip((near - shut + BLINK_CLOSE_S) / BLINK_CLOSE_S, 0, 1)
        fall = np.clip((shut + BLINK_HOLD_S + BLINK_OPEN_S - near) / BLINK_OPEN_S, 0, 1)
        level = np.minimum(rise, fall * fall * (3 - 2 * fall))
        lids[rows] = np.maximum(lids[rows], amount * level[:, None].astype(np.float32))
    return lids


def _gaze(duration: float, rng: np.random.Generator, times: np.ndarray) -> np.ndarray:
    """Fixations of 0.5-2.8 s about the camera with saccades between. [t, 2] radians."""
    starts, travels, path = [], [], [np.zeros(2)]
    t = 0.0
    while t < duration:
        hold = float(rng.gamma(3.0, 0.5) + 0.4)
        home = rng.random() < 0.45  # often back to the listener
        aim = np.zeros(2) if home else rng.normal(0.0, (0.055, 0.028))
        starts.append(t)
        travels.append(0.021 + 0.0022 * float(np.degrees(np.linalg.norm(aim - path[-1]))))
        path.append(aim)
        t += hold
    places = np.array(path)
    now = np.clip(np.searchsorted(starts, times, "right") - 1, 0, len(starts) - 1)
    share = np.clip((times - np.array(starts)[now]) / np.array(travels)[now], 0, 1)[:, None]
    gaze = places[now] + (places[now + 1] - places[now]) * share * share * (3 - 2 * share)
    drift = _smooth_noise(rng, times, duration, period=0.9, channels=2) * 0.004
    return gaze + drift


def _smooth_noise(
    rng: np.random.Generator, times: np.ndarray, duration: float, period: float, channels: int
) -> np.ndarray:
    """Unit-variance noise without energy above 1 / period: random knots under a cubic spline. [t, channels]."""
    from scipy.interpolate import CubicSpline

    count = int(np.ceil(max(duration, times[-1] if len(times) else 0) / period)) + 4
    knots = rng.normal(size=(count, channels))
    return CubicSpline((np.arange(count) - 1) * period, knots)(times)


def _head(speech: Speech, rng: np.random.Generator, times: np.ndarray) -> np.ndarray:
    """Slow sway, smaller in silence. [t, 3] axis-angle (pitch, yaw, roll)."""
    from scipy.ndimage import gaussian_filter1d

    talking = np.interp(
        times, speech.times, gaussian_filter1d(speech.articulation[:, -1].astype(float), 25, mode="nearest")
    )
    sway = _smooth_noise(rng, times, speech.duration, period=1.3, channels=3) * np.array([0.014, 0.024, 0.012])
    return sway * (0.35 + 0.65 * talking)[:, None]
