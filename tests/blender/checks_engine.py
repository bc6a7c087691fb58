"""Checks with the engine itself: the default head in Blender moves as the engine computes it."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import bpy
import numpy as np
from in_blender import HERE, main
from stage import ROOT, TOLERANCE_M, fresh, to_blender, vertices

import blender_addon

blender_addon.register()

from blender_addon.link import shared  # noqa: E402
from blender_addon.link.client import Engine  # noqa: E402
from blender_addon.scene import find, take  # noqa: E402

PYTHON = os.environ.get("SOLILOQUY_ENGINE_PYTHON", sys.executable)
ENGINE = Engine([PYTHON, "-m", "engine", "serve"], cwd=str(ROOT))
shared._engine = ENGINE
shared.engine = lambda: ENGINE


def add():
    fresh()
    assert bpy.ops.soliloquy.add_head() == {"FINISHED"}
    control = find.active_control(bpy.context)
    return control, find.head_of(control)


def check_the_default_head_moves_as_the_engine_computes_it():
    control, mesh = add()
    names = tuple(b.name for b in mesh.data.shape_keys.key_blocks[1:])
    rng = np.random.default_rng(0)
    count = 8
    weights = (rng.random((count, len(names))) ** 3).astype(np.float32)
    weights[0] = 0
    pose = rng.normal(0, 0.25, (count, 15)).astype(np.float32)
    pose[:, 6:9] = 0  # the jaw is in the weights
    pose[0] = 0
    shift = rng.normal(0, 0.02, (count, 3)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        given, out = Path(folder, "in.npz"), Path(folder, "out.npy")
        np.savez(given, arkit=weights[:, :52], extra=weights[:, 52:], pose=pose, translation=shift)
        subprocess.run([PYTHON, str(HERE / "engine_truth.py"), str(given), str(out)], check=True)
        truth = np.load(out)
    take.write(control, take.TakeArrays(weights, names, pose, shift, 1, "x.npz"))
    worst = 0.0
    for row in range(count):
        bpy.context.scene.frame_set(1 + row)
        worst = max(worst, np.abs(vertices(mesh) - to_blender(truth[row])).max())
    print(f"largest distance from the engine: {1000 * worst:.6f} mm", file=sys.stderr)
    assert worst < TOLERANCE_M, worst


def check_adding_the_head_is_quick_and_its_mesh_is_clean():
    start = time.perf_counter()
    _, mesh = add()
    seconds = time.perf_counter() - start
    print(f"add head: {seconds:.2f} s", file=sys.stderr)
    assert seconds < 10
    assert not mesh.data.validate()
    assert {m.name.split(" ", 1)[1] for m in mesh.data.materials} >= {"skin", "lips", "teeth", "iris"}
    top = vertices(mesh, world=True)
    assert top[:, 2].max() - top[:, 2].min() > 0.2, "metres, Z up"
    nose = top[np.argmin(top[:, 1])]
    assert abs(nose[0]) < 0.02, "the head faces -Y"


main(globals())
