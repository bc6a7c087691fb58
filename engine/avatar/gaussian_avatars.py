"""GaussianAvatars' files (Qian et al. 2024): a point_cloud.ply bound to FLAME's triangles, flame_param.npz beside it.

Its binding is ours (bind.py): the same frame, origin and size of a triangle, positions and log-scales in units of that
size. So its Gaussians become an `Avatar` number by number, on the user's own FLAME model with the person's shape.

    avatar, head = read_gaussian_avatar(folder, flame_head)      # the head is the FLAME model with that shape
    write_gaussian_avatar(folder, avatar, head)                  # an avatar that is bound to an imported FLAME head
"""

from __future__ import annotations

import os
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from engine.avatar.files import finite_rows, ply_fields, ply_table, write_table
from engine.avatar.layout import as_planes
from engine.core.anatomy import Head
from engine.core.errors import BadFile, BadInput
from engine.core.files import replacing
from engine.core.progress import SILENT, Reporter
from engine.core.splats import Avatar

Array = np.ndarray

POINTS, PARAMETERS, BINDING = "point_cloud.ply", "flame_param.npz", "binding_0"
VERTICES, TRIANGLES = 5023, 9976  # of FLAME; theirs may add 168 triangles of teeth behind
TERMS = 16  # their program reads degree 3 only
LICENCE = "as the files it was imported from"


def read_gaussian_avatar(
    path: str | os.PathLike[str], head: Head, report: Reporter = SILENT
) -> tuple[Avatar, Head]:  # fmt: skip
    """An avatar from a folder (or its .ply), and `head`, an imported FLAME model, with the person's shape on it.

    Gaussians on the teeth that GaussianAvatars adds to FLAME, and those that are not finite, are left out with a
    warning. Raises BadFile for files that are missing or damaged, BadInput for a head that is not FLAME's.
    """
    if not head.is_flame:
        raise BadInput(
            f"GaussianAvatars are bound to FLAME; '{head.name}' is another head: import your FLAME file first"
        )
    source = Path(path)
    source = source / POINTS if source.is_dir() else source
    table = ply_table(source)
    if BINDING not in (table.dtype.names or ()):
        raise BadFile(source, f"lacks '{BINDING}': its Gaussians are bound to no triangles")
    fields = ply_fields(source, table)
    binding = table[BINDING].astype(np.float64)
    length = np.linalg.norm(fields["quats"], axis=1)
    good = finite_rows(*fields.values(), binding) & (length > 1e-12)
    if not good.all():
        report.warn(f"{source}: {int((~good).sum())} of {len(good)} Gaussians are not finite and were left out")
    if len(binding) and not (np.isfinite(binding) & (binding >= 0)).all():
        raise BadFile(source, "binds Gaussians to triangles that cannot be; it is damaged")
    own = binding < TRIANGLES
    if (good & ~own).any():
        report.warn(
            f"{source}: {int((good & ~own).sum())} Gaussians on GaussianAvatars' added teeth were left out; "
            "FLAME has none of these triangles"
        )
    keep = good & own
    quats = fields["quats"][keep] / length[keep, None]
    avatar = Avatar(
        binding[keep].astype(np.int32), as_planes(fields["means"][keep]), as_planes(quats),
        as_planes(fields["log_scales"][keep]),
        (1 / (1 + np.exp(-fields["logits"][keep].astype(np.float64)))).astype(np.float32),
        as_planes(fields["sh"][keep]), np.zeros(int(keep.sum()), np.uint8), head.name, head.topology_sha256,
        licence=LICENCE, meta={"imported_from": "GaussianAvatars"},
    )  # fmt: skip
    return avatar, _with_shape(source.with_name(PARAMETERS), head, report)


def _with_shape(path: Path, head: Head, report: Reporter) -> Head:
    """The head with the shape and the constant offsets of a flame_param.npz in its template."""
    try:
        with np.load(path, allow_pickle=False) as data:
            raw = {name: data[name] for name in ("shape", "static_offset") if name in data.files}
    except FileNotFoundError:
        report.warn(f"there is no {path.name} beside it: the avatar is bound to FLAME's mean face")
        return head
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise BadFile(path, f"is not a readable .npz file ({error})") from None
    shape = np.asarray(raw.get("shape", np.zeros(0)), np.float64).ravel()[: head.identity.shape[2]]
    offset = np.asarray(raw.get("static_offset", np.zeros((1, 0, 3))), np.float64).reshape(-1, 3)[:VERTICES]
    if not (np.isfinite(shape).all() and np.isfinite(offset).all()):
        raise BadFile(path, "holds numbers that are not finite")
    template = head.template.astype(np.float64) + head.identity[:, :, : len(shape)].astype(np.float64) @ shape
    template[: len(offset)] += offset
    return replace(head, template=template.astype(np.float32))


def write_gaussian_avatar(
    folder: str | os.PathLike[str], avatar: Avatar, head: Head, mean: Head | None = None, report: Reporter = SILENT
) -> int:  # fmt: skip
    """Write point_cloud.ply and a flame_param.npz of one neutral frame; returns the number of Gaussians written.

    head: the imported FLAME head that the avatar is bound to; mean: the same model without the person's shape, so that
    the shape goes into the file's constant offsets (None: `head` is the mean). Gaussians inside the mouth, whose
    triangles FLAME lacks, are left out with a warning; dynamic colour is not in the format. Raises BadInput for other
    heads.
    """
    if mean is not None and mean.topology_sha256 != head.topology_sha256:
        raise BadInput(f"'{head.name}' and '{mean.name}' are not the same FLAME model")
    if not head.is_flame or avatar.topology_sha256 != head.topology_sha256:
        raise BadInput("only an avatar on an imported FLAME head can be written for GaussianAvatars")
    own = avatar.triangle < TRIANGLES
    if not own.all():
        report.warn(f"{int((~own).sum())} Gaussians inside the mouth were left out: FLAME has no such triangles")
    n = int(own.sum())
    sh = np.zeros((n, TERMS, 3), np.float32)
    sh[:, : avatar.sh.shape[1]] = avatar.sh[own]
    target = Path(folder)
    write_table(
        target / POINTS, avatar.local_means[own], avatar.local_quats[own], avatar.log_scales[own], avatar.opacity[own],
        sh, {BINDING: avatar.triangle[own].astype(np.float32)},
    )  # fmt: skip
    offset = (
        np.zeros((1, VERTICES, 3), np.float32) if mean is None else (head.template - mean.template)[None, :VERTICES]
    )
    widths = {"expr": 100, "rotation": 3, "neck_pose": 3, "jaw_pose": 3, "eyes_pose": 6, "translation": 3}
    with replacing(target / PARAMETERS) as part, open(part, "wb") as file:
        np.savez(
            file, shape=np.zeros(300, np.float32), static_offset=offset, flame_version=np.array(head.flame_version),
            dynamic_offset=np.zeros((1, VERTICES, 3), np.float32),
            **{name: np.zeros((1, width), np.float32) for name, width in widths.items()},
        )  # fmt: skip
    return n
