"""The real engine process with a few jobs that only tests want, and a painter that needs no avatar.

Run as `python tests/fakes/serve_test_jobs.py` from the project root; the protocol, loop and session are real.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from engine.core.errors import BadInput
from engine.core.splats import Frame
from engine.serve import jobs, live, loop


def count(request, reporter):
    for i in range(int(request.get("steps", 5))):
        reporter.step("counting", i, int(request.get("steps", 5)))
        time.sleep(float(request.get("step_s", 0.01)))
    return {"steps": request.get("steps", 5)}


def deaf(request, reporter):
    end = time.monotonic() + 30
    while time.monotonic() < end:
        time.sleep(0.01)
    return {}


def noisy(request, reporter):
    """Everything that could dirty the channel: print, fd 1, a child that prints and one that reads stdin."""
    print("a library says hello")
    sys.stdout.flush()
    os.write(1, b"raw bytes\n")
    subprocess.run([sys.executable, "-c", "print('a child says hello')"], check=True)
    read = subprocess.run([sys.executable, "-c", "import sys; print(len(sys.stdin.read()))"], capture_output=True)
    reporter.warn("it was loud")
    return {"child_read": int(read.stdout)}


def fails(request, reporter):
    if request["how"] == "person":
        raise BadInput("the file is no sound; choose a wav")
    if request["how"] == "exit":
        sys.exit(3)
    if request["how"] == "nan":
        return {"figure": float("nan")}
    return 1 // 0


def arrays(request, reporter):
    ramp = np.arange(12, dtype=np.float32).reshape(3, 4)
    return {"figure": np.float32(0.5), "arrays": {"ramp": ramp, "../odd name": ramp[:, ::2].astype(np.int32)}}


class Painter:
    """Colour = the first vertex of the first head; depth 2; normal +y."""

    gaussians = 1

    def __init__(self, specs):
        self.counts = [12 for _ in specs]
        self.notes = [f"{len(specs)} head is not told"] if not specs[0]["told"] else []

    def pose(self, vertices, objects, faces=None):
        self.colour = vertices[0][0] @ objects[0][:3, :3].T

    def draw(self, camera, planes, leave_a_core=False):
        rgba = np.ones((camera.height, camera.width, 4), np.float32)
        rgba[..., :3] = self.colour
        rgba[0, :, 3] = 0.25  # the top row
        normal = np.tile(np.float32([0, 1, 0]), (*rgba.shape[:2], 1))
        return Frame(rgba, np.full(rgba.shape[:2], 2.0, np.float32), normal)


if __name__ == "__main__":
    jobs.JOBS.update(count=count, deaf=deaf, noisy=noisy, fails=fails, arrays=arrays)
    live._head_painter = Painter
    loop.serve()
