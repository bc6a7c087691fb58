"""Checks inside Blender: final renders with colour channels and appearance nets against the offline `render`."""

import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import bpy
import checks_render as base
import in_blender
import numpy as np
import stage

from blender_addon.convert.arrays import open_arrays
from blender_addon.convert.names import ARKIT, AUS, EMOTIONS, EXTRA, FACE_VALUES
from blender_addon.link.jobs import call, drive_blocking
from blender_addon.ops import render_engine
from blender_addon.scene import appearance, control_empty, face_values, find, take
from engine.core.take import FlameTrack, Take
from engine.core.takefile import write_take

FOLDER = Path(tempfile.mkdtemp(prefix="soliloquy-test-"))
FRAMES, FIRST = 6, 3


def job(name, **request):
    return drive_blocking(call(base.engine(), name, request))


def performed(avatar="folded", seed=0):
    """(mesh, control, path): a take of noise with emotion on the default head, keyed as Generate does."""
    mesh = base.scene_with_head(avatar)
    scene = bpy.context.scene
    control = control_empty.create("Control", mesh, scene.collection)
    rng = np.random.default_rng(seed)
    weights = (rng.random((FRAMES, len(ARKIT + EXTRA))) ** 2 * 0.6).astype(np.float32)
    weights[:, ARKIT.index("browInnerUp")] = np.linspace(0, 1, FRAMES)
    pose = rng.normal(0, 0.1, (FRAMES, 15)).astype(np.float32)
    pose[:, 6:9] = 0
    emotion = np.zeros((FRAMES, len(EMOTIONS)), np.float32)
    emotion[:, EMOTIONS.index("happy")] = np.linspace(0.2, 0.9, FRAMES)
    au = rng.random((FRAMES, len(AUS), 2)).astype(np.float32)
    none, still = np.zeros((FRAMES, 0), np.float32), np.zeros((FRAMES, 3), np.float32)
    path = FOLDER / f"take_{seed}.npz"
    write_take(path, Take(
        fps=Fraction(25), first_frame=FIRST, au=au, arkit=weights[:, :52], extra=weights[:, 52:], extra_names=EXTRA,
        flame=FlameTrack("x", np.zeros(0, np.float32), none, pose, still, still[:, :2]), authority="arkit",
        drive={"emotion": emotion, "intensity": np.full(FRAMES, 0.8, np.float32), "au_final": au}, residual_mm={},
        meta={},
    ))  # fmt: skip
    take.write(control, take.TakeArrays(weights, ARKIT + EXTRA, pose, still, FIRST, str(path)))
    control["intensity"] = 0.8
    for row in range(FRAMES):
        control["happy"] = float(emotion[row, EMOTIONS.index("happy")])
        control.keyframe_insert('["happy"]', frame=FIRST + row)
    return mesh, control, path


def shown(value):
    """Linear, premultiplied -> display values over black."""
    linear = np.clip(value[..., :3], 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def offline(path, row, avatar="folded", net=""):
    camera, size = base.camera_now()
    answer = job("offline", take=str(path), row=row, camera=camera, size=list(size), avatar=avatar, appearance=net)
    return open_arrays(answer["arrays"], base.engine().session, {"rgba": ("h", "w", 4)})["rgba"][::-1]


def compared(path, row, net=""):
    """Largest difference of F12 and `render` in display values, and how much channels and net do there."""
    bpy.context.scene.frame_set(FIRST + row)
    picture, truth = shown(base.picture()), shown(offline(path, row, net=net))
    plain = shown(offline(path, row, avatar="default"))
    return np.abs(picture - truth).max(), np.abs(truth - plain).max()


# Blender's and the engine's vertices agree to 0.01 mm (stage.TOLERANCE_M), 0.005 pixels here; across a Gaussian of a
# millimetre, half a pixel wide, that is up to a hundredth of its contrast.
CLOSE = 0.01


def check_channels_in_a_final_render_are_those_of_the_offline_one():
    _, _, path = performed()
    for row in (1, FRAMES - 1):
        apart, effect = compared(path, row)
        print(f"channels, row {row}: {apart:.5f} apart, effect {effect:.3f}", file=sys.stderr)
        assert apart < CLOSE and effect > 0.2, (apart, effect)


def check_nets_in_a_final_render_are_those_of_the_offline_one():
    mesh, _, path = performed(seed=1)
    for kind in ("emotalk3d", "emodifftalk", "emotag", "emotalkinggaussian"):
        net = str(FOLDER / f"{kind}.safetensors")
        job("make_net", path=net, net=kind, avatar="folded")
        appearance.choose(mesh, net)
        apart, _ = compared(path, 4, net)
        effect = np.abs(shown(offline(path, 4)) - shown(offline(path, 4, net=net))).max()
        print(f"{kind}: {apart:.5f} apart, effect {effect:.3f}", file=sys.stderr)
        assert apart < CLOSE and effect > 5 * CLOSE, (kind, apart, effect)


if __name__ == "__main__":
    render_engine.register()
    in_blender.main(globals())
