"""Text -> tokens: words, marks and FACS codes, each with its place in the text; spelling.

Hyphens part words, articles and possessives are left out (so "corners of her mouth" is "corners of the mouth"), and
FACS codes such as "AU12+25" become one token each.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, replace

from engine.core.names import AUS

_TOKEN = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+(?:'[^\W\d_]+)*|[,;:.!?()%\n]|[^\w\s]")
_CODE = re.compile(
    r"\b(?:facs\s*[:\-]?\s*)?(?:aus?|action\s+units?|facs)\s*[#:\-]?\s*"
    r"(?=[lr]?\d)((?:[lr]?\d{1,2}[a-e]?[lr]?(?!\d)(?:\s*(?:\+|,|/|&|\band\b)\s*(?:au\s*|action\s+unit\s*)?(?=[lr]?\d))?)+)"
)
_ONE = re.compile(r"([lr]?)(\d{1,2})([a-e]?)([lr]?)")
# Units of FACS that this project's 18 stand for: eye closure, mouth stretch, sharp lip puller, wink, lid droop.
ALIAS = {13: 12, 16: 25, 27: 26, 41: 45, 42: 45, 43: 45, 44: 7, 46: 45}
_GRADE = {"a": 0.2, "b": 0.4, "c": 0.6, "d": 0.8, "e": 1.0, "": 0.8}
MARKS = frozenset(",;:.!?()\n")


@dataclass(frozen=True)
class Token:
    """A word, mark or code. word: lower case, corrected; start, end: characters of the text; unit: AUs of a code."""

    word: str
    start: int
    end: int
    unit: tuple[tuple[str, float, str], ...] = ()  # (AU, strength, side or "")

    @property
    def is_mark(self) -> bool:
        return self.word in MARKS


def plain(text: str) -> str:
    """Lower case, straight quotes, hyphens and dashes as spaces; same length as `text`."""
    table = str.maketrans({"’": "'", "‘": "'", "ʼ": "'", "–": ",", "—": ",", "‑": " ", "-": " ", "_": " "})
    lowered = "".join(c.lower() if len(c.lower()) == 1 else c for c in text)
    return lowered.translate(table)


def tokens(text: str, skip: Container[str] = ()) -> list[Token]:
    """Tokens of a text in order, without the words in `skip`."""
    lowered = plain(text)
    found: list[Token] = []
    place = 0
    for code in [*_CODE.finditer(lowered), None]:
        end = code.start() if code else len(lowered)
        plain_words = _TOKEN.finditer(lowered, place, end)
        found += [Token(m.group(), m.start(), m.end()) for m in plain_words if m.group() not in skip]
        if code:
            found += _coded(code)
            place = code.end()
    return found


def _coded(code: re.Match[str]) -> list[Token]:
    """One token for a whole list of units; units that the project does not have are left out."""
    units = []
    for before, number, grade, after in _ONE.findall(code.group(1)):
        name = f"AU{ALIAS.get(int(number), int(number)):02d}"
        if name in AUS:
            side = (before or after).upper()
            units.append((name, _GRADE[grade], side or ("L" if int(number) == 46 else "")))
    return [Token("\x00au", code.start(), code.end(), tuple(units))] if units else []


def _edits(word: str) -> set[str]:
    """Every string at one insertion, deletion, exchange or swap of neighbours from `word`."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    cuts = [(word[:i], word[i:]) for i in range(len(word) + 1)]
    return (
        {a + b[1:] for a, b in cuts if b}
        | {a + b[1] + b[0] + b[2:] for a, b in cuts if len(b) > 1}
        | {a + c + b[1:] for a, b in cuts if b for c in letters}
        | {a + c + b for a, b in cuts for c in letters}
    )


def corrected(word: str, vocabulary: Mapping[str, int]) -> str | None:
    """The vocabulary's word that was probably meant, or None.

    One edit from 5 letters on, two from 9 on, the first letter held; short words have too many neighbours.
    vocabulary: word -> how often it is used; the commonest of several candidates wins.
    """
    if not 5 <= len(word) <= 24:
        return None
    near = [n for n in _edits(word) if n[:1] == word[0]]
    candidates = [w for w in near if w in vocabulary]
    if not candidates and len(word) >= 9:
        candidates = [w for n in near for w in _edits(n) if w in vocabulary and w[0] == word[0] and len(w) >= 6]
    return max(candidates, key=lambda w: (vocabulary[w], w)) if candidates else None


def spelled(row: list[Token], vocabulary: Mapping[str, int], known: Container[str]) -> tuple[list[Token], list[str]]:
    """Tokens with misspelt words of the vocabulary put right, and a note for each ("suprised -> surprised").

    known: words that are right as they are although the vocabulary lacks them.
    """
    out, notes = [], []
    for token in row:
        word = token.word
        if word.isalpha() and word.isascii() and word not in vocabulary and word not in known:
            better = corrected(word, vocabulary)
            if better:
                notes.append(f"{word} -> {better}")
                token = replace(token, word=better)
        out.append(token)
    return out, notes
