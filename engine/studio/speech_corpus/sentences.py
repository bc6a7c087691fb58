"""Sentences by a small grammar over this project's own word lists (texts.json), in 20 languages."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

import numpy as np

# Syllable pieces of English-looking nonsense words (frame letter W): every onset meets every vowel.
_ONSETS = "b p m f v w d t k g s sh ch l r n h j y z th bl br pl pr fl fr sm sp st"
_NUCLEI = "a e i o u oo ee ow ay ie aw oi ar or er"
_CODAS = "- - b p m f v d t k n l s sh mp lf ps"  # -: none

LAUGHS = 0.03  # share of English sentences


@cache
def _texts() -> dict:
    return json.loads((Path(__file__).parent / "texts.json").read_text(encoding="utf-8"))


def languages() -> tuple[str, ...]:
    """Language codes besides English."""
    return tuple(_texts()["languages"])


def english(rng: np.random.Generator) -> str:
    """One English sentence (grammatical in form, odd in sense)."""
    bank = _texts()["english"]
    numbers = _texts()["numbers"].split()

    def fill(match: re.Match[str]) -> str:
        key = match.group(0)
        if key == "NUM":
            return str(rng.choice(numbers))
        if key == "W":
            onsets, nuclei, codas = _ONSETS.split(), _NUCLEI.split(), _CODAS.split()
            syllables = [rng.choice(onsets) + rng.choice(nuclei) for _ in range(int(rng.integers(1, 4)))]
            return "".join(syllables) + str(rng.choice(codas)).replace("-", "")
        words = bank[key].split("|") if key == "J" else bank[key].split()
        return str(words[int(rng.integers(len(words)))])

    frame = str(rng.choice(bank["frames"]))
    if frame.startswith("J ") and rng.random() < 0.4:  # J: an interjection, which may be left out
        frame = frame[2:]
    text = re.sub(r"\b(NUM|W|D|A|N|V|P|B|Q|J)\b", fill, frame).replace("  ", " ")
    return text[0].upper() + text[1:]


def foreign(language: str, rng: np.random.Generator) -> str:
    """A string of 4 to 9 words of `language`: its own list, and nonsense by its own syllables, with some commas."""
    bank = _texts()["languages"][language]
    words, onsets, vowels = (bank[k].split() for k in ("words", "onsets", "vowels"))
    out = []
    for _ in range(int(rng.integers(4, 10))):
        if rng.random() < 0.55:
            word = str(rng.choice(words))
        else:
            word = "".join(rng.choice(onsets) + rng.choice(vowels) for _ in range(int(rng.integers(2, 5))))
        out.append(word + ("," if rng.random() < 0.12 else ""))
    return " ".join(out).rstrip(",") + str(rng.choice([".", ".", "?", "!"]))


def laughter(rng: np.random.Generator) -> str:
    """Laughing syllables in a few bursts ("hahaha, hehe!"): breathy vowels without a closure."""
    bursts = [str(rng.choice(["ha", "he", "ho", "hi", "huh"])) * int(rng.integers(2, 7)) for _ in range(3)]
    return ", ".join(bursts[: int(rng.integers(1, 4))]) + "!"


def sentence(language: str, rng: np.random.Generator) -> str:
    """One sentence in `language` ("en" or one of `languages()`); now and then it begins with a laugh."""
    if language == "en" and rng.random() < LAUGHS:
        return laughter(rng) + " " + english(rng)
    return english(rng) if language == "en" else foreign(language, rng)
