"""VOCASET as FaceFormer lays it out: vertices_npy/SUBJECT_sentenceNN.npy, wav/ of the same names, templates.pkl.

FLAME's 5,023 vertices in metres, 60 frames a second as recorded (some copies hold every second frame: the rate follows
from the sound). No emotion: VOCASET's people speak without expression.
"""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np

from engine.head.flame.pickled import read_pickle
from engine.studio.readers.base import Recording, frames_of, label_in, load_npy, rate_of, sound_of

LAYOUT = "vertices_npy/*.npy beside wav/*.wav"
FPS = Fraction(60)


def accepts(folder: Path) -> bool:
    names = [path.stem for path in (folder / "vertices_npy").glob("*.npy")]
    return bool(names) and (folder / "wav").is_dir() and not any(label_in(name)[0] for name in names)


def templates(folder: Path, subjects: set[str]) -> dict[str, np.ndarray]:
    """Neutral faces by subject from templates.pkl, read without running anything; {} where the file is missing."""
    path = folder / "templates.pkl"
    if not path.is_file():
        return {}
    return {name: np.asarray(mesh, np.float32) for name, mesh in read_pickle(path, subjects).items()}


def subject_of(stem: str) -> str:
    """ "FaceTalk_170725_00137_TA_sentence01" -> "FaceTalk_170725_00137_TA"."""
    return stem.split("_sentence")[0]


def recordings(folder: Path) -> list[Recording]:
    """The set's recordings; motions are read when asked for. Raises BadFile and BadInput for what does not fit."""
    paths = sorted((folder / "vertices_npy").glob("*.npy"))
    neutral = templates(folder, {subject_of(p.stem) for p in paths})
    out = []
    for path in paths:
        subject, audio = subject_of(path.stem), sound_of(folder / "wav", path.stem)
        fps = rate_of(frames_of(path), audio, FPS, path.stem)
        load = partial(load_npy, path, neutral.get(subject))
        out.append(Recording(path.stem, subject, "neutral", 0.0, fps, audio, load))
    return out
