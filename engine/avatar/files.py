"""Avatar files (our own, bound to triangles) and 3D Gaussian Splatting's .ply (Gaussians in space)."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from engine.avatar import channels
from engine.avatar.layout import as_planes
from engine.core.errors import BadFile, BadInput
from engine.core.files import read_archive, replacing, write_archive
from engine.core.progress import SILENT, Reporter
from engine.core.splats import Avatar, Free, Gaussians

FORMAT = 2  # 2: with dynamic colour or free Gaussians; avatars without are written as 1, which older programs read
_FREE = {"rows": np.int32, "follow": np.float32, "rest": np.float32, "anchors": np.int32, "anchor_rest": np.float32}
_HALF = ("local_means", "local_quats", "log_scales", "opacity", "sh")
_META = ("head", "topology_sha256", "blend_space", "licence", "meta")
MAX_GAUSSIANS = 20_000_000
_BLOCK = 100_000  # rows written at once
_PLY_TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4",
    "double": "f8",
}  # fmt: skip
_PLY_TYPES |= {np.dtype(code).name: code for code in _PLY_TYPES.values()}


def save_avatar(path: str | os.PathLike[str], avatar: Avatar) -> None:
    """Write an avatar .npz, numbers as float16: positions to 1/2000 of a triangle's size, colours to 1/2000."""
    arrays = {name: np.asarray(getattr(avatar, name), np.float16) for name in _HALF}
    arrays |= {"triangle": avatar.triangle.astype(np.int32), "layer": avatar.layer.astype(np.uint8)}
    meta: dict[str, Any] = {name: getattr(avatar, name) for name in _META}
    meta |= {"layers": list(avatar.layers), "view_range": list(avatar.view_range)}
    if avatar.channels:
        more, meta["channels"] = channels.to_arrays(avatar.channels)
        arrays |= more
    if avatar.free is not None:
        arrays |= {f"free_{name}": np.asarray(getattr(avatar.free, name), kind) for name, kind in _FREE.items()}
    plain = not avatar.channels and avatar.free is None
    write_archive(path, "avatar", 1 if plain else FORMAT, arrays, meta)


def read_avatar(path: str | os.PathLike[str]) -> Avatar:
    """An avatar .npz, laid out for the kernels. Raises BadFile."""
    arrays, meta = read_archive(path, "avatar", FORMAT)
    try:
        values: dict[str, Any] = {name: arrays[name].astype(np.float32) for name in _HALF}
        for name in ("local_means", "local_quats", "log_scales", "sh"):
            values[name] = as_planes(values[name])
        triangle, layer = arrays["triangle"].astype(np.int32), arrays["layer"].astype(np.uint8)
        kept = {name: meta[name] for name in _META}
        avatar = Avatar(
            triangle=triangle, layer=layer, layers=tuple(meta["layers"]), view_range=tuple(meta["view_range"]),
            channels=channels.from_arrays(arrays, meta.get("channels") or [], len(triangle)),
            free=_free_of(arrays, len(triangle)), **values, **kept,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, BadInput) as error:
        raise BadFile(path, f"is damaged ({error}); make or fetch it again") from None
    _check_sh(path, avatar.sh, len(avatar))
    if not all(np.isfinite(values[name]).all() for name in _HALF):
        raise BadFile(path, "holds numbers that are not finite; make or fetch it again")
    return avatar


def _free_of(arrays: dict[str, np.ndarray], count: int) -> Free | None:
    """The free Gaussians of an archive, or None. Raises KeyError or ValueError."""
    if "free_rows" not in arrays:
        return None
    found = Free(**{name: arrays[f"free_{name}"].astype(kind) for name, kind in _FREE.items()})
    f, a = len(found.rows), len(found.anchors)
    fits = found.follow.shape == (f,) and found.rest.shape == (f, 8) and found.anchor_rest.shape == (a, 3) and a >= 3
    if not fits or (f and not 0 <= int(found.rows.min()) <= int(found.rows.max()) < count):
        raise ValueError("its free Gaussians do not fit")
    if not all(np.isfinite(getattr(found, name)).all() for name in _FREE) or int(found.anchors.min()) < 0:
        raise ValueError("its free Gaussians are not finite")
    return found


