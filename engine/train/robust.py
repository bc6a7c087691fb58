"""How lip sync stands disturbances, and whether the mouth rests where nobody speaks (`bench/speech_robust.py`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from engine.audio.read import audio_of, read_audio
from engine.core.names import ARTICULATION_INDEX
from engine.core.progress import SILENT, Reporter
from engine.core.sound import SAMPLE_RATE, Audio, Speech
from engine.measure import disturb
from engine.measure.lipsync import Reference, Track, track_of_articulation
from engine.measure.lipsync_score import score_tracks
from engine.speech.encode import encode

KEYS = ("closure", "false_closure", "false_events_per_s", "labiodental", "rounding", "correlation", "lag_ms")
STILL = 0.02  # a channel that never exceeds this is a mouth that nobody sees move
_MOUTH = [i for name, i in ARTICULATION_INDEX.items() if name != "voice"]


def track_of(speech: Speech) -> Track:
    """`Track` of a voice's articulation."""
    return track_of_articulation(speech.times, {n: speech.articulation[:, i] for n, i in ARTICULATION_INDEX.items()})


def at_tempo(reference: Reference, factor: float) -> Reference:
    """The clip's labels when it lasts `factor` times as long."""
    moved = tuple((p, a * factor, b * factor) for p, a, b in reference.segments)
    return dataclasses.replace(reference, duration=reference.duration * factor, segments=moved)


def disturbed(
    references: Sequence[Reference], encoder: str = "default", report: Reporter = SILENT
) -> dict[str, dict[str, Any]]:
    """Articulation figures (KEYS) of the clips under each change of `disturb`, and both tempi and two languages."""
    sounds = [read_audio(r.file).samples for r in references]
    result: dict[str, dict[str, Any]] = {}

    def measure(name: str, pairs: Sequence[tuple[Reference, np.ndarray]]) -> None:
        report.step("disturbed", len(result), len(disturb.CHANGES) + len(disturb.TEMPI))
        figures = score_tracks((r, track_of(encode(audio_of(x), encoder))) for r, x in pairs)
        result[name] = {k: figures[k] for k in KEYS}

    for name, change in disturb.CHANGES.items():
        measure(name, [(r, change(x)) for r, x in zip(references, sounds, strict=True)])
    for tempo in disturb.TEMPI:
        slower = 1 / tempo
        pairs = [(at_tempo(r, slower), disturb.stretched(x, slower)) for r, x in zip(references, sounds, strict=True)]
        measure(f"tempo x{tempo}", pairs)
    return result


def joined(pieces: Sequence[Reference], pause_s: float = 0.6) -> tuple[Reference, Audio]:
    """Several clips, of any languages, as one recording with pauses between, each at the same level."""
    sounds, segments, at = [], [], 0.0
    for piece in pieces:
        samples = read_audio(piece.file).samples
        sounds += [samples / (np.percentile(np.abs(samples), 99) + 1e-9) * 0.3, np.zeros(int(pause_s * SAMPLE_RATE))]
        segments += [(p, a + at, b + at) for p, a, b in piece.segments]
        at += len(samples) / SAMPLE_RATE + pause_s
    whole = dataclasses.replace(pieces[0], duration=at, segments=tuple(segments), checked=None, doubted=())
    return whole, audio_of(np.concatenate(sounds).astype(np.float32))


def mixed_languages(
    one: Sequence[Reference], other: Sequence[Reference], encoder: str = "default"
) -> dict[str, dict[str, Any]]:
    """Figures of two speakers' clips taken in turn in one file, and of the same clips in files of their own."""
    turns = [r for pair in zip(one, other, strict=False) for r in pair]
    whole, audio = joined(turns)
    apart = score_tracks((r, track_of(encode(read_audio(r.file), encoder))) for r in turns)
    together = score_tracks([(whole, track_of(encode(audio, encoder)))])
    return {"in one file": {k: together[k] for k in KEYS}, "each alone": {k: apart[k] for k in KEYS}}


def voiceless(
    seconds: float = 30.0,
    encoder: str = "default",
    sounds: dict[str, Callable[[float], np.ndarray]] | None = None,
) -> dict[str, dict[str, float]]:
    """What the mouth does while nobody speaks: {sound: {"moving" share of time that any channel exceeds STILL,
    "peak" largest value of any channel, "closures_per_minute"}}; all must be 0."""
    out = {}
    for name, make in (sounds or disturb.VOICELESS).items():
        a = encode(audio_of(make(seconds)), encoder).articulation
        peak = a[:, _MOUTH].max(1)
        shut = np.diff(np.r_[0, a[:, ARTICULATION_INDEX["lip_close"]] > 0.5])
        out[name] = {
            "moving": round(float((peak > STILL).mean()), 4),
            "peak": round(float(peak.max()), 4),
            "closures_per_minute": round(float((shut > 0).sum()) * 60 / seconds, 2),
        }
    return out
