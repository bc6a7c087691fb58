"""Shared by the checks inside Blender: an empty scene, the synthetic head, its vertices, the stage engine."""

import os
import sys
import wave
from pathlib import Path

import bpy
import numpy as np
import synthetic_head

from blender_addon.convert.axes import to_blender
from blender_addon.convert.names import ARKIT, EXTRA
from blender_addon.scene import control_empty, head, take

ROOT = Path(__file__).resolve().parents[2]
INFO, ARRAYS = synthetic_head.answer(ARKIT, EXTRA)
NAMES = tuple(INFO["shape_names"])
TOLERANCE_M = 1e-5  # 0.01 mm, the project's promise; float32 coordinates of a head err by about 1e-8


def fresh():
    """An empty file."""
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    return bpy.context.scene


def character():
    """(control, mesh object, rig) of the synthetic head in a fresh file."""
    scene = fresh()
    mesh, rig = head.build(INFO, ARRAYS, scene.collection)
    control = control_empty.create("Control", mesh, scene.collection)
    return control, mesh, rig


def performance(count=20, first=1, seed=1, path="x.npz"):
    """Seeded noise as a take."""
    rng = np.random.default_rng(seed)
    return take.TakeArrays(
        weights=rng.random((count, len(NAMES))).astype(np.float32),
        shape_names=NAMES,
        pose=rng.normal(0, 0.3, (count, 15)).astype(np.float32),
        translation=rng.normal(0, 0.05, (count, 3)).astype(np.float32),
        first_frame=first,
        path=path,
    )


def truth(performance, row):
    """Vertices of one row by plain numpy, Blender's axes. [v, 3]."""
    return to_blender(
        synthetic_head.posed(
            INFO, ARRAYS, performance.weights[row], performance.pose[row], performance.translation[row]
        )
    )


def vertices(ob, world=False):
    """The object's evaluated vertices at the present frame. [v, 3]."""
    evaluated = ob.evaluated_get(bpy.context.evaluated_depsgraph_get())
    mesh = evaluated.to_mesh()
    out = np.empty(3 * len(mesh.vertices), np.float32)
    mesh.vertices.foreach_get("co", out)
    evaluated.to_mesh_clear()
    out = out.reshape(-1, 3).astype(np.float64)
    if world:
        m = np.array(evaluated.matrix_world)
        out = out @ m[:3, :3].T + m[:3, 3]
    return out


def write_voice(path, seconds=2.0, rate=16000):
    """A wav file with a tone."""
    samples = (8000 * np.sin(2 * np.pi * 220 * np.arange(int(seconds * rate)) / rate)).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return path


def stage_engine():
    """Let the add-on use the stage engine (tests/fakes/stage_engine.py) as its own."""
    from blender_addon.link import shared
    from blender_addon.link.client import Engine

    python = os.environ.get("SOLILOQUY_ENGINE_PYTHON", sys.executable)
    if shared._engine is None:
        shared._engine = Engine([python, str(ROOT / "tests" / "fakes" / "stage_engine.py")], cwd=str(ROOT))
    shared.engine = lambda: shared._engine
    return shared._engine
