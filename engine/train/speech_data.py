"""The speech net's training store: log-mels and labels of every clip in a few variants, as flat files on disk.

mel.f16 [n, 64] and labels.u8 [n, 15] at 100 Hz (columns LABELS; 255 = 1, but the phone and the fine phone are class
indices), and index.json with one row a clip variant. An event of 128 and a phone of 255 mean "not known" and are not
trained on. Made once; training reads random crops by memory map. A store of recordings without phone times keeps the
mels; `engine/train/speech_selftrain.py` writes its labels into a folder of their own, again in each round.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

from engine.core.errors import BadFile, BadInput
from engine.core.files import read_json, replacing, write_json
from engine.core.phones import CHANNELS, Segment, class_names
from engine.core.progress import SILENT, Reporter
from engine.speech.frontend import FLOOR, GATE, MELS, log_mel, loudness
from engine.speech.net_phones import UNKNOWN as UNKNOWN_PHONE
from engine.speech.net_phones import fine_labels
from engine.studio.speech_corpus.augment import vary
from engine.studio.speech_corpus.build import Clip
from engine.studio.speech_corpus.labels import EVENTS, class_labels, continuous_labels, event_labels

LABELS = (*EVENTS, *CHANNELS, "weight", "phone", "fine")
UNKNOWN = 128  # of an event
_FORMAT = 4


@dataclass(frozen=True)
class Row:
    """One variant of a clip in a store. start, frames: where its mels lie, at 100 Hz. scale: its length over the
    original's. of: the row of the unchanged recording, -1 where the store does not keep it."""

    source: str
    voice: str
    name: str
    start: int
    frames: int
    scale: float
    of: int


def build_store(
    folder: Path,
    clips: Iterable[Clip],
    variants: int,
    seed: int = 0,
    report: Reporter = SILENT,
    plain: bool = False,
) -> None:
    """Write the store of `clips`, each in `variants` random variants (augment.vary). Replaces an older one.

    plain: keep the unchanged recording too, as the row before its variants; labels of clips without segments are
    "not known" throughout.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    rows: list[Row] = []
    texts: dict[str, list[str]] = {}
    at = 0
    with (
        replacing(folder / "mel.f16") as mel_part,
        replacing(folder / "labels.u8") as label_part,
        open(mel_part, "wb") as mels,
        open(label_part, "wb") as labels,
    ):
        for number, clip in enumerate(clips):
            origin = len(rows) if plain else -1
            if clip.text:
                texts[clip.name] = [clip.language, clip.text]
            changed = [(clip.samples, clip.segments, 1.0)] if plain else []
            changed += [vary(clip.samples, clip.segments, rng) for _ in range(variants)]
            for samples, segments, scale in changed:
                report.check()
                mel = log_mel(samples)
                mels.write(mel.astype(np.float16).tobytes())
                labels.write((label_rows(segments, len(mel)) if segments else unknown_rows(len(mel))).tobytes())
                rows.append(
                    Row(clip.source, clip.voice, clip.name or f"{number}", at, len(mel), round(scale, 6), origin)
                )
                at += len(mel)
    write_json(folder / "texts.json", texts)
    write_index(folder, rows)


def read_texts(folder: Path) -> dict[str, list[str]]:
    """Name of a clip -> its language and what is said in it."""
    return read_json(folder / "texts.json") if (folder / "texts.json").exists() else {}


def write_index(folder: Path, rows: Sequence[Row]) -> None:
    listed = [list(astuple(row)) for row in rows]
    write_json(folder / "index.json", {"kind": "speech store", "format": _FORMAT, "columns": LABELS, "rows": listed})


def read_index(folder: Path) -> list[Row]:
    """Rows of a store. Raises BadFile for one of another version."""
    index = read_json(folder / "index.json")
    if index.get("kind") != "speech store" or index.get("format") != _FORMAT:
        raise BadFile(folder, "is not a speech store of this version; delete it and run the recipe again")
    return [Row(*row) for row in index["rows"]]


def open_mels(folder: Path) -> np.ndarray:
    """[n, 64] float16, mapped."""
    return np.memmap(folder / "mel.f16", np.float16, "r").reshape(-1, MELS)


def label_rows(segments: tuple[Segment, ...], frames: int) -> np.ndarray:
    """[frames, 15] uint8: events and channels (255 = 1), the frame's weight, its phone class, its fine phone."""
    trust = np.full((frames, 1), 255, np.uint8)
    phones, fine = class_labels(segments, frames)[:, None], fine_labels(segments, frames)[:, None]
    events, channels = 255 * event_labels(segments, frames), continuous_labels(segments, frames)
    return np.concatenate([events, channels, trust, phones, fine], 1)


