"""Which of a character's sliders speak which of the performance's channels: found by name, kept as a table.

Sources are ARKit's 52 names and the extra channels; with viseme keys also the visemes of `visemes.py`; with bones
also the head's joints. A row sends a source to one target with a gain and an offset; several rows may share a source
(one-to-many) or a target (many-to-one: their contributions add up).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from .names import ARKIT, EXTRA, JOINTS

KIND, FORMAT = "mapping", 1
KINDS = ("KEY", "BONE", "PROP")  # a shape key, a pose bone's channel, any number by its data path
TURN = "TURN"  # a joint's whole rotation on a bone
CHANNELS = (*(f"{what}_{axis}" for what in ("LOC", "ROT", "SCALE") for axis in "XYZ"), TURN)
_TABLES = Path(__file__).with_name("shape_names.json")
_SIDE_WORDS = {"left": "left", "right": "right", "l": "left", "r": "right"}


class BadPreset(ValueError):
    """A saved mapping cannot be used; one sentence that says why."""


@dataclass(frozen=True)
class Target:
    """Where a row writes. kind KEY: name is a shape key, of every mesh of the character or of `object` alone; BONE: a
    pose bone of armature `object`, with its channel; PROP: a data path on `object` ("data." leads to its data)."""

    kind: str
    name: str
    object: str = ""
    channel: str = ""

    def __str__(self) -> str:
        where = f"{self.object} > " if self.object else ""
        return f"{where}{self.name}{f' {self.channel}' if self.channel else ''}"


@dataclass(frozen=True)
class Row:
    """target += gain * source + offset. A source of "" is a place still to be filled."""

    source: str
    target: Target
    gain: float = 1.0
    offset: float = 0.0
    on: bool = True


@dataclass(frozen=True)
class AutoMap:
    """What was found by name. found: ARKit and extra sources with a key of their own; missing: ARKit names without."""

    rows: tuple[Row, ...]
    found: tuple[str, ...]
    missing: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def count(self) -> int:
        """How many of ARKit's 52 are served."""
        return sum(name in ARKIT for name in self.found)


@cache
def tables() -> dict[str, Any]:
    """The naming tables (shape_names.json)."""
    return json.loads(_TABLES.read_text(encoding="utf-8"))


def plain(name: str) -> str:
    """A name without case and separators, its side at the end written out: Mouth_Smile_L -> mouthsmileleft."""
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name)
    parts = [w for w in re.split(r"[^A-Za-z0-9]+", words) if w]
    if len(parts) > 1 and parts[-1].lower() in _SIDE_WORDS:
        parts[-1] = _SIDE_WORDS[parts[-1].lower()]
    return "".join(parts).lower()


def _spellings(key: str) -> Iterable[str]:
    """Plain forms under which a key may be found, the whole name first: object and scheme prefixes fall away."""
    yield plain(key)
    last = [key.rpartition(mark)[2] for mark in (".", ":", "__", "|") if mark in key]
    tails = [key, *(part for part in last if len(part) > 2)]
    tails.append(re.sub(r"^[A-Z]\d\d_", "", key))  # A14_Eye_Blink_Left
    tails += [re.sub(r"\.\d{3}$", "", tail) for tail in tails if re.search(r"\.\d{3}$", tail)]  # Blender's copies
    for tail in tails:
        bare = plain(tail)
        yield bare
        for prefix in tables()["prefixes"]:
            start = plain(prefix)
            if bare.startswith(start) and len(bare) > len(start) + 2:
                yield bare[len(start) :]


class Index:
    """A character's key names, to be asked by any spelling."""

    def __init__(self, keys: Sequence[str]):
        self.exact = set(keys)
        self.by_plain: dict[str, str] = {}
        forms = [(key, list(dict.fromkeys(_spellings(key)))) for key in keys]
        for depth in range(max((len(f) for _, f in forms), default=0)):  # whole names win over stripped ones
            for key, spelled in forms:
                if depth < len(spelled):
                    self.by_plain.setdefault(spelled[depth], key)

    def find(self, name: str) -> str | None:
        return name if name in self.exact else self.by_plain.get(plain(name))

    def find_all(self, names: Sequence[str]) -> list[str] | None:
        found = [self.find(name) for name in names]
        return None if None in found else [str(f) for f in found]


