"""What surrounds a match: negation and its reach, degree, side."""

from __future__ import annotations

import re

from engine.controls.text.lexicon import find, group, small
from engine.controls.text.match import Match
from engine.controls.text.words import Token

DEGREE_REACH, SIDE_REACH = 3, 4
_STOPS = set(";:.!?\n()")
_WHEN = {"when", "because", "as", "since", "if", "until"}
_AFTER = {
    ("fades",), ("fade",), ("fading",), ("vanishes",), ("disappears",), ("gone",), ("is", "gone"), ("are", "gone"),
    ("absent",), ("missing",), ("dies", "away"), ("slips", "away"), ("not",), ("away",),
}  # fmt: skip


def denied(row: list[Token], found: list[Match], whole_clause: bool = False) -> list[bool]:
    """For each token whether a negation covers it.

    A negation reaches forward to the next mark or turning word ("but", "just"), over "and" only if what follows is no
    order of its own; a comma inside a list that ends in "or" does not end it. Idioms that deny nothing ("cannot stop
    laughing", "not only") are excused. whole_clause: it covers its clause backwards too (German, French).
    """
    out = [False] * len(row)
    excused = {i for s, e, _ in find(row, small("not_negations")) for i in range(s, e)}
    only_faces = small("only_with_face")
    claimed = {i for m in found if not m.only_denied for i in (m.members or range(m.start, m.end))}
    hits = [h for h in find(row, small("negations")) if h[0] not in excused and not claimed & set(range(h[0], h[1]))]
    for start, end, _ in hits:
        words = tuple(t.word for t in row[start:end])
        nearest = next((m for m in found if m.start >= end), None)
        if words in only_faces and (nearest is None or nearest.start > end + 1 or nearest.parts):
            continue  # "drop the jaw" drops nothing but the jaw; "drop the smile" ends the smile
        stop = _reach(row, end, words in small("deny_once"), found)
        for i in range(end, stop):
            out[i] = True
        if whole_clause and words == ("not",):
            i = start - 1
            while i >= 0 and not row[i].is_mark and row[i].word not in {"and", "but"}:
                out[i] = True
                i -= 1
    for m in found:
        tail = tuple(t.word for t in row[m.end : m.end + 2])
        if tail in _AFTER or (tail[:1] in _AFTER and tail[:1] != ("not",)):
            for i in range(m.start, m.end):
                out[i] = True
    return out


def _reach(row: list[Token], start: int, once: bool, found: list[Match]) -> int:
    barriers = small("barriers")
    for i in range(start, len(row)):
        word = row[i].word
        if word in _STOPS or (word in _WHEN and i > start):
            return i
        if (word,) in barriers and (i > start or word in {"but", "then"}):
            return i
        if word == "," and not {"or", "nor"} & {t.word for t in row[i + 1 : i + 5]}:
            return i
        if word == "and" and (once or _orders(row, i + 1, found)):
            return i
    return len(row)


def _orders(row: list[Token], start: int, found: list[Match]) -> bool:
    """Whether a clause begins a direction of its own instead of going on with a list."""
    if start >= len(row):
        return False
    if row[start].word in group("leads"):
        return True
    return any(m.start == start and m.parts and not m.only_denied for m in found)


_FRACTION = re.compile(r"^\d+(\.\d+)?$")


def amount(row: list[Token], match: Match, matches: list[Match]) -> tuple[float | None, float]:
    """(absolute strength in [0, 1] or None, factor) of the degree words nearest to a match.

    "at 30 %" and "strength 0.4" are absolute; a degree word belongs to the nearest match of its clause.
    """
    inside = match.members or frozenset(range(match.start, match.end))
    for i in range(max(0, match.start - 4), min(len(row), match.end + 5)):
        if _FRACTION.match(row[i].word) and _nearest(i, i + 1, matches) == match:
            value = float(row[i].word)
            after = row[i + 1].word if i + 1 < len(row) else ""
            before = row[i - 1].word if i else ""
            if after in {"%", "percent"} or after == "per":
                return min(1.0, value / 100), 1.0
            if before in {"strength", "intensity", "at", "level"} and value <= 1:
                return value, 1.0
    best = (DEGREE_REACH + 1, 1.0)
    for start, end, factor in find(row, small("degrees"), inside):
        gap = _gap(start, end, match)
        if gap < best[0] and _nearest(start, end, matches) == match and not _crosses(row, start, end, match):
            best = (gap, factor)
    return None, best[1]


def side(row: list[Token], match: Match, matches: list[Match]) -> str | None:
    """ "L" or "R" if the words name one side of this match, else None."""
    if any(t.word == "both" for t in row[max(0, match.start - 2) : match.end + 2]):
        return None
    best: tuple[int, str | None] = (SIDE_REACH + 1, None)
    for start, end, name in find(row, small("sides")):
        if end < len(row) and row[end].word in {"now", "away", "there", "after", "angle"}:
            continue
        inside = match.start <= start < match.end
        gap = 0 if inside else _gap(start, end, match)
        if gap < best[0] and (inside or _nearest(start, end, matches) == match):
            if not inside and _crosses(row, start, end, match):
                continue
            best = (gap, name)
    return best[1]


def _gap(start: int, end: int, match: Match) -> int:
    return max(match.start - end, start - match.end, 0)


def _crosses(row: list[Token], start: int, end: int, match: Match) -> bool:
    """Whether a mark or joining word lies between a small word and a match."""
    low, high = (end, match.start) if end <= match.start else (match.end, start)
    return any(t.is_mark or t.word in {"and", "but", "then", "while"} for t in row[low:high])


def _nearest(start: int, end: int, matches: list[Match]) -> Match | None:
    """The match that a small word belongs to: the nearest, the following one where two are equally near."""
    real = [m for m in matches if not m.only_denied] or matches
    return min(real, key=lambda m: (_gap(start, end, m), m.start < start), default=None)
