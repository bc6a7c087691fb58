"""What an engine's answer becomes, and where performances are kept."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from ..convert.arrays import BadArray, open_arrays
from ..convert.frames import VoiceClock
from ..scene.cues import Row
from ..scene.take import TakeArrays


def discard(specs: Mapping[str, Mapping[str, Any]], folder: str) -> None:
    """Delete an answer's array files once they are used; only files of the session's own folder."""
    home = Path(folder).resolve()
    for spec in specs.values():
        path = Path(str(spec.get("path", ""))).resolve()
        if home in path.parents:
            with contextlib.suppress(OSError):  # Windows keeps a mapped file; the session's end removes it
                path.unlink()


def read_take(answer: Mapping[str, Any], folder: str, clock: VoiceClock) -> TakeArrays:
    """The `speak` job's answer as arrays in memory. Raises BadArray if it is not for this rate and start."""
    names = tuple(str(name) for name in answer["shape_names"])
    want: dict[str, tuple[int | str, ...]] = {
        "weights": ("t", len(names)), "pose": ("t", 15), "translation": ("t", 3)
    }  # fmt: skip
    if "contact" in answer["arrays"]:
        want["contact"] = ("t", 3)
    if "shifts" in answer["arrays"]:
        want["shifts"] = ("t", 15)
    if {"res_shapes", "res_weights"} <= set(answer["arrays"]):
        want |= {"res_shapes": ("k", "v", 3), "res_weights": ("t", "k")}
    arrays = open_arrays(answer["arrays"], folder, want)
    residual = (np.array(arrays["res_shapes"]), np.array(arrays["res_weights"])) if "res_shapes" in arrays else None
    if list(answer["fps"]) != [clock.rate.numerator, clock.rate.denominator]:
        raise BadArray(f"the engine answered at {answer['fps']} frames per second, asked were {clock.rate}")
    take = TakeArrays(
        weights=np.array(arrays["weights"], np.float32),
        shape_names=names,
        pose=np.array(arrays["pose"], np.float32),
        translation=np.array(arrays["translation"], np.float32),
        first_frame=clock.first,
        path=str(answer["take"]),
        contact=np.array(arrays["contact"], np.float32) if "contact" in arrays else None,
        residual=residual,
        shifts=np.array(arrays["shifts"], np.float32) if "shifts" in arrays else None,
    )
    del arrays
    discard(answer["arrays"], folder)
    return take


def heard_cues(answer: Mapping[str, Any], folder: str) -> list[Row] | None:
    """The cues of an answer's arrays; None where it has none (an older engine). Raises BadArray."""
    specs = answer.get("arrays", {})
    if not {"cue_seconds", "cue_phones"} <= set(specs):
        return None
    arrays = open_arrays(specs, folder, {"cue_seconds": ("n", 2), "cue_phones": ("m",)})
    seconds = np.array(arrays["cue_seconds"], np.float64)
    try:
        names = np.array(arrays["cue_phones"], np.uint8).tobytes().decode().split("\n") if len(seconds) else []
    except UnicodeDecodeError:
        raise BadArray("the names of the phone cues are not UTF-8") from None
    if len(names) != len(seconds):
        raise BadArray(f"there are {len(seconds)} phone cues but {len(names)} names")
    return [(name, float(a), float(b)) for name, (a, b) in zip(names, seconds, strict=True)]


def next_take_path(control_name: str) -> Path:
    """A new file beside the .blend (old takes stay), or in Blender's temporary folder before the first save."""
    folder = Path(bpy.path.abspath("//")) / "takes" if bpy.data.filepath else Path(bpy.app.tempdir) / "takes"
    plain = bpy.path.clean_name(control_name)
    number = 1
    while (path := folder / f"{plain}_{number:03d}.npz").exists():
        number += 1
    return path


def stored(path: str) -> str:
    """As kept on the control: relative to the .blend where that is possible."""
    if bpy.data.filepath:
        with contextlib.suppress(ValueError):
            return bpy.path.relpath(path)
    return path
