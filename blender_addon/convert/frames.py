"""Scene frames <-> seconds of the voice. Rates are exact fractions: 23.976 is 24 / 1.001 = 24000/1001.

The voice's first sample is at scene frame `first`; frame f shows the face at (f - first) / fps seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np


def scene_rate(fps: int, fps_base: float) -> Fraction:
    """Blender's frame rate, exact. fps_base is a float32 (1.001 reads back as 1.00100004673): six digits are meant."""
    base = Fraction(str(round(float(fps_base), 6)))
    if base <= 0 or fps <= 0:
        raise ValueError(f"a frame rate of {fps}/{fps_base} is not possible")
    return Fraction(int(fps)) / base


def rate_text(rate: Fraction) -> str:
    """As requests and files write it: "25" or "24000/1001"."""
    return str(rate.numerator) if rate.denominator == 1 else f"{rate.numerator}/{rate.denominator}"


@dataclass(frozen=True)
class VoiceClock:
    """rate: frames per second; first: scene frame of the voice's first sample."""

    rate: Fraction
    first: int = 1

    def seconds(self, frames: np.ndarray | float) -> np.ndarray:
        """Scene frames (fractions allowed) -> seconds after the voice begins; negative before it."""
        return (np.asarray(frames, np.float64) - self.first) * (self.rate.denominator / self.rate.numerator)

    def frames(self, seconds: np.ndarray | float) -> np.ndarray:
        """Seconds after the voice begins -> scene frames, with fractions."""
        return np.asarray(seconds, np.float64) * float(self.rate) + self.first

    def count(self, duration: float) -> int:
        """Frames i >= 0 with i / rate < duration, at least one."""
        return max(1, math.ceil(float(Fraction(duration).limit_denominator(10**9) * self.rate) - 1e-9))
