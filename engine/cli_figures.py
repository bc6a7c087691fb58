"""The commands that print figures or describe things: measure, bench, head, avatar."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from engine.console import Json, reporting, show

measure_app = typer.Typer(no_args_is_help=True, help="Figures about takes, meshes and lip sync.")
bench_app = typer.Typer(
    no_args_is_help=True, help="How fast this machine is; ratios against a baseline of the same run."
)
head_app = typer.Typer(no_args_is_help=True, help="Heads.")
avatar_app = typer.Typer(no_args_is_help=True, help="Gaussian avatars.")
APPS = {"measure": measure_app, "bench": bench_app, "head": head_app, "avatar": avatar_app}

Name = Annotated[str, typer.Argument(help="A name or a file.")]


def table(result: dict[str, Any]) -> str:
    """One line an entry; nested tables are indented."""
    lines = []
    for key, value in result.items():
        if isinstance(value, dict):
            lines += [f"{key}:", *(f"  {k}: {v}" for k, v in value.items())]
        else:
            lines.append(f"{key}: {value}")
    return "\n".join(lines)


@measure_app.command()
def lipsync(
    manifest: Annotated[Path, typer.Argument(help="manifest.jsonl: file, duration, transcript, phones.")],
    fps: Annotated[str, typer.Option(help="Frame rate of the measured takes.")] = "60",
    clips: Annotated[int | None, typer.Option(help="Only the first so many.")] = None,
    as_json: Json = False,
) -> None:
    """Lip sync on recorded voices with phone times: on the articulation and on the final mesh."""
    from engine.train.evaluate import lipsync_of_manifest

    with reporting(as_json) as report:
        result = lipsync_of_manifest(manifest, fps, clips, report)
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


@bench_app.command("render")
def bench_render(as_json: Json = False) -> None:
    """Frames a second of each rasteriser."""
    from engine.render.bench import run

    with reporting(as_json) as report:
        result = run(report)
    lines = [f"{c['size']} {c['gaussians']} {c['backend']} x{c['threads']}: {c['ms']} ms" for c in result["cases"]]
    show(result, as_json, "\n".join(lines))


@bench_app.command("speech")
def bench_speech(as_json: Json = False) -> None:
    """How many times faster than real time each speech encoder is."""
    from engine.speech.bench import bench as run

    result = run()
    show(result, as_json, table(result["systems"]))


@bench_app.command("motion")
def bench_motion(as_json: Json = False) -> None:
    """How many times faster than real time each motion system is (the speech encoder: `bench speech`)."""
    from engine.motion.bench import run

    result = run()
    show(result, as_json, table(result["systems"]))


@bench_app.command("head")
def bench_head(as_json: Json = False) -> None:
    """Milliseconds a frame of shape evaluation and skinning, against the plain reference."""
    from engine.head.bench import run

    result = run()
    show(result, as_json, table(result))


@head_app.command("info")
def head_info(name: Name = "default", as_json: Json = False) -> None:
    """What a head holds: vertices, shapes, joints, masks, licence."""
    from engine.head.library import load_head

    it = load_head(name)
    result = {
        "name": it.name,
        "vertices": len(it.template),
        "faces": len(it.faces),
        "shapes": len(it.shape_names),
        "expression": len(it.expression_names),
        "identity": int(it.identity.shape[-1]),
        "materials": [m.name for m in it.materials],
        "masks": sorted(it.masks),
        "flame_version": it.flame_version,
        "topology_sha256": it.topology_sha256,
        "licence": it.licence,
    }
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
