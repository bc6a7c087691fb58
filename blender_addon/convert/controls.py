"""The animator's keys -> the controls JSON of a `speak` request. Times in seconds from the voice's first sample."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .curves import thin_linear
from .names import AU_SLIDERS, DIALS, EMOTIONS, LAYERS

KIND, FORMAT = "controls", 1
INLINE_BYTES = 48 * 1024  # a request is one pipe line under 64 KiB; larger controls travel as a file
KEY_TOLERANCE = 1e-3  # of a weight's range; below what a face can show


@dataclass(frozen=True)
class Channel:
    """One control over time. seconds, values [n]; a single sample is a constant."""

    seconds: np.ndarray
    values: np.ndarray

    def keys(self, low: float, high: float, tolerance: float = KEY_TOLERANCE) -> list[list[float]]:
        """[[second, value], ...], thinned so that straight joins stay within `tolerance`.

        Values are cut to [low, high]: a Bezier curve may overshoot the range that its keys keep.
        """
        values = np.clip(self.values, low, high)
        index = thin_linear(self.seconds, values, tolerance)
        return [[round(float(self.seconds[i]), 6), round(float(values[i]), 5)] for i in index]

    def is_zero(self) -> bool:
        return not np.any(np.abs(self.values) > 1e-6)


@dataclass(frozen=True)
class PromptStrip:
    """A typed direction. start, end, blend_in, blend_out: seconds; activation: {"AU12_L": 0.8, ...} or None."""

    text: str
    start: float
    end: float
    blend_in: float = 0.3
    blend_out: float = 0.4
    strength: float = 1.0
    mute: bool = False
    activation: dict[str, float] | None = None


@dataclass(frozen=True)
class Sampled:
    """Everything read from a control Empty: channels by property name, layers, dials, seed, prompts; blinks are
    (second, how far the lids shut), None to have them drawn."""

    channels: dict[str, Channel] = field(default_factory=dict)
    gaze: dict[str, Channel] = field(default_factory=dict)  # "yaw", "pitch" (radians), "influence"
    layers: dict[str, dict[str, Any]] = field(default_factory=dict)
    dials: dict[str, Channel] = field(default_factory=dict)
    blinks: tuple[tuple[float, float], ...] | None = None
    prompts: tuple[PromptStrip, ...] = ()
    seed: int = 0


def to_controls(sampled: Sampled) -> dict[str, Any]:
    """The controls JSON. Channels that are zero throughout are left out (that is what absence means)."""
    channels = sampled.channels
    out: dict[str, Any] = {"kind": KIND, "format": FORMAT}
    out["emotions"] = _present(channels, EMOTIONS, 0.0)
    for name, rest, low in (("intensity", 1.0, 0.0), ("valence", 0.0, -1.0), ("arousal", 0.0, -1.0)):
        out[name] = channels[name].keys(low, 1.0) if name in channels else [[0.0, rest]]
    out["au"] = _present(channels, AU_SLIDERS, -1.0)
    if sampled.gaze:
        limits = {"yaw": np.pi, "pitch": np.pi / 2}
        out["gaze"] = {
            n: c.keys(-limits[n] if n in limits else 0.0, limits.get(n, 1.0)) for n, c in sampled.gaze.items()
        }
    out["prompts"] = [_prompt(p) for p in sampled.prompts]
    out["layers"] = {
        name: {
            "on": bool(layer.get("on", True)),
            "strength": float(layer.get("strength", 1.0)),
            "seed": int(layer.get("seed", 0)),
        }
        for name in LAYERS
        for layer in [sampled.layers.get(name, {})]
    }
    out["dials"] = {
        name: sampled.dials[name].keys(low, high)
        for name, (low, high, rest) in DIALS.items()
        if name in sampled.dials and np.any(np.abs(sampled.dials[name].values - rest) > 1e-6)
    }
    if sampled.blinks is not None:
        out["blinks"] = [[round(second, 6), round(amount, 4)] for second, amount in sampled.blinks]
    out["seed"] = int(sampled.seed)
    return out


def _present(channels: Mapping[str, Channel], names: Sequence[str], low: float) -> dict[str, list[list[float]]]:
    return {n: channels[n].keys(low, 1.0) for n in names if n in channels and not channels[n].is_zero()}


def _prompt(prompt: PromptStrip) -> dict[str, Any]:
    return {
        "text": prompt.text,
        "start": round(prompt.start, 6),
        "end": round(prompt.end, 6),
        "blend_in": round(prompt.blend_in, 6),
        "blend_out": round(prompt.blend_out, 6),
        "strength": round(prompt.strength, 5),
        "mute": prompt.mute,
        "activation": prompt.activation,
    }


def encoded(controls: Mapping[str, Any]) -> bytes:
    """UTF-8 JSON, the same bytes for the same controls."""
    return json.dumps(controls, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def fits_inline(controls: Mapping[str, Any]) -> bool:
    return len(encoded(controls)) <= INLINE_BYTES
