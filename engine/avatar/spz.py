"""Niantic's .spz: Gaussians in 8 to 24 bits an entry, one gzip stream (https://github.com/nianticlabs/spz, 2 and 3).

    16 bytes: magic, version, number, SH degree, fractional bits of positions, flags (1: anti-aliased), 0
    then, each for all Gaussians: positions 3 x 24 bit fixed point; opacity 8 bit; colour 3 x 8 bit (0.15 f_dc + 0.5);
    log-scales 3 x 8 bit (16 (s + 10)); rotations; SH 8 bit (128 x + 128), for each coefficient red, green, blue

Rotations: version 2 holds x, y, z in 8 bits each (w >= 0 follows); version 3 the three smallest of x, y, z, w in sign
and 9 bits each, with the index of the largest. Axes are right, up, back: the engine's own (metres, Y up).
"""

from __future__ import annotations

import gzip
import os
import struct
import zlib

import numpy as np

from engine.avatar.layout import as_planes
from engine.core.errors import BadFile, BadInput
from engine.core.files import replacing
from engine.core.progress import SILENT, Reporter
from engine.core.splats import Gaussians

Array = np.ndarray

MAGIC, VERSIONS, HEADER = 0x5053474E, (2, 3), "<IIIBBBB"
MAX_GAUSSIANS = 20_000_000
FLAG_ANTIALIASED = 1
_COLOUR, _ROOT_HALF = 0.15, np.sqrt(0.5)
_MAX_BITS = 20  # of the fraction: a micrometre
_LEVEL = 6  # of gzip


def write_spz(path: str | os.PathLike[str], gaussians: Gaussians, version: int = 3, antialiased: bool = False) -> None:
    """Write Gaussians of degree 0 to 3. Positions keep 1e-6 m within 8 m of the origin, less beyond; opacity 1/255,
    scales 3 %, colours 0.4 %, rotations 0.1° (version 2: 0.6°, near half turns 10°). Raises BadInput for another
    version or numbers that are not finite."""
    if version not in VERSIONS:
        raise BadInput(f".spz version {version} is not written; use {VERSIONS[0]} or {VERSIONS[1]}")
    g, n = gaussians, len(gaussians)
    if n and not all(np.isfinite(a).all() for a in (g.means, g.quats, g.scales, g.opacity, g.sh)):
        raise BadInput("Gaussians with numbers that are not finite cannot be written as .spz; leave them out first")
    degree = round(g.sh.shape[1] ** 0.5) - 1
    far = float(np.abs(g.means).max()) if n else 0.0
    bits = int(np.clip(np.floor(23 - np.log2(max(far, 1e-3) * 1.0000002)), 0, _MAX_BITS))
    header = struct.pack(HEADER, MAGIC, version, n, degree, bits, FLAG_ANTIALIASED * antialiased, 0)
    # Without a name and a time inside, so that the same Gaussians give the same file.
    with replacing(path) as part, open(part, "wb") as raw, gzip.GzipFile("", "wb", _LEVEL, raw, mtime=0) as out:
        out.write(header)
        out.write(_fixed24(np.asarray(g.means, np.float64) * (1 << bits)))
        out.write(_byte(np.asarray(g.opacity, np.float64) * 255))
        out.write(_byte(g.sh[:, 0].astype(np.float64) * (_COLOUR * 255) + 127.5))
        out.write(_byte((np.log(np.maximum(g.scales.astype(np.float64), 1e-12)) + 10) * 16))
        quats = np.asarray(g.quats, np.float64)[:, [1, 2, 3, 0]]
        quats = quats / np.maximum(np.linalg.norm(quats, axis=1, keepdims=True), 1e-12)
        out.write(_first_three(quats) if version == 2 else _smallest_three(quats))
        out.write(_byte(g.sh[:, 1:].astype(np.float64) * 128 + 128))


def _byte(values: Array) -> bytes:
    return np.clip(np.floor(values + 0.5), 0, 255).astype(np.uint8).tobytes()


def _fixed24(values: Array) -> bytes:
    whole = np.ascontiguousarray(np.clip(np.rint(values), -(1 << 23), (1 << 23) - 1), "<i4")
    return np.ascontiguousarray(whole.view(np.uint8).reshape(*whole.shape, 4)[..., :3]).tobytes()


def _first_three(quats: Array) -> bytes:
    sign = np.where(quats[:, 3:] < 0, -1.0, 1.0)
    return _byte(quats[:, :3] * sign * 127.5 + 127.5)


def _smallest_three(quats: Array) -> bytes:
    """xyzw unit [n, 4] -> [n] uint32: index of the largest, then sign and 9 bits of the others in order."""
    rows, largest = np.arange(len(quats)), np.abs(quats).argmax(1)
    quats = quats * np.where(quats[rows, largest] < 0, -1.0, 1.0)[:, None]
    out = largest.astype(np.uint32)
    for k in range(4):
        size = np.floor(np.abs(quats[:, k]) * (511 / _ROOT_HALF) + 0.5).astype(np.uint32)
        code = (np.uint32(512) * (quats[:, k] < 0)).astype(np.uint32) | np.minimum(size, 511).astype(np.uint32)
        out = np.where(largest == k, out, (out << np.uint32(10)) | code).astype(np.uint32)
    return out.astype("<u4").tobytes()


