"""Heads by name: the user's, the default one (built once into the user's cache), or a head.npz."""

from __future__ import annotations

import functools
import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

from engine.assets import registry
from engine.core.anatomy import Head
from engine.core.errors import BadFile, BadInput
from engine.core.files import sha256_of
from engine.head import hm08
from engine.head.files import read_head, save_head
from engine.head.identity import checked, parse, text_of

DEFAULT = "default"
_KEPT = 3  # built heads left in the cache, this version's included
_KEPT_PERSONS = 8  # and built heads of other persons
_PERSON = re.compile(r"([A-Za-z0-9_-]+):([^/\\]*=[^/\\]*)")
# Source files whose change makes another default head: the cache is named after their digest.
_BUILDERS = (
    "build", "bust", "correct", "eyeballs", "fixes", "hairline", "hairs", "hm08", "identity", "lashes", "lbs", "lids",
    "marks", "mesh", "mouth", "paint", "respond", "rig", "teeth", "tongue", "transfer/surface",
)  # fmt: skip


def load_head(name_or_path: str | os.PathLike[str] = DEFAULT, identity: Mapping[str, float] | None = None) -> Head:
    """A head by its registered name, or from a head.npz. The same file gives the same (shared, frozen) object.

    identity: parameters of another person than the default head's (engine.head.identity.RANGES); the name may say them
    too, "default:gender=1,age=0.5". Such a head has the same topology, shapes and names, made for that face.
    Raises BadInput for an unknown name or parameter, BadFile for a damaged file, Missing if the default head cannot be
    built.
    """
    text = os.fspath(name_or_path)
    text, who = split_identity(text)
    who = checked({**who, **(identity or {})})
    if who and text != DEFAULT:
        raise BadInput(f"only the default head has identity parameters, '{text}' has none")
    if who:
        path = _built_default(who)
    elif registry.is_path(text):
        path = Path(text)
        if not path.is_file():
            raise BadFile(path, "no such head file")
    else:
        entry = registry.find(text, "head")
        path = registry.resolve(text, "head") if entry.path else _built_default()
    stat = path.stat()
    return _read(str(path.resolve()), stat.st_mtime_ns, stat.st_size)


def split_identity(name: str) -> tuple[str, dict[str, float]]:
    """ "default:gender=1,age=0.5" -> ("default", {"gender": 1.0, "age": 0.5}); other names and paths have none."""
    found = _PERSON.fullmatch(name)
    return (found[1], parse(found[2])) if found else (name, {})


@functools.lru_cache(maxsize=16)
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


def _built_default(who: Mapping[str, float] | None = None) -> Path:
    """The cached default head's path, as the neutral person or another; built first if it is not there or is damaged.

    Two processes may build at once: each writes its own temporary file and renames it, and both results are equal.
    """
    made = builder_digest()
    person = hashlib.sha256(text_of(who).encode()).hexdigest()[:12] if who else ""
    name = f"head-person-{made[:16]}-{person}.npz" if who else f"head-default-{made[:16]}.npz"
    path = registry.user_cache() / name
    if path.is_file():
        try:
            _read(str(path.resolve()), path.stat().st_mtime_ns, path.stat().st_size)
            return path
        except BadFile:
            path.unlink(missing_ok=True)
    from engine.head import frozen
    from engine.head.build import build_default_head

    head = build_default_head(who)
    notes = {"builder": made, "version": frozen.VERSION, "frozen": frozen.digests(head), "identity": dict(who or {})}
    save_head(path, head, compressed=False, notes=notes)
    pattern, kept = ("head-person-*.npz", _KEPT_PERSONS) if who else ("head-default-*.npz", _KEPT)
    for old in sorted(path.parent.glob(pattern), key=_age)[kept:]:
        old.unlink(missing_ok=True)
    return path
