"""A rendered `Frame` into the bytes that a client draws: bottom row first, 8-bit display values or float32.

8 bits hold display (sRGB-encoded) values because 256 linear steps would band in the dark; the client's shader
decodes them. The colour stays premultiplied by alpha throughout.
"""

from __future__ import annotations

from functools import lru_cache

import numba
import numpy as np

from engine.core.units import linear_to_srgb

# 2^14 steps of linear light: the first step is 0.2 of an 8-bit display level, so rounding stays within 0.6.
STEPS = 1 << 14


@lru_cache(1)
def srgb8_table() -> np.ndarray:
    """[STEPS + 1] uint8: 8-bit display value of linear i / STEPS."""
    return np.rint(255.0 * linear_to_srgb(np.arange(STEPS + 1) / STEPS)).astype(np.uint8)


def pack_srgb8_reference(rgba: np.ndarray, out: np.ndarray) -> None:
    """Plain twin of `pack_srgb8`, by the exact curve."""
    colour = np.clip(np.nan_to_num(rgba[::-1, :, :3].astype(np.float64)), 0.0, 1.0)
    out[..., :3] = np.rint(255.0 * linear_to_srgb(colour))
    out[..., 3] = np.rint(255.0 * np.clip(np.nan_to_num(rgba[::-1, :, 3]), 0.0, 1.0))


def pack_srgb8(rgba: np.ndarray, out: np.ndarray) -> None:
    """rgba [h, w, 4] float32 linear premultiplied, top row first -> out [h, w, 4] uint8 display values, bottom first.

    Within one level of `pack_srgb8_reference` (the table has 2^14 steps).
    """
    if rgba.shape != out.shape or rgba.dtype != np.float32 or out.dtype != np.uint8:
        raise ValueError(f"pack_srgb8 wants float32 and uint8 of one shape, got {rgba.shape} and {out.shape}")
    _pack(np.ascontiguousarray(rgba), out, srgb8_table())


@numba.njit(cache=True, nogil=True)
def _pack(rgba: np.ndarray, out: np.ndarray, table: np.ndarray) -> None:  # pragma: no cover - compiled
    height, width = rgba.shape[0], rgba.shape[1]
    scale = np.float32(len(table) - 1)
    half, one, zero, full = np.float32(0.5), np.float32(1.0), np.float32(0.0), np.float32(255.0)
    for y in range(height):
        row, target = rgba[height - 1 - y], out[y]
        for x in range(width):
            alpha = row[x, 3]
            if not alpha > zero:  # also NaN
                target[x, 0] = target[x, 1] = target[x, 2] = target[x, 3] = 0
                continue
            for c in range(3):
                value = min(max(row[x, c], zero), one)
                target[x, c] = table[int(value * scale + half)] if value == value else 0
            target[x, 3] = np.uint8(min(alpha, one) * full + half)
