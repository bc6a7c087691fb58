"""A script performed: voice, exact phones, and the whole face at 50 Hz.

The face is not a sum of mouth and mood: mood changes the way of speaking (motion/manner.py), speech owns jaw and lips
and a smile yields to rounding (motion/direct.py), contacts are sealed on the head under the expression
(motion/contacts.py), and the person's habits act on all of it. How phones move the mouth is articulate.py.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.controls.track import sample
from engine.core.anatomy import Head
from engine.core.control import Controls, ControlTrack
from engine.core.names import ARKIT, ARKIT_INDEX, ARTICULATION_INDEX
from engine.core.phones import Segment
from engine.core.sound import SAMPLE_RATE, Audio, Cue, Features, Speech
from engine.head.action_units import to_shapes
from engine.motion.contacts import about_to_speak, part, seal
from engine.motion.direct import JAW, blend, conversing, late, mouth
from engine.motion.layers import Layers, make_layers
from engine.motion.life import living_au
from engine.motion.manner import coloured
from engine.motion.perform import sampler, with_layers
from engine.speech.frontend import log_mel
from engine.speech.prosody import energy, f0
from engine.studio.performances.articulate import RATE_HZ, jaw_most, varied
from engine.studio.performances.people import Person
from engine.studio.performances.script import Line, Script, controls
from engine.studio.speech_corpus import espeak
from engine.studio.speech_corpus.build import resample

LEAD_IN_S = 0.4
_MOODS = Path(__file__).with_name("manners_of_speech.json")


@dataclass(frozen=True)
class Performance:
    """One clip. audio at 16 kHz; segments: IPA phones in seconds; at 50 Hz: arkit [t, 52], extra [t, 7], au [t, 18, 2]
    of the acting face; layers: its blinks, gaze and head motion (`whole` lays them over); contact [t, 3] (closure, lip
    on teeth, voice); track: the controls at those times; keyed: their keys."""

    script: Script
    audio: np.ndarray
    segments: tuple[Segment, ...]
    arkit: np.ndarray
    extra: np.ndarray
    au: np.ndarray
    contact: np.ndarray
    layers: Layers
    track: ControlTrack
    keyed: Controls

    @property
    def duration(self) -> float:
        return len(self.audio) / SAMPLE_RATE


@functools.cache
def _moods() -> dict[str, dict[str, float]]:
    return {k: v for k, v in json.loads(_MOODS.read_text(encoding="utf-8")).items() if k != "about"}


def say(script: Script) -> tuple[np.ndarray, tuple[Segment, ...], np.ndarray]:
    """(samples [n] at 16 kHz, phones in seconds, start of each line [lines]). Raises BadInput as espeak does.

    espeak carries its oscillators' phases from call to call, which moves phones by up to a millisecond: a set is the
    same to the last bit when it is made in one run, else to that.
    """
    who = script.person
    return _said(script.seed, script.lines, who.voice, who.rate, who.pitch)


@functools.lru_cache(maxsize=4)
def _said(
    seed: int, lines: tuple[Line, ...], voice: str, habit_rate: int, habit_pitch: int
) -> tuple[np.ndarray, tuple[Segment, ...], np.ndarray]:
    """Two sayings of one script share the voice: only the face differs."""
    rng = np.random.default_rng([seed, 3])
    parts, segments, starts = [np.zeros(int(LEAD_IN_S * SAMPLE_RATE), np.float32)], [("_", 0.0, LEAD_IN_S)], []
    at = LEAD_IN_S
    for line in lines:
        mood = _moods().get(line.feeling, {})
        amount = line.intensity

        def turned(name: str, mood: dict[str, float] = mood, amount: float = amount) -> float:
            return float(mood.get(name, 1.0) ** amount)

        rate = int(np.clip(habit_rate * turned("rate") * rng.normal(1, 0.03), 90, 300))
        pitch = int(np.clip(habit_pitch + mood.get("pitch", 0) * amount, 5, 95))
        spread = int(np.clip(50 * turned("spread") * rng.normal(1, 0.05), 5, 99))
        wave, hz, phones = espeak.speak(line.text, voice, rate, pitch, spread)
        wave = resample(wave, hz) * np.float32(10 ** (mood.get("gain_db", 0) * amount / 20))
        starts.append(at)
        segments += [(p, a + at, b + at) for p, a, b in phones]
        pause = np.zeros(int(line.pause * SAMPLE_RATE), np.float32)
        parts += [wave, pause]
        at += (len(wave) + len(pause)) / SAMPLE_RATE
    samples = np.concatenate(parts)
    samples *= np.float32(0.5 / max(float(np.abs(samples).max()), 1e-6))
    return samples, tuple(segments), np.array(starts)


def _habit(articulation: np.ndarray, who: Person) -> np.ndarray:
    """The person's own way of opening, rounding and spreading."""
    out = articulation.copy()
    groups = {
        "jaw": ("jaw_open",),
        "open": ("upper_lip_raise", "lower_lip_drop"),
        "round": ("round", "funnel"),
        "spread": ("spread",),
    }
    for name, channels in groups.items():
        for channel in channels:
            out[:, ARTICULATION_INDEX[channel]] *= who.mouth[name]
    return np.clip(out, 0.0, 1.0)


