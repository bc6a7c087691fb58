"""Names of heads, checkpoints and avatars -> files, with digests and licences.

Two places, in this order: the user's folder (`user_home()`: its own registry.json, or simply a file
`<kind>/<name>.<suffix>`), then the files that come with the engine (registry.json beside this module, paths relative
to it). An entry without a file is built on first use by the module that `recipe` names (the default head).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from engine.core.errors import BadFile, BadInput
from engine.core.files import read_json, sha256_of, write_json

BUNDLED = Path(__file__).resolve().parent
SUFFIXES: dict[str, tuple[str, ...]] = {"head": (".npz",), "avatar": (".npz",)}
OTHER_SUFFIXES = (".safetensors", ".npz", ".ply", ".json")
_FORMAT = 1


@dataclass(frozen=True)
class Entry:
    """One asset. `file` is relative to the folder of the registry that lists it; "" means built by `recipe`.

    kind: "head", "speech", "motion", "avatar", "text", ... (free word, one per loader). interface: the version of the
    array layout that the loader expects. encoder: id of the speech encoder whose features a net wants, "" if none.
    topology_sha: `Head.topology_sha256` that the asset is tied to, "" if none. native_fps: of a motion system, or None.
    rate_hz, t0_s: of a speech encoder's rows, and the second that row 0 stands for. supports: controls that a motion
    system obeys itself. recipe: how to make it again. version, frozen: of a head that other assets are tied to: what of
    it stays the same within this version, name -> sha256 (engine.head.frozen).
    """

    name: str
    kind: str
    file: str = ""
    sha256: str = ""
    bytes: int = 0
    interface: str = ""
    encoder: str = ""
    topology_sha: str = ""
    native_fps: float | None = None
    supports: tuple[str, ...] = ()
    licence: str = ""
    recipe: str = ""
    version: int = 0
    frozen: dict[str, str] = field(default_factory=dict)
    rate_hz: float | None = None
    t0_s: float | None = None
    folder: str = str(BUNDLED)

    @property
    def path(self) -> Path | None:
        """Where the file lies (it may be missing), or None for an asset that is built."""
        return Path(self.folder) / self.file if self.file else None


def is_path(name: str) -> bool:
    """Whether a person's `--head`, `--avatar` or `--speech` means a file or folder instead of a registered name."""
    return os.sep in name or "/" in name or bool(Path(name).suffix)


def user_home() -> Path:
    """The user's own folder: SOLILOQUY_HOME, or the system's data folder for applications. Not created here."""
    home = os.environ.get("SOLILOQUY_HOME")
    if home:
        return Path(home).expanduser()
    import platformdirs

    return Path(platformdirs.user_data_dir("soliloquy", appauthor=False))


def user_cache() -> Path:
    """Folder of files that can be made again (created): SOLILOQUY_HOME/cache, or the system's cache folder."""
    if os.environ.get("SOLILOQUY_HOME"):
        folder = user_home() / "cache"
    else:
        import platformdirs

        folder = Path(platformdirs.user_cache_dir("soliloquy", appauthor=False))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadFile(folder, f"cannot be made ({error.strerror}); set SOLILOQUY_HOME to a folder you own") from None
    return folder


def list_assets(kind: str | None = None) -> list[Entry]:
    """Every asset of this kind (or all), the user's first; a bundled one that the user's replaces is left out."""
    seen: dict[tuple[str, str], Entry] = {}
    for entry in (*_user_entries(), *_read(BUNDLED / "registry.json")):
        seen.setdefault((entry.kind, entry.name), entry)
    return [entry for entry in seen.values() if kind in (None, entry.kind)]


def find(name: str, kind: str) -> Entry:
    """The entry of this name and kind. Raises BadInput with the names that exist."""
    known = list_assets(kind)
    for entry in known:
        if entry.name == name:
            return entry
    names = ", ".join(sorted(entry.name for entry in known)) or "none"
    raise BadInput(f"no {kind} called '{name}' (known: {names}); give one of these or the path of a file")


