"""The legibility protocol: voices x labels x intensities through a motion system, read by the measuring net.

Each clip is performed once per label and intensity, then at EmoTalkingGaussian's twelve points of valence and arousal
(eight at radius 0.8, four at 0.5; its S9). What the net makes of them is `engine.measure.legibility`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.core.anatomy import Head
from engine.core.control import Controls, Layer
from engine.core.errors import BadInput
from engine.core.names import EMOTIONS
from engine.core.progress import SILENT, Reporter
from engine.core.sound import Audio
from engine.measure.legibility import EIGHT, Reading, accuracy, load_reader, read_clip, va_agreement

INTENSITIES = {"mild": 0.5, "strong": 1.0}
FPS = 25
SKIP_S = 0.4  # the mouth opens first
OTHERS = EMOTIONS[len(EIGHT) :]


def va_points() -> np.ndarray:
    """EmoTalkingGaussian's twelve points. [12, 2]."""
    outer = np.radians(np.arange(8) * 45.0)
    inner = np.radians(45.0 + np.arange(4) * 90.0)
    rings = [r * np.stack([np.cos(a), np.sin(a)], 1) for r, a in ((0.8, outer), (0.5, inner))]
    return np.concatenate(rings)


def _still() -> Controls:
    """Blinks and gaze are random and mean nothing here; the life of expressions stays on."""
    return Controls(layers={name: Layer(on=False) for name in ("blink", "gaze", "head")})


def legibility(
    voices: Sequence[Audio],
    motion: str = "direct",
    head: Head | None = None,
    speech: str = "default",
    intensities: dict[str, float] = INTENSITIES,
    report: Reporter = SILENT,
) -> dict[str, Any]:
    """Figures of a motion system on these voices (see the module's head). Raises BadInput without voices."""
    from engine.head.library import load_head
    from engine.motion.perform import perform
    from engine.speech.encode import encode

    if not voices:
        raise BadInput("legibility needs at least one voice")
    head = head or load_head()
    reader, base = load_reader(), _still()
    skip = round(SKIP_S * FPS)
    jobs = len(voices) * (len(intensities) * len(EMOTIONS) + len(va_points()))
    readings: dict[str, list[tuple[str, Reading]]] = {name: [] for name in intensities}
    wanted, seen, done = [], [], 0

    def read(voice: Audio, heard: Any, controls: Controls) -> Reading:
        nonlocal done
        report.step("legibility", done, jobs)
        done += 1
        take = perform(voice, controls, fps=FPS, motion=motion, head=head, speech=heard)
        return read_clip(reader, head, take.arkit, take.extra, min(skip, len(take) - 1))

    for voice in voices:
        heard = encode(voice, speech)
        for name, level in intensities.items():
            for label in EMOTIONS:
                keyed = dataclasses.replace(base, emotions={label: ((0.0, 1.0),)}, intensity=((0.0, level),))
                readings[name].append((label, read(voice, heard, keyed)))
        for valence, arousal in va_points():
            keyed = dataclasses.replace(base, valence=((0.0, float(valence)),), arousal=((0.0, float(arousal)),))
            wanted.append((valence, arousal))
            seen.append(read(voice, heard, keyed).va)
    return {"motion": motion, "voices": len(voices)} | figures(readings, np.array(wanted), np.array(seen))


def figures(readings: dict[str, list[tuple[str, Reading]]], wanted: np.ndarray, seen: np.ndarray) -> dict[str, Any]:
    """Per intensity: the eight labels among themselves and among all 14, the other six among all 14; then V/A."""
    out: dict[str, Any] = {}
    for name, pairs in readings.items():
        eight = [pair for pair in pairs if pair[0] in EIGHT]
        six = [pair for pair in pairs if pair[0] in OTHERS]
        out[name] = {
            "eight": accuracy(eight, EIGHT), "eight_of_14": accuracy(eight), "six_of_14": accuracy(six)
        }  # fmt: skip
    return out | {"valence_arousal": va_agreement(wanted, seen)}


def closure_under(
    manifest: str | Path,
    motion: str = "direct",
    clips: int | None = None,
    fps: object = 60,
    labels: Sequence[str] = EMOTIONS,
    report: Reporter = SILENT,
) -> dict[str, dict[str, float]]:
    """Lip closure of recorded voices on the finished mesh under each label at full strength, by label.

    Each row: "closure" and "false_closure" as `measure lipsync` gives them. Raises BadFile for a bad manifest.
    """
    from engine.audio.read import read_audio
    from engine.head.library import load_head
    from engine.measure.lipsync import Reference, Track, read_manifest
    from engine.measure.lipsync_score import score
    from engine.motion.perform import perform
    from engine.speech.encode import encode
    from engine.train.evaluate import mesh_track, speech_only

    head, references = load_head(), read_manifest(manifest)[:clips]
    heard = {r.file: encode(read_audio(r.file)) for r in references}
    out = {}
    for i, label in enumerate(labels):
        report.step("closures", i, len(labels))
        keyed = dataclasses.replace(speech_only(), emotions={label: ((0.0, 1.0),)})

        def face(reference: Reference, keyed: Controls = keyed) -> Track:
            audio, speech = read_audio(reference.file), heard[reference.file]
            return mesh_track(head, perform(audio, keyed, fps, 1, motion, head, speech))

        figures = score(references, face)["score"]
        out[label] = {name: figures[name] for name in ("closure", "false_closure")}
    return out