def unknown_rows(frames: int) -> np.ndarray:
    """[frames, 15] uint8 labels that teach nothing."""
    out = np.zeros((frames, len(LABELS)), np.uint8)
    out[:, : len(EVENTS)] = UNKNOWN
    out[:, LABELS.index("phone") :] = UNKNOWN_PHONE
    return out


def silent_rows(frames: int) -> np.ndarray:
    """[frames, 15] uint8 labels of silence."""
    out = np.zeros((frames, len(LABELS)), np.uint8)
    out[:, LABELS.index("weight")] = 255
    out[:, LABELS.index("phone")] = class_names().index("pause")
    return out


class Store:
    """Reads one or several stores as one; `crop` gives random windows with their sources in fixed shares.

    folders: each a folder, or a folder with another that holds its labels.u8. without: voices that are left out.
    """

    def __init__(self, folders: Iterable[Path | tuple[Path, Path]], without: Sequence[str] = ()):
        self.mels: list[np.ndarray] = []
        self.labels: list[np.ndarray] = []
        self.voices: set[str] = set()
        by_source: dict[str, list[tuple[int, int, int]]] = {}
        for i, item in enumerate(folders):
            folder, labels = item if isinstance(item, tuple) else (item, item)
            rows = read_index(folder)
            self.mels.append(open_mels(folder))
            self.labels.append(np.memmap(labels / "labels.u8", np.uint8, "r").reshape(-1, len(LABELS)))
            if len(self.labels[-1]) != len(self.mels[-1]):
                raise BadFile(labels / "labels.u8", "does not fit its store; delete it and run the recipe again")
            for row in rows:
                if row.voice not in without:
                    by_source.setdefault(row.source, []).append((i, row.start, row.frames))
                    self.voices.add(row.voice)
        if not by_source:
            raise BadInput("the speech stores hold no clip of a voice that may be used")
        self.clips = {s: np.array(rows, np.int64) for s, rows in by_source.items()}
        self._chance = {s: rows[:, 2] / rows[:, 2].sum() for s, rows in self.clips.items()}

    def hours(self) -> dict[str, float]:
        return {s: float(rows[:, 2].sum()) / 360_000 for s, rows in self.clips.items()}

    def crop(self, frames: int, source: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A window of one clip, with silence where it reaches beyond it. ([frames, 64] f32, [frames, 15] u8)."""
        rows = self.clips[source]
        which, start, n = rows[rng.choice(len(rows), p=self._chance[source])]
        first = int(rng.integers(min(-60, n - frames - 60), max(-20, n - frames + 60)))
        mel = np.full((frames, MELS), np.log(FLOOR), np.float32)
        labels = silent_rows(frames)
        a, b = max(0, first), min(n, first + frames)
        if b > a:
            mel[a - first : b - first] = self.mels[which][start + a : start + b]
            labels[a - first : b - first] = self.labels[which][start + a : start + b]
        return mel, labels

    def prior(self, rng: np.random.Generator, clips: int = 200) -> np.ndarray:
        """Mean spectrum of speech about its own level over random clips. [64] float32."""
        total = np.zeros(MELS)
        for i in range(clips):
            source = list(self.clips)[i % len(self.clips)]
            rows = self.clips[source]
            which, start, n = rows[int(rng.integers(len(rows)))]
            mel = self.mels[which][start : start + n].astype(np.float32)
            level = loudness(mel)
            own = mel[level > np.percentile(level, 95) - GATE].mean(0)
            total += own - own.mean()
        return (total / clips).astype(np.float32)
