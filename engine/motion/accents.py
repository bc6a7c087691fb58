"""Accents: what a face adds on stressed syllables and excited phrases, from prosody alone.

Three layers, each with its switch, strength and seed: "accent" lets the strength of the keyed emotion follow how
excited the voice sounds against its own mean and swell on its stresses, "brow" moves the brows on stresses (most of
those with raised pitch, little on the others), "nod" nods on some. Which way brows go depends on what is felt: up in a
calm or lifted face, further together in a frown; and brows that are held already yield a little between the accents of
speech, for what is at its limit all the time cannot stress anything. Events are drawn in seconds from the seed, so a
performance is the same at any frame rate. They change nothing where no voice is.

Eyebrow movements go with raised pitch far more often than chance, but most pitch peaks have none (Cavé et al. 1996);
nods lie on stressed syllables and take 0.3-0.5 s (Hadar et al. 1983).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from engine.controls.emotions import affect_au, join, label_au
from engine.core.control import Controls, ControlTrack, Layer
from engine.core.names import ARTICULATION_INDEX, AU_INDEX
from engine.core.sound import Speech
from engine.speech import prosody
from engine.speech.prosody import Stress

PHRASE, SWELL = 0.14, 0.14  # of the emotion's strength: with a phrase's excitement; on the strongest stress
SWING = PHRASE + SWELL  # up and down, at most
SWELL_RISE_S, SWELL_FALL_S, SWELL_MEAN = 0.22, 0.55, 0.35  # a swell is an arc; what is taken off between swells
# A face that is keyed at full has nothing left to swell into: there the mean gives way by FULL_ROOM, and the last KNEE
# of the strength is approached, not struck: an arc that is cut off is a box.
FULL_FROM, FULL_ROOM, KNEE = 0.7, 0.08, 0.15
IDLE, IDLE_HZ = 0.20, (0.33, 0.57)  # of an accent: how far brows wander with the phrase between accents, and how fast
# On the strongest stress; a full AU01 lifts the brow of the default head by 7.8 mm, so accents move it by 1 to 3 mm.
BROWS = {"AU01": 0.36, "AU02": 0.28, "AU05": 0.12}
FROWN = {"AU04": 0.40, "AU07": 0.15}
ROOM, ROOM_AUS = 0.18, ("AU01", "AU02", "AU04")  # share that held brows give up between accents
ROOM_S = 0.15
BROW_SHARE, BROW_APART_S = 0.75, 0.9  # of the stresses with raised pitch; least distance
BROW_LEAST, BROW_MINOR = 0.45, 0.4  # height on the weakest stress; share of a height on a stress that is not answered
BROW_RISE_S, BROW_HOLD_S, BROW_FALL_S = 0.18, 0.04, 0.44  # onset, apex, offset
NOD_SHARE, NOD_APART_S = 0.65, 0.7
NOD_RAD = 0.075  # 4 degrees, on the strongest stress
NOD_DOWN_S, NOD_UP_S = 0.16, 0.30
_IDS = {"accent": 11, "brow": 12, "nod": 13}


def layer_of(controls: Controls, name: str) -> Layer:
    """A layer of the controls, switched on at strength 1 where they do not say."""
    return controls.layers.get(name, Layer())


def _voice(speech: Speech) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(energy, pitch Hz, voice), each [t], zero where the speech has none."""
    rows = len(speech.articulation)
    energy, pitch = (speech.prosody.get(name, np.zeros(rows, np.float32)) for name in ("energy", "f0_hz"))
    return energy, pitch, speech.articulation[:, ARTICULATION_INDEX["voice"]]


def stresses_of(speech: Speech) -> Stress:
    """Stressed syllables of a voice; none where its energy is not known."""
    return prosody.stresses(*_voice(speech))


