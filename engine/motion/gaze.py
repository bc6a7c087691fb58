"""Where the animator makes the eyes look: they go first, the head follows part of the way, they turn back by that.

Eyes lead the head by 50-200 ms, and small shifts move the head little (Guitton & Volle 1987; Freedman 2008): the share
of the head grows with the angle.
"""

from __future__ import annotations

import numpy as np

from engine.controls.track import at
from engine.core.control import Controls

HEAD_SHARE = 0.45  # of a large shift of gaze
FREE_RAD = np.radians(8.0)  # shifts well below this are the eyes' alone
DELAY_S, RISE_S = 0.10, 0.16  # the head starts later and takes its time: a critically damped follower's time constant
_STEP_S = 0.01
_SETTLED_S = 2.5  # how far back the follower must start for its state to be the whole history's (to 1e-5)


def keyed_gaze(controls: Controls, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(yaw to the subject's left and pitch up [t, 2] radians, influence over the automatic gaze [t, 1] in [0, 1])."""
    target = np.stack([at(controls.gaze.get("yaw", ()), times), at(controls.gaze.get("pitch", ()), times)], 1)
    return target, at(controls.gaze.get("influence", ()), times)[:, None]


def turning(controls: Controls, times: np.ndarray, strength: float) -> np.ndarray:
    """The head's turn towards a keyed gaze, axis-angle of the neck [t, 3] (+x chin down, +y to the subject's left)."""
    out = np.zeros((len(times), 3), np.float32)
    if not controls.gaze.get("influence") or not len(times) or strength <= 0:
        return out
    grid = np.arange(times[0] - _SETTLED_S, times[-1] + _STEP_S, _STEP_S)
    target, influence = keyed_gaze(controls, grid - DELAY_S)
    wanted = target * influence * min(HEAD_SHARE * strength, 0.9)
    wanted *= 1.0 - np.exp(-np.square(target / FREE_RAD))
    followed = _follow(wanted)
    out[:, 0] = -np.interp(times, grid, followed[:, 1])
    out[:, 1] = np.interp(times, grid, followed[:, 0])
    return out


def _follow(wanted: np.ndarray) -> np.ndarray:
    """Two first-order lags in a row: no jump of speed, no overshoot. [n, 2] at _STEP_S -> same."""
    from scipy.signal import lfilter

    keep = float(np.exp(-_STEP_S / (RISE_S / 2)))
    out = wanted
    for _ in range(2):
        out = lfilter([1.0 - keep], [1.0, -keep], out, axis=0, zi=keep * out[:1])[0]
    return out
