"""Sentences for the small net to learn a teacher's opinion from: WordNet's examples and glosses, and our situations
with single words exchanged for their sisters in WordNet. The database comes from Debian's package wordnet-base
(WordNet 3.0 licence, free with its notice); only what a net learns from it ships.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from engine.core.errors import Missing

_QUOTED = re.compile(r'"([^"]+)"')
_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?")
DEFAULT = Path("/usr/share/wordnet")


@dataclass(frozen=True)
class WordNet:
    """examples, glosses: sentences. sisters: word -> words of one kind with it (co-hyponyms). common: how often a word
    occurs in examples and glosses. lemmas: every single word of the index."""

    examples: tuple[str, ...]
    glosses: tuple[str, ...]
    sisters: dict[str, tuple[str, ...]]
    common: Counter[str]
    lemmas: frozenset[str]


def read_wordnet(folder: Path = DEFAULT) -> WordNet:
    """Read the database files. Raises Missing with the package's name."""
    files = [folder / f"data.{kind}" for kind in ("noun", "verb", "adj", "adv")]
    if not all(f.is_file() for f in files):
        raise Missing(f"{folder} holds no WordNet: install the Debian package wordnet-base, or give its folder")
    examples, glosses = [], []
    members: dict[str, list[str]] = {}
    below: dict[str, list[str]] = {}
    for file in files:
        for line in file.read_text(encoding="utf-8").splitlines():
            if line[:1] == " " or "|" not in line:
                continue
            fields, gloss = line.split("|", 1)
            examples += _QUOTED.findall(gloss)
            glosses.append(_QUOTED.sub("", gloss).strip(" ;\n"))
            part = fields.split()
            count = int(part[3], 16)
            name = f"{file.suffix}{part[0]}"
            members[name] = [w.lower() for w in part[4 : 4 + 2 * count : 2] if w.isalpha()]
            for i in range(len(part) - 1):
                if part[i] == "@":
                    below.setdefault(f"{file.suffix}{part[i + 1]}", []).append(name)
    sisters: dict[str, set[str]] = {}
    for names in below.values():
        words = {w for n in names for w in members[n]}
        if 1 < len(words) <= 60:
            for w in words:
                sisters.setdefault(w, set()).update(words - {w})
    common = Counter(w for s in (*examples, *glosses) for w in _WORD.findall(s.lower()))
    kept = {w: tuple(sorted(x for x in s if common[x] >= 8)) for w, s in sisters.items()}
    lemmas = frozenset(w for m in members.values() for w in m)
    return WordNet(tuple(examples), tuple(glosses), {w: s for w, s in kept.items() if s}, common, lemmas)


def exchanged(text: str, net: WordNet, rng: random.Random) -> str | None:
    """A text with one or two of its words exchanged for sisters, or None if no word has any."""
    words = text.split()
    places = [i for i, w in enumerate(words) if w in net.sisters]
    if not places:
        return None
    for i in rng.sample(places, min(len(places), rng.choice((1, 1, 2)))):
        words[i] = rng.choice(net.sisters[words[i]])
    return " ".join(words)
