"""The speech net's training store: log-mels and labels of every clip in a few variants, as flat files on disk.

mel.f16 [n, 64] and labels.u8 [n, 14] at 100 Hz (columns LABELS; 255 = 1, but the phone is a class index), and
index.json with one row a clip variant. An event of 128 and a phone of 255 mean "not known" and are not trained on.
Made once; training reads random crops by memory map.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from engine.core.errors import BadFile
from engine.core.files import read_json, replacing, write_json
from engine.core.phones import CHANNELS, class_names
from engine.core.progress import SILENT, Reporter
from engine.speech.frontend import FLOOR, GATE, MELS, log_mel, loudness
from engine.studio.speech_corpus.augment import vary
from engine.studio.speech_corpus.build import Clip
from engine.studio.speech_corpus.labels import EVENTS, class_labels, continuous_labels, event_labels

LABELS = (*EVENTS, *CHANNELS, "weight", "phone")
UNKNOWN_PHONE = 255
_FORMAT = 3


def build_store(
    folder: Path,
    clips: Iterable[tuple[Clip, np.ndarray | None]],
    variants: int,
    seed: int = 0,
    report: Reporter = SILENT,
) -> None:
    """Write the store of `clips`, each in `variants` random variants (speed, room). Replaces an older one.

    A clip comes with its label rows [t, 14] at 100 Hz, or None: they are made from its segments.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    rows: list[list] = []
    at = 0
    with (
        replacing(folder / "mel.f16") as mel_part,
        replacing(folder / "labels.u8") as label_part,
        open(mel_part, "wb") as mels,
        open(label_part, "wb") as labels,
    ):
        for clip, known in clips:
            for _ in range(variants):
                report.check()
                samples, segments, scale = vary(clip.samples, clip.segments, rng)
                mel = log_mel(samples)
                mels.write(mel.astype(np.float16).tobytes())
                if known is None:
                    values = label_rows(segments, len(mel))
                else:
                    values = known[np.minimum((np.arange(len(mel)) / scale).round().astype(int), len(known) - 1)]
                labels.write(values.tobytes())
                rows.append([clip.source, clip.voice, at, len(mel)])
                at += len(mel)
    write_json(folder / "index.json", {"kind": "speech store", "format": _FORMAT, "columns": LABELS, "rows": rows})


def label_rows(segments: tuple, frames: int) -> np.ndarray:
    """[frames, 14] uint8: events and channels (255 = 1), the frame's weight, its phone class."""
    trust = np.full((frames, 1), 255, np.uint8)
    phones = class_labels(segments, frames)[:, None]
    return np.concatenate([255 * event_labels(segments, frames), continuous_labels(segments, frames), trust, phones], 1)


class Store:
    """Reads one or several stores as one; `crop` gives random windows with their sources in fixed shares."""

    def __init__(self, folders: Iterable[Path]):
        self.mels, self.labels = [], []
        by_source: dict[str, list[tuple[int, int, int]]] = {}
        for i, folder in enumerate(folders):
            index = read_json(folder / "index.json")
            if index.get("kind") != "speech store" or index.get("format") != _FORMAT:
                raise BadFile(folder, "is not a speech store of this version; delete it and run the recipe again")
            self.mels.append(np.memmap(folder / "mel.f16", np.float16, "r").reshape(-1, MELS))
            self.labels.append(np.memmap(folder / "labels.u8", np.uint8, "r").reshape(-1, len(LABELS)))
            for source, _, start, n in index["rows"]:
                by_source.setdefault(source, []).append((i, start, n))
        self.clips = {s: np.array(rows, np.int64) for s, rows in by_source.items()}

    def hours(self) -> dict[str, float]:
        return {s: float(rows[:, 2].sum()) / 360_000 for s, rows in self.clips.items()}

    def crop(self, frames: int, source: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A window of one clip, with silence where it reaches beyond it. ([frames, 64] f32, [frames, 14] u8)."""
        rows = self.clips[source]
        which, start, n = rows[rng.choice(len(rows), p=rows[:, 2] / rows[:, 2].sum())]
        first = int(rng.integers(min(-60, n - frames - 60), max(-20, n - frames + 60)))
        mel = np.full((frames, MELS), np.log(FLOOR), np.float32)
        labels = np.zeros((frames, len(LABELS)), np.uint8)
        labels[:, LABELS.index("weight")] = 255
        labels[:, LABELS.index("phone")] = class_names().index("pause")
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
