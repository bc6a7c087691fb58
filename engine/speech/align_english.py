"""Forced alignment of English by pocketsphinx (optional: the extra "transcript"), a classical HMM aligner.

Its own acoustic model times English phones within about 10 ms, better than an encoder's 20 ms rows. A single attempt
fails on up to half of difficult clips; with wider beams and a little noise all of 209 recorded clips aligned.
"""

from __future__ import annotations

import itertools
import re
import tempfile
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from engine.core.phones import from_arpabet
from engine.speech.align import PAUSE, Aligned
from engine.speech.pronounce import Word

_FRAME_S = 0.01
_WIDE = {"dither": True, "bestpath": False, "beam": 1e-100, "wbeam": 1e-80, "pbeam": 1e-100}
_NOISE = 1e-3  # of full scale, -60 dB: digital silence makes the model's likelihoods degenerate
_WAYS = 8  # pronunciations of one entry at most
_PEAK = 19660  # 0.6 of full scale
# IPA of espeak's English voices -> ARPABET, longest first; marks of length and of syllables are dropped before.
_ARPABET = {
    "aɪə": "AY AH", "aɪɚ": "AY ER", "aʊ": "AW", "aɪ": "AY", "eɪ": "EY", "oʊ": "OW", "əʊ": "OW", "ɔɪ": "OY",
    "tʃ": "CH", "dʒ": "JH", "ɑɹ": "AA R", "ɔɹ": "AO R", "oɹ": "AO R", "ɛɹ": "EH R", "ɪɹ": "IH R", "ʊɹ": "UH R",
    "eə": "EH R", "ɪə": "IH R", "ʊə": "UH R", "iə": "IY AH", "əl": "AH L", "ɑ": "AA", "æ": "AE", "a": "AE",
    "ʌ": "AH", "ə": "AH", "ɐ": "AH", "ɔ": "AO", "ɒ": "AA", "ɛ": "EH", "e": "EH", "ɜ": "ER", "ɝ": "ER", "ɚ": "ER",
    "ɪ": "IH", "ᵻ": "IH", "i": "IY", "ʊ": "UH", "u": "UW", "o": "OW", "b": "B", "d": "D", "ð": "DH", "f": "F",
    "ɡ": "G", "g": "G", "h": "HH", "j": "Y", "k": "K", "l": "L", "ɫ": "L", "m": "M", "n": "N", "ŋ": "NG", "p": "P",
    "ɹ": "R", "r": "R", "ɾ": "T", "s": "S", "ʃ": "SH", "t": "T", "θ": "TH", "v": "V", "w": "W", "x": "K", "z": "Z",
    "ʒ": "ZH", "ʔ": "T",
}  # fmt: skip


def available() -> bool:
    """Whether pocketsphinx is installed."""
    return find_spec("pocketsphinx") is not None


def arpabet(phones: Sequence[str]) -> str:
    """IPA symbols of espeak's English as ARPABET: ("h", "əʊ") -> "HH OW". Unknown symbols are left out."""
    out = []
    for symbol in phones:
        text = re.sub(r"[ːˑ̩ʲʰ̃]", "", symbol)
        while text:
            size = next((n for n in (3, 2, 1) if text[:n] in _ARPABET), 0)
            if size:
                out.append(_ARPABET[text[:size]])
            text = text[max(size, 1) :]
    return " ".join(out)


def align_english(words: Sequence[Word], samples: np.ndarray, seed: int = 0) -> list[Aligned] | None:
    """Place every word in the recording; None where the aligner finds no way.

    samples [n] float32 at 16 kHz. The whole transcript must be spoken, in order: check that first (align.py).
    """
    spoken = [(i, lines) for i, word in enumerate(words) if (lines := _entry(word))]
    if not spoken:
        return None
    noise = np.random.default_rng(seed).normal(size=len(samples)) * _NOISE
    peak = max(float(np.abs(samples).max()), 1e-6)
    for extra in (0, 1):
        pcm = (np.clip(samples / peak + extra * noise, -1, 1) * _PEAK).astype("<i2").tobytes()
        for options in ({}, _WIDE):
            try:  # a decoder that failed must not be used again
                return _once(pcm, spoken, options)
            except RuntimeError:
                continue
    return None


@cache
def _dictionary() -> dict[str, list[str]]:
    """The aligner's English dictionary: word -> its pronunciations as ARPABET."""
    import pocketsphinx

    out: dict[str, list[str]] = {}
    with open(f"{pocketsphinx.get_model_path()}/en-us/cmudict-en-us.dict", encoding="utf-8") as lines:
        for line in lines:
            word, _, phones = line.strip().partition(" ")
            out.setdefault(word.partition("(")[0], []).append(phones)
    return out


def _entry(word: Word) -> list[str]:
    """Pronunciations of a word: the dictionary's, and how espeak says it here (numbers, names, abbreviations)."""
    names = re.findall(r"[^\W\d_][\w']*", word.text.lower())
    known = [_dictionary().get(name, []) for name in names]
    if not all(known) or re.search(r"[\d%$€£&@#]", word.text):
        known = []
    ways = [" ".join(way) for way in itertools.islice(itertools.product(*known), _WAYS)] if known else []
    return ways or [phones for phones in [arpabet(word.phones)] if phones]


def _once(pcm: bytes, spoken: Sequence[tuple[int, list[str]]], options: dict[str, Any]) -> list[Aligned]:
    """One attempt. Raises RuntimeError."""
    import pocketsphinx

    with tempfile.TemporaryDirectory() as folder:  # the words of this text alone: the whole dictionary loads slowly
        lexicon = Path(folder) / "words.dict"
        rows = [f"w{i}{f'({n})' if n > 1 else ''} {p}" for i, ways in spoken for n, p in enumerate(ways, 1)]
        lexicon.write_text("\n".join([*rows, ""]), encoding="utf-8")
        decoder = pocketsphinx.Decoder(
            lm=None, hmm=f"{pocketsphinx.get_model_path()}/en-us/en-us", dict=str(lexicon), loglevel="FATAL", **options
        )
    decoder.set_align_text(" ".join(f"w{i}" for i, _ in spoken))
    for second in (False, True):
        if second:
            if decoder.hyp() is None:  # only here: asking after the second pass crashes the library
                raise RuntimeError("no alignment")
            decoder.set_alignment()
        decoder.start_utt()
        decoder.process_raw(pcm, full_utt=True)
        decoder.end_utt()
    out = []
    for word in decoder.get_alignment():
        name = re.fullmatch(r"w(\d+)(?:\(\d+\))?", word.name)
        index = int(name[1]) if name else PAUSE
        for phone in word:
            start, end = phone.start * _FRAME_S, (phone.start + phone.duration) * _FRAME_S
            out.append(Aligned("_" if index == PAUSE else from_arpabet(phone.name), start, end, index, 0.0))
    return out
