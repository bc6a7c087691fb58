"""`avatar appearance`: train a paper's appearance net on a capture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from engine.cli_figures import avatar_app
from engine.cli_head import table
from engine.console import Json, reporting, show


@avatar_app.command()
def appearance(
    capture: Annotated[Path, typer.Argument(help="The capture that the avatar was trained on.")],
    avatar: Annotated[str, typer.Argument(help="Avatar: a name or a file.")],
    out: Annotated[Path, typer.Argument(help="Where the net goes (.safetensors).")],
    net: Annotated[str, typer.Option(help="emotalk3d, emodifftalk, emotag or emotalkinggaussian.")] = "emotalk3d",
    head: Annotated[str, typer.Option(help="Head whose face was captured: a name or a head.npz.")] = "default",
    steps: Annotated[int, typer.Option(min=1)] = 2000,
    check: Annotated[int, typer.Option(min=1, help="Steps between looks at held-out views.")] = 250,
    shrink: Annotated[int, typer.Option(min=1, help="Make pictures so many times smaller.")] = 1,
    composed: Annotated[bool, typer.Option("--composed", help="Draw mouth and face apart while training.")] = False,
    normals: Annotated[bool, typer.Option("--normals", help="emotalkinggaussian: compare normals too.")] = False,
    without: Annotated[list[str] | None, typer.Option(help="Leave a part out (mouth, emotion, attention ...).")] = None,
    seed: Annotated[int, typer.Option()] = 0,
    as_json: Json = False,
) -> None:
    """Train a net that changes the avatar's Gaussians with the expression; written only if held-out views gain."""
    from engine.avatar.library import load_avatar
    from engine.head.library import load_head
    from engine.train.appearance_recipe import train_appearance
    from engine.train.avatar_data import read_capture

    face = load_head(head)
    with reporting(as_json) as report:
        made = read_capture(capture, face)
        parts: dict[str, Any] = {**({"normals": True} if normals else {}), **dict.fromkeys(without or (), False)}
        result = train_appearance(
            made, load_avatar(avatar, face), net, out, steps, check, shrink, seed, report=report, composed=composed,
            **parts,
        )  # fmt: skip
    show(result, as_json, table(result))
