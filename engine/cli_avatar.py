"""More commands of `avatar`: train one on a capture, measure one against a capture's held-out pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.cli_figures import avatar_app
from engine.cli_head import table
from engine.console import Json, reporting, show

Folder = Annotated[Path, typer.Argument(help="A capture ('studio capture'), or a folder as VHAP writes it.")]
OfHead = Annotated[str, typer.Option(help="Head whose face was captured: a name or a head.npz.")]


@avatar_app.command()
def train(
    capture: Folder,
    out: Annotated[Path, typer.Argument(help="Where the avatar goes (.npz).")],
    head: OfHead = "default",
    gaussians: Annotated[int, typer.Option(min=1, help="How many.")] = 60_000,
    degree: Annotated[int, typer.Option(min=0, max=3, help="Degree of the colour's spherical harmonics.")] = 2,
    loose: Annotated[int, typer.Option(min=0, help="Free ones, for hair and shoulders that the mesh lacks.")] = 0,
    steps: Annotated[int, typer.Option(min=1, help="At most; it stops where held-out views get no better.")] = 6000,
    check: Annotated[int, typer.Option(min=1, help="Steps between looks at held-out views.")] = 300,
    shrink: Annotated[int, typer.Option(min=1, help="Make pictures so many times smaller.")] = 1,
    static: Annotated[bool, typer.Option("--static", help="Without dynamic colour.")] = False,
    flat: Annotated[bool, typer.Option("--no-geometry", help="Without depth and normals.")] = False,
    d_ssim: Annotated[float, typer.Option(help="Weight of structural similarity; the rest is L1.")] = 0.3,
    seed: Annotated[int, typer.Option()] = 0,
    begin: Annotated[str, typer.Option(help="An avatar (trained on fewer pictures) to go on from.")] = "",
    rate: Annotated[float, typer.Option(help="Factor of all rates; 0.3 where training goes on.")] = 1.0,
    colour: Annotated[str, typer.Option(help="sh: each Gaussian its own; triplane: planes and an MLP, baked.")] = "sh",
    lpips: Annotated[Path | None, typer.Option(help="Your LPIPS weights: that distance is added to the loss.")] = None,
    as_json: Json = False,
) -> None:
    """Train a Gaussian avatar. A stopped run goes on by the same line; OUT.preview.png shows how far it is."""
    from engine.avatar.library import load_avatar
    from engine.head.library import load_head
    from engine.train.avatar import Recipe
    from engine.train.avatar import train as run

    recipe = Recipe(gaussians, degree, steps, seed, not static, shrink, check, d_ssim, not flat, loose, rate, colour)
    face = load_head(head)
    first = load_avatar(begin, face) if begin else None
    with reporting(as_json) as report:
        result = run(capture, out, face, recipe, report, first, lpips)
    show(result, as_json, table(result))


@avatar_app.command("measure")
def measure_avatar(
    capture: Folder,
    avatar: Annotated[str, typer.Argument(help="Avatar: a name or a file.")] = "default",
    head: OfHead = "default",
    split: Annotated[str, typer.Option(help="test (unseen poses and views), val or train.")] = "test",
    shrink: Annotated[int, typer.Option(min=1, help="Make pictures so many times smaller.")] = 1,
    static: Annotated[bool, typer.Option("--static", help="Without dynamic colour.")] = False,
    appearance: Annotated[Path | None, typer.Option(help="With a net of 'avatar appearance'.")] = None,
    strip: Annotated[Path | None, typer.Option(help="Also a .png: truth, avatar, difference.")] = None,
    rows: Annotated[int, typer.Option(min=1, help="Views in it.")] = 4,
    as_json: Json = False,
) -> None:
    """PSNR and SSIM of an avatar's pictures in display values, on the head and the face, by azimuth."""
    import numpy as np

    from engine.avatar.library import load_avatar
    from engine.core.errors import BadInput
    from engine.core.files import writable
    from engine.head.library import load_head
    from engine.train.avatar_data import SPLITS, read_capture
    from engine.train.avatar_measure import measure
    from engine.train.avatar_measure import strip as write_strip
    from engine.train.avatar_wrinkles import wrinkles

    if strip is not None and writable(strip).suffix.lower() != ".png":
        raise BadInput(f"--strip {strip}: the picture is a PNG; give it a name that ends in .png")
    it = load_head(head)
    found, set_ = load_avatar(avatar, it), read_capture(capture, it)
    if split not in SPLITS or not set_.views[split]:
        raise BadInput(f"the capture has no pictures for '{split}' (there are train, val and test)")
    worn = None
    if appearance is not None:
        from engine.train.appearance_recipe import worn_by

        worn = worn_by(appearance, set_, found)
    with reporting(as_json) as report:
        result = measure(found, set_, split, shrink, not static, report, worn=worn)
        if folds := wrinkles(found, set_, shrink, not static, worn):
            result["wrinkles"] = folds
    if strip is not None:
        views = set_.views[split]
        chosen = sorted({int(i) for i in np.linspace(0, len(views) - 1, min(rows, len(views)))})
        write_strip(strip, found, set_, [views[i] for i in chosen], shrink, not static)
    show(result, as_json, table(result))


@avatar_app.command("import")
def import_avatar(
    source: Annotated[Path, typer.Argument(help="GaussianAvatars' folder or its point_cloud.ply.")],
    out: Annotated[Path, typer.Argument(help="Where the avatar goes (.npz); its head goes beside it.")],
    head: Annotated[str, typer.Option(help="Your imported FLAME head (head import).")],
    as_json: Json = False,
) -> None:
    """Make another program's avatar drivable by takes."""
    from engine.serve.avatars import import_avatar as job

    with reporting(as_json) as report:
        result = job({"source": str(source), "out": str(out), "head": head}, report)
    show(result, as_json, table(result))


@avatar_app.command("export")
def export_avatar(
    out: Annotated[Path, typer.Argument(help="FILE.ply or .spz, or a folder in GaussianAvatars' layout.")],
    avatar: Annotated[str, typer.Option(help="Avatar: a name or a file.")] = "default",
    head: OfHead = "default",
    mean: Annotated[str, typer.Option(help="FLAME head without the person's shape, for a folder.")] = "",
    as_json: Json = False,
) -> None:
    """Write an avatar, neutral, for other programs; 'export TAKE --out F.ply' writes its motion."""
    from engine.serve.avatars import export_avatar as job

    with reporting(as_json) as report:
        result = job({"avatar": avatar, "out": str(out), "head": head, "mean": mean}, report)
    show(result, as_json, table(result))
