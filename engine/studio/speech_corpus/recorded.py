"""Recorded speech that Debian ships: one Russian speaker with phone labels, telephone prompts without.

festvox-ru: (c) 2005 Nickolay V. Shmyrev, BSD-like; 620 utterances of one man, with phone times.
asterisk-core-sounds-{en,es,fr,it,ru}-g722: (c) Allison Smith (English, Spanish) and June Wallack for Digium (CC BY-SA
3.0), Carlo Flora (CC BY 3.0), Maxim Topal (CC BY 3.0). alsa-utils: one voice, 8 clips (GPL-2).
The 60 English prompts of the development measure are left out everywhere (sources.json, "held_out").
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np

from engine.core.errors import BadInput, Missing
from engine.core.phones import Segment
from engine.core.sound import SAMPLE_RATE
from engine.studio.speech_corpus.build import Clip, resample

FESTVOX_RU = Path("/usr/share/festival/voices/russian/msu_ru_nsh_clunits")
ASTERISK = Path("/usr/share/asterisk/sounds")
ASTERISK_FOLDERS = {
    "en": "en_US_f_Allison", "es": "es_MX_f_Allison", "fr": "fr_CA_f_June", "it": "it_IT_m_Carlo",
    "ru": "ru_RU_f_IvrvoiceRU",
}  # fmt: skip
ALSA = Path("/usr/share/sounds/alsa")
# Who speaks: English and Spanish are one woman, so they are left out together.
SPEAKERS = {"en": "allison", "es": "allison", "fr": "june", "it": "carlo", "ru": "ivrvoice"}
RUSSIAN, ALSA_VOICE = "nsh", "alsa"
_LONGEST_S, _SHORTEST_S = 20.0, 0.8

# msu_ru_nsh's phone names; a doubled consonant is palatalised.
_RU = {
    "pau": "_", "a": "ɐ", "aa": "a", "ae": "ɪ", "ay": "ə", "e": "e", "ee": "ɛ", "i": "ɪ", "ii": "i",
    "oo": "o", "u": "ʊ",
    "uu": "u", "ur": "ʉ", "y": "ɨ", "yy": "ɨ", "c": "ts", "ch": "tʃ", "sch": "ɕ", "sh": "ʃ", "zh": "ʒ",
    "h": "x", "hh": "x",
    "j": "j",
}  # fmt: skip


def russian_symbol(name: str) -> str:
    """IPA of a festvox-ru phone name."""
    if name in _RU:
        return _RU[name]
    return name[0] if len(name) == 2 and name[0] == name[1] else name


def festvox_ru(root: Path = FESTVOX_RU) -> Iterator[Clip]:
    """The 620 labelled Russian utterances. Raises Missing."""
    import soundfile

    labels = sorted((root / "lab").glob("*.lab"))
    if not labels:
        raise Missing("the Russian recordings are not installed; run: apt-get install festvox-ru")
    for lab in labels:
        samples, rate = soundfile.read(root / "wav" / f"{lab.stem}.wav", dtype="float32")
        segments: list[Segment] = []
        at = 0.0
        for line in lab.read_text(encoding="latin-1").splitlines()[1:]:
            fields = line.split()
            if len(fields) >= 3 and float(fields[0]) > at:
                segments.append((russian_symbol(fields[2]), at, float(fields[0])))
                at = float(fields[0])
        yield Clip("festvox_ru", RUSSIAN, "ru", resample(samples, rate), tuple(segments))


@cache
def held_out() -> frozenset[str]:
    """Names of the English prompts that are never trained on."""
    rows = json.loads((Path(__file__).parent / "sources.json").read_text(encoding="utf-8"))
    return frozenset(rows["held_out"]["en"].split())


def asterisk(language: str, root: Path = ASTERISK) -> Iterator[tuple[str, np.ndarray]]:
    """Prompts of one speaker as (name, samples [n] float32 at 16 kHz), no labels. Raises Missing, BadInput."""
    if language not in ASTERISK_FOLDERS:
        raise BadInput(f"prompts are known for {', '.join(ASTERISK_FOLDERS)}, not {language!r}")
    files = sorted((root / ASTERISK_FOLDERS[language]).rglob("*.g722"))
    if not files:
        raise Missing(f"the {language} prompts are missing; run: apt-get install asterisk-core-sounds-{language}-g722")
    for path in files:
        if language == "en" and path.stem in held_out():
            continue
        samples = _decode_g722(path)
        if _SHORTEST_S <= len(samples) / SAMPLE_RATE <= _LONGEST_S and float(np.abs(samples).max()) > 0.01:
            yield f"{language}/{path.relative_to(root / ASTERISK_FOLDERS[language]).with_suffix('')}", samples


def prompts(root: Path = ASTERISK) -> Iterator[Clip]:
    """Every prompt of the installed languages as a clip without segments; voice: who speaks. Raises Missing if none."""
    absent: list[Missing] = []
    for language in ASTERISK_FOLDERS:
        try:
            for name, samples in asterisk(language, root):
                yield Clip(f"prompts_{language}", SPEAKERS[language], language, samples, (), name)
        except Missing as error:
            absent.append(error)
    if len(absent) == len(ASTERISK_FOLDERS):
        raise absent[0]


def alsa(root: Path = ALSA) -> Iterator[Clip]:
    """The eight short clips of alsa-utils, without segments. Raises Missing."""
    import soundfile

    files = sorted(root.glob("*_*.wav"))
    if not files:
        raise Missing("the alsa voice is missing; run: apt-get install alsa-utils")
    for path in files:
        samples, rate = soundfile.read(path, dtype="float32")
        yield Clip("alsa", ALSA_VOICE, "en", resample(samples, rate), (), path.stem)


def _decode_g722(path: Path) -> np.ndarray:
    import av

    with av.open(str(path), format="g722") as container:
        parts = [frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)]
    return np.concatenate(parts).astype(np.float32) / 32768 if parts else np.zeros(0, np.float32)
