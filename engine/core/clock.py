"""Seconds and frames. Time is in seconds everywhere; a frame is a rate and an index.

Frame `i` shows the face at `i / fps` seconds after the voice begins (frame 0 = first sample). NTSC rates
are exact fractions: 23.976 is read as 24000/1001, as Blender stores it (fps / fps_base).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from engine.core.errors import BadInput

_NTSC = {Fraction(n * 1000, 1001) for n in (24, 30, 48, 60, 120)}


def parse_fps(value: object) -> Fraction:
    """Frames per second as an exact fraction. Accepts 25, 23.976, "29.97", "30000/1001".

    Raises BadInput outside [1, 240] or for text that is no rate.
    """
    try:
        rate = Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        raise BadInput(f"'{value}' is no frame rate; give a number such as 25 or 24000/1001") from None
    if not 1 <= rate <= 240:
        raise BadInput(f"a frame rate of {value} is outside 1 to 240 frames per second")
    # 23.976 and 23.98 both mean 24000/1001; 0.005 is below the distance to any other common rate.
    near = min(_NTSC, key=lambda r: abs(r - rate))
    return near if abs(near - rate) < Fraction(5, 1000) else rate


@dataclass(frozen=True)
class FrameClock:
    """A frame rate; `first` is the scene frame on which the voice begins."""

    fps: Fraction
    first: int = 1

    @classmethod
    def of(cls, fps: object, first: int = 1) -> FrameClock:
        return cls(parse_fps(fps), int(first))

    def count(self, duration_s: float) -> int:
        """Frames needed to show `duration_s` seconds: those with i / fps < duration, at least one."""
        return max(1, math.ceil(float(Fraction(duration_s).limit_denominator(10**9) * self.fps) - 1e-9))

    def times(self, count: int) -> np.ndarray:
        """Seconds of frames 0..count-1. [count] float64."""
        return np.arange(count) * (self.fps.denominator / self.fps.numerator)

    def scene_frames(self, count: int) -> np.ndarray:
        """Scene frame numbers of frames 0..count-1. [count] int64."""
        return np.arange(self.first, self.first + count)
