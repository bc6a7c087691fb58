"""take.npz: a performance on disk. Plain arrays and JSON metadata, readable with numpy alone."""

from __future__ import annotations

import os
from fractions import Fraction
from typing import Any

import numpy as np

from engine.core.errors import BadFile, BadInput
from engine.core.files import read_archive, write_archive
from engine.core.take import FlameTrack, Take

KIND, FORMAT = "take", 1
_LEFT_OVER = ("offsets", "residual_shapes", "residual_weights")
_FLAME = ("shape", "expression", "pose", "translation", "eyelids")


def write_take(path: str | os.PathLike[str], take: Take) -> None:
    """Write `take` whole or not at all. Weights are stored as float32, drive features as float16."""
    arrays: dict[str, np.ndarray] = {
        "au": take.au.astype(np.float32),
        "arkit": take.arkit.astype(np.float32),
        "extra": take.extra.astype(np.float32),
    }
    arrays |= {f"flame.{name}": np.asarray(getattr(take.flame, name), np.float32) for name in _FLAME}
    arrays |= {f"drive.{k}": v.astype(np.float16 if k == "audio" else np.float32) for k, v in take.drive.items()}
    for name in _LEFT_OVER:
        if (value := getattr(take, name)) is not None:
            arrays[name] = np.asarray(value, np.float32)
    arrays |= {f"gaussians.{k}": v for k, v in (take.gaussians or {}).items()}
    meta = {
        "fps": [take.fps.numerator, take.fps.denominator],
        "first_frame": take.first_frame,
        "extra_names": list(take.extra_names),
        "authority": take.authority,
        "flame_version": take.flame.version,
        "residual_mm": take.residual_mm,
        "meta": take.meta,
    }
    write_archive(path, KIND, FORMAT, arrays, meta)


def read_take(path: str | os.PathLike[str]) -> Take:
    """Read a take.npz. Raises BadFile if it is missing, damaged or newer than this program."""
    arrays, meta = read_archive(path, KIND, FORMAT)
    try:
        return _assemble(arrays, meta)
    except (KeyError, TypeError, ValueError, ZeroDivisionError, BadInput) as error:
        raise BadFile(path, f"is a damaged take ({error})") from None


def _assemble(arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> Take:
    def group(prefix: str) -> dict[str, np.ndarray]:
        return {k[len(prefix) :]: v for k, v in arrays.items() if k.startswith(prefix)}

    return Take(
        fps=Fraction(*meta["fps"]),
        first_frame=int(meta["first_frame"]),
        au=arrays["au"],
        arkit=arrays["arkit"],
        extra=arrays["extra"],
        extra_names=tuple(meta["extra_names"]),
        flame=FlameTrack(meta["flame_version"], **{name: arrays[f"flame.{name}"] for name in _FLAME}),
        authority=meta["authority"],
        drive=group("drive."),
        **{name: arrays.get(name) for name in _LEFT_OVER},
        gaussians=group("gaussians.") or None,
        residual_mm=dict(meta["residual_mm"]),
        meta=dict(meta["meta"]),
    )
