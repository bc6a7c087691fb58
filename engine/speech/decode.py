"""What an encoder heard -> articulation: decoded contacts, calm channels, and a gate that shuts the mouth in silence.

The gate has two parts. Where: the net's voice activity, with ramps, over pauses too short to shut a mouth. Whether: a
stretch is kept only if the net could make phones of it. What still wakes a voice detector that was trained against
music, breath, hum and clicks fits no phone well, or holds no vowel.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from engine.core.names import ARTICULATION, ARTICULATION_INDEX
from engine.core.phones import CHANNELS, class_names, parts, phone_class
from engine.core.progress import SILENT, Reporter
from engine.core.spans import runs
from engine.speech import events as ev
from engine.speech.frontend import loudness
from engine.speech.net_phones import FINE

if TYPE_CHECKING:
    from engine.speech.encode import Heard

SILENT_S = 0.20  # a pause longer than this shuts the mouth
LEAD_S, DECAY_S = 0.12, 0.16  # the mouth opens ahead of the sound and closes after it
QUIET = 0.08  # energy (0-1, 40 dB span) below which no frame is speech
# A held vowel must stand as still as in a coarticulated reference, and no transition may lose its edge: rows of 20 ms
# are averaged over CALM_ROWS (standard deviation) as far as they differ by less than about CALM_SPAN.
CALM_ROWS, CALM_SPAN, _FIRST_ROWS = 3.0, 0.12, 0.5
_SHAPED = ("round", "funnel")  # the net's own lip shape is already slow
# Least mean probability of the likeliest class in a believed stretch; how much less is asked of a short one.
SURE, LENIENT, LENIENT_S = 0.42, 0.12, 3.0
DOUBTED = 0.62  # asked of each stretch of a file that holds no voice as a whole
VOWEL, ACTIVE = 0.55, 0.93  # breath: the surest fifth of its frames is no vowel, and the voice detector is not sure
BRIEF_S, BRIEF_VOICE, BRIEF_VOWEL = 0.45, 0.88, 0.80  # a click is briefer; of a word that brief both are surer


def articulate(heard: Heard, energy: np.ndarray, report: Reporter = SILENT) -> np.ndarray:
    """Decode events and gate silence. energy [t] in [0, 1] -> [t, 11] float32 in [0, 1]."""
    rows = len(heard.channels)
    times = np.arange(rows) / 50.0
    out = np.zeros((rows, len(ARTICULATION)), np.float32)
    for channel, values in zip(CHANNELS, calm(heard.channels).T, strict=True):
        out[:, ARTICULATION_INDEX[channel]] = values
    voice = believed(heard.events["voice"] * np.repeat(energy > QUIET, 2), heard.phones)
    gate = open_gate(voice)
    out *= gate[:, None]
    shut, bite = contacts(heard, voice, gate, report)
    out[:, ARTICULATION_INDEX["lip_close"]] = ev.curve(shut, times, ev.CLOSURE.ramp)
    out[:, ARTICULATION_INDEX["labiodental"]] = ev.curve(bite, times, ev.LABIODENTAL.ramp)
    out[:, ARTICULATION_INDEX["labiodental"]] *= 1.0 - out[:, ARTICULATION_INDEX["lip_close"]]
    out[:, ARTICULATION_INDEX["voice"]] = gate * (0.5 * (voice[::2] + voice[1::2]) > 0.4)
    return np.clip(out, 0.0, 1.0)


def contacts(
    heard: Heard, voice: np.ndarray, gate: np.ndarray, report: Reporter = SILENT
) -> tuple[list[ev.Interval], list[ev.Interval]]:
    """Closures and lip-to-teeth contacts in seconds. voice [2t] at 100 Hz as believed, gate [t] at 50 Hz."""
    seconds = ev.speech_seconds(voice)
    silent = ev.silent_gaps(loudness(heard.mel))
    found, p = {}, {}
    for kind, rule, gaps in (("closure", ev.CLOSURE, silent), ("labiodental", ev.LABIODENTAL, None)):
        report.check()
        rule = ev.with_threshold(rule, heard.thresholds.get(kind, rule.threshold))
        p[kind] = ev.calibrated(heard.events[kind], rule, seconds)
        found[kind] = [e for e in ev.decode(p[kind], rule, gaps) if gate_at(gate, e) > 0.05]
    shut, bite = ev.rivals(found["closure"], p["closure"], found["labiodental"], p["labiodental"])
    return ev.at_onsets(shut, p["closure"], [first for first, _ in stretches(voice)]), bite


def calm(channels: np.ndarray) -> np.ndarray:
    """Channels [t, 8] without the net's flicker: a bilateral filter in time (Tomasi & Manduchi 1998, eq. 1-3)."""
    from scipy.ndimage import gaussian_filter1d

    guide = gaussian_filter1d(channels, _FIRST_ROWS, axis=0, mode="nearest")
    reach = int(3 * CALM_ROWS) + 1
    padded = np.pad(guide, ((reach, reach), (0, 0)), mode="edge")
    total, weights = np.zeros_like(guide), np.zeros_like(guide)
    for k in range(-reach, reach + 1):
        other = padded[reach + k : reach + k + len(guide)]
        weight = np.exp(-0.5 * ((k / CALM_ROWS) ** 2 + ((other - guide) / CALM_SPAN) ** 2))
        total += weight * other
        weights += weight
    out = total / weights
    shaped = [CHANNELS.index(name) for name in _SHAPED]
    out[:, shaped] = channels[:, shaped]
    return out


