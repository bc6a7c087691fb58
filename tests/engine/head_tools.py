"""Small helpers of the head's tests."""

from pathlib import Path

import numpy as np

from engine.core.names import ARKIT, ARKIT_INDEX, EXTRA, EXTRA_INDEX

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def weights_of(**named):
    """arkit [1, 52] and extra [1, 7]; a name without its side sets both sides. KeyError for a name that is neither."""
    arkit, extra = np.zeros((1, len(ARKIT)), np.float32), np.zeros((1, len(EXTRA)), np.float32)
    for name, value in named.items():
        found = [n for n in (name, name + "Left", name + "Right", name + "_L", name + "_R") if n in ARKIT_INDEX]
        more = [n for n in (name, name + "_L", name + "_R") if n in EXTRA_INDEX]
        if not found + more:
            raise KeyError(name)
        arkit[0, [ARKIT_INDEX[n] for n in found]] = value
        extra[0, [EXTRA_INDEX[n] for n in more]] = value
    return arkit, extra
