"""More commands of `studio`: performances, and public sets in their own layouts."""

from __future__ import annotations

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
