"""A typed direction -> action units, by rules: lexicon, body-part x action grammar, negation, degree, side.

Word for word and traceable: every AU of the answer names the words that caused it. The lexicon is data
(lexicon.json). Clauses end at commas, "and", "but", "then"; a negation reaches to the end of its clause, a degree
and a side belong to the nearest match of their clause. What no rule reaches is reported as unrecognised, not guessed.
"""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.core.errors import BadInput
from engine.core.names import AUS, SIDES

MAX_TEXT = 1000  # characters
_CLAUSE = re.compile(r"[,;.:!?\n]|\band\b|\bbut\b|\bwhile\b|\bthen\b")
_WORD = re.compile(r"[a-z']+")


@dataclass(frozen=True)
class Recognition:
    """What the words ask for.

    activation: "AU12_L" -> strength in [0, 1]; negative where the words deny the AU.
    because: AU -> the words that caused it. recognised: False if no rule matched.
    """

    text: str
    activation: dict[str, float] = field(default_factory=dict)
    because: dict[str, str] = field(default_factory=dict)

    @property
    def recognised(self) -> bool:
        return bool(self.activation)

    @property
    def aus(self) -> list[str]:
        """Names of the AUs that are raised on either side, in order."""
        return [au for au in AUS if max(self.activation.get(f"{au}_{s}", 0.0) for s in SIDES) > 0]

    def to_json(self) -> dict[str, Any]:
        """The form that `text2au --json` prints (docs/design.md)."""
        level = {au: round(max(0.0, *(self.activation.get(f"{au}_{s}", 0.0) for s in SIDES)), 4) for au in AUS}
        return {
            "text": self.text, "aus": self.aus, "probabilities": level, "recognised": self.recognised,
            "activation": self.activation, "because": self.because,
        }  # fmt: skip


@dataclass(frozen=True)
class _Match:
    start: int
    end: int
    au: dict[str, float]
    words: str


@functools.cache
def _lexicon() -> dict[str, Any]:
    return json.loads(Path(__file__).with_name("lexicon.json").read_text(encoding="utf-8"))


@functools.cache
def _phrases() -> dict[tuple[str, ...], dict[str, float]]:
    """Every whole phrase, emotion words included, as words -> AUs."""
    from engine.controls.emotions import prototypes
    from engine.core.names import EMOTION_INDEX

    table: dict[tuple[str, ...], dict[str, float]] = {}
    for word, (label, strength) in _lexicon()["emotions"].items():
        row = prototypes()[EMOTION_INDEX[label]] * strength
        table[tuple(word.split())] = {
            f"{au}_{side}": float(row[i, s])
            for i, au in enumerate(AUS)
            for s, side in enumerate(SIDES)
            if row[i, s] > 0
        }
    for phrase, au in _lexicon()["phrases"].items():
        table[tuple(phrase.split())] = au
    return table


@functools.cache
def _grammar() -> tuple[dict[tuple[str, ...], str], dict[tuple[str, ...], str]]:
    """(words -> part, words -> action)."""
    lexicon = _lexicon()
    parts = {tuple(w.split()): part for part, words in lexicon["parts"].items() for w in words}
    actions = {tuple(w.split()): name for name, a in lexicon["actions"].items() for w in a["words"]}
    return parts, actions


def _find(words: list[str], table: dict[tuple[str, ...], Any]) -> list[tuple[int, int, Any]]:
    """Longest matches of the table's phrases, left to right, without overlap: (start, end, value)."""
    longest, found, i = max(map(len, table)), [], 0
    while i < len(words):
        for n in range(min(longest, len(words) - i), 0, -1):
            if (value := table.get(tuple(words[i : i + n]))) is not None:
                found.append((i, i + n, value))
                i += n
                break
        else:
            i += 1
    return found