def chosen(stress: Stress, controls: Controls, name: str, share: float, apart: float) -> np.ndarray:
    """Indices of the stresses that a layer answers, by its seed: the stronger the likelier, `apart` seconds or more."""
    rng = np.random.default_rng([controls.seed, _IDS[name], layer_of(controls, name).seed])
    wanted = rng.random(len(stress.times)) < share * (0.5 + stress.strength)
    out: list[int] = []
    for i in np.flatnonzero(wanted):
        if not out or stress.times[i] - stress.times[out[-1]] >= apart:
            out.append(int(i))
    return np.array(out, int)


def bumps(
    at: np.ndarray, height: np.ndarray, times: np.ndarray, rise: float, hold: float, fall: float
) -> np.ndarray:  # fmt: skip
    """Smooth hills: at [n] seconds of their tops' beginnings, height [n] -> [t] at `times`; the higher one counts."""
    out = np.zeros(len(times))
    for second, top in zip(at, height, strict=True):
        a, b = np.searchsorted(times, [second - rise, second + hold + fall])
        near = times[a:b]
        up = np.clip((near - second + rise) / rise, 0, 1)
        down = np.clip((second + hold + fall - near) / fall, 0, 1)
        level = np.minimum(up, down)
        out[a:b] = np.maximum(out[a:b], top * level * level * (3 - 2 * level))
    return out


def brow_raises(speech: Speech, controls: Controls, times: np.ndarray) -> np.ndarray:
    """How far the brows go on stress. times [t] seconds -> [t] in [0, 1]; zero where the layer is off."""
    layer = layer_of(controls, "brow")
    if not layer.on:
        return np.zeros(len(times))
    stress = stresses_of(speech)
    if not len(stress.times):  # no prosody, or a voice without any: nothing to follow
        return np.zeros(len(times))
    height = BROW_LEAST + (1.0 - BROW_LEAST) * stress.strength
    high = np.flatnonzero(stress.rise > 0.5)
    picked = high[chosen(stress.only(high), controls, "brow", BROW_SHARE, BROW_APART_S)]
    height[np.setdiff1d(np.arange(len(height)), picked)] *= BROW_MINOR
    # The top is reached on the nucleus: brows lead the word a little.
    level = bumps(stress.times, height, times, BROW_RISE_S, BROW_HOLD_S, BROW_FALL_S)
    level = level + IDLE * _lilt(speech, controls, times) * (1.0 - level)
    return np.clip(level * layer.strength, 0, 1)


def _lilt(speech: Speech, controls: Controls, times: np.ndarray) -> np.ndarray:
    """How brows wander while someone speaks: with how excited the phrase sounds, and of themselves. [t] in [0, 1],
    0 in silence. times [t] seconds."""
    excited = np.interp(times, speech.times, 0.5 * (1.0 + prosody.arousal(*_voice(speech))))
    rng = np.random.default_rng([controls.seed, _IDS["brow"], layer_of(controls, "brow").seed, 1])
    waves = [np.sin(2 * np.pi * (hz * times + phase)) for hz, phase in zip(IDLE_HZ, rng.random(2), strict=True)]
    wander = 0.5 + 0.25 * sum(waves)
    return (0.4 * excited + 0.6 * wander) * np.interp(times, speech.times, _talking(speech))


def nods(speech: Speech, controls: Controls, times: np.ndarray) -> np.ndarray:
    """Pitch of the head on stresses, radians, positive = chin down. times [t] seconds -> [t]; zero where it is off."""
    layer = layer_of(controls, "nod")
    if not layer.on:
        return np.zeros(len(times))
    stress = stresses_of(speech)
    picked = chosen(stress, controls, "nod", NOD_SHARE, NOD_APART_S)
    down = bumps(stress.times[picked], stress.strength[picked], times, NOD_DOWN_S, 0.02, NOD_UP_S)
    return NOD_RAD * down * layer.strength