def stretches(voice: np.ndarray) -> list[tuple[int, int]]:
    """Runs of speech with the pauses in them that do not shut a mouth: [(first, one past the last frame)] at 100 Hz."""
    out: list[tuple[int, int]] = []
    for a, b in runs(voice > 0.5):
        if b - a < 4:
            continue
        if out and a - out[-1][1] < 100 * SILENT_S:
            out[-1] = (out[-1][0], b)
        else:
            out.append((a, b))
    return out


def open_gate(voice: np.ndarray) -> np.ndarray:
    """1 during speech and short pauses, 0 in longer ones, with ramps. voice [2t] at 100 Hz -> [t] float32."""
    times = np.arange(len(voice) // 2) / 50.0
    out = np.zeros(len(times), np.float32)
    for first, last in stretches(voice):
        a, b = first / 100, last / 100
        i, j = np.searchsorted(times, [a - LEAD_S, b + DECAY_S])
        away = np.clip(np.maximum((a - times[i:j]) / LEAD_S, (times[i:j] - b) / DECAY_S), 0, 1)
        out[i:j] = np.maximum(out[i:j], 0.5 + 0.5 * np.cos(np.pi * away))
    return out


def gate_at(gate: np.ndarray, event: ev.Interval) -> float:
    """The gate's largest value within an event (seconds)."""
    a, b = int(event[0] * 50), int(np.ceil(event[1] * 50)) + 1
    return float(gate[a:b].max(initial=0.0))


def believed(voice: np.ndarray, phones: np.ndarray | None) -> np.ndarray:
    """Voice activity without the stretches of which the net can make no phones. voice [2t] at 100 Hz -> [2t].

    phones [t, n] at 50 Hz: probabilities of the classes or of `net_phones.FINE`; None: everything is believed.
    """
    if phones is None or not (spans := stretches(voice)):
        return voice
    classes = class_probabilities(phones)
    surest, vowels = classes.max(1), classes[:, [phone_class(n).vowel for n in class_names()]].sum(1)
    judged = []
    for a, b in spans:
        rows = np.flatnonzero(voice[a:b:2] > 0.5) + a // 2
        rows = rows[rows < len(surest)]
        best = np.sort(vowels[rows])[-max(1, len(rows) // 5) :] if len(rows) else np.zeros(1)
        certain = float(surest[rows].mean()) if len(rows) else 0.0
        judged.append((certain, float(best[0]), float(voice[a:b][voice[a:b] > 0.5].mean())))
    lengths = np.array([(b - a) / 100 for a, b in spans])
    shares = lengths / lengths.sum()
    certainty = float(np.array([certain for certain, _, _ in judged]) @ shares)
    no_voice = certainty < _least(float(lengths.sum()))
    out = voice.copy()
    for (a, b), length, (certain, vowel, activity) in zip(spans, lengths, judged, strict=True):
        least = DOUBTED if no_voice else _least(float(length))
        click = length < BRIEF_S and (activity < BRIEF_VOICE or vowel < BRIEF_VOWEL)
        breath = vowel < VOWEL and activity < ACTIVE
        if certain < least or breath or click:
            out[a:b] = 0.0
    return out


def _least(seconds: float) -> float:
    """What is asked of a stretch of that length: a second of a rare voice may be as unclear as music."""
    return SURE - LENIENT * float(np.exp(-seconds / LENIENT_S))


@cache
def _class_of_fine() -> np.ndarray:
    """[FINE, classes]: 1 where a fine phone belongs to a class."""
    names = class_names()
    out = np.zeros((len(FINE), len(names)))
    for i, symbol in enumerate(FINE):
        out[i, names.index(parts(symbol)[0][0].name)] = 1.0
    return out


def class_probabilities(phones: np.ndarray) -> np.ndarray:
    """Probabilities [t, n] of classes or of fine phones -> of `class_names()` [t, classes]."""
    return phones if phones.shape[1] == len(class_names()) else phones @ _class_of_fine()
