"""File form of the net that reads expressions (engine.measure.legibility.Reader): safetensors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from engine.core.errors import BadFile
from engine.measure.legibility import Reader

KIND, FORMAT = "legibility", 1


def write_net(path: Path, reader: Reader, about: dict[str, object]) -> None:
    """Write the reader; `about` (seed, accuracy, ...) goes into the header."""
    from safetensors.numpy import save_file

    from engine.core.files import replacing

    tensors = {"mean": reader.mean, "scale": reader.scale, "points": reader.points.astype(np.int32)}
    for i, (weight, bias) in enumerate(reader.layers):
        tensors |= {f"weight{i}": weight, f"bias{i}": bias}
    header = {
        "kind": KIND, "format": str(FORMAT), "topology_sha256": reader.topology_sha256, "about": json.dumps(about),
    }  # fmt: skip
    with replacing(path) as temporary:
        save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, temporary, header)


def read_net(path: Path) -> Reader:
    """Raises BadFile."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as f:
            header = f.metadata() or {}
            tensors = {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118 (not a mapping)
    except (OSError, SafetensorError) as error:
        raise BadFile(path, f"cannot be read ({error})") from None
    if header.get("kind") != KIND:
        raise BadFile(path, "is no net that reads expressions")
    try:
        count = sum(name.startswith("weight") for name in tensors)
        layers = tuple((tensors[f"weight{i}"], tensors[f"bias{i}"]) for i in range(count))
        points = tensors["points"].astype(np.int64)
        return Reader(tensors["mean"], tensors["scale"], layers, points, header["topology_sha256"])
    except KeyError as error:
        raise BadFile(path, f"lacks {error}") from None
