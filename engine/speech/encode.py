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
from engine.core.names import ARTICULATION_INDEX
from engine.core.progress import SILENT, Reporter
from engine.core.sound import Audio, Features, Speech
from engine.speech import prosody
from engine.speech.decode import articulate as articulate
from engine.speech.decode import open_gate as open_gate

# One line for each encoder: its module has `accepts(path) -> bool` and `load(path) -> Encoder`.
ENCODERS: tuple[str, ...] = ("engine.speech.pretrained", "engine.speech.embedded")


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
