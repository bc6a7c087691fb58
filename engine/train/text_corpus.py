"""The corpus of typed directions, in EmoDiffTalk's form (supplement, section 8): AU vector, three positives, three
contrasting negatives. One JSON object a line in text_corpus/: situations (no emotion and no part of the face named),
naming prompts, and sentences that ask for nothing.

`split` keeps entries out of development runs: "topic" (situations), "words" and "concept" (naming); the shipped nets
are trained on all. The sets that figures come from lie elsewhere (engine/measure/text_sets) and are never read here.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.controls.text.lexicon import read
from engine.core.errors import BadFile
from engine.core.names import AU_INDEX, AUS, SIDES

FOLDER = Path(__file__).with_name("text_corpus")
KINDS = ("situation", "naming", "nothing")
SPLITS = ("train", "topic", "words", "concept")


@dataclass(frozen=True)
class Entry:
    """One entry. au: AU -> strength, or [left, right]; concept: family or families ("joy + surprise") or a face."""

    id: str
    kind: str
    concept: str
    topic: str
    split: str
    text: str
    au: dict[str, float | list[float]]
    positive: tuple[str, ...]
    negative: tuple[str, ...]

    @property
    def vector(self) -> np.ndarray:
        """[18, 2] float32 strengths in [0, 1]; columns are left and right."""
        out = np.zeros((len(AUS), len(SIDES)), np.float32)
        for au, value in self.au.items():
            out[AU_INDEX[au]] = value
        return out

    @property
    def families(self) -> tuple[str, ...]:
        """Families of the concept, () for a described face; ("nothing",) for a sentence that asks for nothing."""
        names = tuple(self.concept.split(" + "))
        return names if set(names) <= set(family_names()) else ()


@functools.cache
def family_names() -> tuple[str, ...]:
    """The nets' classes, in order: the lexicon's families and "nothing" at the end."""
    return (*sorted(read("english")["families"]), "nothing")


def family_faces() -> np.ndarray:
    """[classes, 18, 2] float32 strengths of the classes' faces."""
    faces = read("english")["families"]
    out = np.zeros((len(family_names()), len(AUS), len(SIDES)), np.float32)
    for i, name in enumerate(family_names()):
        for au, value in faces.get(name, {}).items():
            out[i, AU_INDEX[au]] = value
    return out


def load(kinds: Collection[str] = KINDS, without: Collection[str] = ()) -> list[Entry]:
    """Entries of these kinds, those of the splits in `without` left out. Raises BadFile for a damaged line."""
    out = []
    for path in sorted(FOLDER.glob("*.jsonl")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                row = json.loads(line)
                entry = Entry(**row | {k: tuple(row[k]) for k in ("positive", "negative")})
            except (ValueError, TypeError, KeyError) as error:
                raise BadFile(path, f"line {number} is no entry of the corpus ({error})") from None
            if entry.kind in kinds and entry.split not in without:
                out.append(entry)
    return out


def targets(entries: list[Entry]) -> tuple[np.ndarray, np.ndarray]:
    """(classes [n, k] float32, rows sum to 1 or are 0 where an entry has no class; AUs [n, 18] in {0, 1})."""
    names = {name: i for i, name in enumerate(family_names())}
    classes = np.zeros((len(entries), len(names)), np.float32)
    for row, entry in zip(classes, entries, strict=True):
        for family in entry.families:
            row[names[family]] = 1 / len(entry.families)
    aus = np.stack([e.vector.max(1) > 0 for e in entries]).astype(np.float32)
    return classes, aus


def lexicon_items(without: Collection[str] = ()) -> list[tuple[str, str]]:
    """(phrase, family) of every emotion phrase. A run that leaves the split "words" out does without its phrases too:
    they would be taught by the lexicon otherwise."""
    emotions = read("english")["emotions"]
    items = [(w, family) for family, levels in emotions.items() for words in levels.values() for w in words]
    if "words" not in without:
        return items
    held = " | ".join(f" {e.text.lower()} " for e in load(("naming",)) if e.split == "words").replace(",", " ")
    return [(w, family) for w, family in items if f" {w} " not in held]


def associations() -> list[tuple[str, str]]:
    """(everyday thing or event, family that it calls up); "nothing" for things that call up nothing."""
    table = json.loads((FOLDER / "associations.json").read_text(encoding="utf-8"))["families"]
    return [(w, family) for family, words in table.items() for w in words]
