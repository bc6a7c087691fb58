"""Heads by name: the user's, the default one (built once into the user's cache), or a head.npz."""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path

from engine.assets import registry
from engine.core.anatomy import Head
from engine.core.errors import BadFile
from engine.core.files import sha256_of
from engine.head import hm08
from engine.head.files import read_head, save_head

DEFAULT = "default"
_KEPT = 3  # built heads left in the cache, this version's included
# Source files whose change makes another default head: the cache is named after their digest.
_BUILDERS = (
    "build", "bust", "correct", "eyeballs", "fixes", "hairline", "hairs", "hm08", "identity", "lashes", "lbs", "lids",
    "marks", "mesh", "mouth", "paint", "respond", "rig", "teeth", "tongue",
)  # fmt: skip


def load_head(name_or_path: str | os.PathLike[str] = DEFAULT) -> Head:
    """A head by its registered name, or from a head.npz. The same file gives the same (shared, frozen) object.

    Raises BadInput for an unknown name, BadFile for a damaged file, Missing if the default head cannot be built.
    """
    text = os.fspath(name_or_path)
    if registry.is_path(text):
        path = Path(text)
        if not path.is_file():
            raise BadFile(path, "no such head file")
    else:
        entry = registry.find(text, "head")
        path = registry.resolve(text, "head") if entry.path else _built_default()
    stat = path.stat()
    return _read(str(path.resolve()), stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=8)
def _read(path: str, mtime_ns: int, size: int) -> Head:
    # Keyed by time and size so that a file that changed on disk is read again.
    return read_head(path)


@functools.cache
def builder_digest() -> str:
    """Digest of the builder's code and of the data files it was written for; a new one means a new cache file."""
    here = Path(__file__).parent
    digest = hashlib.sha256(hm08.DIGEST.encode())
    for name in _BUILDERS:
        digest.update(sha256_of(here / f"{name}.py").encode())
    return digest.hexdigest()


def _age(path: Path) -> float:
    """Seconds since the epoch, negated: newest first; a file that another process just removed counts as oldest."""
    try:
        return -path.stat().st_mtime
    except OSError:
        return 0.0


def _built_default() -> Path:
    """The cached default head's path; built first if it is not there or is damaged.

    Two processes may build at once: each writes its own temporary file and renames it, and both results are equal.
    """
    path = registry.user_cache() / f"head-default-{builder_digest()[:16]}.npz"
    if path.is_file():
        try:
            _read(str(path.resolve()), path.stat().st_mtime_ns, path.stat().st_size)
            return path
        except BadFile:
            path.unlink(missing_ok=True)
    from engine.head.build import build_default_head

    save_head(path, build_default_head(), compressed=False, notes={"builder": builder_digest()})
    for old in sorted(path.parent.glob("head-default-*.npz"), key=_age)[_KEPT:]:
        old.unlink(missing_ok=True)
    return path
