"""Checks inside Blender: final renders with colour channels and appearance nets against the offline `render`."""

import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import bpy
import checks_render as base
import in_blender
import numpy as np
import rig_tools
import stage

import blender_addon
from blender_addon.convert import action_units
from blender_addon.convert.arrays import open_arrays
from blender_addon.convert.names import ARKIT, AUS, EMOTIONS, EXTRA, FACE_VALUES
from blender_addon.link.jobs import call, drive_blocking
from blender_addon.scene import appearance, control_empty, face_values, take
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
    mouth = [i for i, name in enumerate(ARKIT + EXTRA) if name.startswith(("mouth", "lip", "lowerLip", "tongue"))]
    weights[:, mouth] *= 0.1  # so that the mouth is open where the jaw is
    weights[:, ARKIT.index("jawOpen")] = np.linspace(0.1, 1.0, FRAMES)
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


def beyond(a, b, by):
    """How many pixels of two pictures differ by more than `by`, as display values."""
    return int((np.abs(shown(a) - shown(b)).max(-1) > by).sum())


# Blender's and the engine's vertices agree to 0.01 mm (stage.TOLERANCE_M), 0.005 pixels here; across a Gaussian of a
# millimetre, half a pixel wide, that is up to a hundredth of its contrast. A pixel in 76,800 goes beyond it, of the
# plain avatar as well (measured: one, by 0.02, on the shoulder).
CLOSE, FEW = 0.01, 3


def check_channels_in_a_final_render_are_those_of_the_offline_one():
    _, _, path = performed()
    for row in (1, FRAMES - 1):
        bpy.context.scene.frame_set(FIRST + row)
        picture, truth = base.picture(), offline(path, row)
        assert beyond(picture, truth, CLOSE) <= FEW, beyond(picture, truth, CLOSE)
        assert beyond(truth, offline(path, row, avatar="default"), 10 * CLOSE) > 500, "channels are to be seen"


def check_nets_in_a_final_render_are_those_of_the_offline_one():
    mesh, _, path = performed(seed=1)
    bpy.context.scene.frame_set(FIRST + 4)
    without = offline(path, 4)
    for kind in ("emotalk3d", "emodifftalk", "emotag", "emotalkinggaussian"):
        net = str(FOLDER / f"{kind}.safetensors")
        job("make_net", path=net, net=kind, avatar="folded")
        appearance.choose(mesh, net)
        picture, truth = base.picture(), offline(path, 4, net=net)
        print(f"{kind}: {beyond(picture, truth, CLOSE)} of {beyond(truth, without, CLOSE)} pixels", file=sys.stderr)
        assert beyond(picture, truth, CLOSE) <= FEW, (kind, beyond(picture, truth, CLOSE))
        assert beyond(truth, without, CLOSE) > 10 * FEW, f"{kind} is to be seen"


def told(mesh):
    """What the engine is told of the face at the present frame, by name."""
    bpy.context.view_layer.update()
    values = face_values.read(mesh, bpy.context.evaluated_depsgraph_get())
    return dict(zip(FACE_VALUES, values.tolist(), strict=True))


def check_the_take_is_told_as_it_was_generated():
    mesh, _, path = performed(seed=2)
    with np.load(path) as data:
        made = np.concatenate([data["arkit"], data["extra"], data["drive.au_final"].reshape(FRAMES, -1),
                               data["drive.emotion"], data["drive.intensity"][:, None]], 1)  # fmt: skip
    for row in range(FRAMES):
        bpy.context.scene.frame_set(FIRST + row)
        assert np.abs(np.array(list(told(mesh).values())) - made[row]).max() < 1e-6


def check_a_hand_key_counts_in_weights_and_units():
    mesh, control, _ = performed(seed=2)
    bpy.context.scene.frame_set(FIRST + 1)
    before = told(mesh)
    key = mesh.data.shape_keys.key_blocks["cheekPuff"]
    key.driver_add("value").driver.expression = "0.9"
    control["happy"] = 0.123
    control.animation_data_clear()
    after = told(mesh)
    assert abs(after["cheekPuff"] - 0.9) < 1e-6 and abs(after["happy"] - 0.123) < 1e-6
    frown = mesh.data.shape_keys.key_blocks["noseSneerLeft"]
    frown.driver_add("value").driver.expression = "1.0"
    assert told(mesh)["AU09_L"] > before["AU09_L"] + 0.1 or before["AU09_L"] > 0.9
    mesh.data.shape_keys.key_blocks["noseSneerLeft"].mute = True
    assert told(mesh)["noseSneerLeft"] == 0.0
    mesh.show_only_shape_key, mesh.active_shape_key_index = True, mesh.data.shape_keys.key_blocks.find("jawOpen")
    pinned = told(mesh)
    assert pinned["jawOpen"] == 1.0 and pinned["cheekPuff"] == 0.0


