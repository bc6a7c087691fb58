"""`Controls` sampled at given times: keys become arrays, strips become eased activations."""

from __future__ import annotations

import numpy as np

from engine.controls.emotions import affect_au, join, label_au
from engine.controls.modulate import modulate
from engine.core.control import Controls, ControlTrack, Keys, Layer, Prompt
from engine.core.names import AU_INDEX, EMOTIONS, SIDES

FLOOR = 1.0  # share of a prompt's activation that a face shows whatever else it does: what is typed is seen


def at(keys: Keys, times: np.ndarray) -> np.ndarray:
    """Linear interpolation of (second, value) keys, constant outside them. [t] float32; 0 without keys."""
    if not keys:
        return np.zeros(len(times), np.float32)
    seconds, values = zip(*keys, strict=True)
    return np.interp(times, seconds, values).astype(np.float32)


def envelope(prompt: Prompt, times: np.ndarray) -> np.ndarray:
    """A strip's influence: 0 outside, smoothstep in and out, `strength` between. [t] float32."""
    if prompt.mute:
        return np.zeros(len(times), np.float32)
    length = prompt.end - prompt.start
    ease_in, ease_out = prompt.blend_in, prompt.blend_out
    if (both := ease_in + ease_out) > length:  # a short strip keeps the proportion of its eases
        ease_in, ease_out = ease_in * length / both, ease_out * length / both
    rise = np.clip((times - prompt.start) / max(ease_in, 1e-6), 0, 1)
    fall = np.clip((prompt.end - times) / max(ease_out, 1e-6), 0, 1)
    level = np.minimum(rise, fall)
    return (level * level * (3 - 2 * level) * prompt.strength).astype(np.float32)


def _activation(prompt: Prompt) -> dict[str, float]:
    if prompt.activation is not None:
        return prompt.activation
    from engine.controls.text import recognise

    return recognise(prompt.text).activation


def sample(controls: Controls, times: np.ndarray) -> ControlTrack:
    """The controls at `times` [t] seconds, ascending."""
    t = len(times)
    raised, denied, in_force = _words(controls, times)
    life = controls.layers.get("life", Layer())
    offset = np.zeros((t, len(AU_INDEX), 2), np.float32)
    for name, keys in controls.au.items():
        offset[:, AU_INDEX[name[:-2]], SIDES.index(name[-1])] = at(keys, times)
    emotion = np.stack([at(controls.emotions.get(name, ()), times) for name in EMOTIONS], 1)
    return ControlTrack(
        times=np.asarray(times, np.float64),
        emotion=emotion,
        intensity=at(controls.intensity, times),
        va=np.stack([at(controls.valence, times), at(controls.arousal, times)], 1),
        prompt_activation=raised,
        prompt_suppress=denied,
        prompt_floor=FLOOR * raised,
        prompt_level=in_force,
        au_offset=offset,
        modulation=controls.modulation,
        life=life.strength if life.on else 0.0,
        seed=controls.seed + life.seed,
    )


def _words(controls: Controls, times: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the strips at `times` raise and deny, [t, 18, 2] each, and how far any is in force, [t]; all in [0, 1].

    Strips that overlap are independent causes, 1 - prod(1 - strip): two that ease into each other blend without a dip.
    """
    keep_raised, keep_denied = (np.ones((len(times), len(AU_INDEX), 2), np.float32) for _ in range(2))
    in_force = np.zeros(len(times), np.float32)
    for prompt in controls.prompts:
        level, activation = envelope(prompt, times), _activation(prompt)
        if activation:
            in_force = np.maximum(in_force, level)
        for name, value in activation.items():
            au, side = AU_INDEX[name[:-2]], SIDES.index(name[-1])
            keep = keep_raised if value >= 0 else keep_denied
            keep[:, au, side] *= 1.0 - level * min(abs(value), 1.0)
    return 1.0 - keep_raised, 1.0 - keep_denied, in_force


def expression_au(track: ControlTrack) -> np.ndarray:
    """The AUs that the animator asked for. [t, 18, 2] float32 in [0, 1].

    Labels and valence-arousal are joined as independent causes; words then modulate them (controls/modulate.py); the AU
    layer is added last, because a hand-set slider is the last word.
    """
    base = join(label_au(track.emotion, track.intensity), affect_au(track.va))
    return np.clip(modulate(base, track) + track.au_offset, 0.0, 1.0).astype(np.float32)
