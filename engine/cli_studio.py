"""More commands of `studio`: performances, and public sets in their own layouts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from engine.cli_head import table
from engine.cli_train import studio_app
from engine.console import Json, reporting, show


@studio_app.command()
def perform(
    out: Annotated[Path, typer.Argument(help="Folder of the set; archives that are there are kept.")],
    hours: Annotated[float, typer.Option(help="About how much.")] = 4.0,
    vocaset: Annotated[
        float | None, typer.Option(help="Instead: so many minutes in VOCASET's layout (at most 20).")
    ] = None,
    sound: Annotated[bool, typer.Option(help="Keep each clip's voice as FLAC.")] = False,
    as_json: Json = False,
) -> None:
    """Perform synthesised speech with emotion on the default head: data to train motion systems on."""
    from engine.head.library import load_head
    from engine.studio.performances import store
    from engine.studio.performances.vocaset import export
    from engine.train import motion_table

    with reporting(as_json) as report:
        if vocaset is not None:
            result = export(out, vocaset, load_head(), report)
        else:
            result = store.make(out, hours, load_head(), report, sound)
            head = load_head()
            floor = motion_table.table({"oracle": motion_table.oracle(head)}, motion_table.held_out(4, head), head, 4)
            result |= {"seed_error": floor["oracle"]}
    show(result, as_json, table(result))


@studio_app.command()
def read(
    folder: Annotated[Path, typer.Argument(help="Folder of a public set.")],
    kind: Annotated[
        str, typer.Option(help="auto, vocaset, emovoca, flame (VHAP: MEAD, HDTF, RAVDESS) or emotalk3d.")
    ] = "auto",
    check: Annotated[bool, typer.Option(help="Read every recording's motion too.")] = False,
    as_json: Json = False,
) -> None:
    """List a public set's recordings with their labels in our words; with --check, read them all."""
    from engine.studio.readers.summary import summary

    with reporting(as_json) as report:
        result = summary(folder, kind, check, report)
    show(result, as_json, table(result))


@studio_app.command()
def capture(
    out: Annotated[Path, typer.Argument(help="Folder of the capture; pictures that are there are kept.")],
    head: Annotated[str, typer.Option(help="Head: a name or a head.npz.")] = "default",
    scene: Annotated[Path | None, typer.Option(help="Instead: a .blend with a rigged character.")] = None,
    mesh: Annotated[str, typer.Option(help="Name of that character's mesh, where several speak.")] = "",
    cameras: Annotated[str, typer.Option(help="ring (360 degrees) or dome (EmoTalk3D's 11 over 180).")] = "ring",
    views: Annotated[int, typer.Option(min=0, help="How many of them (0: as the preset says).")] = 0,
    size: Annotated[int, typer.Option(help="Side of the square pictures.")] = 512,
    samples: Annotated[int, typer.Option(help="Samples a pixel; hair wants 32 or more.")] = 32,
    test_samples: Annotated[int, typer.Option(help="Samples of the test pictures.")] = 64,
    each: Annotated[int, typer.Option(help="Pictures of each pose but the neutral one.")] = 9,
    tests: Annotated[int, typer.Option(help="Test pictures: unseen poses from unseen views.")] = 24,
    poses: Annotated[Path | None, typer.Option(help="A table of poses instead of the bundled one.")] = None,
    take: Annotated[list[Path] | None, typer.Option(help="Also moments of this take.")] = None,
    moments: Annotated[int, typer.Option(min=1, help="How many of each take.")] = 6,
    noise: Annotated[float, typer.Option(help="Adaptive sampling: noise at which a pixel is done (0: off).")] = 0.0,
    frames: Annotated[str, typer.Option(help="A-B: only these pictures of the plan, counted from 1.")] = "",
    threads: Annotated[int, typer.Option(min=0, help="Threads of Cycles (0: all).")] = 0,
    own_light: Annotated[
        bool, typer.Option("--own-light", help="The .blend's lights instead of three soft ones.")
    ] = False,
    subsurface: Annotated[bool, typer.Option(help="Light inside the skin: a third more work.")] = True,
    keep_scene: Annotated[bool, typer.Option("--keep-scene", help="Render the rest of the .blend too.")] = False,
    blender: Annotated[str, typer.Option(help="A Blender program instead of the bpy module.")] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the plan that lies in the folder.")] = False,
    as_json: Json = False,
) -> None:
    """Photograph a character with Cycles from calibrated cameras: what Gaussian avatars are trained on."""
    from engine.core.takefile import read_take
    from engine.head.library import load_head
    from engine.serve.jobs import head as head_job
    from engine.studio import capture as studio
    from engine.studio.capture_plan import plan
    from engine.studio.poses import TABLE, of_take
    from engine.studio.poses import table as pose_table

    if not resume:
        train, test = pose_table(poses or TABLE)
        train += [pose for path in take or [] for pose in of_take(read_take(path), moments, path.stem)]
        points = studio.measure(out, scene, mesh, blender) if scene else studio.head_points(load_head(head))
        made = plan(train, test, points, size, cameras, views, each, samples, test_samples, tests)
        answer = None if scene is not None else head_job({"head": head})
        studio.prepare(out, made, size, answer, scene, mesh, noise, not own_light, keep_scene, subsurface, points)
    with reporting(as_json) as report:
        result = studio.run(out, frames, threads, blender, report, lambda text: print(text, file=sys.stderr))
    show(result, as_json, table(result))
