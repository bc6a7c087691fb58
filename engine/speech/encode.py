"""`encode(audio) -> Speech`: any registered encoder's output decoded into articulation, features and prosody."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Protocol

import numpy as np

from engine.assets import registry
from engine.core.errors import BadInput
from engine.core.names import ARTICULATION, ARTICULATION_INDEX
from engine.core.phones import CHANNELS
from engine.core.progress import SILENT, Reporter
from engine.core.sound import Audio, Features, Speech
from engine.core.spans import runs
from engine.speech import events as ev
from engine.speech import prosody

# One line for each encoder: its module has `accepts(path) -> bool` and `load(path) -> Encoder`.
ENCODERS: tuple[str, ...] = ("engine.speech.pretrained", "engine.speech.embedded")

SILENT_S = 0.20  # a pause longer than this shuts the mouth
LEAD_S, DECAY_S = 0.12, 0.16  # the mouth opens ahead of the sound and closes after it
QUIET = 0.08  # energy (0-1, 40 dB span) below which no frame is speech


@dataclass(frozen=True)
class Heard:
    """What an encoder hears, before decoding.

    events: name -> [2t] float32 probability at 100 Hz ("closure", "labiodental", "round", "voice").
    channels [t, 8] float32 in [0, 1] (`phones.CHANNELS`). features: [t, d]. mel [2t, 64]: natural log power.
    thresholds: default threshold of an event kind where the checkpoint states its own.
    phones: [t, n] float32 probabilities at 50 Hz of `phones.class_names()`, or of `net_phones.FINE` from a net that
    tells those apart: what alignment needs; None if the encoder has none.
    """

    events: Mapping[str, np.ndarray]
    channels: np.ndarray
    features: Features
    mel: np.ndarray
    thresholds: Mapping[str, float]
    phones: np.ndarray | None = None


class Encoder(Protocol):
    def __call__(self, audio: Audio, report: Reporter = SILENT) -> Heard: ...


def load_encoder(name: str = "default", download: bool = False) -> Encoder:
    """An encoder by its registry name, the path of a checkpoint or of a pretrained model's folder, or a hub id.

    download: whether a hub id that is not in the local cache may be fetched. Raises BadInput, BadFile, Missing.
    """
    path = Path(name).expanduser() if registry.is_path(name) else registry.resolve(name, "speech")
    if not path.exists():
        from engine.speech.hub import folder_of

        path = folder_of(name, download)
    return _load(str(path), _stamp(path))


def _stamp(path: Path) -> int:
    """Changes when the file does, or the adapter of a pretrained model's folder."""
    if path.is_dir():
        from engine.speech.pretrained import adapter_time

        return adapter_time(path)
    return path.stat().st_mtime_ns


@lru_cache(maxsize=2)
def _load(path: str, _mtime_ns: int) -> Encoder:
    for module_name in ENCODERS:
        module = import_module(module_name)
        if module.accepts(Path(path)):
            return module.load(Path(path))
    raise BadInput(f"{path} is no speech encoder that this version knows")


def encode(audio: Audio, name: str = "default", report: Reporter = SILENT) -> Speech:
    """Articulation [t, 11] at 50 Hz, 64-d features and prosody of a voice; t = ceil(50 duration).

    lip_close and labiodental are decoded events: 1.0 while the lips must touch, smooth ramps around. In pauses
    longer than 0.2 s every channel goes to 0: the mouth is shut and still. Raises Cancelled, and what
    `load_encoder` raises.
    """
    return speech_of(load_encoder(name)(audio, report), audio, report)


def speech_of(heard: Heard, audio: Audio, report: Reporter = SILENT) -> Speech:
    """What was heard of a voice, decoded: see `encode`. Raises Cancelled."""
    energy = prosody.energy(heard.mel)
    report.check()
    pitch = prosody.f0(audio.samples, len(energy), report)
    if prosody.is_steady_noise(heard.mel, pitch):
        energy = np.zeros_like(energy)
    articulation = articulate(heard, energy, report)
    pitch = np.where(articulation[:, ARTICULATION_INDEX["voice"]] > 0.5, pitch, 0).astype(np.float32)
    return Speech(articulation, heard.features, audio.duration, {"energy": energy, "f0_hz": pitch})


def articulate(heard: Heard, energy: np.ndarray, report: Reporter = SILENT) -> np.ndarray:
    """Decode events and gate silence. energy [t] in [0, 1] -> [t, 11] float32 in [0, 1]."""
    rows = len(heard.channels)
    times = np.arange(rows) / 50.0
    out = np.zeros((rows, len(ARTICULATION)), np.float32)
    for i, channel in enumerate(CHANNELS):
        out[:, ARTICULATION_INDEX[channel]] = heard.channels[:, i]
    voice = heard.events["voice"] * np.repeat(energy > QUIET, 2)
    gate = open_gate(voice)
    out *= gate[:, None]
    seconds = ev.speech_seconds(voice)
    found = {}
    for kind, rule in (("closure", ev.CLOSURE), ("labiodental", ev.LABIODENTAL)):
        report.check()
        rule = ev.with_threshold(rule, heard.thresholds.get(kind, rule.threshold))
        found[kind] = [e for e in ev.decode(heard.events[kind], rule, seconds) if gate_at(gate, e) > 0.05]
    shut, bite = ev.rivals(found["closure"], heard.events["closure"], found["labiodental"], heard.events["labiodental"])
    out[:, ARTICULATION_INDEX["lip_close"]] = ev.curve(shut, times, ev.CLOSURE.ramp)
    out[:, ARTICULATION_INDEX["labiodental"]] = ev.curve(bite, times, ev.LABIODENTAL.ramp)
    out[:, ARTICULATION_INDEX["labiodental"]] *= 1.0 - out[:, ARTICULATION_INDEX["lip_close"]]
    out[:, ARTICULATION_INDEX["voice"]] = gate * (0.5 * (voice[::2] + voice[1::2]) > 0.4)
    return np.clip(out, 0.0, 1.0)


def open_gate(voice: np.ndarray) -> np.ndarray:
    """1 during speech and short pauses, 0 in longer ones, with ramps. voice [2t] at 100 Hz -> [t] float32."""
    speaking = voice > 0.5
    spoken = [(a / 100, b / 100) for a, b in runs(speaking) if b - a >= 4]
    joined: list[tuple[float, float]] = []
    for a, b in spoken:
        if joined and a - joined[-1][1] < SILENT_S:
            joined[-1] = (joined[-1][0], b)
        else:
            joined.append((a, b))
    times = np.arange(len(voice) // 2) / 50.0
    out = np.zeros(len(times), np.float32)
    for a, b in joined:
        i, j = np.searchsorted(times, [a - LEAD_S, b + DECAY_S])
        away = np.clip(np.maximum((a - times[i:j]) / LEAD_S, (times[i:j] - b) / DECAY_S), 0, 1)
        out[i:j] = np.maximum(out[i:j], 0.5 + 0.5 * np.cos(np.pi * away))
    return out


def gate_at(gate: np.ndarray, event: ev.Interval) -> float:
    """The gate's largest value within an event (seconds)."""
    a, b = int(event[0] * 50), int(np.ceil(event[1] * 50)) + 1
    return float(gate[a:b].max(initial=0.0))
