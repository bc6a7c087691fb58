"""The net that comes with the engine: words -> vectors -> a narrow convolution -> classes and AUs. numpy only, < 1 ms.

    e_i = E[w_i], or the mean of hashed letter n-grams (3 to 5) of an unknown word      [n, d]
    h_i = relu(W [e_(i-1), e_i, e_(i+1)] + b)                                          [n, c]
    x   = [max_i h_i, sum_i a_i e_i], a = softmax of a learned weight per word          [c + d]
    classes = softmax(V x + v), AUs = sigmoid(U x + u)

Its vectors are learned by engine/train/text_small.py from our corpus and from a sentence encoder's opinion of WordNet's
example sentences; the sentences themselves are not in it (NOTICE).
"""

from __future__ import annotations

import functools
import json
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.controls.text.words import plain
from engine.core.errors import BadFile

INTERFACE = "text-small-1"
_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?|\d+")
_ENDINGS = (
    ("ies", "y"),
    ("'s", ""),
    ("es", ""),
    ("s", ""),
    ("ed", ""),
    ("ed", "e"),
    ("ing", ""),
    ("ing", "e"),
    ("ly", ""),
)
MAX_WORDS = 48


def split(text: str) -> list[str]:
    """The words of a text as the net reads them; numbers become "0"."""
    return ["0" if w.isdigit() else w for w in _WORD.findall(plain(text))][:MAX_WORDS]


def grams(word: str, buckets: int) -> list[int]:
    """Buckets of a word's letter n-grams, 3 to 5 letters with its ends marked."""
    marked = f"<{word}>"
    cut = {marked[i : i + n] for n in (3, 4, 5) for i in range(len(marked) - n + 1)}
    return sorted(zlib.crc32(g.encode()) % buckets for g in cut) or [0]


def place(word: str, index: dict[str, int]) -> int | None:
    """Row of a word, or of its stem, or None."""
    if word in index:
        return index[word]
    for ending, stem in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            base = word[: -len(ending)] + stem
            if base in index:
                return index[base]
            if len(base) > 3 and base[-1] == base[-2] and base[:-1] in index:
                return index[base[:-1]]
    return None


@dataclass(frozen=True)
class Opinion:
    """What a net thinks of a text. classes [k], aus [18] in [0, 1]; known: share of words that it has vectors for."""

    classes: np.ndarray
    aus: np.ndarray
    known: float
    words: tuple[str, ...]
    weights: np.ndarray  # [n] how much each word counted


class SmallNet:
    """The trained net. families: names of the classes, the last is "nothing"."""

    def __init__(self, arrays: dict[str, np.ndarray], config: dict[str, Any], words: Sequence[str]):
        scale = arrays["vectors.scale"].astype(np.float32)
        self.vectors = arrays["vectors"].astype(np.float32) * scale[:, None]
        self.ngrams = arrays["ngrams"].astype(np.float32) * arrays["ngrams.scale"].astype(np.float32)[:, None]
        self.arrays = {k: v.astype(np.float32) for k, v in arrays.items() if "vectors" not in k and "ngrams" not in k}
        self.config = config
        self.families = tuple(config["families"])
        self.index = {w: i for i, w in enumerate(words)}

    def embed(self, words: Sequence[str]) -> tuple[np.ndarray, np.ndarray, int]:
        """(vectors [n, d], weights before softmax [n], how many words are known)."""
        rows, marks, known = [], [], 0
        for w in words:
            i = place(w, self.index)
            if i is None:
                rows.append(self.ngrams[grams(w, len(self.ngrams))].mean(0))
                marks.append(float(self.arrays["unknown"][0]))
            else:
                known += 1
                rows.append(self.vectors[i])
                marks.append(float(self.arrays["weight"][i]))
        return np.stack(rows), np.array(marks, np.float32), known

    def __call__(self, text: str) -> Opinion:
        """Opinion of a text; a text without words is "nothing"."""
        words = split(text)
        if not words:
            classes = np.zeros(len(self.families), np.float32)
            classes[-1] = 1
            return Opinion(classes, np.zeros(18, np.float32), 0.0, (), np.zeros(0, np.float32))
        e, marks, known = self.embed(words)
        edge = np.zeros((1, e.shape[1]), np.float32)
        wide = np.concatenate([np.concatenate([edge, e[:-1]]), e, np.concatenate([e[1:], edge])], 1)
        h = np.maximum(wide @ self.arrays["conv.weight"].T + self.arrays["conv.bias"], 0.0)
        a = np.exp(marks - marks.max())
        a /= a.sum()
        x = np.concatenate([h.max(0), a @ e])
        z = self.arrays["family.weight"] @ x + self.arrays["family.bias"]
        p = np.exp(z - z.max())
        aus = 1 / (1 + np.exp(-(self.arrays["au.weight"] @ x + self.arrays["au.bias"])))
        return Opinion(p / p.sum(), aus, known / len(words), tuple(words), a)


def load_small(file: Path) -> SmallNet:
    """Read a checkpoint of kind "text". Raises BadFile."""
    from safetensors import SafetensorError, safe_open
    from safetensors.numpy import load_file

    try:
        with safe_open(str(file), "np") as f:
            config = json.loads((f.metadata() or {}).get("config", "{}"))
        arrays = load_file(str(file))
    except (OSError, SafetensorError, ValueError) as error:
        raise BadFile(file, f"is no readable net ({error})") from None
    if config.get("interface") != INTERFACE:
        raise BadFile(file, f"is no small text net (interface {config.get('interface')}, wanted {INTERFACE})")
    words = bytes(arrays.pop("words")).decode("utf-8").split("\n")
    return SmallNet(arrays, config, words)


@functools.cache
def small_net() -> SmallNet:
    """The bundled (or the user's) small net, loaded once."""
    from engine.assets.registry import resolve

    return load_small(resolve("small", "text"))
