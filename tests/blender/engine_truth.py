"""Run with the engine's Python: writes the default head's vertices for given weights. IN.npz -> OUT.npy.

In: arkit [t, 52], extra [t, 7], pose [t, 15], translation [t, 3]. Out: [t, v, 3] metres, engine axes.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from engine.head.evaluate import vertices
from engine.head.library import load_head

given = np.load(sys.argv[1])
names = ("arkit", "extra", "pose", "translation")
np.save(sys.argv[2], vertices(load_head("default"), *(given[name] for name in names)))
