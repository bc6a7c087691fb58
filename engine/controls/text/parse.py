"""The rules: a typed direction -> what it raises and denies, with the words that caused it.

tokens (words.py) -> spelling -> matches (match.py) -> negation, degree, side (scopes.py) -> one face. A denial of a
part ("without moving the brows") outranks an emotion, a denial of an emotion yields to any other word.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from engine.controls.text.lexicon import Words, articles, find, group, known, small, vocabulary
from engine.controls.text.match import Match, matches
from engine.controls.text.scopes import amount, denied, side
from engine.controls.text.words import Token, spelled, tokens
from engine.core.names import SIDES

_KIND = {
    "smile",
    "joy",
    "contentment",
    "amusement",
    "laughter",
    "excitement",
    "pride",
    "relief",
    "being moved",
    "flirtation",
}
WEAKEST = 0.08  # of a raised AU, whatever the degree words say


@dataclass
class Parse:
    """What the rules make of a text.

    raised, denied: "AU12_L" -> strength in [0, 1]. because: AU -> words. coverage: share of the text's words of
    meaning that are explained. specific: a part of the face or a code is named. families: emotions named and not
    denied -> strength. notes: spelling. asked: the words ask for something, if only for a neutral face.
    """

    raised: dict[str, float] = field(default_factory=dict)
    denied: dict[str, float] = field(default_factory=dict)
    because: dict[str, str] = field(default_factory=dict)
    coverage: float = 0.0
    specific: bool = False
    families: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    asked: bool = False
    words: list[str] = field(default_factory=list)


def _sided(face: dict[str, float], wanted: str | None) -> dict[str, float]:
    """A face turned to one side; its stronger side goes there, and a face of both sides loses the other."""
    if wanted is None:
        return face
    other = "L" if wanted == "R" else "R"
    out: dict[str, float] = {}
    for au in {name[:-2] for name in face}:
        two = [face.get(f"{au}_{s}", 0.0) for s in SIDES]
        if two[0] == two[1]:
            out[f"{au}_{wanted}"] = two[0]
        else:
            out[f"{au}_{wanted}"], out[f"{au}_{other}"] = max(two), min(two)
    return {k: v for k, v in out.items() if v}


def _strength(value: float, top: float, absolute: float | None, factor: float) -> float:
    if absolute is not None:
        return max(WEAKEST, value / top * absolute) if absolute > 0 else 0.0
    return min(1.0, max(WEAKEST, value * factor))


def _overridden(found: list[Match], row: list[Token]) -> set[int]:
    """Matches that give way: "a grimace of revulsion" is revulsion, "tears of joy" is joy."""
    out = set()
    for i, m in enumerate(found):
        after = row[m.end].word if m.end < len(row) else ""
        follower = next((n for n in found if n.start >= m.end), None)
        named = follower is not None and follower.family and follower.start <= m.end + 2
        if m.yields and named and after in {"of", "in", "with", "from"}:
            out.add(i)
    return out


def _asks_neutral(m: Match, refuse: bool) -> bool:
    return not refuse and m.family == "neutral"


class _Board:
    """Faces and denials as they add up, in the order of the words."""

    def __init__(self, text: str):
        self.text = text
        self.parse = Parse()
        self.general: set[str] = set()  # raised by an emotion only
        self.soft: set[str] = set()  # denied by an emotion only

    def add(self, m: Match, face: dict[str, float], row: list[Token], level: tuple[float | None, float]) -> None:
        """Raise (and deny) what a match says."""
        top = max((v for v in face.values() if v > 0), default=1.0)
        words = self._words(m, row)
        for name, value in sorted(face.items()):
            if value < 0:
                self._deny(name, m.specific, words)
                continue
            if name in self.parse.denied and name not in self.soft and not m.specific:
                continue
            self.parse.denied.pop(name, None)
            strength = _strength(value, top, *level)
            if name not in self.parse.raised or m.specific:
                self.general.discard(name) if m.specific else self.general.add(name)
            self.parse.raised[name] = max(self.parse.raised.get(name, 0.0), strength)
            self.parse.because.setdefault(name[:4], words)

    def deny(self, m: Match, face: dict[str, float], row: list[Token]) -> None:
        """Deny what a match would raise."""
        for name, value in sorted(face.items()):
            if value > 0 or m.only_denied:
                self._deny(name, m.specific, self._words(m, row))

    def _deny(self, name: str, specific: bool, words: str) -> None:
        if name in self.parse.raised and not specific:
            return
        self.parse.raised.pop(name, None)
        self.parse.denied[name] = 1.0
        self.soft.discard(name) if specific else self.soft.add(name)
        self.parse.because[name[:4]] = words

    def _words(self, m: Match, row: list[Token]) -> str:
        span = sorted(m.members) or list(range(m.start, m.end))
        return " ".join(self.text[row[span[0]].start : row[span[-1]].end].split())


def exclude(parse: Parse, general: set[str]) -> None:
    """What a face cannot do at once: 24 against 25 and 26, 05 against 45; 26 needs 25. The weaker yields, but what
    was named of the face itself stays before what only an emotion brings."""
    for s in SIDES:
        for one, others in (("AU24", ("AU25", "AU26")), ("AU45", ("AU05",))):
            a = f"{one}_{s}"
            rivals = [f"{o}_{s}" for o in others if f"{o}_{s}" in parse.raised]
            if a not in parse.raised or not rivals:
                continue
            mine = (a not in general, parse.raised[a])
            theirs = max((r not in general, parse.raised[r]) for r in rivals)
            for name in rivals if mine > theirs else [a]:
                parse.raised.pop(name, None)
        jaw, lips = f"AU26_{s}", f"AU25_{s}"
        if jaw in parse.raised:
            if lips in parse.denied:
                parse.raised.pop(jaw)
            else:
                parse.raised[lips] = max(parse.raised.get(lips, 0.0), round(0.5 * parse.raised[jaw], 4))
                parse.because.setdefault("AU25", parse.because.get("AU26", ""))


def _coverage(row: list[Token], found: list[Match], named: set[int]) -> tuple[float, list[str]]:
    """(share of words of meaning that are explained, the words of meaning)."""
    small_words = {
        i
        for name in ("degrees", "sides", "both", "negations")
        for s, e, _ in find(row, small(name))
        for i in range(s, e)
    }
    skip = group("filler") | group("time") | group("person")
    claimed = {i for m in found for i in (m.members or range(m.start, m.end))}
    content = [
        i
        for i, t in enumerate(row)
        if not t.is_mark and (i in claimed or (t.word not in skip and i not in small_words))
    ]
    words = [row[i].word for i in content]
    return (len([i for i in content if i in named]) / len(content) if content else 0.0), words


def parse(
    text: str, whole_clause: bool = False, hidden: Collection[Words] = (), spell: Collection[str] | None = None
) -> Parse:
    """Read a direction by rules alone.

    whole_clause: a negation covers its whole clause (translated text). hidden: phrases to do without. spell: words
    that are right as they are although the lexicon lacks them; None leaves spelling alone.
    """
    row = tokens(text, articles())
    notes: list[str] = []
    if spell is not None:
        right = known()
        row, notes = spelled(row, vocabulary(), _Either(right, spell))
    found = matches(row, hidden)
    refused = denied(row, found, whole_clause)
    gone = _overridden(found, row)
    board = _Board(text)
    out = board.parse
    out.notes = notes
    named: set[int] = set()
    for i, m in enumerate(found):
        span = m.members or frozenset(range(m.start, m.end))
        refuse = any(refused[j] for j in span) if m.parts else refused[m.start]
        if m.only_denied and not refuse:
            continue
        named |= span
        if i in gone:
            continue
        out.asked = out.asked or not m.only_denied
        face = _sided(m.face, side(row, m, found))
        if refuse:
            board.deny(m, face, row)
            continue
        out.specific = out.specific or m.specific
        if m.family:
            out.families[m.family] = max(out.families.get(m.family, 0.0), m.strength)
        board.add(m, face, row, amount(row, m, found))
    _other_side(row, found, refused, out)
    if out.families.keys() - _KIND and "smile" in out.families:
        for name in ("AU06_L", "AU06_R"):  # a grim smile, a nervous smile: not with the eyes
            if name in board.general and not out.families.keys() & _KIND - {"smile"}:
                out.raised.pop(name, None)
    exclude(out, board.general)
    out.coverage, out.words = _coverage(row, found, named)
    return out


class _Either:
    """Membership in either of two collections, without building their union for every prompt."""

    def __init__(self, a: Collection[str], b: Collection[str]):
        self.a, self.b = a, b

    def __contains__(self, word: object) -> bool:
        return word in self.a or word in self.b


def _other_side(row: list[Token], found: list[Match], refused: list[bool], out: Parse) -> None:
    """ "... on the left, not on the right": a denied side without a face of its own clears that side of what is
    raised."""
    for start, _, name in find(row, small("sides")):
        alone = not any(refused[m.start] for m in found)
        if refused[start] and alone and out.raised:
            for key in [k for k in out.raised if k.endswith(f"_{name}")]:
                out.raised.pop(key)
