"""FLAME tracks of films (MEAD, HDTF, RAVDESS) as VHAP writes them: one folder a recording.

    SET/M003_angry_level_3_001/flame_param.npz    or  SET/.../flame_param/00000.npz, 00001.npz ... (one file a frame)
    SET/M003_angry_level_3_001/audio.wav          or  SET/M003_angry_level_3_001.wav

Labels are read from the names: MEAD's words and levels, RAVDESS's seven two-digit fields (third: emotion, fourth:
intensity, last: actor). HDTF has none.
"""

from __future__ import annotations

import re
import zipfile
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np

from engine.core.errors import BadFile
from engine.studio.readers.base import LABELS, Motion, Recording, label_in, rate_of, sound_of

LAYOUT = "NAME/flame_param.npz or NAME/flame_param/*.npz"
FPS = Fraction(25)
_RAVDESS = re.compile(r"^\d\d(-\d\d){6}$")
_RAVDESS_WORDS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
_EVERY_FRAME = ("expr", "rotation", "neck_pose", "jaw_pose", "eyes_pose", "translation")


def _files(folder: Path) -> list[Path]:
    single = folder / "flame_param.npz"
    return [single] if single.is_file() else sorted((folder / "flame_param").glob("*.npz"))


def _folders(folder: Path) -> list[Path]:
    return [sub for sub in (folder, *sorted(p for p in folder.rglob("*") if p.is_dir())) if _files(sub)]


def accepts(folder: Path) -> bool:
    return bool(_folders(folder))


def labels(name: str) -> tuple[str, float, str]:
    """(emotion, intensity, subject) of a recording's name."""
    if _RAVDESS.match(name):
        fields = name.split("-")
        word = int(fields[2]) - 1
        if 0 <= word < len(_RAVDESS_WORDS):
            level = 1.0 if fields[3] == "02" else 0.5
            return LABELS[_RAVDESS_WORDS[word]], level, f"actor{fields[6]}"
    label, level = label_in(name)
    return label, level if label else 0.0, name.split("_")[0]


def recordings(folder: Path) -> list[Recording]:
    """The set's recordings; motions are read when asked for. Raises BadFile and BadInput for what does not fit."""
    out = []
    for sub in _folders(folder):
        label, level, subject = labels(sub.name)
        audio = sound_of(sub, "audio") or sound_of(sub, sub.name) or sound_of(sub.parent, sub.name)
        load = partial(read_tracks, sub)
        fps = rate_of(_count(sub), audio, FPS, sub.name) if audio else FPS
        out.append(Recording(sub.name, subject, label, level, fps, audio, load))
    return out


def _count(folder: Path) -> int:
    files = _files(folder)
    return len(_fields(files[0])["expr"]) if files[0].name == "flame_param.npz" else len(files)


def _fields(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as data:
            fields = {name: np.asarray(data[name], np.float32) for name in data.files if data[name].dtype.kind in "fiu"}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise BadFile(path, f"is no file of FLAME parameters ({error})") from None
    if "expr" not in fields:
        raise BadFile(path, "lacks 'expr', the expression coefficients")
    fields["expr"] = fields["expr"].reshape(-1, fields["expr"].shape[-1])
    return fields


def read_tracks(folder: Path) -> Motion:
    """FLAME parameters of a recording by VHAP's field names, frames first. Raises BadFile."""
    files = _files(folder)
    if not files:
        raise BadFile(folder, "holds no flame_param")
    first = _fields(files[0])
    if len(files) == 1:
        return Motion(flame=first)
    parts = [_fields(path) for path in files]
    for path, part in zip(files, parts, strict=True):
        if len(part["expr"]) != 1 or part["expr"].shape != first["expr"].shape:
            raise BadFile(path, "is not one frame like the others of its folder")
    merged = {name: np.concatenate([p[name].reshape(1, -1) for p in parts]) for name in _EVERY_FRAME if name in first}
    return Motion(flame={**{k: v for k, v in first.items() if k not in merged}, **merged})