def read_spz(path: str | os.PathLike[str], report: Reporter = SILENT) -> Gaussians:
    """Gaussians of an .spz of version 2 or 3. Raises BadFile for other versions and for damage; at most 250 bytes of
    memory a Gaussian beside the result."""
    try:
        with open(path, "rb") as raw:
            if raw.read(4) == b"NGSP":
                raise BadFile(path, "is an .spz of version 4 or newer; write it again as version 3, or as .ply")
            raw.seek(0)
            with gzip.GzipFile(fileobj=raw) as stream:
                return _read(path, stream, report)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise BadFile(path, f"is damaged or cut off, or no .spz file ({error})") from None
    except OSError as error:
        raise BadFile(path, f"cannot be read ({error.strerror or error})") from None


def _read(path: object, stream: gzip.GzipFile, report: Reporter) -> Gaussians:
    head = stream.read(struct.calcsize(HEADER))
    if len(head) < struct.calcsize(HEADER):
        raise BadFile(path, "is no .spz file: it ends within its header")
    magic, version, n, degree, bits, flags, _ = struct.unpack(HEADER, head)
    if magic != MAGIC:
        raise BadFile(path, "is no .spz file")
    if version not in VERSIONS:
        raise BadFile(path, f"is an .spz of version {version}; versions 2 and 3 are read")
    if degree > 3 or bits > 23:
        raise BadFile(path, f"is damaged: SH degree {degree}, {bits} fractional bits")
    if n > MAX_GAUSSIANS:
        raise BadFile(path, f"claims {n} Gaussians; at most {MAX_GAUSSIANS} are read")
    if flags & FLAG_ANTIALIASED:
        report.warn(f"{path}: was trained with anti-aliasing; render it with that switched on")
    terms = (degree + 1) ** 2

    def block(width: int) -> Array:
        data = stream.read(n * width)
        if len(data) < n * width:
            raise BadFile(path, f"is cut off: {n} Gaussians need more than it holds")
        return np.frombuffer(data, np.uint8).reshape(n, width)

    means = _from_fixed24(block(9), bits)
    opacity = (block(1)[:, 0] / np.float32(255)).astype(np.float32)
    sh = np.empty((terms, 3, n), np.float32)
    sh[0] = (block(3).T / np.float32(255) - np.float32(0.5)) / np.float32(_COLOUR)
    scales = np.exp(block(3).T.astype(np.float32) / 16 - 10)
    quats = _from_first_three(block(3)) if version == 2 else _from_smallest_three(block(4))
    rest = block(3 * (terms - 1)).T.reshape(terms - 1, 3, n) if terms > 1 else np.zeros((0, 3, n), np.uint8)
    for k in range(terms - 1):
        sh[1 + k] = rest[k].astype(np.float32) / 128 - 1
    return Gaussians(as_planes(means), as_planes(quats), scales.T, opacity, sh.transpose(2, 0, 1))


def _from_fixed24(data: Array, bits: int) -> Array:
    parts = data.reshape(-1, 3, 3).astype(np.int32)
    whole = parts[..., 0] | parts[..., 1] << 8 | parts[..., 2] << 16
    return ((whole ^ 0x800000) - 0x800000).astype(np.float32) / np.float32(1 << bits)


def _from_first_three(data: Array) -> Array:
    xyz = data.astype(np.float32) / np.float32(127.5) - 1
    w = np.sqrt(np.maximum(0, 1 - np.square(xyz).sum(1, keepdims=True)))
    out = np.concatenate([w, xyz], 1)
    return out / np.linalg.norm(out, axis=1, keepdims=True)


def _from_smallest_three(data: Array) -> Array:
    code = np.ascontiguousarray(data).view("<u4")[:, 0]
    largest = (code >> np.uint32(30)).astype(np.int64)
    xyzw = np.zeros((len(code), 4), np.float32)
    for k in (3, 2, 1, 0):
        value = (code & np.uint32(511)).astype(np.float32) * np.float32(_ROOT_HALF / 511)
        value = np.where(code & np.uint32(512), -value, value)
        xyzw[:, k] = np.where(largest == k, 0, value)
        code = np.where(largest == k, code, code >> np.uint32(10)).astype(np.uint32)
    rows = np.arange(len(code))
    xyzw[rows, largest] = np.sqrt(np.maximum(0, 1 - np.square(xyzw).sum(1)))
    return xyzw[:, [3, 0, 1, 2]] / np.linalg.norm(xyzw, axis=1, keepdims=True)
