"""Many more people: the spoken stamps of Tux Paint and the dialogues of Fish Fillets, as Debian ships them.

tuxpaint-stamps-default (GPL-2, copyright Bill Kendrick and contributors): volunteers read short texts into their own
microphones, one or two people a language; the text lies beside each recording. fillets-ng-data-cs (GPL-2, copyright
Ivo and Pavel Danihelka, ALTAR interactive and others): Czech dialogues by dozens of voices, some of them at play.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from engine.core.errors import Missing
from engine.core.sound import SAMPLE_RATE
from engine.studio.speech_corpus.build import Clip, resample

STAMPS, FILLETS = Path("/usr/share/tuxpaint/stamps"), Path("/usr/share/games/fillets-ng/sound")
STAMP_LANGUAGES = ("es", "fr", "ru", "ca", "el", "ro", "bg", "be", "da")
STAMPS_EACH = 400  # recordings of a language
_SHORTEST_S, _LONGEST_S = 0.9, 12.0
_LINE = re.compile(r'dialogId\("([^"]+)".*?\)\s*dialogStr\("([^"]*)"\)', re.S)  # name, what is said in Czech


def stamps(root: Path = STAMPS) -> Iterator[Clip]:
    """Recordings with their texts, spread evenly over each language's. Raises Missing."""
    if not root.is_dir():
        raise Missing("the spoken stamps are missing; run: apt-get install tuxpaint-stamps-default")
    for language in STAMP_LANGUAGES:
        files = sorted(root.rglob(f"*_desc_{language}.ogg"))
        # A letter's name is a text of one syllable: alphabets are left out.
        files = [f for f in files if "alphabet" not in f.parts and "alphabets" not in f.parts]
        for path in files[:: max(1, round(len(files) / STAMPS_EACH))]:
            text = _text(path, language)
            samples = _read(path)
            if text and _usable(samples):
                name = f"stamp/{language}/{path.stem}"
                yield Clip("volunteers", f"stamps_{language}", language, samples, (), name, text)


def fillets(root: Path = FILLETS) -> Iterator[Clip]:
    """Czech lines, with their texts where the game's scripts are there too (fillets-ng-data); voice: who speaks, by
    the game's names. Raises Missing."""
    if not root.is_dir():
        raise Missing("the Czech dialogues are missing; run: apt-get install fillets-ng-data-cs")
    for level in sorted(root.glob("*/cs")):
        script = root.parent / "script" / level.parent.name / "dialogs_cs.lua"
        said = dict(_LINE.findall(script.read_text(encoding="utf-8", errors="replace"))) if script.exists() else {}
        for path in sorted(level.glob("*.ogg")):
            samples = _read(path)
            if _usable(samples):
                name, voice = f"fillets/{level.parent.name}/{path.stem}", f"fillets_{path.stem.split('-')[0]}"
                yield Clip("volunteers", voice, "cs", samples, (), name, said.get(path.stem, ""))


def _text(path: Path, language: str) -> str:
    beside = path.with_name(path.name.replace(f"_desc_{language}.ogg", ".txt"))
    if not beside.exists():
        return ""
    for line in beside.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith(f"{language}.utf8="):
            return line.partition("=")[2].strip()
    return ""


def _read(path: Path) -> np.ndarray:
    import soundfile

    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError:
        return np.zeros(0, np.float32)
    return resample(samples.mean(1), rate)


def _usable(samples: np.ndarray) -> bool:
    return _SHORTEST_S <= len(samples) / SAMPLE_RATE <= _LONGEST_S and float(np.abs(samples).max()) > 0.01
