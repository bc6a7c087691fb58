"""Tongue channels that ARKit lacks, as bends of hm08's tongue along its length."""

from __future__ import annotations

import numpy as np

TIP_RGB, ROOT_RGB = np.array([0.50, 0.17, 0.155]), np.array([0.24, 0.065, 0.06])


# The tongue hangs on the jaw, and these sounds open it by some 5 mm: the tip aims that much over the ridge behind the
# upper incisors (t, d, n, l), the back likewise over the soft palate (k, g).
RIDGE_M = 0.0110
BACK_M = 0.0120


def at_rest(points: np.ndarray) -> np.ndarray:
    """hm08's tongue [n, 3], flattened and lowered: as it lies there it would fill an open mouth to the palate."""
    out = points.copy()
    floor = points[:, 1].min()
    out[:, 1] = floor + 0.82 * (points[:, 1] - floor) - 0.0004
    out[:, 0] *= 0.93
    return out


def albedo(rest: np.ndarray) -> np.ndarray:
    """[n, 3] linear colours: darker towards the root, with the groove in the middle."""
    length = ((rest[:, 2] - rest[:, 2].min()) / np.ptp(rest[:, 2]))[:, None] ** 1.6
    groove = 0.18 * np.exp(-0.5 * (rest[:, :1] / 0.0022) ** 2)
    return (ROOT_RGB + length * (TIP_RGB - ROOT_RGB)) * (1 - groove)


def tongue_extras(rest: np.ndarray, incisor: np.ndarray) -> dict[str, np.ndarray]:
    """tongueTipUp, tongueBetweenTeeth, tongueBackUp as offsets [n, 3] of the tongue's vertices rest [n, 3].

    incisor [3]: middle of the upper incisors' edge. Metres, jaw shut.
    """
    length = (rest[:, 2] - rest[:, 2].min()) / np.ptp(rest[:, 2])  # 0 at the root, 1 at the tip
    tip = rest[np.argmax(rest[:, 2])]
    bend = np.clip((length - 0.40) / 0.60, 0, 1)
    bend = bend**2 * (3 - 2 * bend)
    up = incisor + (0.0, RIDGE_M, -0.0085) - tip
    between = incisor + (0.0, 0.0022, 0.0055) - tip  # past the edge, under it (th): wants an open jaw
    hump = np.exp(-0.5 * ((length - 0.34) / 0.22) ** 2)
    back = np.zeros_like(rest)
    back[:, 1] = hump * BACK_M
    back[:, 2] = -0.003 * np.clip(length - 0.3, 0, 1)
    narrow = np.zeros_like(rest)
    narrow[:, 0] = -0.15 * rest[:, 0] * bend
    return {
        "tongueTipUp": bend[:, None] * up + narrow,
        "tongueBetweenTeeth": bend[:, None] * between + narrow,
        "tongueBackUp": back,
    }