def _aliases(name: str) -> Iterable[list[str]]:
    """Alternatives for an ARKit or extra name, each a list of names to be set together."""
    table = tables()["aliases"]
    side = next((s for s in ("Left", "Right") if name.endswith(s)), "")
    entry = table.get(name) or (table.get(name[: -len(side)] + "*") if side else None) or []
    for option in entry:
        options = [option] if isinstance(option, str) else option
        yield [o.replace("*", f"_{side}") for o in options]


def _keys_for(name: str, index: Index) -> tuple[list[str], float]:
    """The character's keys for one source, and their gain; ([], 1) if there are none."""
    own = index.find(name)
    if own is not None:
        return [own], 1.0
    halves = index.find_all([f"{name}_Left", f"{name}_Right"])
    if halves and not name.endswith(("Left", "Right")):
        return halves, 1.0
    for option in _aliases(name):
        if (keys := index.find_all(option)) is not None:
            return keys, 1.0
    for side in ("Left", "Right"):  # one key for both sides gets half from each
        if name.endswith(side):
            whole = name[: -len(side)]
            for option in ([whole], *([o.replace(f"_{side}", "") for o in names] for names in _aliases(name))):
                if (keys := index.find_all(option)) is not None and not any(_sided(k) for k in keys):
                    return keys, 0.5
    return [], 1.0


def _sided(key: str) -> bool:
    return plain(key).endswith(("left", "right"))


def auto_map(keys: Sequence[str]) -> AutoMap:
    """Rows for the keys whose names are known, in the order of ARKit's names.

    keys: names of shape keys of one or several meshes, in order. An exact name wins over a similar one, the same word
    over an alias. Extra channels that the character lacks are served by the nearest shapes ("fallbacks").
    """
    index = Index([key for key in keys if key])
    rows: list[Row] = []
    found: dict[str, list[str]] = {}
    for name in ARKIT + EXTRA:
        own, gain = _keys_for(name, index)
        if own:
            found[name] = own
            rows += [Row(name, Target("KEY", key), gain) for key in own]
    for name, stand_ins in tables()["fallbacks"].items():
        if name not in found:
            rows += [
                Row(name, Target("KEY", key), share)
                for other, share in stand_ins.items()
                for key in found.get(other, [])
            ]
    missing = tuple(name for name in ARKIT if name not in found)
    return AutoMap(tuple(rows), tuple(found), missing)


def sources(rows: Iterable[Row]) -> tuple[str, ...]:
    """Sources in use, in order of appearance."""
    return tuple(dict.fromkeys(row.source for row in rows if row.on and row.source))


def served(rows: Iterable[Row]) -> int:
    """How many of ARKit's 52 the rows that are on serve."""
    return sum(name in ARKIT for name in sources(rows))


def apply(rows: Iterable[Row], channels: Mapping[str, np.ndarray]) -> dict[Target, np.ndarray]:
    """Target -> sum of gain * source + offset over its rows that are on. channels: source -> [t]; others are skipped.

    Rows of kind BONE with channel TURN are not scalar and are left out.
    """
    out: dict[Target, np.ndarray] = {}
    for row in rows:
        if not row.on or row.source not in channels or row.target.channel == TURN:
            continue
        value = row.gain * np.asarray(channels[row.source], np.float64) + row.offset
        out[row.target] = out[row.target] + value if row.target in out else value
    return out


