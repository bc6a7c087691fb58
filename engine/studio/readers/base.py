"""What every reader gives: recordings of a set, their labels in our words, their motion when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import numpy as np

from engine.controls.files import INTENSITIES
from engine.core.errors import BadFile, BadInput
from engine.core.names import EMOTIONS

# layout -> module with `accepts(folder) -> bool` and `recordings(folder) -> list[Recording]`
READERS: dict[str, str] = {
    "vocaset": "engine.studio.readers.vocaset",
    "emovoca": "engine.studio.readers.emovoca",
    "flame": "engine.studio.readers.flame_tracked",
    "emotalk3d": "engine.studio.readers.emotalk3d",
}
RATES = tuple(Fraction(r) for r in (25, 30, 50, 60)) + (Fraction(24000, 1001), Fraction(24), Fraction(30000, 1001))
RATE_TOLERANCE = 0.03  # of the rate: sound and motion may be cut a little differently

# Words of the public sets for our labels. RAVDESS "calm" is neutral without effort.
LABELS: dict[str, str] = {
    **{name: name for name in EMOTIONS},
    "anger": "angry", "disgust": "disgusted", "afraid": "fear", "fearful": "fear", "happiness": "happy", "joy": "happy",
    "sadness": "sad", "surprise": "surprised", "calm": "neutral",
}  # fmt: skip
LEVELS: dict[str, float] = {**INTENSITIES, "1": 1 / 3, "2": 2 / 3, "3": 1.0}


@dataclass(frozen=True)
class Motion:
    """A recording's motion: vertices [t, v, 3] metres, or FLAME parameters by field name; template [v, 3] or None."""

    vertices: np.ndarray | None = None
    flame: dict[str, np.ndarray] | None = None
    template: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.vertices) if self.vertices is not None else len((self.flame or {})["expr"])


@dataclass(frozen=True)
class Recording:
    """One recording of a set.

    emotion: one of our labels, "" where the set does not say; intensity in [0, 1]. fps: of the motion. audio: the
    voice, or None. load: reads the motion (BadFile).
    """

    name: str
    subject: str
    emotion: str
    intensity: float
    fps: Fraction
    audio: Path | None
    load: Callable[[], Motion]


def reader(kind: str) -> ModuleType:
    """The reader of a layout. Raises BadInput that lists the known ones."""
    if kind not in READERS:
        raise BadInput(f"no reader is called '{kind}'; there are: {', '.join(READERS)}")
    return importlib.import_module(READERS[kind])


def recordings(folder: Path, kind: str = "auto") -> tuple[str, list[Recording]]:
    """(layout, its recordings by name). Raises BadFile with one sentence for a folder that is none of them."""
    if not folder.is_dir():
        raise BadFile(folder, "is no folder")
    kinds = [k for k in READERS if reader(k).accepts(folder)] if kind == "auto" else [kind]
    if not kinds or not reader(kinds[0]).accepts(folder):
        known = "; ".join(f"{k}: {reader(k).LAYOUT}" for k in READERS if kind in ("auto", k))
        raise BadFile(folder, f"has not the layout of a known set ({known})")
    found = reader(kinds[0]).recordings(folder)
    if not found:
        raise BadFile(folder, f"looks like '{kinds[0]}' but holds no recording")
    return kinds[0], sorted(found, key=lambda r: r.name)


def label_in(name: str) -> tuple[str, float]:
    """(label, intensity) from the words of a file's name: "M003_angry_level_3_001" -> ("angry", 1.0)."""
    words = name.lower().replace("-", "_").replace(".", "_").split("_")
    label, level = "", 1.0
    for i, word in enumerate(words):
        if word in LABELS and not label:
            label = LABELS[word]
            after = [w for w in words[i + 1 : i + 3] if w != "level"]
            level = LEVELS.get(after[0], 1.0) if after else 1.0
    return label, level


def rate_of(frames: int, audio: Path | None, otherwise: Fraction, name: str) -> Fraction:
    """The usual rate nearest to frames / seconds of sound; `otherwise` without sound. Raises BadInput if none fits."""
    if audio is None:
        return otherwise
    import soundfile

    try:
        seconds = soundfile.info(str(audio)).duration
    except (RuntimeError, OSError) as error:
        raise BadFile(audio, f"cannot be read ({error})") from None
    rate = frames / max(seconds, 1e-6)
    best = min((otherwise, *RATES), key=lambda r: abs(float(r) - rate))
    if abs(float(best) - rate) > RATE_TOLERANCE * rate + 1.0 / max(seconds, 1e-6):
        raise BadInput(
            f"'{name}' has {frames} frames to {seconds:.2f} s of sound: no usual rate, are they of one take?"
        )
    return best


def sound_of(folder: Path, stem: str) -> Path | None:
    """The sound file of that stem in a folder."""
    for suffix in (".wav", ".flac", ".mp3", ".m4a"):
        if (path := folder / f"{stem}{suffix}").is_file():
            return path
    return None


def load_npy(path: Path, template: np.ndarray | None = None) -> Motion:
    """[t, v * 3] or [t, v, 3] numbers in metres. Raises BadFile."""
    try:
        raw = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise BadFile(path, f"is no array of vertices ({error})") from None
    if raw.ndim == 2 and raw.shape[1] % 3 == 0:
        raw = raw.reshape(len(raw), -1, 3)
    if raw.ndim != 3 or raw.shape[2] != 3 or not len(raw):
        raise BadFile(path, f"is {list(raw.shape)}, not [frames, vertices * 3]")
    vertices = np.asarray(raw, np.float32)
    if not np.isfinite(vertices).all():
        raise BadFile(path, "holds coordinates that are not finite")
    if template is not None and template.shape != vertices.shape[1:]:
        raise BadFile(path, f"has {vertices.shape[1]} vertices, its subject's template has {len(template)}")
    return Motion(vertices=vertices, template=template)


def frames_of(path: Path) -> int:
    """Rows of an array without reading it. Raises BadFile."""
    try:
        return int(np.load(path, mmap_mode="r", allow_pickle=False).shape[0])
    except (OSError, ValueError, IndexError) as error:
        raise BadFile(path, f"is no array of vertices ({error})") from None
