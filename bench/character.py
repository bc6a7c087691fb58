"""Playback cost of a mapped character in Blender: python bench/character.py [--seconds 60] [--json].

A made-up character of 25,000 vertices with ARKit's 52 shape keys, one of them driven by a rig, gets a take of random
smooth weights on every channel (no key at rest: the worst case); then whole frames are set and timed. Needs the bpy
module. The figure is the least of several rounds, because other work on the machine only ever adds to it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

import bpy
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import blender_addon

blender_addon.register()

from blender_addon.convert.names import ARKIT, EXTRA  # noqa: E402
from blender_addon.scene import find, take  # noqa: E402

SIDE, FPS, ROUNDS, FRAMES = 158, 25, 5, 60


def character() -> bpy.types.Object:
    """A grid of 158 x 158 = 24,964 vertices with the shapes, the first of them driven by a property of a rig."""
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    rng = np.random.default_rng(0)
    x, z = np.meshgrid(np.linspace(-0.1, 0.1, SIDE), np.linspace(0, 0.3, SIDE))
    points = np.stack([x, 0 * x, z], -1).reshape(-1, 3)
    i = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    faces = np.stack([i[:-1, :-1], i[:-1, 1:], i[1:, 1:], i[1:, :-1]], -1).reshape(-1, 4)
    data = bpy.data.meshes.new("actor")
    data.from_pydata(points.tolist(), [], faces.tolist())
    ob = bpy.data.objects.new("actor", data)
    bpy.context.scene.collection.objects.link(ob)
    ob.shape_key_add(name="Basis")
    for name in ARKIT:
        key = ob.shape_key_add(name=name, from_mix=False)
        key.data.foreach_set("co", (points + rng.normal(0, 0.002, points.shape)).astype(np.float32).ravel())
    rig = bpy.data.objects.new("rig", bpy.data.armatures.new("rig"))
    bpy.context.scene.collection.objects.link(rig)
    rig["blink"] = 0.0
    driver = data.shape_keys.key_blocks[ARKIT[0]].driver_add("value").driver
    driver.type = "AVERAGE"
    variable = driver.variables.new()
    variable.targets[0].id, variable.targets[0].data_path = rig, '["blink"]'
    return ob


def measure(seconds: float) -> dict[str, float]:
    """Milliseconds of frame_set and of writing the take."""
    ob = character()
    bpy.context.view_layer.update()
    bpy.context.view_layer.objects.active = ob
    bpy.ops.soliloquy.use_character()
    control = find.active_control(bpy.context)
    count = round(seconds * FPS)
    names = (*ARKIT, *EXTRA)
    phase = np.random.default_rng(1).uniform(0, 6, len(names))
    weights = (0.5 + 0.4 * np.sin(np.arange(count)[:, None] / 5 + phase)).astype(np.float32)
    still = np.zeros((count, 15), np.float32)
    made = take.TakeArrays(weights, names, still, still[:, :3], 1, "x.npz", np.zeros((count, 3), np.float32))
    start = time.perf_counter()
    take.write(control, made)
    written = time.perf_counter() - start
    rounds = []
    for i in range(ROUNDS):
        frames = range(1 + i, count, max(count // FRAMES, 1))
        start = time.perf_counter()
        for frame in frames:
            bpy.context.scene.frame_set(frame)
        rounds.append((time.perf_counter() - start) / len(frames))
    return {
        "vertices": len(ob.data.vertices), "frames": count, "frame_set_ms": round(1000 * min(rounds), 3),
        "write_ms": round(1000 * written, 1), "blender": bpy.app.version_string,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    result = measure(arguments.seconds)
    print(json.dumps(result) if arguments.json else "\n".join(f"{k}: {v}" for k, v in result.items()))
    sys.stdout.flush()
    os._exit(0)  # some wheels hang in Blender's own exit handlers


if __name__ == "__main__":
    main()
