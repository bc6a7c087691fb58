"""Files written whole or not at all, and numpy archives that carry a format version.

An archive is an .npz of plain arrays (no pickle) plus one `meta` entry: UTF-8 JSON as a uint8 array with
`kind` and `format`. A newer format is refused with a sentence instead of being misread.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from engine.core.errors import BadFile

# What numpy, zipfile and json raise on damaged bytes, seen by flipping every one of a small archive.
_DAMAGE = (
    KeyError, ValueError, TypeError, AttributeError, NotImplementedError, RuntimeError, OSError, EOFError,
    zlib.error, zipfile.BadZipFile,
)  # fmt: skip
_PATH = str | os.PathLike[str]


def writable(path: _PATH) -> Path:
    """`path` with its folder made, where a file can be written; asked before hours of work. Raises BadFile."""
    target = Path(path)
    if not target.name or target.is_dir():
        raise BadFile(path or "''", "is no file name; give a file to write")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadFile(path, f"cannot be written ({error.strerror})") from None
    if not os.access(target.parent, os.W_OK):
        raise BadFile(path, "cannot be written: its folder is read-only")
    return target


@contextlib.contextmanager
def replacing(path: _PATH) -> Iterator[Path]:
    """Yield a temporary path beside `path`; renamed onto it if the block succeeds, removed if it fails."""
    target = writable(path)
    part = target.with_name(f".{target.stem}.{os.getpid()}.part{target.suffix}")
    try:
        yield part
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def sha256_of(path: _PATH) -> str:
    """Hex digest of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sha256_of_arrays(*arrays: np.ndarray) -> str:
    """Hex digest of arrays' shapes, dtypes and values (C order)."""
    digest = hashlib.sha256()
    for a in arrays:
        digest.update(f"{a.dtype.str}{a.shape}".encode())
        digest.update(np.ascontiguousarray(a).tobytes())
    return digest.hexdigest()


def write_json(path: _PATH, value: object) -> None:
    with replacing(path) as part:
        part.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: _PATH) -> Any:
    """Parsed JSON of any form; BadFile if missing or not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadFile(path, "no such file") from None
    except (UnicodeDecodeError, json.JSONDecodeError, OSError) as error:
        raise BadFile(path, f"is not a readable JSON file ({error})") from None


def write_archive(
    path: _PATH, kind: str, format: int, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any],
    compressed: bool = False,
) -> None:  # fmt: skip
    """Write arrays and JSON metadata to one .npz under a temporary name, then rename."""
    header = json.dumps({**meta, "kind": kind, "format": format}, ensure_ascii=False).encode()
    with replacing(path) as part:
        save = np.savez_compressed if compressed else np.savez
        with open(part, "wb") as f:
            save(f, meta=np.frombuffer(header, np.uint8), **arrays)


def read_archive(path: _PATH, kind: str, format: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """(arrays, meta) of an archive of this kind, of this format or an older one. Raises BadFile."""
    try:
        with np.load(path, allow_pickle=False) as data:
            arrays = {name: data[name] for name in data.files}
        meta = json.loads(arrays.pop("meta").tobytes().decode())
        written_as = (str(meta["kind"]), int(meta["format"]))
    except FileNotFoundError:
        raise BadFile(path, "no such file") from None
    except _DAMAGE as error:
        raise BadFile(path, f"is not a Soliloquy {kind} file ({error})") from None
    if written_as[0] != kind:
        raise BadFile(path, f"holds a {written_as[0]}, not a {kind}")
    if written_as[1] > format:
        raise BadFile(path, f"was written by a newer Soliloquy (format {written_as[1]}, this one reads {format})")
    return arrays, meta
