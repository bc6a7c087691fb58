"""Avatars from and for other programs, as jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.core.errors import BadInput
from engine.core.files import replacing, writable
from engine.core.progress import SILENT, Reporter


def import_avatar(request: dict[str, Any], report: Reporter = SILENT) -> dict[str, Any]:
    """{"source": a folder or point_cloud.ply of GaussianAvatars, "head": the user's imported FLAME head, "out": .npz}
    -> {"path", "head", "gaussians"}: the avatar, and the head with the person's shape, written beside it as
    OUT_head.npz. Both move with takes made on that FLAME head. Raises BadInput, BadFile; then nothing is written."""
    from engine.avatar.files import save_avatar
    from engine.avatar.gaussian_avatars import read_gaussian_avatar
    from engine.head.files import save_head
    from engine.head.library import load_head
    from engine.serve.jobs import needed

    source, out = Path(needed(request, "source")), writable(needed(request, "out"))
    if out.suffix != ".npz":
        raise BadInput(f"an avatar is an .npz file, not '{out.name}'")
    if source.suffix == ".spz":
        raise BadInput(f"{source}: holds Gaussians in space, which do not move with a face; import a bound avatar")
    avatar, head = read_gaussian_avatar(source, load_head(request.get("head", "default")), report)
    shaped = out.with_name(f"{out.stem}_head.npz")
    with replacing(out) as avatar_part, replacing(shaped) as head_part:
        save_head(head_part, head)
        save_avatar(avatar_part, avatar)
    return {"path": str(out), "head": str(shaped), "gaussians": len(avatar)}


def export_avatar(request: dict[str, Any], report: Reporter = SILENT) -> dict[str, Any]:
    """{"avatar", "head", "out", "mean"} -> {"path", "gaussians"}. out: .ply or .spz (the neutral face's Gaussians in
    space), or a folder in GaussianAvatars' layout, for avatars on an imported FLAME head; mean: that FLAME head
    without the person's shape, where `head` has one. Raises BadInput, BadFile."""
    from engine.avatar.bind import bind
    from engine.avatar.files import write_ply
    from engine.avatar.gaussian_avatars import write_gaussian_avatar
    from engine.avatar.library import load_avatar
    from engine.avatar.spz import write_spz
    from engine.head.library import load_head
    from engine.serve.jobs import needed

    out = Path(needed(request, "out"))
    head = load_head(request.get("head", "default"))
    avatar = load_avatar(request.get("avatar", "default"), head)
    writers = {".ply": write_ply, ".spz": write_spz}
    if out.suffix in writers:
        writers[out.suffix](out, bind(avatar, head.triangles, head.template))
        return {"path": str(out), "gaussians": len(avatar)}
    if out.suffix:
        raise BadInput(f"cannot export '{out.suffix}'; there are .ply, .spz, or a folder for GaussianAvatars")
    mean = load_head(request["mean"]) if request.get("mean") else None
    return {"path": str(out), "gaussians": write_gaussian_avatar(out, avatar, head, mean, report)}


def splats(request: dict[str, Any], report: Reporter = SILENT) -> dict[str, Any]:
    """{"avatar", "head", "take", "frame", "appearance"} -> the avatar's Gaussians in space as a point cloud in
    Blender's axes.

    Of the take's frame (0 is its first), or of the neutral face without a take. Arrays, float32: position [n, 3],
    scale [n, 3] metres, rotation [n, 4] wxyz, base [n, 4] (the constant SH term and the opacity), sh [k, n, 3]: the
    higher terms. Colours are in the avatar's blend space, which the answer names.
    """
    import numpy as np

    from engine.avatar.attach import multiply
    from engine.avatar.face_values import of_take
    from engine.avatar.harmonics import turned
    from engine.avatar.library import load_avatar
    from engine.avatar.shown import player_of, shown
    from engine.core.takefile import read_take
    from engine.core.units import to_blender
    from engine.head.library import load_head
    from engine.head.replay import check_topology, take_vertices
    from engine.serve.jobs import whole

    head = load_head(request.get("head", "default"))
    avatar = load_avatar(request.get("avatar", "default"), head)
    points, face = head.template, None
    if request.get("take"):
        take = read_take(request["take"])
        check_topology(take, head)
        row = whole(request, "frame", 0, 0, len(take) - 1)
        points = take_vertices(take, head, np.array([row]))[0]
        face = of_take(take, row)
    g = shown(avatar, head, points, face, player_of(request.get("appearance"), avatar, head))
    turn = to_blender(np.eye(3)).T
    quarter = np.array([[np.sqrt(0.5), np.sqrt(0.5), 0, 0]])  # the same turn: +90 degrees about x
    sh = turned(np.asarray(g.sh), turn)
    arrays = {
        "position": to_blender(np.asarray(g.means)), "scale": g.scales,
        "rotation": multiply(np.repeat(quarter, len(g), 0), np.asarray(g.quats, np.float64)),
        "base": np.concatenate([sh[:, 0], np.asarray(g.opacity)[:, None]], 1), "sh": sh[:, 1:].transpose(1, 0, 2),
    }  # fmt: skip
    return {
        "count": len(g), "terms": sh.shape[1], "blend_space": avatar.blend_space,
        "arrays": {name: np.ascontiguousarray(a, np.float32) for name, a in arrays.items()},
    }  # fmt: skip
