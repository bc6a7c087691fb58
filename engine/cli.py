"""`soliloquy`: the engine's jobs for a person. The same functions serve Blender (engine/serve/jobs.py).

Every command ends with exit code 1 and one clear line on bad input; `--json` prints figures as JSON alone on stdout.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

import engine.cli_appearance
import engine.cli_avatar
import engine.cli_emotion  # noqa: F401 (adds its commands to `measure`)
from engine.cli_figures import APPS
from engine.cli_studio import studio_app
from engine.cli_train import train
from engine.console import Json, parse_size, reporting, show
from engine.core.errors import BadInput, Cancelled, SoliloquyError

Net = Annotated[Path | None, typer.Option("--appearance", help="Net of 'avatar appearance' for this avatar.")]

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
for _name, _sub in (APPS | {"studio": studio_app}).items():
    app.add_typer(_sub, name=_name)
app.command()(train)


def without_arrays(result: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in result.items() if k != "arrays"}


def _constant_controls(
    emotion: str | None, intensity: float, valence: float, arousal: float, prompts: list[str], duration: float
) -> dict[str, Any]:
    """Controls JSON of a performance that holds one emotion; prompts as TEXT or TEXT@start-end."""
    from engine.core.names import EMOTIONS

    if emotion is not None and emotion not in EMOTIONS:
        raise BadInput(f"'{emotion}' is no emotion; there are: {', '.join(EMOTIONS)}")
    return {
        "kind": "controls", "format": 1,
        "emotions": {emotion: [[0.0, 1.0]]} if emotion else {},
        "intensity": [[0.0, intensity]], "valence": [[0.0, valence]], "arousal": [[0.0, arousal]],
        "prompts": [_parse_prompt(p, duration) for p in prompts],
    }  # fmt: skip


def _parse_prompt(text: str, duration: float) -> dict[str, Any]:
    words, at, span = text.rpartition("@")
    if not at:
        return {"text": text, "start": 0.0, "end": duration}
    start, dash, end = span.partition("-")
    try:
        return {"text": words, "start": float(start), "end": float(end) if dash else duration}
    except ValueError:
        raise BadInput(f"'{text}': write a direction as TEXT or TEXT@start-end, in seconds") from None


@app.command()
def speak(
    audio: Annotated[Path, typer.Argument(help="The voice: wav, flac, mp3 or ogg.")],
    out: Annotated[Path, typer.Option(help="Where the take goes (.npz).")],
    fps: Annotated[str, typer.Option(help="Frames per second: 25, 23.976, 30000/1001.")] = "25",
    first_frame: Annotated[int, typer.Option(help="Scene frame on which the voice begins.")] = 1,
    emotion: Annotated[str | None, typer.Option(help="One of the 14 labels, held throughout.")] = None,
    intensity: Annotated[float | None, typer.Option(help="0 to 1 (1).")] = None,
    valence: Annotated[float | None, typer.Option(help="-1 to 1 (0).")] = None,
    arousal: Annotated[float | None, typer.Option(help="-1 to 1 (0).")] = None,
    prompt: Annotated[list[str] | None, typer.Option(help="A direction: TEXT or TEXT@start-end.")] = None,
    controls: Annotated[Path | None, typer.Option(help="Keyed controls (controls.json).")] = None,
    motion: Annotated[str, typer.Option(help="Motion system.")] = "direct",
    speech: Annotated[str, typer.Option(help="Speech encoder: a name, a folder or a hub id.")] = "default",
    head: Annotated[str, typer.Option(help="Head: a name or a head.npz.")] = "default",
    seed: Annotated[int | None, typer.Option(help="Seed of blinks, gaze and head motion.")] = None,
    transcript: Annotated[str | None, typer.Option(help="The words that are said: a text file, or the text.")] = None,
    language: Annotated[str | None, typer.Option(help="Of the transcript: en, de, ru ... (guessed).")] = None,
    cues: Annotated[str | None, typer.Option(help="Edited phone cues: .json .csv .TextGrid .txt or a take.")] = None,
    start: Annotated[float | None, typer.Option("--from", help="Second where the stretch for --into begins.")] = None,
    end: Annotated[float | None, typer.Option("--to", help="Second where it ends.")] = None,
    into: Annotated[Path | None, typer.Option(help="A take: only the stretch is made anew in it.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Let --speech HUB_ID be fetched.")] = False,
    as_json: Json = False,
) -> None:
    """Turn a recorded voice into a take: shape weights, FLAME-layout parameters and what avatars need."""
    from engine.audio.read import read_audio
    from engine.serve.jobs import speak as job

    if controls and (emotion or prompt or any(v is not None for v in (intensity, valence, arousal))):
        raise BadInput("give either --controls or --emotion/--intensity/--valence/--arousal/--prompt, not both")
    request: dict[str, Any] = {
        "audio": str(audio), "take": str(out), "fps": fps, "first_frame": first_frame, "motion": motion,
        "speech": speech, "head": head, "seed": seed, "transcript": transcript, "language": language, "cues": cues,
        "from": start, "to": end, "into": str(into) if into else None, "download": download,
    }  # fmt: skip
    if controls:
        request["controls_path"] = str(controls)
    else:
        duration = read_audio(audio).duration if prompt else 0.0
        levels = (1.0 if intensity is None else intensity, valence or 0.0, arousal or 0.0)
        request["controls"] = _constant_controls(emotion, *levels, prompt or [], duration)
    with reporting(as_json) as report:
        result = without_arrays(job(request, report))
    rate = result["fps"][0] / result["fps"][1]
    show(result, as_json, f"{out}: {result['frames']} frames at {rate:g} fps, {result['duration']:.2f} s of voice")


@app.command()
def cues(
    source: Annotated[Path, typer.Argument(help="A take.npz or a cue file.")],
    out: Annotated[Path | None, typer.Option(help="FILE.json, .csv, .TextGrid or .txt (Audacity labels).")] = None,
    as_json: Json = False,
) -> None:
    """Show the phone cues of a take, or write them for editing; `speak --cues FILE` reads them back."""
    from engine.speech.cue_files import read_cues, to_rows, write_cues

    rows = to_rows(read_cues(source))
    if out:
        write_cues(out, read_cues(source))
        show({"out": str(out), "count": len(rows)}, as_json, f"{out}: {len(rows)} cues")
        return
    show({"cues": rows}, as_json, "\n".join(f"{a:8.3f} {b:8.3f}  {phone}" for phone, a, b in rows))


@app.command()
def text2au(
    texts: Annotated[list[str], typer.Argument(help="Typed directions.")],
    mode: Annotated[str, typer.Option(help="auto, rules, small (the bundled net), encoder or paper.")] = "auto",
    encoder: Annotated[str | None, typer.Option(help="minilm (extra 'text') or a folder with an encoder.")] = None,
    head: Annotated[str | None, typer.Option(help="Trained head of that encoder (.safetensors).")] = None,
    as_json: Json = False,
) -> None:
    """Say which action units a typed direction asks for, and which words asked for them."""
    from engine.serve.jobs import text2au as job

    results = job({"texts": texts, "mode": mode, "encoder": encoder, "head": head})["results"]
    show(results, as_json, "\n".join(map(_direction, results)))


def _direction(row: dict[str, Any]) -> str:
    """One direction and what it comes to, for a person."""
    if not row["recognised"]:
        return f"{row['text']}: nothing recognised" + (f" ({row['note']})" if row["note"] else "")
    sides = {au: {s for s in "LR" if row["activation"].get(f"{au}_{s}", 0) > 0} for au in row["aus"]}
    raised = [
        f"{au}{'' if len(sides[au]) == 2 else ' ' + ''.join(sides[au])} {row['probabilities'][au]:.2f}"
        f" ({row['because'].get(au, '')})"
        for au in row["aus"]
    ]
    denied = sorted({name[:4] for name, value in row["activation"].items() if value < 0})
    parts = [", ".join(raised) or "a face at rest"] + ([f"held back: {', '.join(denied)}"] if denied else [])
    return f"{row['text']}: {'; '.join(parts)}" + (f" [{row['note']}]" if row["note"] else "")


@app.command()
def render(
    take: Annotated[Path, typer.Argument(help="A take.npz.")],
    out: Annotated[Path, typer.Option(help="FILE.mp4 or a folder for PNG files.")],
    avatar: Annotated[str, typer.Option(help="Avatar: a name or a file.")] = "default",
    head: Annotated[str, typer.Option(help="Head: a name or a head.npz.")] = "default",
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT in pixels.")] = "512x512",
    camera: Annotated[str, typer.Option(help="front, threequarter, profile, turntable or a CAMERA.json.")] = "front",
    audio: Annotated[Path | None, typer.Option(help="Sound for the film.")] = None,
    backend: Annotated[str, typer.Option(help="auto, cpu, gsplat or reference.")] = "auto",
    seconds: Annotated[float | None, typer.Option(min=0.1, help="One turn of the turntable.")] = None,
    passes: Annotated[str, typer.Option(help="rgba, depth, normal (a folder gets one file a pass).")] = "rgba",
    appearance: Net = None,
    as_json: Json = False,
) -> None:
    """Render the Gaussian avatar of a take: a film with its voice, or pictures."""
    from engine.serve.jobs import render as job

    request = {
        "take": str(take), "out": str(out), "avatar": avatar, "head": head, "size": parse_size(size),
        "camera": camera, "audio": str(audio) if audio else None, "backend": backend, "passes": passes.split(","),
        "seconds": seconds, "appearance": str(appearance) if appearance else None,
    }  # fmt: skip
    with reporting(as_json) as report:
        result = job(request, report)
    show(result, as_json, f"{result['path']}: {result['frames']} frames")


@app.command()
def sheet(
    take: Annotated[Path, typer.Argument(help="A take.npz.")],
    out: Annotated[Path, typer.Option(help="A .png file.")],
    avatar: Annotated[str, typer.Option(help="Avatar: a name or a file.")] = "default",
    moments: Annotated[int, typer.Option(min=1, max=24)] = 6,
    appearance: Net = None,
    as_json: Json = False,
) -> None:
    """A contact sheet of a take: front, three-quarter and profile at several moments."""
    from engine.serve.jobs import sheet as job

    with reporting(as_json) as report:
        result = job({"take": str(take), "out": str(out), "avatar": avatar, "moments": moments,
                      "appearance": str(appearance) if appearance else None}, report)  # fmt: skip
    show(result, as_json, result["path"])


@app.command()
def export(
    take: Annotated[Path, typer.Argument(help="A take.npz.")],
    out: Annotated[Path, typer.Option(help="FILE.csv, .pc2, .obj, .ply or .spz (sequences), .npz (flame_param).")],
    head: Annotated[str, typer.Option(help="Head: a name or a head.npz.")] = "default",
    frame: Annotated[int, typer.Option(help="One frame of an .obj, .ply or .spz (0 = first); -1 = all of them.")] = -1,
    avatar: Annotated[str, typer.Option(help="Avatar of a .ply or .spz: a name or a file.")] = "default",
    appearance: Net = None,
) -> None:
    """Write a take for other programs. Alembic, USD and glTF come from Blender (blender_addon/batch.py)."""
    from engine.serve.export import export_take

    with reporting() as report:
        written = export_take(take, out, head, frame, report, avatar, appearance)
    print(written)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check the installation and say how to mend what is wrong."""
    from engine.doctor import line, run

    result = run() if as_json else run(lambda row: print(line(row), flush=True))
    if as_json:
        show(result, as_json, "")
    if not result["ok"]:
        raise typer.Exit(1)


@app.command()
def serve() -> None:
    """Answer jobs on stdin and stdout (what Blender starts)."""
    from engine.serve.loop import serve as loop

    loop()


def main() -> None:
    """Entry point: errors for a person become one line and exit code 1."""
    # Before torch loads OpenMP: waiting threads that spin slow small networks 15-fold when Blender is busy beside us.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app(standalone_mode=False)
    except typer.Exit as leave:
        sys.exit(leave.exit_code)
    except (Cancelled, KeyboardInterrupt, typer.Abort):
        print("cancelled", file=sys.stderr)
        sys.exit(130)
    except SoliloquyError as error:
        print(f"soliloquy: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        print(f"soliloquy: {error.filename or 'a file'}: {error.strerror or error}", file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        # Usage errors carry a message; anything else is a bug and keeps its trace.
        if hasattr(error, "format_message"):
            print(f"soliloquy: {error.format_message()}", file=sys.stderr)
            sys.exit(1)
        raise
