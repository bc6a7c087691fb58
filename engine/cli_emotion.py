"""More commands of `measure`: whether faces show what they should."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from engine.cli_figures import measure_app
from engine.cli_head import table
from engine.console import Json, reporting, show


@measure_app.command()
def emotion(
    take: Annotated[Path, typer.Argument(help="A take.npz.")],
    as_json: Json = False,
) -> None:
    """Which label a take's face shows to a net that learned silent expressions, and its valence and arousal."""
    from engine.core.names import EMOTIONS
    from engine.core.takefile import read_take
    from engine.head.library import load_head
    from engine.measure.legibility import load_reader, read_clip

    it = read_take(take)
    seen = read_clip(load_reader(), load_head(), it.arkit, it.extra)
    result: dict[str, Any] = {
        "ranking": seen.ranking()[:3],
        "probabilities": {name: round(float(p), 4) for name, p in zip(EMOTIONS, seen.probability, strict=True)},
        "valence": round(float(seen.va[0]), 3),
        "arousal": round(float(seen.va[1]), 3),
    }
    show(result, as_json, table(result))


@measure_app.command()
def legibility(
    manifest: Annotated[Path, typer.Argument(help="manifest.jsonl of recorded voices.")],
    motion: Annotated[str, typer.Option(help="Motion system.")] = "direct",
    clips: Annotated[int, typer.Option(min=1, help="Voices, the longest first.")] = 6,
    closure: Annotated[bool, typer.Option(help="Lip closure under each label too (all voices).")] = False,
    as_json: Json = False,
) -> None:
    """Top-1 and top-3 accuracy per intensity while speaking, valence-arousal agreement, closure under emotion."""
    from engine.audio.read import read_audio
    from engine.measure.lipsync import read_manifest
    from engine.train.emotion_protocol import closure_under
    from engine.train.emotion_protocol import legibility as protocol

    with reporting(as_json) as report:
        voices = sorted((read_audio(r.file) for r in read_manifest(manifest)), key=lambda a: -a.duration)[:clips]
        result = protocol(voices, motion, report=report)
        if closure:
            result["closure"] = closure_under(manifest, motion, report=report)
    show(result, as_json, table(result))


@measure_app.command()
def voice(
    audio: Annotated[Path, typer.Argument(help="A voice.")],
    net: Annotated[Path, typer.Option(help="Checkpoint of `train emotalk3d_extractor` (none comes with the engine).")],
    out: Annotated[Path | None, typer.Option(help="Write the keys as a controls.json for `speak --controls`.")] = None,
    as_json: Json = False,
) -> None:
    """Which emotions an extractor hears in a voice (EmoTalk3D's; it learned synthesised voices alone)."""
    from engine.audio.read import read_audio
    from engine.controls.files import write_controls
    from engine.motion.voice_emotion import extract
    from engine.speech.encode import encode

    found = extract(encode(read_audio(audio)), net)
    if out:
        write_controls(out, found)
    result = {name: round(max(level for _, level in keys), 3) for name, keys in found.emotions.items()}
    show({"strongest": result, "controls": str(out) if out else None}, as_json, table(result) or "nothing but neutral")
