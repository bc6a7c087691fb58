"""The phones that the speech net tells apart: finer than the face's classes (engine/core/phones.json).

A face needs to know that n and t look alike; a listener must learn that n is a nasal like m, or it hears each final n
as closed lips. Every symbol of phones.json belongs to one phone here; `fine_labels` writes them for training, and
aligners read the net's posteriors over them.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache

import numpy as np

from engine.core.phones import Segment, parts

# One phone a line part; its first symbol is its name. Vowels that phones.json keeps apart stay apart.
_INVENTORY = (
    "_ _:", "p", "b ɓ ʙ", "m", "f", "v ɱ", "ʋ β ɸ ⱱ", "θ", "ð", "t ʈ", "d ɖ ɗ", "n ɳ", "l ɫ ɭ ɬ ɮ ɺ", "ʎ", "r ɾ ɽ", "s",
    "z", "ʃ ʂ", "ʒ ʐ", "ɕ ʑ", "j", "ç ʝ", "ɲ", "c ɟ", "k q", "ɡ g ɢ", "ŋ ɴ", "x χ", "ɣ ɰ ʁ ʀ", "h ɦ ħ ʕ ʢ", "ʔ", "ɹ ɻ",
    "w ʍ ɥ", "i", "ɪ ᵻ", "y ʏ", "e", "ø ɵ", "ɛ", "œ ɶ", "æ", "a ɐ̃", "ɑ", "ɒ", "ɔ", "o", "ʊ", "u", "ʌ ɐ", "ə ɘ",
    "ɜ ɚ ɝ", "ɨ", "ʉ", "ɯ ɤ",
)  # fmt: skip
FINE: tuple[str, ...] = tuple(row.split()[0] for row in _INVENTORY)
UNKNOWN = 255  # of a label: nobody knows which phone
RATE_HZ = 100
NASALS = tuple(FINE.index(s) for s in ("n", "ɲ", "ŋ"))  # what closed lips are most often mistaken for
CLOSED = tuple(FINE.index(s) for s in ("p", "b", "m"))
BITTEN = tuple(FINE.index(s) for s in ("f", "v"))


@cache
def _index() -> dict[str, int]:
    return {unicodedata.normalize("NFD", s): i for i, row in enumerate(_INVENTORY) for s in row.split()}


@cache
def fine_parts(symbol: str) -> tuple[tuple[int, float], ...]:
    """An IPA symbol as one or two phones with their shares of its length, divided as `phones.parts` divides it.

    A symbol outside the inventory is `UNKNOWN`.
    """
    index = _index()
    text = unicodedata.normalize("NFD", symbol)
    if text in index:
        return ((index[text], 1.0),)
    found: list[int] = []
    i = 0
    while i < len(text):
        for n in (3, 2, 1):
            if text[i : i + n] in index:
                found.append(index[text[i : i + n]])
                i += n - 1
                break
        i += 1
    shares = [share for _, share in parts(symbol)]
    if not found:
        return ((UNKNOWN, 1.0),)
    return ((found[0], 1.0),) if len(shares) == 1 else ((found[0], shares[0]), (found[-1], shares[1]))


def fine_labels(segments: Sequence[Segment], frames: int) -> np.ndarray:
    """Index in `FINE` of each 10 ms frame, the pause outside the segments. [frames] uint8."""
    out = np.zeros(frames, np.uint8)
    for symbol, start, end in segments:
        at = start
        for index, share in fine_parts(symbol):
            until = at + share * (end - start)
            out[max(0, round(at * RATE_HZ)) : max(0, round(until * RATE_HZ))] = index
            at = until
    return out
