"""`soliloquy head`: describe, import, fit, and give shapes to a mesh that has none."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from engine.console import Json, reporting, show

head_app = typer.Typer(no_args_is_help=True, help="Heads: yours and the default one.")

Name = Annotated[str, typer.Argument(help="A name or a file.")]
Out = Annotated[Path, typer.Option(help="Where the head goes (.npz).")]


def table(result: dict[str, Any]) -> str:
    """One line an entry; nested tables are indented."""
    lines = []
    for key, value in result.items():
        if isinstance(value, dict):
            lines += [f"{key}:", *(f"  {k}: {v}" for k, v in value.items())]
        else:
            lines.append(f"{key}: {value}")
    return "\n".join(lines)


@head_app.command("info")
def info(name: Name = "default", as_json: Json = False) -> None:
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


@head_app.command("import")
def import_(
    source: Annotated[
        Path,
        typer.Argument(help="A mesh (obj, ply, glb, stl), a folder with one OBJ a shape, or a FLAME .pkl or .npz."),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Where the head goes (.npz); by default your own folder, for --head NAME.")
    ] = None,
    kind: Annotated[str | None, typer.Option(help="Importer; by default the file decides.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the head; by default the file's.")] = None,
    metres: Annotated[float | None, typer.Option(help="Length of the file's unit in metres (0.01 for cm).")] = None,
    up: Annotated[str, typer.Option(help="Axis that points up: y, or z as in Blender.")] = "y",
    version: Annotated[str | None, typer.Option(help="FLAME: 2020, 2023, 2023-no-jaw or 2023-open.")] = None,
    keep: Annotated[str, typer.Option(help="FLAME: shapes beyond its basis: none, contact or all.")] = "contact",
    as_json: Json = False,
) -> None:
    """Read someone's head into a head.npz, with the shapes it has under their ARKit names."""
    from engine.assets.registry import user_home
    from engine.core.names import ARKIT
    from engine.head.files import save_head
    from engine.head.importers import Options, import_head

    options = Options(metres=metres, up=up, name=name, version=version, keep=keep)
    with reporting(as_json) as report:
        it = import_head(source, kind, options, report)
        out = out or user_home() / "head" / f"{it.name}.npz"  # the registry finds it there by its name
        save_head(out, it, compressed=not it.is_flame)
    found = [n for n in it.shape_names if n in ARKIT]
    result = {
        "head": str(out),
        "name": it.name,
        "vertices": len(it.template),
        "shapes": len(it.shape_names),
        "arkit": len(found),
        "missing": [n for n in ARKIT if n not in found],
        "height_mm": round(float(it.template[:, 1].max() - it.template[:, 1].min()) * 1000, 1),
    }
    if "residual_mm" in options.facts:
        result |= {"flame_version": it.flame_version, "columns": len(options.facts["columns"])}
        result["residual_mm"] = options.facts["residual_mm"]
    show(result, as_json, table(result))


@head_app.command("params")
def params(
    source: Annotated[Path, typer.Argument(help="flame_param.npz of VHAP or GaussianAvatars.")],
    head: Annotated[str, typer.Option(help="An imported FLAME head: a name or a head.npz.")],
    out: Annotated[Path, typer.Option(help="Where the take goes (.npz).")],
    version: Annotated[str | None, typer.Option(help="FLAME version, where the file does not say.")] = None,
    fps: Annotated[str | None, typer.Option(help="Frame rate, where the file does not say.")] = None,
    as_json: Json = False,
) -> None:
    """Read FLAME parameters as a take. The way back is: export TAKE --head NAME --out flame_param.npz."""
    from engine.core.takefile import write_take
    from engine.head.flame.params import read_params
    from engine.head.library import load_head

    take = read_params(source, load_head(head), version, fps)
    write_take(out, take)
    result = {"take": str(out), "frames": len(take), "version": take.flame.version, "residual_mm": take.residual_mm}
    show(result, as_json, table(result))


@head_app.command("transfer")
def transfer(
    to: Annotated[Path, typer.Option(help="The mesh: obj, ply, glb, stl, a folder, or a head.npz.")],
    out: Out,
    source: Annotated[str, typer.Option("--from", help="Head whose shapes are carried over.")] = "default",
    points: Annotated[
        Path | None, typer.Option(help="Picked points: JSON, mark -> vertex number or [x, y, z].")
    ] = None,
    metres: Annotated[float | None, typer.Option(help="Length of the mesh's unit in metres (0.01 for cm).")] = None,
    up: Annotated[str, typer.Option(help="Axis that points up: y, or z as in Blender.")] = "y",
    as_json: Json = False,
) -> None:
    """Give a mesh without shapes the 52 ARKit shapes and our extra ones, from a head that has them."""
    from engine.head.files import save_head
    from engine.head.importers import Options, import_head
    from engine.head.library import load_head
    from engine.head.transfer.align import read_picks
    from engine.head.transfer.run import transfer_head

    picks = read_picks(points) if points else None
    with reporting(as_json) as report:
        target = load_head(to) if to.suffix == ".npz" else import_head(to, None, Options(metres=metres, up=up), report)
        made, figures = transfer_head(load_head(source), target, picks, report)
        save_head(out, made)
    show({"head": str(out), **figures}, as_json, table({"head": str(out), **figures}))


@head_app.command("fit")
def fit(
    sequence: Annotated[Path, typer.Argument(help="Meshes: .pc2 (Blender axes), .npy [t, v, 3] in metres, take.npz.")],
    out: Annotated[Path, typer.Option(help="Where the take goes (.npz).")],
    head: Annotated[str, typer.Option(help="Head whose mesh it is: a name or a head.npz.")] = "default",
    fps: Annotated[str, typer.Option(help="Frames per second: 25, 23.976, 30000/1001.")] = "25",
    first_frame: Annotated[int, typer.Option(help="Scene frame of the first mesh.")] = 1,
    residual: Annotated[Path | None, typer.Option(help="Keep what is left as SOL_res_ shapes (.npz).")] = None,
    bound: Annotated[float, typer.Option(help="Largest error in mm that these may leave.")] = 0.05,
    as_json: Json = False,
) -> None:
    """Turn a mesh sequence into shape weights, pose and FLAME-layout parameters; the error is printed in mm."""
    from engine.core.clock import parse_fps
    from engine.core.takefile import write_take
    from engine.head.fit import fit_sequence, take_of
    from engine.head.library import load_head
    from engine.head.residual import residual_shapes, write_residual
    from engine.train.evaluate import read_sequence

    it, rate = load_head(head), parse_fps(fps)
    verts = read_sequence(sequence, it)
    with reporting(as_json) as report:
        found = fit_sequence(it, verts, report=report)
        figures = {"take": str(out), **found.figures(it)}
        more = None
        if residual is not None:
            more = residual_shapes(it, verts, found, bound, report=report)
            write_residual(residual, more)
            figures["residual"] = {"path": str(residual), "shapes": len(more.shapes), "error_mm": more.error_mm}
        write_take(out, take_of(it, found, rate, first_frame, sequence.name, more))
    show(figures, as_json, table(figures))
