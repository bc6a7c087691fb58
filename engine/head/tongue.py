"""Tongue channels that ARKit lacks, as bends of hm08's tongue along its length."""

from __future__ import annotations

import numpy as np


def tongue_extras(rest: np.ndarray, incisor: np.ndarray, palate_y: float) -> dict[str, np.ndarray]:
    """tongueTipUp, tongueBetweenTeeth, tongueBackUp as offsets [n, 3] of the tongue's vertices rest [n, 3].

    incisor [3]: middle of the upper incisors' edge; palate_y: height that the back may reach. Metres, jaw shut.
    """
    length = (rest[:, 2] - rest[:, 2].min()) / np.ptp(rest[:, 2])  # 0 at the root, 1 at the tip
    tip = rest[np.argmax(rest[:, 2])]
    bend = np.clip((length - 0.40) / 0.60, 0, 1)
    bend = bend**2 * (3 - 2 * bend)
    up = incisor + (0.0, 0.0065, -0.0085) - tip  # the ridge behind the upper incisors (t, d, n, l)
    between = incisor + (0.0, -0.0030, 0.0055) - tip  # past the edge, under it (th): wants an open jaw
    hump = np.exp(-0.5 * ((length - 0.30) / 0.20) ** 2)
    top = rest[length > 0.15][:, 1].max()
    back = np.zeros_like(rest)
    back[:, 1] = hump * max(palate_y - top, 0.004)
    back[:, 2] = -0.003 * np.clip(length - 0.3, 0, 1)
    narrow = np.zeros_like(rest)
    narrow[:, 0] = -0.15 * rest[:, 0] * bend
    return {
        "tongueTipUp": bend[:, None] * up + narrow,
        "tongueBetweenTeeth": bend[:, None] * between + narrow,
        "tongueBackUp": back,
    }
