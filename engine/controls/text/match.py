"""Tokens -> matches: phrases of the lexicon, body-part x action pairs, FACS codes.

Order of claims: codes, phrases of two words and more, pairs, single words. A pair lies within a clause; a part without
an action takes that of the neighbouring clause ("raise the brows and the cheeks"), an action without a part that of
the part named before ("do not press the lips; part them").
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from engine.controls.text.lexicon import Action, Face, Phrase, Words, actions, find, group, parts, phrases, read, small
from engine.controls.text.words import Token

REACH = 7  # words between a part and its action
_JOIN = {"and", "or", "nor", ",", "&", "plus"}
_BREAK = {
    "and",
    "but",
    "while",
    "then",
    "though",
    "although",
    "whereas",
    "when",
    "with",
    "without",
    "plus",
    "yet",
    "or",
}
_WHICH = {"inner", "outer", "upper", "lower", "medial", "lateral", "left", "right"}
_PRONOUN = {"them", "it", "they", "one", "ones"}


@dataclass(frozen=True)
class Match:
    """Tokens [start, end) and the face that they name; clause: its number. specific: a face, not an emotion."""

    start: int
    end: int
    face: Face
    clause: int
    specific: bool = True
    family: str = ""
    strength: float = 1.0
    parts: tuple[str, ...] = ()
    only_denied: bool = False  # means something only under a negation: "no chin", "do not move the brows"
    yields: bool = False
    members: frozenset[int] = frozenset()  # tokens that belong to it, if not the whole span


@dataclass(frozen=True)
class _Found:
    start: int
    end: int
    clause: int
    name: str = ""
    actions: tuple[Action, ...] = ()


def clauses(row: list[Token]) -> list[int]:
    """Number of the clause of each token; marks and joining words begin a new one."""
    out, n = [], 0
    for token in row:
        if token.is_mark or token.word in _BREAK:
            n += 1
        out.append(n)
    return out


def framed(row: list[Token], start: int, end: int) -> bool:
    """Whether a word with an everyday meaning too is used of a person: "looks cross", "a bored man", "sick"."""
    before, after = group("frame_before"), group("frame_after")
    if _alone(row, start, end):
        return True
    for t in row[max(0, start - 2) : start][::-1]:
        if t.is_mark:
            break
        if t.word in before or t.word in group("person"):
            return True
    return end < len(row) and row[end].word in after


def _alone(row: list[Token], start: int, end: int) -> bool:
    """Whether a clause says nothing else: "sick", "angry, but ...", "blink twice"."""
    skip = (
        group("filler")
        | group("time")
        | {w for name in ("degrees", "sides", "negations") for r in small(name) for w in r}
    )
    low, high = start, end
    while low and not row[low - 1].is_mark and row[low - 1].word not in _BREAK:
        low -= 1
    while high < len(row) and not row[high].is_mark and row[high].word not in _BREAK:
        high += 1
    others = [t for t in (*row[low:start], *row[end:high]) if t.word not in skip]
    return len(others) <= (1 if high - low <= 3 else 0)


def _phrases(row: list[Token], numbers: list[int], used: set[int], table: dict[Words, Phrase]) -> list[Match]:
    out = []
    for start, end, phrase in find(row, table, used):
        if start and row[start - 1].word in _WHICH and (row[start].word,) in parts():
            continue  # "inner brows up" is no raising of the whole brow
        if not phrase.face and not phrase.family:
            used |= set(range(start, end))  # "happy birthday" says nothing of a face
            continue
        if not phrase.weak or framed(row, start, end):
            used |= set(range(start, end))
            out.append(
                Match(
                    start, end, phrase.face, numbers[start], not phrase.family, phrase.family, phrase.strength,
                    yields=phrase.yields,
                )
            )  # fmt: skip
    return out


def _of_things(row: list[Token], end: int) -> bool:
    """Whether a part belongs to a thing: "the lid of the box", "the mouth of the river"."""
    if end + 1 >= len(row) or row[end].word != "of":
        return False
    heads = {w[0] for w in parts()} | {w[-1] for w in parts()} | group("person")
    return row[end + 1].word not in heads


def _nearest(part: _Found, acts: list[_Found], taken: Collection[int]) -> tuple[int, Action] | None:
    best: tuple[float, int, Action] | None = None
    for i, act in enumerate(acts):
        fits = [a for a in act.actions if part.name in a.faces]
        if not fits:
            continue
        gap = max(part.start - act.end, act.start - part.end, 0) + (2.5 if i in taken else 0)
        if gap <= REACH and (best is None or gap < best[0]):
            best = (gap, i, fits[0])
    return (best[1], best[2]) if best else None


def _pair(part: _Found, act: _Found, action: Action, words: frozenset[int]) -> Match:
    near = part.clause == act.clause
    span = (min(part.start, act.start), max(part.end, act.end)) if near else (part.start, part.end)
    return Match(
        *span, action.faces[part.name], part.clause, parts=(part.name,), only_denied=action.name == "move",
        members=words,
    )  # fmt: skip


def _neighbour(clause: int, acts: list[_Found], row: list[Token], numbers: list[int], name: str) -> _Found | None:
    """The action of the clause before, else of the one after, if "and" or a comma joins them to this clause."""
    opens = {n: row[numbers.index(n)].word for n in set(numbers)}
    for other, joint in ((clause - 1, clause), (clause + 1, clause + 1)):
        if opens.get(joint) in _JOIN:
            near = [a for a in acts if a.clause == other and any(name in b.faces for b in a.actions)]
            if near:
                return near[-1] if other < clause else near[0]
    return None


def _pairs(row: list[Token], numbers: list[int], used: set[int]) -> list[Match]:
    """Every part with its action; parts alone are kept for negations."""
    found = [
        _Found(s, e, numbers[s], name)
        for s, e, name in find(row, parts(), used)
        if not _of_things(row, e)
    ]  # fmt: skip
    blocked = used | {j for p in found for j in range(p.start, p.end)}
    acts = [_Found(s, e, numbers[s], actions=a) for s, e, a in find(row, actions(), blocked)]
    out: list[Match] = []
    taken: set[int] = set()
    for part in found:
        own = [a for a in acts if a.clause == part.clause]
        hit = _nearest(part, own, [own.index(acts[i]) for i in taken if acts[i] in own])
        act: _Found | None = None
        action: Action | None = None
        if hit:
            act, action = own[hit[0]], hit[1]
            taken.add(acts.index(act))
        elif not own:
            every = [_Found(s, e, numbers[s], actions=a) for s, e, a in find(row, actions())]
            act = _neighbour(part.clause, every, row, numbers, part.name)
            action = next(a for a in act.actions if part.name in a.faces) if act else None
        if act and action:
            words = frozenset((*range(part.start, part.end), *range(act.start, act.end)))
            out.append(_pair(part, act, action, words))
        else:
            reach = {f"{au}_{s}": -1.0 for au in read("grammar")["reach"][part.name] for s in "LR"}
            words = frozenset(range(part.start, part.end))
            out.append(
                Match(part.start, part.end, reach, part.clause, parts=(part.name,), only_denied=True, members=words)
            )
    named = [_Found(s, e, numbers[s], name) for s, e, name in find(row, parts())]
    out += _again(row, numbers, named, [a for i, a in enumerate(acts) if i not in taken])
    for match in out:
        used |= match.members
    return out


def _again(row: list[Token], numbers: list[int], found: list[_Found], rest: list[_Found]) -> list[Match]:
    """Actions in clauses of their own that mean the part named before: "brows raised and drawn together"."""
    small_words = {w for name in ("degrees", "sides", "negations", "both") for r in small(name) for w in r}
    out = []
    for act in rest:
        if any(p.clause == act.clause for p in found):
            continue
        others = {
            row[i].word
            for i, n in enumerate(numbers)
            if n == act.clause and not act.start <= i < act.end and not row[i].is_mark
        }
        before = [p for p in found if p.end <= act.start]
        if not before or others - small_words - group("filler") - group("time") - _PRONOUN - _BREAK:
            continue
        for action in act.actions:
            if before[-1].name in action.faces:
                words = frozenset(range(act.start, act.end))
                pair = _pair(replace(before[-1], clause=act.clause), act, action, words)
                out.append(replace(pair, start=act.start, end=act.end))
                break
    return out


def _codes(row: list[Token], numbers: list[int], used: set[int]) -> list[Match]:
    out = []
    for i, token in enumerate(row):
        if token.unit:
            used.add(i)
            face = {f"{au}_{s}": v for au, v, side in token.unit for s in (side or "LR")}
            out.append(Match(i, i + 1, face, numbers[i]))
    return out


def matches(row: list[Token], hidden: Collection[Words] = ()) -> list[Match]:
    """Every match of a text's tokens, in order of place. hidden: phrases to do without (measurements)."""
    numbers = clauses(row)
    used: set[int] = set()
    table = {w: p for w, p in phrases().items() if w not in hidden} if hidden else phrases()
    long = {w: p for w, p in table.items() if len(w) > 1} if hidden else _long()
    found = _codes(row, numbers, used)
    found += _phrases(row, numbers, used, long)
    found += _pairs(row, numbers, used)
    found += _phrases(row, numbers, used, table)
    return sorted(found, key=lambda m: (m.start, m.end))


_LONG: dict[Words, Phrase] = {}


def _long() -> dict[Words, Phrase]:
    if not _LONG:
        _LONG.update({w: p for w, p in phrases().items() if len(w) > 1})
    return _LONG
