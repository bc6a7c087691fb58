"""Which input makes a driven slider show a wanted value: drivers turned round by sampling, whatever their formula."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

# Distances from rest at which a driver is asked first: rigs move controllers by millimetres, metres or degrees.
PROBES: tuple[float, ...] = tuple(
    sign * s for s in (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0) for sign in (1, -1)
)
STEPS = 17  # samples between rest and full value
LINEAR = 0.01  # of the range: a curve this close to its chord is a straight line
_SEEN = 1e-4  # a smaller answer is no answer


@dataclass(frozen=True)
class Inverse:
    """inputs, outputs [n]: the driver's samples from rest on, outputs strictly rising. rest: the input at rest."""

    inputs: np.ndarray
    outputs: np.ndarray
    rest: float

    @property
    def straight(self) -> bool:
        """Whether the samples lie on a line."""
        share = (self.inputs - self.inputs[0]) / (self.inputs[-1] - self.inputs[0])
        chord = self.outputs[0] + share * (self.outputs[-1] - self.outputs[0])
        return float(np.abs(chord - self.outputs).max()) <= LINEAR * float(np.ptp(self.outputs))

    @property
    def direction(self) -> int:
        """1 if a larger input gives a larger output."""
        return 1 if self.inputs[-1] > self.inputs[0] else -1

    def __call__(self, wanted: np.ndarray) -> np.ndarray:
        """Input for each wanted output [t]: at rest for what the slider shows by itself or less, and beyond the
        samples the line goes on."""
        wanted, out, into = np.asarray(wanted, np.float64), self.outputs, self.inputs
        value = np.interp(wanted, out, into)
        slope = (into[-1] - into[-2]) / (out[-1] - out[-2])
        value = np.where(wanted > out[-1], into[-1] + slope * (wanted - out[-1]), value)
        return np.where(wanted <= out[0] + 1e-6, self.rest, value)


def turn_round(function: Callable[[float], float], rest: float) -> Inverse | None:
    """The inverse of a driver from its resting input towards a slider value of 1; None if nothing in reach raises the
    slider, or if it goes up and down on the way."""
    base = function(rest)
    probes = rest + np.array(PROBES)
    full = _full_input(rest, base, probes, np.array([function(x) for x in probes]))
    if full is None:
        return None
    inputs = np.linspace(rest, full, STEPS)
    return inverse(rest, inputs, np.array([function(x) for x in inputs]))


def _full_input(rest: float, base: float, probes: np.ndarray, answers: np.ndarray) -> float | None:
    """The input at which the slider reaches about 1, from a first round of probes.

    rest: input at rest; base: the slider's value there; probes, answers [n]: inputs and values.
    """
    order = np.argsort(np.abs(probes - rest), kind="stable")
    best, rise = None, _SEEN
    for i in order:
        change = answers[i] - base
        if change > rise + 1e-9:
            best, rise = i, change
        if change >= 0.5:
            break
    if best is None:
        return None
    return float(rest + (probes[best] - rest) * max((1.0 - base) / rise, 1e-6))


def inverse(rest: float, inputs: np.ndarray, outputs: np.ndarray) -> Inverse | None:
    """The turned-round driver from samples between rest and full value, or None if its values go up and down.

    A flat stretch at the end (a clamp) or at the start (a dead zone) is left out.
    """
    inputs, outputs = np.asarray(inputs, np.float64), np.asarray(outputs, np.float64)
    rise = np.diff(outputs)
    moving = np.abs(rise) > 1e-6
    if not moving.any():
        return None
    first, last = int(np.argmax(moving)), len(moving) - int(np.argmax(moving[::-1]))
    inputs, outputs = inputs[first : last + 1], outputs[first : last + 1]
    if not (np.diff(outputs) > 0).all():
        return None
    return Inverse(inputs, outputs, float(rest))


def combine(rest: float, demands: list[tuple[int, np.ndarray]]) -> np.ndarray:
    """One curve for an input from what the sliders it drives ask of it. demands: (direction, input [t]).

    Sliders on the same side share the input and get their mean; opposite sides (smile and frown on one controller)
    add up, because each asks for rest while the other is at work.
    """
    total = np.zeros_like(demands[0][1]) + rest
    for side in (1, -1):
        wishes = [wish - rest for direction, wish in demands if direction == side]
        if wishes:
            total = total + np.mean(wishes, 0)
    return total
