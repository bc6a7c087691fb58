"""EmoVOCA: VOCASET's layout with the emotion and the intensity in each name, SUBJECT_sentenceNN_EMOTION_LEVEL.npy.

LEVEL is 1-3 or low, medium, high. The sound is that of the VOCASET sentence: of the full name, or of the name without
emotion. Florence4D's silent expressions in the same form (no sound) are read too.
"""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from pathlib import Path

from engine.studio.readers.base import LABELS, Recording, frames_of, label_in, load_npy, rate_of, sound_of
from engine.studio.readers.vocaset import subject_of, templates

LAYOUT = "vertices_npy/*_EMOTION_LEVEL.npy"
FPS = Fraction(60)


def accepts(folder: Path) -> bool:
    return any(label_in(path.stem)[0] for path in (folder / "vertices_npy").glob("*.npy"))


def plain(stem: str) -> str:
    """The name without emotion and level: "A_sentence01_angry_3" -> "A_sentence01"."""
    words = stem.split("_")
    cut = next((i for i, word in enumerate(words) if word.lower() in LABELS), len(words))
    return "_".join(words[:cut])


def recordings(folder: Path) -> list[Recording]:
    """The set's recordings; motions are read when asked for. Raises BadFile and BadInput for what does not fit."""
    paths = sorted((folder / "vertices_npy").glob("*.npy"))
    neutral = templates(folder, {subject_of(plain(p.stem)) for p in paths})
    out = []
    for path in paths:
        label, level = label_in(path.stem)
        audio = sound_of(folder / "wav", path.stem) or sound_of(folder / "wav", plain(path.stem))
        fps = rate_of(frames_of(path), audio, FPS, path.stem)
        subject = subject_of(plain(path.stem))
        load = partial(load_npy, path, neutral.get(subject))
        out.append(Recording(path.stem, subject, label, level if label else 0.0, fps, audio, load))
    return out