def check_units_of_a_character_with_fewer_shapes_are_the_takes():
    """What a character lacks, or renders by other shapes, is no edit by hand; a key by hand still is."""
    stage.fresh()
    whole = [n for n in ARKIT if n not in ("browInnerUp", "mouthSmileLeft", "mouthSmileRight")]
    body = rig_tools.mesh_with("body", [*whole, "Mouth_Smile"])  # one key for both sides, none that lifts the brows
    control = rig_tools.use(body)
    au = np.zeros((FRAMES, len(AUS), 2), np.float32)
    au[:, AUS.index("AU04")], au[:, AUS.index("AU01"), 0], au[:, AUS.index("AU12"), 0] = 0.8, 0.6, 0.7
    weights = np.clip(np.einsum("tas,ask->tk", au, action_units.matrix()), 0, 1).astype(np.float32)
    pose, still = np.zeros((FRAMES, 15), np.float32), np.zeros((FRAMES, 3), np.float32)
    path = FOLDER / "fewer.npz"
    write_take(path, Take(
        fps=Fraction(25), first_frame=FIRST, au=au, arkit=weights[:, :52], extra=weights[:, 52:], extra_names=EXTRA,
        flame=FlameTrack("x", np.zeros(0, np.float32), still[:, :0], pose, still, still[:, :2]), authority="arkit",
        drive={"au_final": au}, residual_mm={}, meta={},
    ))  # fmt: skip
    take.write(control, take.TakeArrays(weights, ARKIT + EXTRA, pose, still, FIRST, str(path)))
    bpy.context.scene.frame_set(FIRST + 2)
    values = told(body)
    read = np.array([[values[f"{unit}_{side}"] for side in "LR"] for unit in AUS])
    assert np.abs(read - au[2]).max() < 1e-3, np.round(read, 2)
    body.data.shape_keys.key_blocks["noseSneerLeft"].driver_add("value").driver.expression = "1.0"
    assert told(body)["AU09_L"] > 0.1


def check_a_head_without_a_take_or_control():
    mesh = base.scene_with_head("folded")
    mesh.data.shape_keys.key_blocks["browInnerUp"].value = 1.0
    values = told(mesh)
    assert values["browInnerUp"] == 1.0 and np.isnan(values["happy"]) and np.isnan(values["intensity"])
    assert values["AU01_L"] > 0.5 and values["AU01_R"] > 0.5 and values["AU12_L"] < 0.05
    plain, folded = base.picture(), None
    mesh["soliloquy_avatar"] = "default"
    folded, plain = plain, base.picture()
    assert beyond(folded, plain, 10 * CLOSE) > 100, "raised brows fold the forehead"


def check_a_net_of_another_avatar_is_a_sentence():
    mesh = base.scene_with_head("folded")
    net = FOLDER / "other.safetensors"
    job("make_net", path=str(net), net="emotag", avatar="dots")
    appearance.choose(mesh, str(net))
    try:
        bpy.ops.render.render()
    except RuntimeError as error:
        assert "other.safetensors" in str(error) and "18 vertices" in str(error), error
    else:
        raise AssertionError("a net of another avatar was drawn")
    appearance.choose(mesh, str(FOLDER / "gone.safetensors"))
    try:
        bpy.ops.render.render()
    except RuntimeError as error:
        assert "no such file" in str(error), error
    else:
        raise AssertionError("a missing net was drawn")
    appearance.choose(mesh, "")
    assert base.picture()[..., 3].max() > 0.9 and appearance.PROPERTY not in mesh


def check_the_operators_choose_and_clear():
    mesh, _, _ = performed(seed=3)
    net, other = FOLDER / "chosen.safetensors", FOLDER / "others.safetensors"
    job("make_net", path=str(net), net="emotag", avatar="folded")
    job("make_net", path=str(other), net="emotag", avatar="dots")
    mesh["soliloquy_head_name"] = "default"
    assert bpy.ops.soliloquy.choose_appearance(filepath=str(net)) == {"FINISHED"}
    assert appearance.path_of(mesh) == str(net) and appearance.label_of(mesh) == "chosen"
    for path, words in ((other, "18 vertices"), (FOLDER / "absent.safetensors", "is not there")):
        try:
            bpy.ops.soliloquy.choose_appearance(filepath=str(path))
        except RuntimeError as error:
            assert words in str(error), error
        else:
            raise AssertionError(f"{path} was chosen")
        assert appearance.path_of(mesh) == str(net), "the choice stays"
    assert bpy.ops.soliloquy.clear_appearance() == {"FINISHED"} and appearance.label_of(mesh) == "none"


def check_the_choice_is_found_after_saving_elsewhere():
    mesh = base.scene_with_head("folded")
    bpy.ops.wm.save_as_mainfile(filepath=str(FOLDER / "saved.blend"))
    appearance.choose(mesh, str(FOLDER / "net.safetensors"))
    name = mesh.name
    elsewhere = FOLDER / "elsewhere"
    elsewhere.mkdir()
    bpy.ops.wm.save_as_mainfile(filepath=str(elsewhere / "saved.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(elsewhere / "saved.blend"))
    assert Path(appearance.path_of(bpy.data.objects[name])) == FOLDER / "net.safetensors"


if __name__ == "__main__":
    blender_addon.register()
    in_blender.main(globals())
