"""Checks of the action-unit sliders at work on a finished take, of dials and of blinks as keys, inside Blender."""

import json
import tempfile
from fractions import Fraction
from pathlib import Path

import bpy
import numpy as np
from in_blender import main
from stage import NAMES, TOLERANCE_M, character, performance, truth, vertices, write_voice

import blender_addon

blender_addon.register()

from blender_addon.convert.action_units import SHAPES, matrix  # noqa: E402
from blender_addon.convert.controls import to_controls  # noqa: E402
from blender_addon.convert.frames import VoiceClock  # noqa: E402
from blender_addon.convert.names import AUS  # noqa: E402
from blender_addon.ops import live_units as follower  # noqa: E402
from blender_addon.scene import SceneProblem, control_empty, fcurves, live_units, nla, sample, take, voice  # noqa: E402
from engine.core.take import FlameTrack, Take  # noqa: E402
from engine.core.takefile import write_take  # noqa: E402

FOLDER = Path(tempfile.mkdtemp(prefix="soliloquy-test-"))
VOICE = write_voice(FOLDER / "voice.wav")


def generated(count=20, first=1):
    """(control, mesh, take): a take on the head and its file, as after Generate."""
    control, mesh, _ = character()
    scene = bpy.context.scene
    scene.render.fps, scene.render.fps_base = 25, 1.0
    voice.load(scene, control, str(VOICE), first)
    path = FOLDER / "take.npz"
    made = performance(count, first=first, path=str(path))
    made.weights[:] *= 0.5
    made.pose[:, 6:9] = 0
    contact = np.zeros((count, 3), np.float32)
    contact[8:12, 0] = 1.0
    none, lids = np.zeros((count, 0), np.float32), np.zeros((count, 2), np.float32)
    write_take(
        path,
        Take(
            fps=Fraction(25), first_frame=first, au=np.zeros((count, 18, 2), np.float32), arkit=made.weights[:, :52],
            extra=made.weights[:, 52:], extra_names=NAMES[52:],
            flame=FlameTrack("x", np.zeros(0, np.float32), none, made.pose, made.translation, lids),
            authority="arkit", drive={"contact": contact}, residual_mm={}, meta={},
        ),
    )  # fmt: skip
    take.write(control, made)
    live_units.remember(scene, control)
    return control, mesh, made


def shown(mesh, made, row, weights=None):
    """Distance of the mesh from the truth at that row, with other weights if given."""
    bpy.context.scene.frame_set(made.first_frame + row)
    if weights is not None:
        changed = performance(len(made.weights), first=made.first_frame)
        changed.weights[:], changed.pose[:], changed.translation[:] = weights, made.pose, made.translation
        made = changed
    return np.abs(vertices(mesh) - truth(made, row)).max()


def check_sliders_move_the_face_and_generation_is_not_needed():
    control, mesh, made = generated()
    scene = bpy.context.scene
    assert not live_units.show(scene, control, "DENSE"), "nothing moved, nothing is written"
    control["AU12_L"], control["AU25_R"] = 0.6, 0.5
    assert live_units.changed(scene, control) and live_units.show(scene, control, "DENSE")
    rows = np.zeros((len(AUS), 2), np.float32)
    rows[AUS.index("AU12"), 0], rows[AUS.index("AU25"), 1] = 0.6, 0.5
    added = np.einsum("as,ask->k", rows, matrix())
    for row in (2, 15):
        assert shown(mesh, made, row, made.weights + added) < TOLERANCE_M
        assert shown(mesh, made, row) > 10 * TOLERANCE_M
    closed = added.copy()
    closed[[SHAPES.index(n) for n in ("mouthLowerDownRight", "mouthUpperUpRight")]] = 0
    assert shown(mesh, made, 9, made.weights + closed) < TOLERANCE_M, "a closed mouth is not opened by a slider"
    control["AU12_L"] = control["AU25_R"] = 0.0
    assert live_units.show(scene, control, "DENSE") and shown(mesh, made, 4) < TOLERANCE_M, "and back again"


def check_keyed_sliders_follow_their_curve():
    control, mesh, made = generated()
    for frame, value in ((1, 0.0), (11, 1.0)):
        control["AU01_L"] = value
        control.keyframe_insert('["AU01_L"]', frame=frame)
    for curve in fcurves.own_curves(control).values():
        for point in curve.keyframe_points:
            point.interpolation = "LINEAR"
    assert live_units.show(bpy.context.scene, control, "DENSE")
    rows = np.zeros((len(AUS), 2), np.float32)
    rows[0, 0] = 0.5
    assert shown(mesh, made, 5, made.weights + np.einsum("as,ask->k", rows, matrix())) < TOLERANCE_M


