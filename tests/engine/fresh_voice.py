"""The sample voice as a fresh process speaks it.

espeak-ng carries its oscillators' phases from call to call: the same text sounds a little different after other tests.
"""

from __future__ import annotations

import functools
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
_SAY = "import sys, numpy as np; from engine.studio.sample import speak_sample; np.save(sys.argv[1], speak_sample()[0])"


@functools.cache
def fresh_sample() -> np.ndarray:
    """Samples [n] float32 at 16 kHz, always the same."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "voice.npy"
        subprocess.run([sys.executable, "-c", _SAY, str(path)], cwd=ROOT, check=True, timeout=120)
        return np.load(path)
