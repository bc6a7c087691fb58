"""A set of performances as arrays for training: inputs on interface v1, targets as coefficients of the shared basis.

`load` keeps a whole split in memory as half-precision columns (four hours: 0.3 GB), so that a batch is one index into
each; `examples` gives single clips.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from engine.core.anatomy import Head
from engine.core.errors import BadInput
from engine.core.names import EMOTION_INDEX
from engine.core.progress import SILENT, Reporter
from engine.motion.direct import conversing
from engine.motion.nets.basis import Basis, fit
from engine.studio.performances import store


@dataclass(frozen=True)
class Example:
    """One clip at 50 Hz. speech [t, 75]; emotion [t, 14], rows sum to 1; va [t, 2]; asked [t, 36]; au [t, 36];
    weights [t, 59]; person: name of the speaker; contact [t, 3]: closure, lip on teeth, voice."""

    speech: np.ndarray
    emotion: np.ndarray
    va: np.ndarray
    asked: np.ndarray
    au: np.ndarray
    weights: np.ndarray
    person: str
    kind: str
    contact: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.speech)


def examples(folder: Path, split: str, kinds: tuple[str, ...] = ()) -> list[Example]:
    """Clips of a split (of these kinds, or all). Raises BadFile where the set is not there."""
    return [_example(clip) for clip in store.read_split(folder, split) if not kinds or clip.kind in kinds]


def _shares(emotion: np.ndarray, intensity: np.ndarray) -> np.ndarray:
    """Emotion [t, 14] times intensity [t, 1]; neutral is what is left, rows sum to 1."""
    share = emotion / np.maximum(emotion.sum(1, keepdims=True), 1.0) * intensity
    share[:, EMOTION_INDEX["neutral"]] = 0.0
    share[:, EMOTION_INDEX["neutral"]] = 1.0 - share.sum(1)
    return share.astype(np.float32)


def _example(clip: store.Clip) -> Example:
    rows = clip.rows
    return Example(
        np.concatenate([rows["articulation"], rows["features"]], 1), _shares(rows["emotion"], rows["intensity"]),
        rows["va"], rows["asked"], rows["au"], np.concatenate([rows["arkit"], rows["extra"]], 1), clip.person,
        clip.kind, rows["contact"],
    )  # fmt: skip


@dataclass(frozen=True)
class Pool:
    """Clips one after the other, half precision. speech [n, 75], emotion [n, 14] (as in Example), va [n, 2], asked
    [n, 36], au [n, 36], contact [n, 3], talking [n]: `direct.conversing` of each clip's voice, weights [n, 59], goal
    [n, k]: coefficients of the basis. Of each clip: first row, length, person (index into people), kind."""

    speech: np.ndarray
    emotion: np.ndarray
    va: np.ndarray
    asked: np.ndarray
    au: np.ndarray
    contact: np.ndarray
    talking: np.ndarray
    weights: np.ndarray
    goal: np.ndarray
    first: np.ndarray
    length: np.ndarray
    person: np.ndarray
    people: tuple[str, ...]
    kinds: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.first)

    def draw(self, batch: int, rows: int, edge: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """(clips [b], row numbers [b, rows + 2 edge] into the columns, held at each clip's ends).

        A clip is drawn in proportion to its length. `column[numbers]` is the batch, `column[numbers[:, edge:-edge]]`
        its inner rows.
        """
        clip = rng.choice(len(self), batch, p=self.length / self.length.sum())
        start = (rng.random(batch) * np.maximum(1, self.length[clip] - rows + 1)).astype(np.int64)
        number = np.clip(start[:, None] + np.arange(-edge, rows + edge), 0, self.length[clip][:, None] - 1)
        return clip, self.first[clip][:, None] + number

    def wide(self, clip: int, edge: int) -> np.ndarray:
        """Row numbers of a whole clip with `edge` held rows to either side. [length + 2 edge]."""
        return self.first[clip] + np.clip(np.arange(-edge, self.length[clip] + edge), 0, self.length[clip] - 1)


def of_examples(clips: list[Example], basis: Basis) -> Pool:
    """Clips as a pool. Raises BadInput where there are none."""
    if not clips:
        raise BadInput("no clips to train on: make performances with `soliloquy studio perform`")
    people = tuple(dict.fromkeys(clip.person for clip in clips))

    def column(name: str) -> np.ndarray:
        return np.concatenate([getattr(clip, name) for clip in clips]).astype(np.float16)

    names = ("speech", "emotion", "va", "asked", "au", "weights")
    contact = [c.contact if c.contact is not None else np.zeros((len(c), 3)) for c in clips]
    length = np.array([len(clip) for clip in clips])
    return Pool(
        **{name: column(name) for name in names}, contact=np.concatenate(contact).astype(np.float16),
        talking=np.concatenate([conversing(c[:, 2].astype(np.float32)) for c in contact]).astype(np.float16),
        goal=np.concatenate([basis.coefficients(clip.weights) for clip in clips]).astype(np.float16),
        first=np.concatenate([[0], np.cumsum(length)[:-1]]), length=length,
        person=np.array([people.index(clip.person) for clip in clips]), people=people,
        kinds=tuple(clip.kind for clip in clips),
    )  # fmt: skip


def load(
    folder: Path, split: str, basis: Basis, kinds: tuple[str, ...] = (), report: Reporter = SILENT
) -> Pool:  # fmt: skip
    """A split's clips (of these kinds, or all) as a pool. Raises BadFile where the set is not there."""
    clips = []
    for i, clip in enumerate(store.read_split(folder, split)):
        report.step(f"reading {split}", i, i + 1)
        if not kinds or clip.kind in kinds:
            clips.append(_halved(_example(clip)))
    return of_examples(clips, basis)


def _halved(clip: Example) -> Example:
    """The same in half precision, so that reading a large set needs no more memory than keeping it."""
    names = ("speech", "emotion", "va", "asked", "au", "weights", "contact")
    return replace(clip, **{name: getattr(clip, name).astype(np.float16) for name in names})


def basis_of(head: Head, clips: list[Example]) -> Basis:
    """A basis of these clips' faces (the bundled networks use `engine.motion.nets.file.shared_basis`)."""
    return fit(head, np.concatenate([clip.weights for clip in clips]).astype(np.float64))
