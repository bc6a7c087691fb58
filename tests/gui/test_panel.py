"""The side panel in a real Blender window under Xvfb: modal tasks, the real Escape key, undo, and how it looks."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

HERE = Path(__file__).resolve().parent
SIZE = (1300, 1700)
TAB = (1287, 208)  # the panel's tab, known because the window's size is
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


def drive(*arguments, display):
    subprocess.run(["xdotool", *map(str, arguments)], env={**os.environ, "DISPLAY": display}, check=False)


def click(x, y, display):
    """A move and a click at once are not noticed by Blender: it wants to see the pointer arrive."""
    drive("mousemove", x, y - 3, display=display)
    time.sleep(0.3)
    drive("mousemove", x, y, "click", 1, display=display)


def press_escape(display):
    drive("mousemove", 400, 600, display=display)
    time.sleep(0.2)
    drive("mousemove", 402, 602, "key", "Escape", display=display)


@pytest.fixture(scope="module")
def session(screen, tmp_path_factory):
    """(report, folder) of one run of panel_session.py, with this process as the person's hands."""
    out = tmp_path_factory.mktemp("panel")
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")} | {
        "DISPLAY": screen, "LIBGL_ALWAYS_SOFTWARE": "1", "OMP_NUM_THREADS": "1",
        "BLENDER_USER_CONFIG": str(out / "config"), "SOLILOQUY_ENGINE_PYTHON": sys.executable,
    }  # fmt: skip
    with open(out / "log", "wb") as log:
        blender = subprocess.Popen(
            ["timeout", "-s", "KILL", "200", "blender", "--factory-startup", "--window-geometry", "0", "0",
             str(SIZE[0]), str(SIZE[1]), "--python", str(HERE / "panel_session.py"), "--", str(out)],
            env=env, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    waiting = {"click_tab": lambda: click(*TAB, screen), "press_escape": lambda: press_escape(screen)}
    while blender.poll() is None:
        for name in [n for n in waiting if (out / n).exists()]:
            time.sleep(0.3)
            waiting.pop(name)()
        time.sleep(0.1)
    report = json.loads((out / "report.json").read_text())
    steps = dict(report["steps"])
    assert "finished" in steps, steps.get("failed") or (out / "log").read_text(errors="replace")[-3000:]
    return steps, out


def picture(out, name):
    """The panel's part of a photograph, [h, w, 3] in [0, 1]."""
    return np.asarray(Image.open(out / name).convert("RGB"), np.float32)[:, SIZE[0] - 230 :] / 255


def test_enabling_is_quick(session):
    assert session[0]["enabled"] < 0.3


def test_tasks_run_modal_and_finish(session):
    steps, _ = session
    assert steps["add_head"] == steps["generate"] == ["RUNNING_MODAL"]
    assert steps["head"] == "synthetic" and steps["prompts"] == ["smile"] and steps["generated"] == 1


def test_no_step_of_a_task_holds_blender(session):
    assert session[0]["longest_step_s"] < 0.5  # 0.12 s seen, for building the head, on a busy machine


def test_escape_stops_and_changes_nothing(session):
    steps, _ = session
    assert steps["slow"] == ["RUNNING_MODAL"] and steps["running"]
    assert steps["stopped"] == [True, 0, False], "no task, no strip, no error"


def test_undo_and_redo_take_the_performance_as_one_step(session):
    assert (session[0]["undone"], session[0]["redone"]) == (0, 1)


def test_blender_reports_no_trouble(session):
    assert "Traceback" not in (session[1] / "log").read_text(errors="replace")


def test_the_panel_is_drawn_and_grows_with_the_work(session):
    """Rows of the sidebar with text in them."""
    _, out = session

    def filled(name):
        rows = picture(out, name)[100:]
        return int((rows.min(-1).max(1) > 0.55).sum())  # rows with white text; the axes are coloured

    empty, running, done = (filled(f"{n}.png") for n in ("1_empty", "2_running", "3_panel"))
    assert 20 < empty < 150 and running > 400 and done > 400
    green = picture(out, "3_panel.png")
    keyed = (green[..., 1] > green[..., 0] + 0.08) & (green[..., 1] > green[..., 2] + 0.08)
    assert keyed.sum() > 3000, "keyed emotions show in Blender's own green"