def check_the_animators_layer_and_strip_mute_stay():
    control, mesh, _ = generated()
    keys = mesh.data.shape_keys
    block = keys.key_blocks[NAMES[0]]
    block.value = 0.0
    block.keyframe_insert("value", frame=1)
    own = keys.animation_data.action
    control["AU06_R"] = 1.0
    assert live_units.show(bpy.context.scene, control, "DENSE")
    assert keys.animation_data.action == own and len(fcurves.own_curves(keys)) == 1
    assert len(nla.marked(keys, "take", control)) == 1


def check_solo_and_mute_choose_what_counts():
    control, _, _ = generated()
    control["AU12_L"], control["AU04_L"] = 0.6, 0.4
    clock = VoiceClock(Fraction(25), 1)

    def sent():
        return set(to_controls(sample.read(bpy.context.scene, control, clock, 30))["au"])

    assert sent() == {"AU12_L", "AU04_L"}
    control["AU04_mute"] = True
    assert sent() == {"AU12_L"}
    control["AU04_mute"], control["AU04_solo"] = False, True
    assert sent() == {"AU04_L"}
    assert set(json.loads(live_units.keys_of(bpy.context.scene, control, 30))) == {"AU04_L"}


def check_a_moved_slider_is_noticed():
    control, mesh, made = generated()
    bpy.context.view_layer.update()
    follower._waiting.clear()
    control["AU12_L"] = 0.5
    control.update_tag()
    bpy.context.view_layer.update()
    assert control.name in follower._waiting
    follower._follow()  # timers do not run without a window
    assert shown(mesh, made, 3) > 10 * TOLERANCE_M
    follower._waiting.clear()
    bpy.context.scene.soliloquy.live_units = False
    control["AU12_L"] = 0.1
    control.update_tag()
    bpy.context.view_layer.update()
    assert not follower._waiting


def check_a_lost_take_is_said():
    control, _, _ = generated()
    control["take"] = str(FOLDER / "gone.npz")
    control["AU12_L"] = 0.5
    try:
        live_units.show(bpy.context.scene, control, "DENSE")
    except SceneProblem as problem:
        assert "gone.npz" in str(problem) and "generate" in str(problem)
    else:
        raise AssertionError("nothing was said")


def check_dials_are_sampled_as_curves():
    control, _, _ = generated()
    control["jaw"] = 0.5
    for frame, value in ((1, -4.0), (26, 4.0)):
        control["mouth_lead"] = value
        control.keyframe_insert('["mouth_lead"]', frame=frame)
    out = to_controls(sample.read(bpy.context.scene, control, VoiceClock(Fraction(25), 1), 30))
    assert out["dials"]["jaw"] == [[0.0, 0.5]] and set(out["dials"]) == {"jaw", "mouth_lead"}, (
        "dials at rest are left out"
    )
    assert out["dials"]["mouth_lead"][0] == [0.0, -4.0] and out["dials"]["mouth_lead"][-1][1] == 4.0


def check_an_older_control_gets_the_new_names():
    control, _, _ = generated()
    del control["articulation"]
    control["mouth"] = 1.3
    control_empty.ensure(control)
    assert control["articulation"] == 1.3 and "mouth" not in control


def check_blinks_become_keys_that_can_be_moved():
    control, _, _ = generated()
    control[control_empty.DRAWN_BLINKS] = "[[0.2, 1.0], [0.6, 0.5]]"
    bpy.context.view_layer.objects.active = control
    assert bpy.ops.soliloquy.blinks_to_keys() == {"FINISHED"}
    clock = VoiceClock(Fraction(25), 1)

    def sent():
        return to_controls(sample.read(bpy.context.scene, control, clock, 30)).get("blinks")

    assert sent() == [[0.2, 1.0], [0.6, 0.5]]
    curve = fcurves.own_curves(control)[(f'["{control_empty.BLINKS}"]', 0)]
    curve.keyframe_points[0].co[0] += 5
    assert sent() == [[0.4, 1.0], [0.6, 0.5]]
    bpy.context.scene.frame_set(21)
    assert bpy.ops.soliloquy.add_blink(amount=0.8) == {"FINISHED"}
    assert [0.8, 0.8] in sent() and len(sent()) == 3
    while len(curve.keyframe_points):
        curve.keyframe_points.remove(curve.keyframe_points[0])
    assert sent() is None, "without keys they are drawn again"
    control[control_empty.DRAWN_BLINKS] = "nonsense"
    assert not bpy.ops.soliloquy.blinks_to_keys.poll()


main(globals())