def swing(speech: Speech, controls: Controls, times: np.ndarray) -> np.ndarray:
    """Factor on the emotion's strength, 1 on average. times [t] seconds -> [t]; 1 where the layer is off."""
    layer = layer_of(controls, "accent")
    if not layer.on:
        return np.ones(len(times))
    voice = _voice(speech)
    excited = np.interp(times, speech.times, prosody.arousal(*voice))
    stress = prosody.stresses(*voice)
    if not len(stress.times):
        return 1.0 + PHRASE * layer.strength * excited
    arcs = bumps(stress.times, stress.strength, times, SWELL_RISE_S, 0.0, SWELL_FALL_S)
    swell = arcs - SWELL_MEAN * np.interp(times, speech.times, _talking(speech)) * (1.0 - arcs)
    return 1.0 + layer.strength * (PHRASE * excited + SWELL * swell)


class Accented:
    """Controls sampled at times, with the accents of one voice: brows as an offset of their action units, the
    emotion's strength swinging. Prosody is computed once."""

    def __init__(self, speech: Speech, controls: Controls):
        grid = speech.times
        self._times = grid
        self._brow = brow_raises(speech, controls, grid)
        self._swing = swing(speech, controls, grid)
        accent, layer = layer_of(controls, "accent"), layer_of(controls, "brow")
        swings = accent.on and bool(np.any(self._swing != 1.0))
        self._swings = _talking(speech) * (min(accent.strength, 1.0) if swings else 0.0)
        known = layer.on and self._brow.any()  # a voice without prosody takes nothing from a held brow
        self._room = ROOM * min(layer.strength, 1.0) * _talking(speech) if known else np.zeros(len(grid))

    def _at(self, curve: np.ndarray, times: np.ndarray, empty: float) -> np.ndarray:
        return np.interp(times, self._times, curve) if len(self._times) else np.full(len(times), empty)

    def __call__(self, track: ControlTrack) -> ControlTrack:
        """`track` with the accents added. The keyed curves stay what they are: this is a copy."""
        brow, room = (self._at(curve, track.times, 0.0)[:, None] for curve in (self._brow, self._room))
        intensity = self._swung(track).astype(np.float32)
        felt = join(label_au(track.emotion, intensity), affect_au(track.va))
        frown = np.clip(felt[:, AU_INDEX["AU04"]] - felt[:, AU_INDEX["AU01"]], 0.0, 1.0)
        offset = track.au_offset.copy()
        # A brow that the animator holds down is not raised against it.
        free = 1.0 - np.clip(-offset[:, AU_INDEX["AU01"]].min(1, keepdims=True), 0, 1)
        for name in ROOM_AUS:
            offset[:, AU_INDEX[name]] -= room * (1.0 - brow) * felt[:, AU_INDEX[name]]
        for weights, share in ((BROWS, free * (1.0 - frown)), (FROWN, frown)):
            for name, weight in weights.items():
                left = np.clip(1.0 - felt[:, AU_INDEX[name]], 0.0, weight)  # as far as the brow still can
                offset[:, AU_INDEX[name]] += (left * brow * share).astype(np.float32)
        return replace(track, au_offset=offset, intensity=intensity)

    def _swung(self, track: ControlTrack) -> np.ndarray:
        """The emotion's strength with the swing of the voice. [t]."""
        speaking = self._at(self._swings, track.times, 0.0)
        full = np.clip((track.intensity - FULL_FROM) / (1.0 - FULL_FROM), 0.0, 1.0)
        out = track.intensity * (self._at(self._swing, track.times, 1.0) - FULL_ROOM * full * speaking)
        over = np.maximum(out - (1.0 - KNEE), 0.0)
        return out - speaking * (over - KNEE * np.tanh(over / KNEE))


def _talking(speech: Speech) -> np.ndarray:
    """[t] in [0, 1]: how far someone is in the middle of speaking, eased over ROOM_S."""
    from scipy.ndimage import gaussian_filter1d

    return gaussian_filter1d(speech.articulation[:, ARTICULATION_INDEX["voice"]].astype(float), 50 * ROOM_S)
