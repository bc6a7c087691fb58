"""The synthesised EmoVOCA set on disk and as batches: voices at 50 Hz, faces at 25 Hz."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.core.errors import BadFile, BadInput
from engine.core.files import read_archive, write_archive
from engine.motion.nets.faceformer import AHEAD, conditions

KIND, FORMAT = "emovoca set", 1
STRIDE = 2  # rows of 50 Hz to a frame of 25 Hz
_COLUMNS = ("speech", "emotion", "strength", "weights", "contact")


@dataclass(frozen=True)
class Mixed:
    """One synthesised clip. speech [2 t, 75] and contact [2 t, 3] at 50 Hz; at 25 Hz emotion [t, 14]: shares of the
    labels, zero where nothing is felt; strength [t] in [0, 1]; weights [t, 59]. talk: number of its talking clip."""

    speech: np.ndarray
    emotion: np.ndarray
    strength: np.ndarray
    weights: np.ndarray
    contact: np.ndarray
    talk: int
    kind: str

    def __len__(self) -> int:
        return len(self.weights)


def write(path: Path, clips: Sequence[Mixed], about: dict[str, Any]) -> None:
    """All clips in half precision; `about` goes into the archive's facts."""
    arrays = {name: np.concatenate([getattr(c, name) for c in clips]).astype(np.float16) for name in _COLUMNS}
    rows = [{"frames": len(c), "talk": c.talk, "kind": c.kind} for c in clips]
    write_archive(path, KIND, FORMAT, arrays, {**about, "clips": rows})


def read(path: Path) -> tuple[list[Mixed], dict[str, Any]]:
    """(clips, facts). Raises BadFile."""
    arrays, meta = read_archive(path, KIND, FORMAT)
    ends = np.cumsum([row["frames"] for row in meta["clips"]])
    if missing := [name for name in _COLUMNS if name not in arrays]:
        raise BadFile(path, f"lacks {', '.join(missing)}")
    doubled = ("speech", "contact")
    pieces = {
        name: np.split(arrays[name].astype(np.float32), ends[:-1] * (STRIDE if name in doubled else 1))
        for name in _COLUMNS
    }
    clips = [
        Mixed(**{name: pieces[name][i] for name in _COLUMNS}, talk=row["talk"], kind=row["kind"])
        for i, row in enumerate(meta["clips"])
    ]
    return clips, meta


def facts(path: Path) -> dict[str, Any]:
    """What a set was made with. Raises BadFile."""
    return read_archive(path, KIND, FORMAT)[1]


@dataclass(frozen=True)
class Batch:
    """speech [b, 2 t + 2 AHEAD, 75], label [b, t, 14], level [b, t, 3], goal [b, t, k], before [b, 1, k]: the frame
    before the first (zeros where the clip begins)."""

    speech: np.ndarray
    label: np.ndarray
    level: np.ndarray
    goal: np.ndarray
    before: np.ndarray


class Pool:
    """Clips for training, their conditions and goals made once. goal: weights [t, 59] -> what is to be said [t, k]."""

    def __init__(self, clips: Sequence[Mixed], goal: Callable[[np.ndarray], np.ndarray]):
        if not clips:
            raise BadInput("no mixtures to train on")
        self.clips = list(clips)
        self.goal = [goal(c.weights).astype(np.float32) for c in clips]
        self.size = self.goal[0].shape[1]
        self.told = [conditions(c.emotion, c.strength) for c in clips]
        length = np.array([len(c) for c in clips], np.float64)
        self.share = length / length.sum()

    def draw(self, batch: int, rows: int, rng: np.random.Generator) -> Batch:
        """Crops of `rows` frames, clips drawn by their length; a shorter clip's last frame is held."""
        picked = []
        for i in rng.choice(len(self.clips), batch, p=self.share):
            last = max(0, len(self.clips[i]) - rows)
            # One crop in eight begins where its clip does: there is no frame before.
            picked.append((int(i), 0 if rng.random() < 0.125 else int(rng.integers(last + 1))))
        return Batch(*(np.stack(part) for part in zip(*(self._crop(i, at, rows) for i, at in picked), strict=True)))

    def starts(self, count: int, rows: int) -> Batch:
        """The first `rows` frames of up to `count` clips."""
        picked = [self._crop(i, 0, rows) for i in range(min(count, len(self.clips)))]
        return Batch(*(np.stack(part) for part in zip(*picked, strict=True)))

    def whole(self, i: int) -> Batch:
        """A whole clip as a batch of one."""
        return Batch(*(part[None] for part in self._crop(i, 0, len(self.clips[i]))))

    def _crop(self, i: int, at: int, rows: int) -> tuple[np.ndarray, ...]:
        clip = self.clips[i]
        frames = np.minimum(np.arange(at, at + rows), len(clip) - 1)
        heard = np.clip(np.arange(STRIDE * at - AHEAD, STRIDE * (at + rows) + AHEAD), 0, len(clip.speech) - 1)
        before = self.goal[i][at - 1 : at] if at else np.zeros((1, self.size), np.float32)
        label, level = self.told[i]
        return clip.speech[heard], label[frames], level[frames], self.goal[i][frames], before
