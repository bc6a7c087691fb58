"""EmoVOCA's two unpaired sets on disk: talking without expression, with its voice, and silent expressions.

One archive of each kind and split; rows at 50 Hz in half precision. Archives that are there are kept, and refused
where they hold another number of clips than is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.core.anatomy import Head
from engine.core.errors import BadFile
from engine.core.files import read_archive, write_archive
from engine.core.names import EMOTIONS
from engine.core.progress import SILENT, Reporter
from engine.studio.performances import store, unpaired
from engine.studio.performances.people import PEOPLE, person

KIND, FORMAT = "unpaired set", 1
FIRST_CLIP = 900  # numbers of the talking clips: sentences that no performance has
TALKS = {"train": 12, "valid": 3, "test": 4}  # talking clips of each person


@dataclass(frozen=True)
class Talk:
    """A clip of talking without expression at 50 Hz: weights [t, 59], speech [t, 75] (interface v1), contact [t, 3]."""

    person: str
    weights: np.ndarray
    speech: np.ndarray
    contact: np.ndarray


@dataclass(frozen=True)
class Feel:
    """A silent expression at 50 Hz: weights [t, 59], level [t] in [0, 1]; intensity: one of unpaired.LEVELS."""

    person: str
    label: str
    intensity: float
    level: np.ndarray
    weights: np.ndarray


def make(folder: Path, split: str, head: Head, talks: int = 0, report: Reporter = SILENT) -> None:
    """Write both archives of a split, unless they are there. talks: clips of each person (0: as TALKS says).

    Raises Missing without a synthesiser, Cancelled, BadFile where the talking clips that are there are more or fewer.
    """
    folder.mkdir(parents=True, exist_ok=True)
    count = talks or TALKS[split]
    if (path := _path(folder, "talk", split)).is_file():
        held = len(_read(folder, "talk", split))
        if held != count * PEOPLE[split]:
            each = f"{held / PEOPLE[split]:g}"
            raise BadFile(
                path,
                f"holds {each} talking clips of each person, not {count}: give talks={each}, another folder, or delete "
                "the file to make them anew",
            )
    else:
        _write(path, *_talking(split, count, head, report))
    if not (path := _path(folder, "feel", split)).is_file():
        _write(path, *_silent(split, report))


def _path(folder: Path, kind: str, split: str) -> Path:
    return folder / f"{kind}_{split}.npz"


def _write(path: Path, clips: list[dict[str, Any]], parts: dict[str, list[np.ndarray]]) -> None:
    arrays = {name: np.concatenate(values).astype(np.float16) for name, values in parts.items()}
    write_archive(path, KIND, FORMAT, arrays, {"clips": clips, "rate_hz": store.act.RATE_HZ})


def _talking(
    split: str, count: int, head: Head, report: Reporter
) -> tuple[list[dict[str, Any]], dict[str, list[np.ndarray]]]:
    clips: list[dict[str, Any]] = []
    parts: dict[str, list[np.ndarray]] = {"weights": [], "speech": [], "contact": []}
    for i in range(PEOPLE[split] * count):
        report.step(f"talking ({split})", i, PEOPLE[split] * count)
        who = person(split, i % PEOPLE[split])
        rows = store.rows_of(unpaired.talking(who, FIRST_CLIP + i // PEOPLE[split], head))
        parts["weights"].append(np.concatenate([rows["arkit"], rows["extra"]], 1))
        parts["speech"].append(np.concatenate([rows["articulation"], rows["features"]], 1))
        parts["contact"].append(rows["contact"])
        clips.append({"person": who.name, "rows": len(rows["arkit"])})
    return clips, parts


def _silent(split: str, report: Reporter) -> tuple[list[dict[str, Any]], dict[str, list[np.ndarray]]]:
    clips: list[dict[str, Any]] = []
    parts: dict[str, list[np.ndarray]] = {"weights": [], "level": []}
    for number in range(PEOPLE[split]):
        report.step(f"silent expressions ({split})", number, PEOPLE[split])
        who = person(split, number)
        for label in EMOTIONS[1:]:
            for seed, intensity in enumerate(unpaired.LEVELS.values()):
                shown = unpaired.expression(who, label, intensity, seed)
                parts["weights"].append(np.concatenate([shown.arkit, shown.extra], 1))
                parts["level"].append(shown.level[:, None])
                clips.append({"person": who.name, "label": label, "intensity": intensity, "rows": len(shown.level)})
    return clips, parts


def _read(folder: Path, kind: str, split: str) -> list[tuple[dict[str, Any], dict[str, np.ndarray]]]:
    path = _path(folder, kind, split)
    if not path.is_file():
        raise BadFile(path, "is not there: `soliloquy train emovoca OUT --work FOLDER` makes the sets that it needs")
    arrays, meta = read_archive(path, KIND, FORMAT)
    ends = np.cumsum([row["rows"] for row in meta["clips"]])
    if any(len(values) != ends[-1] for values in arrays.values()):
        raise BadFile(path, "holds another number of rows than its clips have")
    pieces = {name: np.split(values.astype(np.float32), ends[:-1]) for name, values in arrays.items()}
    return [(row, {name: pieces[name][i] for name in pieces}) for i, row in enumerate(meta["clips"])]


def talks(folder: Path, split: str) -> list[Talk]:
    """The talking clips of a split. Raises BadFile."""
    return [
        Talk(row["person"], rows["weights"], rows["speech"], rows["contact"])
        for row, rows in _read(folder, "talk", split)
    ]


def feels(folder: Path, split: str) -> list[Feel]:
    """The silent expressions of a split. Raises BadFile."""
    return [
        Feel(row["person"], row["label"], row["intensity"], rows["level"][:, 0], rows["weights"])
        for row, rows in _read(folder, "feel", split)
    ]
