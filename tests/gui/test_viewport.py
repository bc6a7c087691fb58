"""The viewport in a real Blender window under Xvfb: the avatar is there, follows keys, survives its engine's death."""

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
sys.path.insert(0, str(HERE.parent / "fakes"))

from dots import centroids  # noqa: E402

PROGRAMS = ("blender", "Xvfb")
missing = [name for name in PROGRAMS if not shutil.which(name)]
pytestmark = [pytest.mark.gui, pytest.mark.skipif(bool(missing), reason=f"needs {' and '.join(missing)} on the path")]


@pytest.fixture(scope="module")
def screen():
    """An X display of its own, chosen by the server."""
    read, write = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", "1280x800x24", "-nolisten", "tcp"],
        pass_fds=[write], stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(write)
    with os.fdopen(read) as pipe:
        number = pipe.readline().strip()
    yield f":{number}"
    server.terminate()
    server.wait()


@pytest.fixture(scope="module")
def run(screen, tmp_path_factory):
    """(facts, folder of pictures) of one run of viewport_script.py."""
    folder = tmp_path_factory.mktemp("viewport")
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")} | {
        "DISPLAY": screen, "LIBGL_ALWAYS_SOFTWARE": "1", "OMP_NUM_THREADS": "1", "LP_NUM_THREADS": "1",
        "BLENDER_USER_RESOURCES": str(folder / "user"),
        "SOLILOQUY_ENGINE_PYTHON": os.environ.get("SOLILOQUY_ENGINE_PYTHON", sys.executable),
    }  # fmt: skip
    began = time.monotonic()
    with open(folder / "log", "wb") as log:
        subprocess.run(
            ["timeout", "-s", "KILL", "240", "blender", "--factory-startup", "--window-geometry", "0", "0", "1280",
             "800", "--python", str(HERE / "viewport_script.py"), "--", str(folder)],
            env=env, stdout=log, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
    text = (folder / "log").read_text(errors="replace")
    assert (folder / "facts.json").exists(), text[-3000:]
    facts = json.loads((folder / "facts.json").read_text())
    assert facts.get("finished"), facts.get("trouble", "") + text[-3000:]
    print(f"\nviewport run: {time.monotonic() - began:.0f} s, {facts}")
    return {**facts, "log": text}, folder


def image(run, name):
    """Display values [h, w, 3] in [0, 1] below the header, bottom row first."""
    pixels = np.asarray(Image.open(run[1] / f"{name}.png").convert("RGB"), np.float32)[::-1] / 255
    return pixels[:-60]


def differ(a, b):
    return np.abs(a - b).max(-1) > 0.04


def test_blender_reports_no_trouble(run):
    assert "Traceback" not in run[0]["log"], run[0]["log"][-3000:]
    assert run[0]["packing"], "software GL keeps the bits, so the packed path was the one tested"


def test_the_viewport_shows_the_avatar(run):
    picture = image(run, "frame_1")
    there = picture.max(-1) > 0.1
    assert 0.02 < there.mean() < 0.6 and picture[there].std() > 0.05
    skin = picture[there]
    assert np.median(skin[:, 0]) > np.median(skin[:, 2]) + 0.05, "skin is redder than blue"


def test_it_follows_the_keyed_shape(run):
    closed, opened, again = image(run, "frame_1"), image(run, "frame_10"), image(run, "frame_1_again")
    moved = differ(closed, opened)
    assert moved.sum() > 200
    rows = np.nonzero(moved)[0]
    there = np.nonzero(closed.max(-1) > 0.1)[0]
    assert np.median(rows) < there.max() - 0.2 * np.ptp(there), "the jaw moves, not the forehead"
    assert not differ(closed, again).any()


def test_raised_brows_colour_the_forehead_of_an_avatar_with_channels(run):
    """Shape weights reach the engine with the mesh: keys by hand switch colour channels on."""
    assert not differ(image(run, "brows_folded_0"), image(run, "brows_default_0")).any(), "at rest there is no channel"
    folded, plain = image(run, "brows_folded_1"), image(run, "brows_default_1")
    rows = np.nonzero(differ(folded, plain))[0]
    there = np.nonzero(plain[:, 300:-300].max(-1) > 0.1)[0]  # without the window's little arrows in the corners
    assert len(rows) > 200 and folded.mean() < plain.mean(), "the folds are darker"
    assert np.median(rows) > there.min() + 0.6 * np.ptp(there), "in the upper face"


@pytest.mark.parametrize("case", ["perspective", "wide", "orthographic", "camera"])
def test_landmarks_lie_where_blender_draws_them(run, case):
    """The gate is 0.35 px; a ball without anti-aliasing alone is uncertain by about 0.1 px."""
    linear = [image(run, f"{kind}_{case}") ** 2.2 for kind in ("dots", "balls")]
    ours, blenders = (centroids(np.where(picture < 0.01, 0, picture)) for picture in linear)
    print(f"\n{case}: {np.abs(ours - blenders).max():.3f} px")
    assert np.abs(ours - blenders).max() < 0.35


def test_the_passes_differ_and_come_back(run):
    combined = image(run, "pass_COMBINED")
    assert not differ(combined, image(run, "frame_1")).any()
    for which in ("DEPTH", "NORMAL", "ALPHA"):
        assert differ(combined, image(run, f"pass_{which}")).mean() > 0.02
    alpha = image(run, "pass_ALPHA")
    assert np.abs(alpha - alpha[..., :1]).max() < 0.02 and alpha.max() > 0.98


def test_edit_mode_keeps_the_last_picture(run):
    before, edit = image(run, "pass_COMBINED"), image(run, "edit")
    assert differ(before, edit).mean() < 0.01


def test_a_dead_engine_keeps_the_picture_and_comes_back(run):
    before, at, after = (image(run, name) for name in ("before_death", "at_death", "after_death"))
    there = before.max(-1) > 0.1
    assert (at.max(-1) > 0.1)[there].mean() > 0.95, "a picture stays on the screen"
    assert run[0]["restarts"] == 1 and "stopped unexpectedly" in run[0]["sentence"]
    assert (after.max(-1) > 0.1)[there].mean() > 0.95


@pytest.mark.parametrize("when", ["orbit", "hung"])
def test_the_engine_never_holds_the_window_beyond_its_budget(run, when):
    """20 ms of waiting and a few of drawing, also when the engine hangs; the largest may meet a busy scheduler."""
    median, largest, count = run[0][f"{when}_draw_ms"]
    assert count >= 5 and median < 40 and largest < 200, run[0]


def test_after_a_hang_the_newest_state_shows(run):
    assert not differ(image(run, "after_hang"), image(run, "frame_10")).any()


def test_a_viewport_that_leaves_the_mode_lets_everything_go(run):
    assert run[0]["views_left"] == 0 and run[0]["blocks_left"] == []