def _check_sh(path: object, sh: np.ndarray, n: int) -> None:
    if sh.ndim != 3 or sh.shape[0] != n or sh.shape[1] not in (1, 4, 9, 16) or sh.shape[2] != 3:
        raise BadFile(path, f"has spherical harmonics of shape {list(sh.shape)}; degrees 0 to 3 are read")


def write_ply(path: str | os.PathLike[str], gaussians: Gaussians) -> None:
    """Write Gaussians as the .ply of 3D Gaussian Splatting (Kerbl et al. 2023), binary little endian.

    Opacity as a logit, scales as logarithms, f_rest channel by channel; positions in metres, engine axes (Y up).
    """
    g = gaussians
    with np.errstate(invalid="ignore"):
        write_table(path, g.means, g.quats, np.log(np.maximum(g.scales, 1e-12)), g.opacity, g.sh)


def write_table(
    path: str | os.PathLike[str], means: np.ndarray, quats: np.ndarray, log_scales: np.ndarray, opacity: np.ndarray,
    sh: np.ndarray, more: dict[str, np.ndarray] | None = None,
) -> None:  # fmt: skip
    """The same .ply from fields as it stores them (opacity in (0, 1)), with `more` columns [n] behind, as floats."""
    n = len(means)
    rest = sh[:, 1:].transpose(0, 2, 1).reshape(n, 3 * (sh.shape[1] - 1))
    names = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"]
    names += [f"f_rest_{i}" for i in range(rest.shape[1])]
    names += ["opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3", *(more or {})]
    inside = np.clip(opacity.astype(np.float64), 1e-6, 1 - 1e-6)
    columns = [
        means, np.zeros((n, 3)), sh[:, 0], rest, np.log(inside / (1 - inside))[:, None], log_scales, quats,
        *(column[:, None] for column in (more or {}).values()),
    ]  # fmt: skip
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {n}"]
    header += [f"property float {name}" for name in names]
    with replacing(path) as part, open(part, "wb") as f:
        f.write(("\n".join([*header, "end_header"]) + "\n").encode("ascii"))
        for start in range(0, n, _BLOCK):
            block = [np.asarray(c[start : start + _BLOCK], "<f4") for c in columns]
            f.write(np.concatenate(block, 1).tobytes())


def read_ply(path: str | os.PathLike[str], report: Reporter = SILENT) -> Gaussians:
    """Gaussians of a 3DGS .ply; terms beyond degree 3 are left out. Gaussians with numbers that are not finite are left
    out too, both with a warning. Memory: about three times the file. Raises BadFile."""
    table = ply_table(path)
    fields = ply_fields(path, table, report)
    n = len(table)
    del table
    quats = fields["quats"]
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        quats /= np.linalg.norm(quats, axis=1, keepdims=True)
        scales = np.exp(fields["log_scales"])
        opacity = 1 / (1 + np.exp(-fields["logits"]))
    parts = [fields["means"], quats, scales, opacity, fields["sh"]]
    good = finite_rows(*parts)
    if not good.all():
        report.warn(f"{path}: {int((~good).sum())} of {n} Gaussians are not finite and were left out")
        parts = [part[good] for part in parts]
    means, quats, scales, opacity, sh = parts
    return Gaussians(as_planes(means), as_planes(quats), as_planes(scales), opacity, as_planes(sh))


def finite_rows(*fields: np.ndarray) -> np.ndarray:
    """[n] bool: where fields [n, ...] are finite in every number."""
    return np.logical_and.reduce([np.isfinite(a).all(tuple(range(1, a.ndim))) for a in fields])


