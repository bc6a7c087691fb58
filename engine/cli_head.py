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