def perform(script: Script, head: Head, take: int = 0) -> Performance:
    """The clip on this head. take: another number is another saying of the same script by the same person."""
    samples, segments, starts = say(script)
    rows = int(np.ceil(len(samples) / SAMPLE_RATE * RATE_HZ))
    rng = np.random.default_rng([script.seed, 4, take])
    articulation = _habit(varied(segments, rows, rng), script.person)
    voice = {"energy": np.resize(energy(log_mel(samples)), rows), "f0_hz": f0(samples, rows)}
    cues = tuple(Cue(*s) for s in segments)
    features = Features("none", "none", float(RATE_HZ), 0.0, np.zeros((rows, 0), np.float16))
    speech = Speech(articulation, features, len(samples) / SAMPLE_RATE, voice, cues)
    keyed = dataclasses.replace(controls(script, starts, speech.duration), seed=script.seed + take)
    times = speech.times
    track = sample(keyed, times)
    arkit, extra, au, contact = _face(script.person, speech, keyed, track, head)
    layers = make_layers(speech, keyed, times)
    layers = dataclasses.replace(layers, head=layers.head * np.float32(script.person.nod))
    return Performance(script, samples, segments, arkit, extra, au, contact, layers, track, keyed)


def whole(made: Performance) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The face with blinks, gaze and head motion: arkit [t, 52], extra [t, 7], pose [t, 15] (ARKit form)."""
    arkit, extra = with_layers(made.arkit, made.extra, made.layers)
    pose = np.zeros((len(arkit), 15), np.float32)
    pose[:, 3:6] = made.layers.head
    eyes = np.stack([-made.layers.gaze[:, 1], made.layers.gaze[:, 0], np.zeros(len(arkit), np.float32)], 1)
    pose[:, 9:12], pose[:, 12:15] = eyes, eyes
    return arkit, extra, pose


def face_of(
    au: np.ndarray, spoken: np.ndarray, press: np.ndarray | float, said: tuple[Segment, ...], times: np.ndarray
) -> np.ndarray:
    """Action units [t, 18, 2] and speech [t, 11] as one face [t, 59] before its contacts: direct.py's rules, and no
    mood gapes at an s. press: firmness of closures; said: phones in seconds; times [t]."""
    talking = conversing(spoken[:, ARTICULATION_INDEX["voice"]], RATE_HZ)
    face = blend(np.concatenate(mouth(spoken, press), 1), np.concatenate(to_shapes(au), 1), spoken, talking)
    jaw = ARKIT_INDEX["jawOpen"]
    face[:, jaw] = np.minimum(face[:, jaw], JAW * jaw_most(said, times))
    return face


def _face(
    who: Person, speech: Speech, keyed: Controls, track: ControlTrack, head: Head
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(arkit [t, 52], extra [t, 7], au [t, 18, 2], contact [t, 3]) before blinks, gaze and head motion."""
    times = track.times
    spoken, press = coloured(speech.articulation, track)
    au = living_au(sampler(speech, keyed), times)
    au = np.clip(au * who.au_gain + who.rest * (1.0 - au), 0.0, 1.0)
    said = tuple((cue.phone, cue.start, cue.end) for cue in speech.cues)
    arkit, extra = np.split(face_of(au, spoken, press, said, times), [len(ARKIT)], 1)
    closure = late(spoken[:, ARTICULATION_INDEX["lip_close"]])
    bite, voice = (spoken[:, ARTICULATION_INDEX[name]] for name in ("labiodental", "voice"))
    arkit = part(head, arkit, about_to_speak(times, voice), np.maximum(closure, bite))
    arkit, extra = seal(head, arkit, extra, closure)
    contact = np.stack([closure, bite, voice], 1).astype(np.float32)
    return arkit, extra, au.astype(np.float32), contact


def voice_of(performance: Performance) -> Audio:
    """The clip's sound as the engine hears it."""
    import hashlib

    return Audio(performance.audio, hashlib.sha256(performance.audio.tobytes()).hexdigest())
