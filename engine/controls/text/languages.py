"""Which language a direction is written in, and German, French and Spanish turned into the lexicon's English words.

No translation of sentences: each known word or phrase becomes English words that the parser reads, in the order in
which it stands; what is unknown stays. data/{german,french,spanish}.json hold the tables.
"""

from __future__ import annotations

import functools
import re
import unicodedata

from engine.controls.text.lexicon import read

NAMES = {"de": "German", "fr": "French", "es": "Spanish", "it": "Italian", "pt": "Portuguese", "nl": "Dutch"}
FILES = {"de": "german", "fr": "french", "es": "spanish"}
_CODES = re.compile(r"(?i)\b(?:facs\s*)?au\s*(?=[lr]?\d)")
_LETTERS = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")


def _fold(text: str) -> str:
    """Lower case without accents; ß as ss."""
    apart = unicodedata.normalize("NFD", text.lower().replace("ß", "ss").replace("’", "'"))
    return "".join(c for c in apart if not unicodedata.combining(c))


@functools.cache
def marks() -> dict[str, frozenset[str]]:
    """Small words of each language."""
    return {code: frozenset(words.split()) for code, words in read("languages")["words"].items()}


@functools.cache
def table(language: str) -> dict[tuple[str, ...], str]:
    """Folded words of a language -> English words."""
    words = read(FILES[language])["words"]
    return {tuple(_fold(k).split()): v for k, v in words.items()}


def detect(text: str) -> str | None:
    """ISO code of the language, "en" where nothing speaks against English, None for a script that is not Latin."""
    text = _CODES.sub(" ", text)  # "AU" is a French word too
    letters = [c for c in text if c.isalpha()]
    if letters and sum("LATIN" in unicodedata.name(c, "") for c in letters) < 0.6 * len(letters):
        return None
    words = _LETTERS.findall(text.lower().replace("’", "'"))
    apart = [p for w in words for p in w.split("'")]
    score = {code: float(sum(w in small for w in apart)) for code, small in marks().items() if code != "en"}
    english = sum(w in marks()["en"] for w in words)
    for code in FILES:  # words of the translated lexicons that English lacks
        known = table(code)
        folded = [_fold(w) for w in apart]
        hits = sum(any(tuple(folded[i : i + n]) in known for n in (3, 2, 1)) for i in range(len(folded)))
        score[code] += 0.8 * hits
    best = max(score, key=lambda c: score[c])
    return best if score[best] > max(english + 0.5 * _lexicon_words(words), 0.7) else "en"


def _lexicon_words(words: list[str]) -> int:
    from engine.controls.text.lexicon import known, vocabulary

    return sum(w in vocabulary() or w in known() for w in words)


def english(text: str, language: str) -> str:
    """The text with every known word or phrase of the language in English; marks and unknown words stay."""
    known = table(language)
    longest = max(map(len, known))
    pieces = re.findall(r"[^\W\d_]+|\d+|[^\w\s]", _fold(text))
    if language == "fr":
        pieces = [p for p in pieces if p != "'"]
    out: list[str] = []
    i = 0
    while i < len(pieces):
        for n in range(min(longest, len(pieces) - i), 0, -1):
            value = known.get(tuple(pieces[i : i + n]))
            if value is not None:
                out.append(value)
                i += n
                break
        else:
            out.append(pieces[i])
            i += 1
    return re.sub(r"\s+([,.;:!?%])", r"\1", " ".join(w for w in out if w))
