"""flite and festival where they are installed: other synthesis methods, other voices, the same kind of clip."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from engine.core.errors import BadInput
from engine.core.phones import Segment, from_arpabet

FLITE_VOICES = ("awb", "rms", "slt", "kal16")
_TIMEOUT_S = 60


class _Ipa(dict):
    """Phone names of one festival voice -> IPA, with ARPABET as the fallback."""

    def __missing__(self, key: str) -> str:
        return from_arpabet(key)


_COMMON = {"#": "_", "pau": "_", "SIL": "_", "sil": "_", "#h": "_", "h#": "_"}
_CZECH = {"a:": "a", "e:": "ɛ", "i:": "i", "o:": "o", "u:": "u", "a": "a", "e": "ɛ", "i": "ɪ", "o": "o", "u": "u",
          "c~": "tʃ", "s~": "ʃ", "z~": "ʒ", "r~": "r", "r~*": "r", "d~": "ɟ", "t~": "c", "n~": "ɲ",
          "ch": "x", "dz": "dz",
          "dz~": "dʒ", "c": "ts", "j": "j", "y": "ɪ", "n*": "ŋ", "h": "ɦ", "r": "r", "au": "au", "ou": "ou",
          "eu": "eu"}  # fmt: skip
_ITALIAN = {"a1": "a", "e1": "e", "i1": "i", "o1": "o", "u1": "u", "E1": "ɛ", "O1": "ɔ", "a": "a", "e": "e", "i": "i",
            "o": "o", "u": "u", "E": "ɛ", "O": "ɔ", "S": "ʃ", "tS": "tʃ", "dZ": "dʒ", "L": "ʎ", "JJ": "ɲ", "ng": "ŋ",
            "nf": "ɱ", "j": "j", "w": "w", "r": "r", "y": "j", "J": "ɲ"}  # fmt: skip
_FINNISH = {"a": "ɑ", "A": "æ", "ae": "æ", "O": "ø", "oe": "ø", "e": "e", "i": "i", "o": "o", "u": "u", "y": "y",
            "N": "ŋ", "v": "ʋ", "j": "j", "r": "r", "@": "ə", "D": "d", "7": "ø"}  # fmt: skip
_CATALAN = {"a": "a", "ax": "ə", "e": "e", "E": "ɛ", "i": "i", "o": "o", "O": "ɔ", "u": "u", "a1": "a",
    "e1": "e", "ee": "ɛ",
            "ee1": "ɛ", "i1": "i", "o1": "o", "oo": "ɔ", "oo1": "ɔ", "u1": "u", "V": "β", "D": "ð", "G": "ɣ", "ny": "ɲ",
            "ll": "ʎ", "S": "ʃ", "Z": "ʒ", "tS": "tʃ", "dZ": "dʒ", "ng": "ŋ", "rr": "r", "r": "ɾ", "y": "j", "x": "ʃ",
            "ax1": "ə", "E1": "ɛ", "O1": "ɔ", "h": "h", "uw": "w", "w": "w", "j": "ʒ"}  # fmt: skip

_HINDI = {"a": "ə", "aa": "a", "ih": "ɪ", "iy": "i", "uh": "ʊ", "uw": "u", "eh": "e", "ee": "e", "ay": "ɛ", "oh": "o",
          "oo": "o", "aw": "ɔ", "T": "ʈ", "D": "ɖ", "N": "ɳ", "th": "t", "dh": "d", "tth": "t", "ddh": "d", "td": "ʈ",
          "kh": "k", "gh": "ɡ", "ph": "p", "bh": "b", "y": "j", "r": "ɾ", "L": "ɭ", "R": "ɽ", "j": "dʒ", "v": "ʋ",
          "f": "f", "h": "ɦ", "x": "x", "@": "a", "w": "w", "sri": "ɾ", "ksh": "kʂ"}  # fmt: skip

# festival voice -> (language of sentences.py, names -> IPA)
FESTIVAL_VOICES: Mapping[str, tuple[str, _Ipa]] = {
    "kal_diphone": ("en", _Ipa(_COMMON)),
    "ked_diphone": ("en", _Ipa(_COMMON)),
    "cmu_us_slt_arctic_hts": ("en", _Ipa(_COMMON)),
    "czech_dita": ("cs", _Ipa(_COMMON | _CZECH)),
    "czech_krb": ("cs", _Ipa(_COMMON | _CZECH)),
    "czech_machac": ("cs", _Ipa(_COMMON | _CZECH)),
    "czech_ph": ("cs", _Ipa(_COMMON | _CZECH)),
    "lp_diphone": ("it", _Ipa(_COMMON | _ITALIAN)),
    "pc_diphone": ("it", _Ipa(_COMMON | _ITALIAN)),
    "hy_fi_mv_diphone": ("fi", _Ipa(_COMMON | _FINNISH)),
    "suo_fi_lj_diphone": ("fi", _Ipa(_COMMON | _FINNISH)),
    "upc_ca_ona_hts": ("ca", _Ipa(_COMMON | _CATALAN)),
    "hindi_NSK_diphone": ("hi", _Ipa(_COMMON | _HINDI)),
}
_ENCODING = {
    "cs": "iso-8859-2",
    "it": "iso-8859-1",
    "fi": "iso-8859-15",
    "ca": "iso-8859-15",
    "en": "ascii",
    "hi": "utf-8",
}
_TAIL_S = 0.3  # of silence kept at the end: some voices add seconds


def flite_available() -> bool:
    return shutil.which("flite") is not None


def festival_voices() -> list[str]:
    """Names of the installed festival voices that `FESTIVAL_VOICES` knows."""
    root = Path("/usr/share/festival/voices")
    if shutil.which("festival") is None or not root.is_dir():
        return []
    return sorted(p.name for p in root.glob("*/*") if p.name in FESTIVAL_VOICES)


def flite(
    text: str, voice: str, stretch: float = 1.0, f0: float | None = None
) -> tuple[np.ndarray, int, list[Segment]]:
    """One sentence by flite. Returns (samples [n] float32, rate in Hz, IPA segments in seconds)."""
    import soundfile

    with tempfile.TemporaryDirectory() as folder:
        wav = f"{folder}/a.wav"
        line = ["flite", "-voice", voice, "--setf", f"duration_stretch={stretch:.3f}"]
        line += ["--setf", f"int_f0_target_mean={f0:.0f}"] if f0 else []
        done = subprocess.run(
            [*line, "-psdur", "-t", text, "-o", wav], capture_output=True, text=True, timeout=_TIMEOUT_S
        )
        if done.returncode:
            raise BadInput(f"flite failed on {text!r}: {done.stderr.strip()[:200]}")
        samples, rate = soundfile.read(wav, dtype="float32")
    segments, at = [], 0.0
    for item in done.stdout.split():
        name, _, end = item.rpartition(":")
        segments.append((from_arpabet(name), at, float(end)))
        at = float(end)
    return samples, rate, [s for s in segments if s[2] > s[1]]


def festival(texts: list[str], voice: str, stretch: float = 1.0) -> list[tuple[np.ndarray, int, list[Segment]]]:
    """Several sentences by one festival run (starting it takes longer than a sentence). Clips as `flite` gives."""
    import soundfile

    language, ipa = FESTIVAL_VOICES[voice]
    with tempfile.TemporaryDirectory() as folder:
        lines = [f"(voice_{voice})", f"(Parameter.set 'Duration_Stretch {stretch:.3f})"]
        for i, text in enumerate(texts):
            clean = text.replace('"', "").replace("\\", "")
            lines.append(f'(set! u (utt.synth (Utterance Text "{clean}")))')
            lines.append(f'(utt.save.segs u "{folder}/{i}.lab")(utt.save.wave u "{folder}/{i}.wav")')
        script = Path(folder) / "run.scm"
        script.write_bytes("\n".join(lines).encode(_ENCODING[language], "replace"))
        subprocess.run(["festival", "-b", str(script)], capture_output=True, timeout=_TIMEOUT_S + 10 * len(texts))
        out = []
        for i in range(len(texts)):
            wav, lab = Path(folder) / f"{i}.wav", Path(folder) / f"{i}.lab"
            if wav.exists() and lab.exists():  # a sentence that festival could not say ends the script: keep the rest
                samples, rate = soundfile.read(wav, dtype="float32")
                segments = _read_lab(lab.read_text(encoding="latin-1"), ipa)
                if segments and segments[-1][0] == "_":
                    last = segments[-1]
                    segments[-1] = ("_", last[1], min(last[2], last[1] + _TAIL_S))
                    samples = samples[: int(segments[-1][2] * rate)]
                out.append((samples, rate, segments))
        return out


def _read_lab(text: str, ipa: Mapping[str, str]) -> list[Segment]:
    """Festival's .lab ("end 100 phone" after a line '#') -> IPA segments."""
    segments, at = [], 0.0
    for line in text.split("#\n", 1)[-1].splitlines():
        fields = line.split()
        if len(fields) >= 3 and float(fields[0]) > at:
            segments.append((ipa[fields[2]], at, float(fields[0])))
            at = float(fields[0])
    return segments
