"""Checks with the engine itself: an imported FLAME head in Blender moves as the engine computes it."""

import os
import subprocess
import sys
import tempfile
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
HEAD = sys.argv[1]
ENGINE = Engine([PYTHON, "-m", "engine", "serve"], cwd=str(ROOT))
shared._engine = ENGINE
shared.engine = lambda: ENGINE


def add():
    fresh()
    assert bpy.ops.soliloquy.add_head(head=HEAD) == {"FINISHED"}
    control = find.active_control(bpy.context)
    return control, find.head_of(control)


def truth(count=6):
    """Seeded FLAME parameters, the joints' shifts and the engine's vertices in Blender's axes; frame 0 is at rest."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out.npz")
        subprocess.run([PYTHON, str(HERE / "flame_truth.py"), HEAD, str(out), str(count)], check=True, cwd=ROOT)
        with np.load(out) as data:
            made = {name: data[name] for name in data.files}
    return made, to_blender(made["vertices"])


def check_the_rig_has_bones_expressions_and_correctives():
    _, mesh = add()
    names = [b.name for b in mesh.data.shape_keys.key_blocks]
    assert names[1:101] == [f"exp_{i:03d}" for i in range(100)]
    assert {"eyelid_left", "eyelid_right"} < set(names)
    assert any(n.startswith("pose_jaw_") for n in names) and any(n.startswith("pose_neck_") for n in names)
    rig = find.armature_of(mesh)
    assert [b.name for b in rig.data.bones] == ["root", "neck", "jaw", "eye.L", "eye.R"]
    assert mesh["soliloquy_flame"] == "2023-open"
    assert not mesh.data.validate()


def check_a_flame_take_plays_as_the_engine_computes_it():
    control, mesh = add()
    made, wanted = truth()
    arrays = take.TakeArrays(
        made["expression"], tuple(made["names"].tolist()), made["pose"], made["translation"], 1, "x.npz",
        shifts=made["shifts"],
    )  # fmt: skip
    assert take.write(control, arrays) == []
    errors = []
    for row in range(len(wanted)):
        bpy.context.scene.frame_set(1 + row)
        errors.append(np.abs(vertices(mesh, world=True) - wanted[row]).max())
    print(f"largest distance from the engine: {1000 * max(errors):.6f} mm", file=sys.stderr)
    assert max(errors) < TOLERANCE_M, errors
    for key in mesh.data.shape_keys.key_blocks:
        if key.name.startswith("pose_"):
            key.mute = True
    bpy.context.scene.frame_set(len(wanted))
    assert np.abs(vertices(mesh, world=True) - wanted[-1]).max() > 10 * TOLERANCE_M, "the correctives do nothing"


def check_correctives_follow_the_jaw_by_hand():
    """No take: the animator turns the jaw bone, and the correctives come along."""
    _, mesh = add()
    jaw = find.armature_of(mesh).pose.bones["jaw"]
    jaw.rotation_quaternion = (np.cos(0.15), 0.0, 0.0, np.sin(0.15))
    bpy.context.view_layer.update()
    values = {b.name: b.value for b in mesh.data.shape_keys.evaluated_get(
        bpy.context.evaluated_depsgraph_get()).key_blocks if b.name.startswith("pose_")}  # fmt: skip
    assert abs(values["pose_jaw_0"] - (np.cos(0.3) - 1)) < 1e-6
    assert abs(values["pose_jaw_1"] + np.sin(0.3)) < 1e-6
    assert max(abs(v) for n, v in values.items() if "jaw" not in n) < 1e-6


main(globals())
