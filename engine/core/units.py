"""Axes and units. Engine: metres, right-handed, Y up, Z forward, X to the subject's left. Blender: (x, -z, y)."""

from __future__ import annotations

import numpy as np

MM = 1000.0  # millimetres per metre

# Columns of x_blender = TO_BLENDER @ x_engine.
TO_BLENDER = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])


def to_blender(points: np.ndarray) -> np.ndarray:
    """[..., 3] engine points or directions -> Blender's axes, same dtype."""
    return np.stack([points[..., 0], -points[..., 2], points[..., 1]], -1)


def from_blender(points: np.ndarray) -> np.ndarray:
    """[..., 3] Blender points or directions -> engine axes, same dtype."""
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], -1)


def srgb_to_linear(values: np.ndarray) -> np.ndarray:
    """Display values to linear light (IEC 61966-2-1), elementwise; values below 0 stay linear."""
    return np.where(values <= 0.04045, values / 12.92, ((np.maximum(values, 0.04045) + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(values: np.ndarray) -> np.ndarray:
    """Linear light to display values (IEC 61966-2-1), elementwise."""
    return np.where(values <= 0.0031308, values * 12.92, 1.055 * np.maximum(values, 0.0031308) ** (1 / 2.4) - 0.055)