def ply_fields(path: object, table: np.ndarray, report: Reporter = SILENT) -> dict[str, np.ndarray]:
    """means [n, 3], quats [n, 4] as stored, log_scales [n, 3], logits [n], sh [n, terms, 3] of a `ply_table`. Raises
    BadFile where a property is missing."""
    names = table.dtype.names or ()
    rest = sum(name.startswith("f_rest_") for name in names)
    terms = 1 + rest // 3
    if rest % 3 or terms not in (1, 4, 9, 16, 25):
        raise BadFile(path, f"has {rest} f_rest values; 0, 9, 24, 45 or 72 (degrees 0 to 4) are read")

    def columns(*wanted: str) -> np.ndarray:
        if missing := [name for name in wanted if name not in names]:
            raise BadFile(path, f"lacks '{missing[0]}'; it is no 3D Gaussian Splatting file")
        return np.stack([table[name].astype(np.float32) for name in wanted], -1)

    n, kept = len(table), min(terms, 16)
    if kept < terms:
        report.warn(f"{path}: its colours are of degree 4; the terms beyond degree 3 were left out")
    sh = np.zeros((n, kept, 3), np.float32)
    sh[:, 0] = columns("f_dc_0", "f_dc_1", "f_dc_2")
    for channel in range(3):
        for term in range(1, kept):
            sh[:, term, channel] = columns(f"f_rest_{channel * (terms - 1) + term - 1}")[:, 0]
    return {
        "means": columns("x", "y", "z"), "quats": columns("rot_0", "rot_1", "rot_2", "rot_3"),
        "log_scales": columns("scale_0", "scale_1", "scale_2"), "logits": columns("opacity")[:, 0], "sh": sh,
    }  # fmt: skip


def ply_table(path: str | os.PathLike[str]) -> np.ndarray:
    """The vertex element of a binary little-endian .ply as a structured array. Raises BadFile."""
    try:
        with open(path, "rb") as f:
            head = f.read(65_536)
            end = head.find(b"end_header\n")
            if not head.startswith(b"ply") or end < 0:
                raise BadFile(path, "is not a .ply file")
            count, fields = _ply_header(path, head[:end].decode("ascii", "replace").splitlines())
            kind = np.dtype(fields)
            f.seek(0, os.SEEK_END)
            begin = end + len(b"end_header\n")
            if f.tell() - begin < count * kind.itemsize:
                raise BadFile(path, f"is cut off: {count} Gaussians need {count * kind.itemsize} bytes")
            f.seek(begin)
            return np.frombuffer(f.read(count * kind.itemsize), kind)
    except OSError as error:
        raise BadFile(path, f"cannot be read ({error.strerror or error})") from None


def _ply_header(path: object, lines: list[str]) -> tuple[int, list[tuple[str, str]]]:
    count, fields, element, before = -1, [], "", False
    for words in (line.split() for line in lines):
        if words[:1] == ["format"] and words[1:2] != ["binary_little_endian"]:
            raise BadFile(path, f"is a {' '.join(words[1:2])} .ply; binary_little_endian is read")
        if words[:1] == ["element"] and len(words) == 3 and words[2].isdigit():
            element = words[1]
            if element == "vertex":
                count = int(words[2])
            before = before or count < 0
        if words[:1] == ["property"] and element == "vertex":
            if len(words) != 3 or words[1] not in _PLY_TYPES:
                raise BadFile(path, f"has a property that is not a number: {' '.join(words)}")
            fields.append((words[2], "<" + _PLY_TYPES[words[1]]))
    if count < 0 or before or not fields or len({name for name, _ in fields}) < len(fields):
        raise BadFile(path, "has no plain list of vertices first; it is no 3D Gaussian Splatting file")
    if count > MAX_GAUSSIANS:
        raise BadFile(path, f"claims {count} Gaussians; at most {MAX_GAUSSIANS} are read")
    return count, fields
