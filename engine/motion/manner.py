"""How a feeling changes the way of speaking: articulation under labels, valence and arousal. The table is manners.json.

Contacts are left as they are: lips that must meet do, whatever one feels.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np

from engine.core.control import ControlTrack
from engine.core.names import ARTICULATION_INDEX, EMOTIONS

_DATA = Path(__file__).with_name("manners.json")
GAINS = ("jaw", "open", "spread", "round", "press")
_CHANNELS = {
    "jaw": ("jaw_open",), "open": ("upper_lip_raise", "lower_lip_drop"), "spread": ("spread",),
    "round": ("round", "funnel"),
}  # fmt: skip
_SMOOTHED = ("jaw_open", "round", "funnel", "spread", "upper_lip_raise", "lower_lip_drop")
_WIDEST_S = 0.06  # the table's longest smoothing: less is a mix with the unsmoothed channel


@functools.cache
def _table() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(log gains of the labels [14, 5], gains per unit of valence and arousal [2, 5], smoothing seconds [14])."""
    raw = json.loads(_DATA.read_text(encoding="utf-8"))
    labels = [raw["labels"].get(name, {}) for name in EMOTIONS]
    gains = np.log([[row.get(gain, 1.0) for gain in GAINS] for row in labels])
    affect = np.array([[raw[axis].get(gain, 0.0) for gain in GAINS] for axis in ("valence", "arousal")])
    return gains, affect, np.array([row.get("smooth_s", 0.0) for row in labels])


def gains(track: ControlTrack) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Gain of each of GAINS at the track's times, [t] each and 1 where nothing is felt, and smoothing seconds [t]."""
    table, affect, smooth = _table()
    weight = track.emotion / np.maximum(track.emotion.sum(1, keepdims=True), 1.0) * track.intensity[:, None]
    level = np.exp(weight @ table) * (1.0 + track.va @ affect)
    return {name: level[:, i] for i, name in enumerate(GAINS)}, weight @ smooth


def coloured(articulation: np.ndarray, track: ControlTrack, rate_hz: float = 50.0) -> tuple[np.ndarray, np.ndarray]:
    """Articulation [t, 11] as one speaks it in that mood, same form, and the firmness of closures [t] (1 = plain).

    Values stay in [0, 1]. The rows must be the track's times, evenly spaced; smoothing looks three deviations around: a
    window needs that much margin to agree with the whole.
    """
    from scipy.ndimage import gaussian_filter1d

    factor, smooth_s = gains(track)
    out = articulation.astype(np.float32).copy()
    if (mix := np.clip(smooth_s / _WIDEST_S, 0.0, 1.0)).any():
        columns = [ARTICULATION_INDEX[name] for name in _SMOOTHED]
        slow = gaussian_filter1d(out[:, columns], _WIDEST_S * rate_hz, axis=0, mode="nearest", truncate=3.0)
        out[:, columns] += mix[:, None].astype(np.float32) * (slow - out[:, columns])
    for name, channels in _CHANNELS.items():
        for channel in channels:
            out[:, ARTICULATION_INDEX[channel]] *= factor[name]
    return np.clip(out, 0.0, 1.0), factor["press"]


MARGIN_ROWS = int(np.ceil(3.0 * _WIDEST_S * 50.0))
