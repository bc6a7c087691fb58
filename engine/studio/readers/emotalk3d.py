"""EmoTalk3D: one mesh a frame, in folders that name subject, emotion, intensity and sentence.

    SET/SUBJECT/EMOTION_INTENSITY/SENTENCE/mesh/000000.obj ...     INTENSITY: mild or strong; neutral has none
    SET/SUBJECT/EMOTION_INTENSITY/SENTENCE/audio.wav

This is the arrangement that the reader expects; a copy laid out otherwise is brought into it by renaming folders.
Meshes are in metres and share one topology within a subject.
"""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np

from engine.core.errors import BadFile
from engine.studio.readers.base import Motion, Recording, label_in, rate_of, sound_of

LAYOUT = "SUBJECT/EMOTION_INTENSITY/SENTENCE/mesh/*.obj"
FPS = Fraction(30)


def _folders(folder: Path) -> list[Path]:
    return sorted(p.parent for p in folder.glob("*/*/*/mesh") if p.is_dir() and any(p.glob("*.obj")))


def accepts(folder: Path) -> bool:
    return bool(_folders(folder))


def recordings(folder: Path) -> list[Recording]:
    """The set's recordings; motions are read when asked for. Raises BadFile and BadInput for what does not fit."""
    out = []
    for sub in _folders(folder):
        meshes = sorted((sub / "mesh").glob("*.obj"))
        feeling, subject = sub.parent.name, sub.parent.parent.name
        label, level = label_in(feeling)
        if not label:
            raise BadFile(sub.parent, "names no emotion of EmoTalk3D (neutral, angry_mild, happy_strong, ...)")
        audio = sound_of(sub, "audio")
        name = f"{subject}_{feeling}_{sub.name}"
        fps = rate_of(len(meshes), audio, FPS, name)
        out.append(Recording(name, subject, label, level, fps, audio, partial(read_meshes, meshes)))
    return out


def read_meshes(paths: list[Path]) -> Motion:
    """Vertices of a run of OBJ files. Raises BadFile where one has another number of vertices."""
    frames = [_vertices(path) for path in paths]
    for path, frame in zip(paths, frames, strict=True):
        if frame.shape != frames[0].shape:
            raise BadFile(path, f"has {len(frame)} vertices, {paths[0].name} has {len(frames[0])}")
    return Motion(vertices=np.stack(frames))


def _vertices(path: Path) -> np.ndarray:
    try:
        rows = [line.split()[1:4] for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("v ")]
        points = np.array(rows, np.float32)
    except (OSError, ValueError) as error:
        raise BadFile(path, f"is no readable OBJ ({error})") from None
    if points.ndim != 2 or points.shape[1:] != (3,) or not np.isfinite(points).all():
        raise BadFile(path, "holds no vertices")
    return points
