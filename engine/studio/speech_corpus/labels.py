"""Phone segments -> what a net must say at every 10 ms: events and continuous channels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.core.phones import CHANNELS, Segment, class_names, split, targets

EVENTS = ("closure", "labiodental", "round", "voice")
RATE_HZ = 100
BURST_SHARE, BURST_S = 0.35, 0.040  # of a stop, its burst and aspiration: the lips are already apart
CLOSURE_S = 0.080  # how long the lips are together before a burst that follows silence


def event_labels(segments: Sequence[Segment], frames: int) -> np.ndarray:
    """[frames, 4] uint8 (0 or 1) at 100 Hz, columns EVENTS.

    closure: lips together: m whole, p and b without their burst; after a pause only the last 80 ms, because a
    closure that begins in silence has no audible beginning. round: rounded vowels, w, sh, zh, ch, j, r.
    voice: any phone that is not a pause.
    """
    out = np.zeros((frames, len(EVENTS)), np.uint8)
    rows = split(segments)
    for i, (cls, start, end) in enumerate(rows):
        after_pause = i == 0 or rows[i - 1][0].event == "pause"
        if cls.event == "closure":
            stop = end - min(BURST_SHARE * (end - start), BURST_S) if cls.plosive else end
            first = max(start, stop - CLOSURE_S) if after_pause else start
            _mark(out[:, 0], first, stop)
        elif cls.event == "labiodental":
            _mark(out[:, 1], start, end)
        if cls.rounded:
            _mark(out[:, 2], start, end)
        if cls.event != "pause":
            _mark(out[:, 3], start, end)
    return out


def _mark(column: np.ndarray, start: float, end: float) -> None:
    column[max(0, round(start * RATE_HZ)) : max(0, round(end * RATE_HZ))] = 1


def class_labels(segments: Sequence[Segment], frames: int) -> np.ndarray:
    """Index of each frame's class in `class_names()`, pauses outside the segments. [frames] uint8."""
    index = {name: i for i, name in enumerate(class_names())}
    out = np.full(frames, index["pause"], np.uint8)
    for cls, start, end in split(segments):
        out[max(0, round(start * RATE_HZ)) : max(0, round(end * RATE_HZ))] = index[cls.name]
    return out


def continuous_labels(segments: Sequence[Segment], frames: int) -> np.ndarray:
    """Coarticulated channels at 100 Hz as [frames, 8] uint8 (255 = 1), columns `engine.core.phones.CHANNELS`."""
    values = targets(segments, np.arange(frames) / RATE_HZ)
    assert values.shape[1] == len(CHANNELS)
    return np.round(values * 255).astype(np.uint8)