def resolve(name: str, kind: str) -> Path:
    """Path of an asset's file, checked for size and sha256 where the registry states them.

    Raises BadInput for an unknown name or an asset that is built on use, BadFile for a missing or damaged file.
    """
    entry = find(name, kind)
    if entry.path is None:
        raise BadInput(f"the {kind} '{name}' has no file: it is built on first use by {entry.recipe}")
    verify(entry)
    return entry.path


def verify(entry: Entry) -> None:
    """Raise BadFile if the entry's file is missing or is not the one that was registered."""
    path = entry.path
    if path is None:
        return
    repair = "delete it from the user's folder" if entry.folder != str(BUNDLED) else "install Soliloquy again"
    try:
        stat = path.stat()
    except OSError:
        raise BadFile(path, f"the {entry.kind} '{entry.name}' is missing; {repair}") from None
    if entry.bytes and stat.st_size != entry.bytes:
        raise BadFile(path, f"is damaged ({stat.st_size} bytes instead of {entry.bytes}); {repair}")
    if entry.sha256 and _digest(str(path), stat.st_mtime_ns, stat.st_size) != entry.sha256:
        raise BadFile(path, f"is damaged (its sha256 is not the registered one); {repair}")


def describe(path: str | os.PathLike[str], name: str, kind: str, **facts: Any) -> Entry:
    """An entry for a file on disk: size and digest measured, `file` its bare name, `folder` its folder."""
    path = Path(path)
    return Entry(
        name=name, kind=kind, file=path.name, sha256=sha256_of(path), bytes=path.stat().st_size,
        folder=str(path.parent), **facts,
    )  # fmt: skip


def register(entry: Entry, folder: str | os.PathLike[str] | None = None) -> None:
    """Add or replace an entry in a registry.json (the user's unless `folder` says otherwise).

    The entry's file must lie below that folder; its path is stored relative to it.
    """
    root = Path(folder) if folder is not None else user_home()
    if entry.path is not None:
        try:
            file = entry.path.resolve().relative_to(root.resolve()).as_posix()
        except ValueError:
            raise BadInput(f"{entry.path} must lie inside {root} to be registered there; copy it first") from None
    else:
        file = ""
    index = root / "registry.json"
    rows = [row for row in _rows(index) if (row["kind"], row["name"]) != (entry.kind, entry.name)]
    row = {**asdict(entry), "file": file}
    del row["folder"]
    write_json(index, {"kind": "registry", "format": _FORMAT, "entries": [*rows, row]})


@functools.lru_cache(maxsize=64)
def _digest(path: str, mtime_ns: int, size: int) -> str:
    # Keyed by time and size so that a long-lived engine hashes each file once but notices a new one.
    return sha256_of(path)


def _rows(index: Path) -> list[dict[str, Any]]:
    if not index.exists():
        return []
    value = read_json(index)
    rows = value.get("entries") if isinstance(value, dict) and value.get("kind") == "registry" else None
    if not isinstance(rows, list) or not all(isinstance(r, dict) and {"name", "kind"} <= r.keys() for r in rows):
        raise BadFile(index, "is not an asset registry; repair or delete it")
    if int(value.get("format", 0)) > _FORMAT:
        raise BadFile(index, f"was written by a newer Soliloquy (format {value['format']}, this one reads {_FORMAT})")
    return rows


def _read(index: Path) -> list[Entry]:
    names = {field.name for field in fields(Entry)} - {"folder"}
    out = []
    for row in _rows(index):
        known = {key: value for key, value in row.items() if key in names}
        known["supports"] = tuple(known.get("supports") or ())
        entry = Entry(**known, folder=str(index.parent))
        if entry.file and (Path(entry.file).is_absolute() or ".." in Path(entry.file).parts):
            raise BadFile(index, f"the entry '{entry.name}' points outside its folder")
        out.append(entry)
    return out


def _user_entries() -> Iterator[Entry]:
    home = user_home()
    if not home.is_dir():
        return
    yield from _read(home / "registry.json")
    for folder in sorted(p for p in home.iterdir() if p.is_dir() and p.name != "cache"):
        for path in sorted(folder.iterdir()):
            if path.suffix in SUFFIXES.get(folder.name, OTHER_SUFFIXES) and not path.name.startswith("."):
                file = path.relative_to(home).as_posix()
                yield Entry(path.stem, folder.name, file, interface="", licence="the user's own", folder=str(home))
