"""Shapes for a mesh that has none, as a job: a mesh file and picked points in, offsets in the mesh's own order out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.core.errors import BadInput
from engine.core.progress import SILENT, Reporter


def transfer_to_mesh(request: dict[str, Any], reporter: Reporter = SILENT) -> dict[str, Any]:
    """{"target": mesh file, "points": {mark: vertex number or [x, y, z] in metres, Y up}, "source": a head ("default"),
    "metres": length of the file's unit (guessed if absent), "up": "y" or "z", "out": head.npz to write, or absent}
    -> {"shape_names", "error_mm", "seconds", "shapes": figures by shape, "head": path or None,
    "arrays": {"shapes" [k, v, 3] metres, Y up}}.

    Raises BadInput for missing entries, a mesh whose vertices would not keep their order, or points that do not fit.
    """
    from engine.head.files import save_head
    from engine.head.importers import Options, import_head
    from engine.head.library import load_head
    from engine.head.transfer.run import transfer_head

    target = request.get("target")
    if not isinstance(target, str) or not target:
        raise BadInput("the request lacks 'target', the path of a mesh")
    if Path(target).suffix.lower() != ".obj":
        raise BadInput("the target must be an .obj file: other formats do not keep the order of the vertices")
    points = request.get("points")
    if not isinstance(points, dict):
        raise BadInput("'points' must map the names of marks to vertex numbers or places")
    metres, up = request.get("metres"), request.get("up", "y")
    if metres is not None and (isinstance(metres, bool) or not isinstance(metres, int | float)):
        raise BadInput("'metres' must be a number: the length of the file's unit")
    reporter.step("read", 0, 1)
    options = Options(metres=None if metres is None else float(metres), up=str(up))
    mesh = import_head(target, "mesh", options, reporter)
    made, figures = transfer_head(load_head(request.get("source") or "default"), mesh, points, reporter)
    out = request.get("out")
    if out:
        save_head(Path(out), made)
    return {
        "shape_names": list(made.shape_names), "error_mm": figures["error_mm"], "seconds": figures["seconds"],
        "shapes": figures["shapes"], "head": str(out) if out else None, "arrays": {"shapes": made.shapes},
    }  # fmt: skip
