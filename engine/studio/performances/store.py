"""Performances on disk: one archive a person, parameters in half precision, meshes made from them when needed.

`train00.npz` holds the person's clips one after the other at 50 Hz (arrays as COLUMNS says) and, as metadata, one row a
clip. A set is resumable: archives that are there are kept. What makes it again: hours, seed of the pools (fixed in
people.py), and the digest of the speech encoder.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.core.anatomy import Head
from engine.core.errors import BadFile, BadInput
from engine.core.files import read_archive, write_archive, write_json
from engine.core.progress import SILENT, Reporter
from engine.studio.performances import act, people, script

KIND, FORMAT = "performances", 1
# name -> values a row. arkit, extra, au, contact: the acting face; blink, gaze, head: what lies over it; emotion ...
# asked: what it was asked for (asked [18, 2]: AUs that directions raise); articulation, features: the voice through
# interface v1.
COLUMNS: dict[str, int] = {
    "arkit": 52, "extra": 7, "au": 36, "contact": 3, "blink": 2, "gaze": 2, "head": 3,
    "emotion": 14, "intensity": 1, "va": 2, "asked": 36,
    "articulation": 11, "features": 64,
}  # fmt: skip
CLIP_S = 7.15  # about the mean length of a clip
SHARES = {"train": 0.9, "valid": 0.04, "test": 0.06}  # of the hours


@dataclass(frozen=True)
class Clip:
    """One clip of a set: its person, its number, what drives it, its lines, and its rows by column name."""

    person: str
    number: int
    kind: str
    lines: tuple[dict[str, Any], ...]
    rows: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.rows["arkit"])


def clips_each(hours: float, split: str) -> int:
    """Clips of each person of a split so that the whole set lasts about `hours`."""
    return max(1, round(hours * SHARES[split] * 3600 / people.PEOPLE[split] / CLIP_S))


def rows_of(made: act.Performance, encoder: str = "default") -> dict[str, np.ndarray]:
    """A performance's rows in half precision, the voice as the encoder hears it."""
    from engine.speech.encode import encode

    heard = encode(act.voice_of(made), encoder)
    count = len(made.arkit)
    rows = {
        "arkit": made.arkit, "extra": made.extra, "au": made.au.reshape(count, -1), "contact": made.contact,
        "blink": made.layers.blink, "gaze": made.layers.gaze, "head": made.layers.head,
        "emotion": made.track.emotion, "intensity": made.track.intensity[:, None], "va": made.track.va,
        "asked": made.track.prompt_activation.reshape(count, -1),
        "articulation": _fit(heard.articulation, count), "features": _fit(heard.features.values, count),
    }  # fmt: skip
    return {name: np.asarray(values, np.float16) for name, values in rows.items()}


def _fit(values: np.ndarray, count: int) -> np.ndarray:
    """Cut or hold the last row, so that a row more or less of the encoder does not matter. [count, d]."""
    return values[np.minimum(np.arange(count), len(values) - 1)]


def make(folder: Path, hours: float, head: Head, report: Reporter = SILENT, sound: bool = False) -> dict[str, Any]:
    """Write a set of about `hours`; archives that are there are kept. sound: also a FLAC of every clip.

    Returns {"hours", "clips", "people"} of the whole set. Raises Missing without a synthesiser, Cancelled.
    """
    if not 0.01 <= hours <= 100:
        raise BadInput(f"{hours:g} hours: a set holds from 0.01 to 100")
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(split, number) for split in people.SPLITS for number in range(people.PEOPLE[split])]
    seconds = clips = 0.0
    for i, (split, number) in enumerate(jobs):
        report.step("performances", i, len(jobs))
        path = folder / f"{people.person(split, number).name}.npz"
        if not path.is_file():
            _make_person(path, split, number, clips_each(hours, split), head, report, sound)
        made = read_index(path)
        clips += len(made)
        seconds += sum(row["rows"] for row in made) / act.RATE_HZ
    out = {"hours": round(seconds / 3600, 3), "clips": int(clips), "people": len(jobs)}
    write_json(folder / "set.json", {"kind": "performance set", "format": FORMAT, **out})
    return out


def _make_person(
    path: Path, split: str, number: int, count: int, head: Head, report: Reporter, sound: bool
) -> None:  # fmt: skip
    who = people.person(split, number)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in COLUMNS}
    index = []
    for clip in range(count):
        report.check()
        made = act.perform(script.write(who, clip), head)
        rows = rows_of(made)
        for name in COLUMNS:
            parts[name].append(rows[name])
        lines = [vars(line) for line in made.script.lines]
        index.append({"number": clip, "kind": made.script.kind, "lines": lines, "rows": len(rows["arkit"])})
        if sound:
            import soundfile

            soundfile.write(path.with_name(f"{who.name}_{clip:03d}.flac"), made.audio, 16000)
    arrays = {name: np.concatenate(values) for name, values in parts.items()}
    meta = {"person": who.name, "voice": who.voice, "language": who.language, "clips": index, "rate_hz": act.RATE_HZ}
    write_archive(path, KIND, FORMAT, arrays, meta | {"topology_sha256": head.topology_sha256})


def read_index(path: Path) -> list[dict[str, Any]]:
    """Rows of the clips of one archive. Raises BadFile."""
    return read_archive(path, KIND, FORMAT)[1]["clips"]


def read(path: Path) -> Iterator[Clip]:
    """The clips of one person's archive. Raises BadFile."""
    arrays, meta = read_archive(path, KIND, FORMAT)
    total = sum(row["rows"] for row in meta["clips"])
    for name, width in COLUMNS.items():
        if name not in arrays or arrays[name].shape != (total, width):
            raise BadFile(path, f"lacks the {width} columns of '{name}'")
    at = 0
    for row in meta["clips"]:
        rows = slice(at, at + row["rows"])
        at += row["rows"]
        yield Clip(
            meta["person"], row["number"], row["kind"], tuple(row["lines"]),
            {name: arrays[name][rows].astype(np.float32) for name in COLUMNS},
        )  # fmt: skip


def read_split(folder: Path, split: str) -> Iterator[Clip]:
    """All clips of a split, person by person. Raises BadFile where the set is not there."""
    paths = sorted(folder.glob(f"{split}[0-9][0-9].npz"))
    if not paths:
        raise BadFile(folder, f"holds no performances of '{split}': make them with `soliloquy studio perform`")
    for path in paths:
        yield from read(path)