def unmapped(rows: Sequence[Row], values: Mapping[Target, float]) -> np.ndarray:
    """The way back: weights [59] (ARKit, then extra) that show as these values of the targets; NaN for sources that no
    row with a value serves.

    Of several answers the smallest (one slider for both sides is both). Extra channels that only lean on ARKit's own
    keys are not served. Visemes and turned bones are not read back.
    """
    on = [r for r in rows if r.on and r.target.channel != TURN and r.target in values and r.source in ARKIT + EXTRA]
    taken = {r.target for r in on if r.source in ARKIT}
    used = tuple(r for r in on if r.source in ARKIT or r.target not in taken)
    out = np.full(len(ARKIT + EXTRA), np.nan, np.float32)
    if not used:
        return out
    targets, inverse, offsets = _inverse(used)
    served = [(ARKIT + EXTRA).index(name) for name in sources(used)]
    out[served] = (inverse @ (np.array([values[t] for t in targets]) - offsets))[served]
    return out


@lru_cache(8)
def _inverse(rows: tuple[Row, ...]) -> tuple[list[Target], np.ndarray, np.ndarray]:
    """(targets [k], pseudo-inverse [59, k] of the rows' gains, offsets [k])."""
    targets = list(dict.fromkeys(row.target for row in rows))
    gains, offsets = np.zeros((len(targets), len(ARKIT + EXTRA))), np.zeros(len(targets))
    for row in rows:
        gains[targets.index(row.target), (ARKIT + EXTRA).index(row.source)] += row.gain
        offsets[targets.index(row.target)] += row.offset
    return targets, np.linalg.pinv(gains, 1e-6), offsets


def joint_rows(bones: Sequence[str], armature: str) -> list[Row]:
    """Rows that turn a rig's head and eye bones with the performance, for bones with well-known names."""
    index, rows = Index(bones), []
    places = {"neck": tables()["head_bones"], **tables()["eye_bones"]}
    for joint, names in places.items():
        own = next((b for b in map(index.find, names) if b is not None), None)
        if own is not None:
            rows.append(Row(joint, Target("BONE", own, armature, TURN)))
    return rows


# Presets


def to_json(rows: Iterable[Row], name: str) -> dict[str, Any]:
    """A mapping as plain values, to be saved."""
    return {"kind": KIND, "format": FORMAT, "name": name, "rows": [asdict(row) for row in rows]}


def from_json(data: object) -> tuple[Row, ...]:
    """Rows of a saved mapping. Raises BadPreset naming the row."""
    if not isinstance(data, Mapping) or data.get("kind") != KIND or not isinstance(data.get("rows"), list):
        raise BadPreset("this file is no saved mapping")
    if not isinstance(data.get("format"), int) or data["format"] > FORMAT:
        raise BadPreset("this mapping was saved by a newer version: update the add-on")
    return tuple(_row(entry, i) for i, entry in enumerate(data["rows"], 1))


def _row(entry: Any, number: int) -> Row:
    try:
        target = Target(**{str(k): str(v) for k, v in entry["target"].items()})
        gain, offset = float(entry.get("gain", 1.0)), float(entry.get("offset", 0.0))
        row = Row(str(entry["source"]), target, gain, offset, bool(entry.get("on", True)))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise BadPreset(f"row {number} of the saved mapping has no source and target") from None
    if target.kind not in KINDS or (target.kind == "BONE" and target.channel not in CHANNELS):
        raise BadPreset(f"row {number} of the saved mapping has an unknown kind of target")
    if not (math.isfinite(gain) and math.isfinite(offset)):
        raise BadPreset(f"row {number} of the saved mapping has a gain or offset that is no number")
    return row


def save(path: Path, rows: Iterable[Row], name: str) -> None:
    """Write a preset (a temporary file, then renamed)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(to_json(rows, name), indent=1), encoding="utf-8")
    part.replace(path)


def load(path: Path) -> tuple[Row, ...]:
    """Read a preset. Raises BadPreset with the file's name."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadPreset(f"'{path.stem}' cannot be read ({error})") from None
    try:
        return from_json(data)
    except BadPreset as problem:
        raise BadPreset(f"'{path.stem}': {problem}") from None


def is_source(name: str) -> bool:
    """Whether the performance (or the viseme fit) can fill this source."""
    from .visemes import viseme_names

    return name in ARKIT or name in EXTRA or name in JOINTS or name in viseme_names()
