"""A take for other programs: weights as CSV, vertices as PC2 or OBJ, Gaussians as PLY or SPZ."""

from __future__ import annotations

import csv
import struct
from pathlib import Path

import numpy as np

from engine.core.anatomy import Head
from engine.core.errors import BadInput
from engine.core.files import replacing
from engine.core.names import ARKIT
from engine.core.progress import SILENT, Reporter
from engine.core.take import Take
from engine.core.takefile import read_take
from engine.core.units import to_blender
from engine.head.replay import BLOCK, check_topology, take_vertices

SPLATS = (".ply", ".spz")


def export_take(
    take_path: str | Path, out: str | Path, head_name: str = "default", frame: int = -1, report: Reporter = SILENT,
    avatar_name: str = "default", appearance: str | Path | None = None,
) -> str:  # fmt: skip
    """Write a take as `out`'s suffix says; returns what was written. Raises BadInput for an unknown suffix.

    .csv: one row a frame, time and weights. .pc2: Blender axes, metres. .obj: a folder-less sequence name_0001.obj …
    (or one frame). .ply, .spz: the avatar's Gaussians at `frame`, or of every frame as name_0001.ply …, which splat
    viewers play, with its colour channels and what the net in the file `appearance` changes. .npz: flame_param.npz as
    VHAP and GaussianAvatars read it, from a take on an imported FLAME head.
    """
    from engine.head.library import load_head

    take, target = read_take(take_path), Path(out)
    writers = {".csv": _csv, ".pc2": _pc2, ".obj": _obj, ".npz": _npz}
    if target.suffix not in (*writers, *SPLATS):
        raise BadInput(f"cannot export '{target.suffix or target.name}'; there are: {', '.join((*writers, *SPLATS))}")
    if not -1 <= frame < len(take):
        raise BadInput(f"frame {frame} is outside 0 to {len(take) - 1}")
    head = load_head(head_name)
    check_topology(take, head)
    if target.suffix in SPLATS:
        return _splats(take, head, target, frame, report, avatar_name, appearance)
    if appearance:
        raise BadInput(f"an appearance net changes Gaussians: it goes into {' and '.join(SPLATS)} files alone")
    return writers[target.suffix](take, head, target, frame, report)


def _csv(take: Take, head: Head, out: Path, frame: int, report: Reporter) -> str:
    with replacing(out) as part, open(part, "w", newline="", encoding="utf-8") as f:
        rows = csv.writer(f)
        rows.writerow(["frame", "seconds", *ARKIT, *take.extra_names, *_POSE])
        weights = np.concatenate([take.arkit, take.extra, take.flame.pose], 1)
        for i, (t, row) in enumerate(zip(take.times, weights, strict=True)):
            rows.writerow([take.first_frame + i, f"{t:.6f}", *(f"{w:.6g}" for w in row)])
    return f"{out}: {len(take)} rows"


_POSE = [f"{joint}_{axis}" for joint in ("root", "neck", "jaw", "eyeLeft", "eyeRight") for axis in "xyz"]


def _pc2(take: Take, head: Head, out: Path, frame: int, report: Reporter) -> str:
    with replacing(out) as part, open(part, "wb") as f:
        f.write(struct.pack("<12siiffi", b"POINTCACHE2\0", 1, len(head.template), 1.0, 1.0, len(take)))
        for start in range(0, len(take), BLOCK):
            report.step("vertices", start, len(take))
            rows = np.arange(start, min(start + BLOCK, len(take)))
            f.write(to_blender(take_vertices(take, head, rows)).astype("<f4").tobytes())
    return f"{out}: {len(take)} frames of {len(head.template)} vertices"


def _obj(take: Take, head: Head, out: Path, frame: int, report: Reporter) -> str:
    faces = "".join("f " + " ".join(str(i + 1) for i in face if i >= 0) + "\n" for face in head.faces.tolist())
    rows = np.arange(len(take)) if frame < 0 else np.array([frame])
    for n, row in enumerate(rows):
        report.step("vertices", n, len(rows))
        points = take_vertices(take, head, np.array([row]))[0]
        target = out if frame >= 0 else out.with_name(f"{out.stem}_{row + 1:04d}.obj")
        with replacing(target) as part:
            lines = "".join(f"v {x:.6f} {y:.6f} {z:.6f}\n" for x, y, z in points.tolist())
            part.write_text(f"# {head.name}, metres, Y up\n{lines}{faces}", encoding="ascii")
    return f"{out}: {len(rows)} meshes"


def _npz(take: Take, head: Head, out: Path, frame: int, report: Reporter) -> str:
    from engine.head.flame.params import write_params

    error = write_params(out, take, head)
    return f"{out}: {len(take)} frames of FLAME {take.flame.version} (up to {error:.2f} mm from the take)"


def _splats(
    take: Take, head: Head, out: Path, frame: int, report: Reporter, avatar_name: str, appearance: str | Path | None
) -> str:  # fmt: skip
    from engine.avatar.face_values import of_take
    from engine.avatar.files import write_ply
    from engine.avatar.library import load_avatar
    from engine.avatar.shown import player_of, shown
    from engine.avatar.spz import write_spz

    avatar = load_avatar(avatar_name, head)
    player = player_of(appearance, avatar, head)
    rows = np.arange(len(take)) if frame < 0 else np.array([frame])
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        for row, points in zip(block, take_vertices(take, head, block), strict=True):
            report.step("frames", int(row), len(take))
            gaussians = shown(avatar, head, points, of_take(take, int(row)), player)
            target = out if frame >= 0 else out.with_name(f"{out.stem}_{row + 1:04d}{out.suffix}")
            if out.suffix == ".spz":
                write_spz(target, gaussians)
            else:
                write_ply(target, gaussians)
    return f"{out}: {len(rows)} frame{'s' * (len(rows) > 1)} of {len(avatar)} Gaussians"
