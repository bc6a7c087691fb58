"""The words of directions, as data: data/english.json (emotions, faces) and data/grammar.json (parts, actions, scopes).

Every table maps a tuple of words, articles and possessives left out, to a value; `find` gives the longest matches.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.controls.text.words import MARKS, Token, plain
from engine.core.names import SIDES

DATA = Path(__file__).with_name("data")
Words = tuple[str, ...]
Face = dict[str, float]  # "AU12_L" -> strength; negative where the words deny it


@dataclass(frozen=True)
class Phrase:
    """What a phrase of the lexicon means. family: of an emotion, "" for a face described outright."""

    face: Face
    family: str = ""
    strength: float = 1.0
    weak: bool = False  # has an everyday meaning too
    yields: bool = False  # gives way to the emotion after "of", "in" or "with"


def sides(face: dict[str, Any], strength: float = 1.0) -> Face:
    """{"AU12": .8} or {"AU12": [left, right]} -> {"AU12_L": .8, "AU12_R": .8}, scaled; denials (-1) are not."""
    out: Face = {}
    for au, value in face.items():
        both = value if isinstance(value, list) else [value, value]
        out |= {f"{au}_{s}": v * strength if v > 0 else v for s, v in zip(SIDES, both, strict=True) if v}
    return out


@functools.cache
def read(name: str) -> dict[str, Any]:
    """A data file of this folder."""
    return json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))


@functools.cache
def articles() -> frozenset[str]:
    """Words that matching leaves out."""
    return frozenset(read("grammar")["determiners"])


def key(phrase: str) -> Words:
    """A phrase as the tables hold it."""
    return tuple(w for w in plain(phrase).split() if w not in articles())


@functools.cache
def phrases() -> dict[Words, Phrase]:
    """Every phrase of the lexicon."""
    data, grammar = read("english"), read("grammar")
    weak, yields = set(data["weak"]), set(data["yields"])
    table: dict[Words, Phrase] = {}
    for family, levels in data["emotions"].items():
        for strength, words in levels.items():
            face = sides(data["families"][family], float(strength) / (max(float(s) for s in levels) or 1.0))
            for w in words:
                table.setdefault(key(w), Phrase(face, family, float(strength), w in weak, w in yields))
    for entry in data["faces"]:
        face = sides(entry["au"])
        for w in entry["words"]:
            table.setdefault(key(w), Phrase(face, "", 1.0, w in weak, w in yields))
    for w, au in grammar["idioms"].items():
        table[key(w)] = Phrase(sides(au))
    table.pop((), None)
    return table


@dataclass(frozen=True)
class Action:
    """What an action does to a part: face per part."""

    name: str
    faces: dict[str, Face]


@functools.cache
def parts() -> dict[Words, str]:
    """Words -> name of the body part."""
    return {key(w): part for part, words in read("grammar")["parts"].items() for w in words}


@functools.cache
def actions() -> dict[Words, tuple[Action, ...]]:
    """Words -> the actions that they may mean; "still" and "move" deny every AU of their part (see parse.py)."""
    grammar = read("grammar")
    table: dict[Words, tuple[Action, ...]] = {}
    for name, entry in grammar["actions"].items():
        action = Action(name, {part: sides(au) for part, au in entry["parts"].items()})
        for w in entry["words"]:
            table[key(w)] = (*table.get(key(w), ()), action)
    reach = {part: {f"{au}_{s}": -1.0 for au in aus for s in SIDES} for part, aus in grammar["reach"].items()}
    for name in ("still", "move"):
        for w in grammar[name]:
            table[key(w)] = (*table.get(key(w), ()), Action(name, reach))
    table.pop((), None)
    return table


@functools.cache
def small(name: str) -> dict[Words, Any]:
    """A table of small words: degrees and sides with their values, the others with True."""
    entry = read("grammar")[name]
    pairs = entry.items() if isinstance(entry, dict) else ((w, True) for w in entry)
    table = {key(w): value for w, value in pairs}
    table.pop((), None)
    return table


@functools.cache
def group(name: str) -> frozenset[str]:
    """A set of single words of the grammar file."""
    return frozenset(read("grammar")[name])


@functools.cache
def vocabulary() -> dict[str, int]:
    """Words that misspellings may be put right to -> in how many phrases they occur."""
    count: dict[str, int] = {}
    for table in (phrases(), parts(), actions()):
        for words in table:
            for w in words:
                count[w] = count.get(w, 0) + 1
    return count


@functools.cache
def known() -> frozenset[str]:
    """Small words that are never misspellings."""
    names = ("degrees", "negations", "not_negations", "barriers", "only", "sides", "both")
    words = {w for name in names for row in small(name) for w in row}
    return frozenset(words.union(*(group(g) for g in ("filler", "time", "person", "frame_before", "frame_after"))))


def find(row: Sequence[Token], table: dict[Words, Any], used: Container[int] = ()) -> list[tuple[int, int, Any]]:
    """Longest matches of a table, left to right, without overlap and not over marks: (start, end, value)."""
    longest = max(map(len, table))
    words = [t.word for t in row]
    found, i = [], 0
    while i < len(words):
        for n in range(min(longest, len(words) - i), 0, -1):
            value = table.get(tuple(words[i : i + n]))
            if value is not None and not any(j in used for j in range(i, i + n)):
                found.append((i, i + n, value))
                i += n
                break
        else:
            i += 1
    return [f for f in found if not MARKS & set(words[f[0] : f[1]])]