def _matches(words: list[str]) -> list[_Match]:
    """Whole phrases, and actions paired with the nearest part that they fit."""
    parts_table, actions_table = _grammar()
    parts, actions = _find(words, parts_table), _find(words, actions_table)
    out, used = [], set()
    for a0, a1, action in actions:
        fits = _lexicon()["actions"][action]["parts"]
        near = [(abs(p0 - a0), p0, p1, part) for p0, p1, part in parts if part in fits]
        if near:
            _, p0, p1, part = min(near)
            start, end = min(a0, p0), max(a1, p1)
            out.append(_Match(start, end, fits[part], " ".join(words[start:end])))
            used |= {*range(a0, a1), *range(p0, p1)}
    for start, end, au in _find(words, _phrases()):
        if not used & set(range(start, end)):
            out.append(_Match(start, end, au, " ".join(words[start:end])))
    return out


def _nearest(words: list[str], table: dict[str, Any], match: _Match, reach: int) -> Any | None:
    """Value of the table's phrase nearest to the match, at most `reach` words away."""
    found = _find(words, {tuple(k.split()): v for k, v in table.items()})
    best = [(max(match.start - end, start - match.end, 0), value) for start, end, value in found]
    best = [b for b in best if b[0] <= reach]
    return min(best, key=lambda b: b[0])[1] if best else None


def _negated(words: list[str]) -> int | None:
    """Index of the word from which the clause is denied, or None."""
    lexicon = _lexicon()
    excused = {
        i for s, e, _ in _find(words, {tuple(n.split()): True for n in lexicon["not_negations"]}) for i in range(s, e)
    }
    hits = _find(words, {tuple(n.split()): True for n in lexicon["negations"]})
    return min((s for s, _, _ in hits if s not in excused), default=None)


def _orders(words: list[str]) -> bool:
    """Whether a clause begins a direction of its own instead of going on with a list."""
    if words[0] in _lexicon()["leads"]:
        return True
    return any(start == 0 for start, _, _ in _find(words, _grammar()[1]))


def _clause(words: list[str], raised: dict[str, float], denied: dict[str, float], because: dict[str, str],
            carried: bool) -> tuple[bool, bool]:  # fmt: skip
    """Add one clause's AUs; returns (anything matched, the clause ends denied)."""
    deny_from = 0 if carried else _negated(words)
    matches = _matches(words)
    for match in matches:
        degree = _nearest(words, _lexicon()["degrees"], match, 2) or 1.0
        side = _nearest(words, _lexicon()["sides"], match, 2)
        refuse = deny_from is not None and match.end > deny_from
        for name, value in match.au.items():
            for s in SIDES:
                au, _, only = name.partition("_")
                if (only and side is None and s != only) or (side is not None and s != side):
                    continue
                target = denied if refuse else raised
                key = f"{au}_{s}"
                target[key] = max(target.get(key, 0.0), 1.0 if refuse else min(1.0, value * degree))
                because.setdefault(au, match.words)
    # "stop frowning and smile": these deny their own clause only; "no" and "without" reach over a list.
    reaches = deny_from is not None and not set(words) & set(_lexicon()["deny_once"])
    return bool(matches), reaches


def recognise(text: str) -> Recognition:
    """AUs that a direction in English asks for. Raises BadInput above 1,000 characters."""
    if len(text) > MAX_TEXT:
        raise BadInput(f"a direction may hold {MAX_TEXT} characters; this one has {len(text)}: split it into strips")
    lowered = text.lower().replace("’", "'").replace("-", " ")
    raised: dict[str, float] = {}
    denied: dict[str, float] = {}
    because: dict[str, str] = {}
    carried, position = False, 0
    for cut in [*_CLAUSE.finditer(lowered), None]:
        clause = lowered[position : cut.start() if cut else len(lowered)]
        words = _WORD.findall(clause)
        if words:
            # "no frown and smile" denies both; a new order ("... and raise the brows") or any other break ends it.
            carried = carried and not _orders(words)
            _, ends_denied = _clause(words, raised, denied, because, carried)
            carried = ends_denied and cut is not None and cut.group() == "and"
        if cut:
            position = cut.end()
    activation = {k: round(v, 4) for k, v in raised.items()}
    activation |= {k: -round(v, 4) for k, v in denied.items() if k not in raised}
    return Recognition(text, dict(sorted(activation.items())), because)
