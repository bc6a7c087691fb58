"""Checkpoints of motion networks: safetensors with the basis, and the inference configuration in the header."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.core.errors import BadFile
from engine.core.files import replacing, sha256_of
from engine.motion.nets.basis import Basis

KIND, FORMAT = "motion net", 1


@dataclass(frozen=True)
class Checkpoint:
    """tensors by name (the network's state), its basis, and the header: system, config, supports, interface, head."""

    tensors: dict[str, np.ndarray]
    basis: Basis
    header: dict[str, Any]
    sha256: str = ""


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Weights in half precision where that loses nothing that counts (matrices); the basis in single."""
    from safetensors.numpy import save_file

    tensors = {
        f"net.{name}": np.ascontiguousarray(value, np.float16 if value.ndim > 1 else np.float32)
        for name, value in checkpoint.tensors.items()
    }
    basis = checkpoint.basis
    tensors |= {"basis.mean": basis.mean, "basis.into": basis.into, "basis.out": basis.out}
    header = {"kind": KIND, "format": str(FORMAT), "header": json.dumps(checkpoint.header)}
    with replacing(path) as part:
        save_file(tensors, part, header)


def read(path: Path, system: str) -> Checkpoint:
    """The checkpoint of that motion system. Raises BadFile."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as f:
            meta = f.metadata() or {}
            raw = {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118 (not a mapping)
        header = json.loads(meta["header"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise BadFile(path, f"is no checkpoint of a motion system ({error})") from None
    if meta.get("kind") != KIND or int(meta.get("format", 0)) > FORMAT:
        raise BadFile(path, "is no checkpoint of a motion system that this version reads")
    if header.get("system") != system:
        raise BadFile(path, f"is a checkpoint of '{header.get('system')}', not of '{system}'")
    try:
        basis = Basis(raw.pop("basis.mean"), raw.pop("basis.into"), raw.pop("basis.out"))
    except KeyError as error:
        raise BadFile(path, f"lacks {error}") from None
    tensors = {name.removeprefix("net."): value.astype(np.float32) for name, value in raw.items()}
    return Checkpoint(tensors, basis, header, sha256_of(path))
