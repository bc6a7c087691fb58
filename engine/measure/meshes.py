"""Vertex errors between two mesh sequences, as EmoVOCA defines them (its section 5: LVE, UVE, MVE).

Per frame the MAXIMUM distance over the region's vertices, then the mean over frames; millimetres.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

from engine.core.anatomy import Head
from engine.core.errors import BadFile, BadInput
from engine.core.units import MM, from_blender

IN_REGION = 0.5  # a mask's value from which a vertex belongs to its region


def mesh_errors(predicted: np.ndarray, truth: np.ndarray, head: Head) -> dict[str, Any]:
    """Errors of `predicted` against `truth`, both [t, v, 3] metres on `head`'s topology, over the shorter length.

    Returns mve_mm, lve_mm, uve_mm (maximum over all, lip and upper-face vertices), their means over the same vertices
    (mve_mean_mm, lve_mean_mm, uve_mean_mm) and frames. Raises BadInput if the vertex counts differ from the head's.
    """
    for name, points in (("predicted", predicted), ("truth", truth)):
        if points.ndim != 3 or points.shape[1:] != (len(head.template), 3):
            raise BadInput(f"{name} must be [t, {len(head.template)}, 3] for this head, got {list(points.shape)}")
        if not np.isfinite(points).all():
            raise BadInput(f"{name} holds coordinates that are not finite")
    frames = min(len(predicted), len(truth))
    if not frames:
        raise BadInput("there are no frames to compare")
    distance = np.linalg.norm(predicted[:frames].astype(np.float64) - truth[:frames], axis=2) * MM
    regions = []
    for name in ("lips", "upper_face"):
        region = np.asarray(head.masks.get(name, ())) >= IN_REGION
        if not region.any():
            raise BadInput(f"the head '{head.name}' has no '{name}' mask, so its errors cannot be told apart")
        regions.append(region)
    lips, upper = regions
    return {
        "mve_mm": round(float(distance.max(1).mean()), 4),
        "lve_mm": round(float(distance[:, lips].max(1).mean()), 4),
        "uve_mm": round(float(distance[:, upper].max(1).mean()), 4),
        "mve_mean_mm": round(float(distance.mean()), 4),
        "lve_mean_mm": round(float(distance[:, lips].mean()), 4),
        "uve_mean_mm": round(float(distance[:, upper].mean()), 4),
        "frames": frames,
    }


def read_pc2(path: str | Path) -> np.ndarray:
    """Point cache of Blender's axes -> [t, v, 3] float32 metres, engine axes, memory-mapped source. Raises BadFile."""
    path = Path(path)
    try:
        with open(path, "rb") as f:
            raw = f.read(32)
    except OSError as error:
        raise BadFile(path, f"cannot be read ({error.strerror})") from None
    if len(raw) < 32 or raw[:12] != b"POINTCACHE2\0":
        raise BadFile(path, "is no PC2 point cache")
    _, _, count, _, _, frames = struct.unpack("<12siiffi", raw)
    if count <= 0 or frames <= 0 or path.stat().st_size < 32 + count * frames * 12:
        raise BadFile(path, f"is cut short: {frames} frames of {count} vertices do not fit in it")
    points = np.memmap(path, "<f4", "r", 32, (frames, count, 3))
    return from_blender(points)
