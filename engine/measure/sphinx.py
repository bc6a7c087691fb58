"""pocketsphinx beside the measures: forced alignment of English recordings, and free phones as the figure to beat.

An optional extra (PyPI pocketsphinx, BSD and MIT, with its American English model); nothing but the measures and
benches uses it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from engine.core.errors import BadInput, Missing
from engine.core.phones import Segment, from_arpabet

RATE = 16_000
FRAME_S = 0.01
LOUDEST = 19_660  # 60 % of full scale: what the model's features expect of speech
# Wider beams for recordings in which the first search lost the right path.
_WIDE = {"dither": True, "bestpath": False, "beam": 1e-100, "wbeam": 1e-80, "pbeam": 1e-100}
_FREE = {"lw": 2.0, "beam": 1e-20, "pbeam": 1e-20}
_FLITE = {"ax": "AH", "axr": "ER", "dx": "T"}


def _library() -> Any:
    try:
        import pocketsphinx
    except ImportError:
        raise Missing("pocketsphinx is not installed; run: pip install pocketsphinx==5.1.1") from None
    return pocketsphinx


def available() -> bool:
    """Whether pocketsphinx can be used here."""
    try:
        _library()
    except Missing:
        return False
    return True


def _options(**more: Any) -> dict[str, Any]:
    model = _library().get_model_path()
    return {"lm": None, "hmm": f"{model}/en-us/en-us", "loglevel": "FATAL", **more}


def _pcm(samples: np.ndarray) -> bytes:
    peak = float(np.abs(samples).max(initial=0.0)) or 1.0
    return (np.clip(samples / peak, -1, 1) * LOUDEST).astype("<i2").tobytes()


def words_of(text: str) -> list[str]:
    """Lower-case words of an English text, marks dropped."""
    return re.findall(r"[a-z']*[a-z][a-z']*", text.lower().replace("’", "'"))


def align(samples: np.ndarray, text: str, seed: int = 0) -> list[Segment] | None:
    """Phone times of a recording whose words are known; None where no alignment was found.

    samples [n] float32 at 16 kHz; text: English words. Returns IPA segments in seconds, pauses as "_". Starts are
    right to about 10 ms. Raises Missing, and BadInput for a text without a word or with one that nothing can say.
    """
    words = words_of(text)
    if not words:
        raise BadInput(f"no words to align in {text!r}")
    noise = np.random.default_rng(seed).normal(size=len(samples)) * 1e-3
    scaled = samples / (float(np.abs(samples).max(initial=0.0)) or 1.0)
    for extra in (0.0, 1.0):  # a little noise helps where digital silence upsets the features
        for options in ({}, _WIDE):
            try:  # a decoder that failed must not be used again
                return _aligned(_pcm(scaled + extra * noise), words, options)
            except RuntimeError:
                continue
    return None


def _aligned(pcm: bytes, words: Sequence[str], options: Mapping[str, Any]) -> list[Segment]:
    sphinx = _library()
    base = _options(dict=f"{sphinx.get_model_path()}/en-us/cmudict-en-us.dict")
    decoder = sphinx.Decoder(**base, **options)
    for word in sorted({w for w in words if decoder.lookup_word(w) is None}):
        decoder.add_word(word, pronounced(word), True)
    decoder.set_align_text(" ".join(words))
    for second in (False, True):
        if second:
            if decoder.hyp() is None:  # asked after the second pass, the library crashes
                raise RuntimeError("no alignment")
            decoder.set_alignment()
        decoder.start_utt()
        decoder.process_raw(pcm, full_utt=True)
        decoder.end_utt()
    out = []
    for word in decoder.get_alignment():
        for phone in word:
            a = phone.start * FRAME_S
            out.append((_ipa(phone.name), a, a + phone.duration * FRAME_S))
    return out


def _ipa(name: str) -> str:
    return "_" if name == "SIL" or name.startswith("+") else from_arpabet(name)


@lru_cache(maxsize=512)
def pronounced(word: str) -> str:
    """ARPABET of a word that the dictionary lacks, by flite's letter-to-sound rules. Raises Missing, BadInput."""
    if shutil.which("flite") is None:
        raise Missing(f"'{word}' is in no dictionary and flite, which could guess, is missing; run: apt install flite")
    done = subprocess.run(
        ["flite", "-ps", "-t", word, "-o", "none"], capture_output=True, text=True, timeout=30, check=False
    )
    phones = [_FLITE.get(p, p.upper()) for p in done.stdout.split() if p != "pau"]
    if not phones:
        raise BadInput(f"flite cannot say {word!r}")
    return " ".join(phones)


def free_phones(samples: np.ndarray) -> list[Segment]:
    """The phones that pocketsphinx hears without any text. samples [n] float32 at 16 kHz -> IPA segments. Raises
    Missing."""
    sphinx = _library()
    phones = f"{sphinx.get_model_path()}/en-us/en-us-phone.lm.bin"
    decoder = sphinx.Decoder(**_options(allphone=phones, **_FREE))
    decoder.start_utt()
    decoder.process_raw(_pcm(samples), full_utt=True)
    decoder.end_utt()
    rows = [(s.word, s.start_frame * FRAME_S, (s.end_frame + 1) * FRAME_S) for s in decoder.seg() or ()]
    return [(_ipa(p), a, b) for p, a, b in rows if b > a]
