"""`Controls` sampled at given times: keys become arrays, strips become eased activations."""

from __future__ import annotations

import numpy as np

from engine.controls.emotions import affect_au, join, label_au
from engine.core.control import Controls, ControlTrack, Keys, Prompt
from engine.core.names import AU_INDEX, EMOTIONS, SIDES

FLOOR = 0.6  # share of a prompt's activation that a face shows whatever else it does


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
    raise_, deny, floor = (np.zeros((t, len(AU_INDEX), 2), np.float32) for _ in range(3))
    for prompt in controls.prompts:
        level = envelope(prompt, times)
        for name, value in _activation(prompt).items():
            au, side = AU_INDEX[name[:-2]], SIDES.index(name[-1])
            if value >= 0:
                raise_[:, au, side] = np.maximum(raise_[:, au, side], level * value)
                floor[:, au, side] = np.maximum(floor[:, au, side], level * value * FLOOR)
            else:
                deny[:, au, side] = np.maximum(deny[:, au, side], level * -value)
    offset = np.zeros((t, len(AU_INDEX), 2), np.float32)
    for name, keys in controls.au.items():
        offset[:, AU_INDEX[name[:-2]], SIDES.index(name[-1])] = at(keys, times)
    emotion = np.stack([at(controls.emotions.get(name, ()), times) for name in EMOTIONS], 1)
    return ControlTrack(
        times=np.asarray(times, np.float64),
        emotion=emotion,
        intensity=at(controls.intensity, times),
        va=np.stack([at(controls.valence, times), at(controls.arousal, times)], 1),
        prompt_activation=raise_,
        prompt_suppress=deny,
        prompt_floor=floor,
        au_offset=offset,
    )


def expression_au(track: ControlTrack) -> np.ndarray:
    """The AUs that the animator asked for. [t, 18, 2] float32 in [0, 1].

    Labels and valence-arousal are joined as independent causes; words then deny and raise (never below their
    floor); the AU layer is added last, because a hand-set slider is the last word.
    """
    base = join(label_au(track.emotion, track.intensity), affect_au(track.va))
    worded = join(base * (1.0 - track.prompt_suppress), track.prompt_activation)
    worded = np.maximum(worded, track.prompt_floor)
    return np.clip(worded + track.au_offset, 0.0, 1.0).astype(np.float32)
