"""The sample voice as a fresh process speaks it.

espeak-ng carries its oscillators' phases from call to call: the same text sounds a little different after other tests.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
_SAY = """
import json, sys
import numpy as np
from engine.studio.sample import speak_sample
samples, marks = speak_sample()
np.save(sys.argv[1], samples)
print(json.dumps([list(mark) for mark in marks]))
"""


@functools.cache
def fresh_voice() -> tuple[np.ndarray, list[tuple[str, float, float]]]:
    """Samples [n] float32 at 16 kHz and their phones (symbol, start s, end s), always the same."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "voice.npy"
        said = subprocess.run(
            [sys.executable, "-c", _SAY, str(path)], cwd=ROOT, check=True, timeout=120, capture_output=True, text=True
        )
        return np.load(path), [(name, a, b) for name, a, b in json.loads(said.stdout)]
