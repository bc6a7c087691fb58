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
    source: Annotated[Path, typer.Argument(help="A mesh (obj, ply, glb, stl) or a folder with one OBJ a shape.")],
    out: Out,
    kind: Annotated[str | None, typer.Option(help="Importer; by default the file decides.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the head; by default the file's.")] = None,
    metres: Annotated[float | None, typer.Option(help="Length of the file's unit in metres (0.01 for cm).")] = None,
    up: Annotated[str, typer.Option(help="Axis that points up: y, or z as in Blender.")] = "y",
    as_json: Json = False,
) -> None:
    """Read someone's head into a head.npz, with the shapes it has under their ARKit names."""
    from engine.core.names import ARKIT
    from engine.head.files import save_head
    from engine.head.importers import Options, import_head

    with reporting(as_json) as report:
        it = import_head(source, kind, Options(metres=metres, up=up, name=name), report)
        save_head(out, it)
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
    show(result, as_json, table(result))
