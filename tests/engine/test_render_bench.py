"""The bench's figures, and that a second process finds the kernels compiled."""

import subprocess
import sys
from pathlib import Path

import torch

from engine.avatar.appearance import NETS
from engine.render import bench, bench_avatar
from engine.render.threads import available_threads

torch.set_num_threads(1)
ROOT = Path(__file__).resolve().parents[2]
KEYS = {"size", "gaussians", "sh", "appearance", "backend", "threads", "ms", "fps", "reference_ms"}

SECOND_PROCESS = """
import numpy as np
from engine.render import blend, blend_gradient, gradient, order, project, project_gradient
from engine.render.bench import head_camera, head_scene
from engine.render.cpu import CpuRaster
out = np.empty((32, 32, 4), np.float32)
CpuRaster(1).draw(head_scene(300), head_camera(32, 32), out)
rgba, _, tape = gradient.forward(head_scene(300), head_camera(32, 32))
gradient.backward(tape, rgba)
kernels = (project.project, order.sort_by_depth, order.pack, order.count_tiles, order.fill_tiles, blend.blend,
           blend_gradient.blend_sums, blend_gradient.blend_gradient, project_gradient.gather,
           project_gradient.project_gradient, project_gradient.colour_gradient)
print([k.py_func.__name__ for k in kernels if k.stats.cache_misses or not k.stats.cache_hits])
"""


def test_bench_reports_what_the_design_says(monkeypatch):
    monkeypatch.setattr(bench, "COUNTS", (20_000,))
    monkeypatch.setattr(bench, "SECONDS", 0.2)
    monkeypatch.setattr(bench, "REPEATS", 5)
    result = bench.run(quick=True)
    assert all(case.keys() >= KEYS for case in result["cases"])
    assert {case["scene"] for case in result["cases"]} == {"ellipsoid", "default avatar", "default avatar, posed"}
    worn = {case["appearance"]: case for case in result["cases"] if "over_static" in case and case["threads"] == 1}
    assert set(worn) == {False, "channels", *(f"channels and {name}" for name in NETS)}
    # 30 frames a second are 33 ms, of which the static avatar takes 8 to 10 on an idle core: it may cost three times
    # that. Measured: 1.2 to 1.7 times. Ratios of one run, because other work slows all of them.
    assert worn[False]["over_static"] == 1 and max(case["over_static"] for case in worn.values()) < 3
    assert {case["threads"] for case in result["cases"]} >= {1, min(2, available_threads())}
    for case in result["cases"]:
        rounding = 0.051 + 1000 * 0.005 / case["ms"] ** 2  # fps is printed to 0.1, ms to 0.01
        assert case["size"] == [512, 512] and abs(case["fps"] - 1000 / case["ms"]) < rounding
        # 275 times faster than plain torch was measured on a quiet machine; busy ones disturb both.
        assert case["scene"] == "default avatar, posed" or case["reference_ms"] / case["ms"] > 30
    assert result["isa"] != "unknown"


def test_the_static_row_is_of_an_avatar_without_channels():
    """The bundled avatar has channels: left on, they would count as part of what a static frame costs."""
    setting = bench_avatar.Setting()
    assert setting.plain.channels == () and setting.avatar.channels
    assert len(setting.plain) == len(setting.avatar)


def test_steps_of_training_are_timed(monkeypatch):
    monkeypatch.setattr(bench, "STEPS", ((2_000, 128),))
    monkeypatch.setattr(bench, "SECONDS", 0.1)
    monkeypatch.setattr(bench, "REPEATS", 3)
    (case,) = bench.run_backward(quick=True)["cases"]
    assert case["size"] == [128, 128] and case["step_ms"] > case["backward_ms"] > 0 < case["forward_ms"]
    # 150 times faster than plain torch was measured; busy machines disturb both.
    assert case["reference_ms"] / case["step_ms"] > 15


def test_kernels_are_compiled_once_for_all_processes(tmp_path):
    """A kernel made in a factory, or one that names a dynamic global, is compiled again at every start."""
    for expected in (False, True):
        done = subprocess.run(
            [sys.executable, "-c", SECOND_PROCESS], cwd=ROOT, capture_output=True, text=True, check=True,
            env={"NUMBA_CACHE_DIR": str(tmp_path), "PATH": "", "HOME": str(tmp_path)},
        )  # fmt: skip
        assert (done.stdout.strip() == "[]") is expected, done.stdout
