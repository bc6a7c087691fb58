"""Picking points on a mesh without shape keys, with real clicks in a real Blender window under Xvfb."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

HERE = Path(__file__).resolve().parent
SIZE = (1000, 800)
missing = [name for name in ("blender", "Xvfb", "xdotool") if not shutil.which(name)]
pytestmark = [pytest.mark.gui, pytest.mark.skipif(bool(missing), reason=f"needs {' and '.join(missing)} on the path")]


@pytest.fixture(scope="module")
def screen():
    """An X display of its own, chosen by the server."""
    read, write = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", f"{SIZE[0]}x{SIZE[1]}x24", "-nolisten", "tcp"],
        pass_fds=[write], stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(write)
    with os.fdopen(read) as pipe:
        number = pipe.readline().strip()
    yield f":{number}"
    server.terminate()
    server.wait()


def click(x, y, display):
    """Blender wants to see the pointer arrive before it is pressed."""
    env = {**os.environ, "DISPLAY": display}
    subprocess.run(["xdotool", "mousemove", str(x + 3), str(y)], env=env, check=False)
    time.sleep(0.4)
    subprocess.run(["xdotool", "mousemove", str(x), str(y)], env=env, check=False)
    time.sleep(0.2)
    subprocess.run(["xdotool", "click", "1"], env=env, check=False)


@pytest.fixture(scope="module")
def session(screen, tmp_path_factory):
    """(report, folder) of one run of pick_session.py, with this process as the person's hand."""
    out = tmp_path_factory.mktemp("pick")
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")} | {
        "DISPLAY": screen, "LIBGL_ALWAYS_SOFTWARE": "1", "OMP_NUM_THREADS": "1",
        "BLENDER_USER_CONFIG": str(out / "config"),
    }  # fmt: skip
    with open(out / "log", "wb") as log:
        blender = subprocess.Popen(
            ["timeout", "-s", "KILL", "120", "blender", "--factory-startup", "--window-geometry", "0", "0",
             str(SIZE[0]), str(SIZE[1]), "--python", str(HERE / "pick_session.py"), "--", str(out)],
            env=env, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    done = 0
    while blender.poll() is None:
        spot = out / f"spot_{done}"
        if spot.exists():
            click(*map(int, spot.read_text().split()), screen)
            done += 1
        time.sleep(0.05)
    report = out / "report.json"
    assert report.exists(), (out / "log").read_text(errors="replace")[-3000:]
    steps = json.loads(report.read_text())
    assert steps.get("finished"), steps.get("failed")
    return steps, out


def test_six_clicks_on_the_mesh_are_six_points(session):
    steps, _ = session
    assert steps["pick"] == ["RUNNING_MODAL"]
    assert steps["counts"] == [1, 2, 2, 3, 4, 5, 6], "a click beside the mesh is not taken"
    wanted = [(-0.04, 0.03), (0.04, 0.03), (0.0, 0.0), (-0.02, -0.04), (0.02, -0.04), (0.0, -0.07)]
    for (x, z), place in zip(wanted, steps["picks"].values(), strict=True):
        assert abs(place[0] - x) < 0.003 and abs(place[2] - z) < 0.003 and place[1] < 0, (x, z, place)


def test_shapes_can_be_made_only_then(session):
    assert (session[0]["make_before"], session[0]["make_after"]) == (False, True)


def test_the_picked_points_are_drawn(session):
    image = np.asarray(Image.open(session[1] / "picking.png").convert("RGB"), np.int16)
    orange = (image[..., 0] > 220) & (abs(image[..., 1] - 140) < 40) & (image[..., 2] < 80)
    assert orange.sum() > 4 * 40, "four dots of about 9 x 9 pixels"


def test_blender_reports_no_trouble(session):
    assert "Traceback" not in (session[1] / "log").read_text(errors="replace")
