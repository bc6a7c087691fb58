"""Checks of the phone cues inside Blender, with the stage engine (the real process and protocol)."""

import itertools
import json
import tempfile
from pathlib import Path

import bpy
import numpy as np
from in_blender import main
from stage import fresh, stage_engine, write_voice

import blender_addon

blender_addon.register()

from blender_addon.scene import SceneProblem, cues, fcurves, find, voice  # noqa: E402

FOLDER = tempfile.mkdtemp(prefix="soliloquy-cues-")
VOICE = write_voice(Path(FOLDER, "voice.wav"))
HEARD = [("_", 0.0, 0.3), ("m", 0.3, 0.4), ("ɑ", 0.4, 0.7), ("p", 0.7, 0.8), ("u", 0.8, 1.2), ("_", 1.2, 2.0)]


def stage(fps=25, generated=True):
    """A fresh file with head and voice that begins at frame 11; (scene, control)."""
    scene = fresh()
    stage_engine()
    scene.render.fps, scene.render.fps_base = fps, 1.0
    bpy.ops.soliloquy.add_head()
    bpy.ops.soliloquy.load_voice(filepath=str(VOICE), frame=11)
    if generated:
        assert bpy.ops.soliloquy.generate() == {"FINISHED"}
    return scene, find.active_control(bpy.context)


def refuses(operator, *words, **options):
    try:
        operator(**options)
    except RuntimeError as error:
        assert all(word in str(error) for word in words), str(error)
        return
    raise AssertionError(f"{operator} did not refuse")


def close(found, wanted):
    return [r[0] for r in found] == [r[0] for r in wanted] and np.allclose(
        [r[1:] for r in found], [r[1:] for r in wanted], atol=1e-5
    )


def sent():
    """The last `speak` request that the stage engine saw."""
    take = bpy.path.abspath(find.active_control(bpy.context)["take"])
    return json.loads(Path(f"{take}.request.json").read_text())


def check_generate_lists_what_was_heard():
    _, control = stage()
    assert close(cues.rows(control), HEARD) and not cues.edited(control)
    first = control.soliloquy_cues.rows[1]
    assert abs(first.first - (11 + 0.3 * 25)) < 1e-3 and abs(first.last - (11 + 0.4 * 25)) < 1e-3


def check_a_click_moves_the_playhead():
    scene, control = stage()
    control.soliloquy_cues.index = 3
    assert scene.frame_current == round(11 + 0.75 * 25)
    scene.frame_set(11 + 25)
    assert bpy.ops.soliloquy.choose_cue() == {"FINISHED"}
    assert control.soliloquy_cues.index == 4 and scene.frame_current == 36


def check_borders_are_shared_and_stay_in_order():
    _, control = stage()
    target = control.soliloquy_cues.rows
    target[2].first = 11 + 0.5 * 25
    assert abs(target[2].start - 0.5) < 1e-5 and abs(target[1].end - 0.5) < 1e-5 and cues.edited(control)
    target[2].last = -50
    assert abs(target[2].end - target[2].start - cues.SHORTEST_S) < 1e-5
    assert abs(target[3].start - target[2].end) < 1e-6
    target[2].first = 0  # not before the cue that it adjoins
    assert target[1].end - target[1].start >= cues.SHORTEST_S - 1e-6
    assert all(a.end <= b.start + 1e-6 for a, b in itertools.pairwise(target))


def check_split_rename_and_remove():
    scene, control = stage()
    scene.frame_set(11 + round(0.56 * 25))
    assert bpy.ops.soliloquy.split_cue() == {"FINISHED"}
    assert len(cues.rows(control)) == 7 and control.soliloquy_cues.index == 3
    control.soliloquy_cues.rows[3].phone = "b"
    assert cues.rows(control)[3] == ("b", cues.rows(control)[3][1], cues.rows(control)[3][2])
    assert bpy.ops.soliloquy.remove_cue() == {"FINISHED"}
    assert close(cues.rows(control), HEARD) and cues.edited(control)
    scene.frame_set(11 + 25 * 3)
    refuses(bpy.ops.soliloquy.split_cue, "outside all phone cues")


def check_borders_at_the_playhead():
    scene, control = stage()
    control.soliloquy_cues.index = 1
    scene.frame_set(11 + 9)
    bpy.ops.soliloquy.cue_border(side="START")
    assert abs(control.soliloquy_cues.rows[1].start - 9 / 25) < 1e-5
    assert abs(control.soliloquy_cues.rows[0].end - 9 / 25) < 1e-5


def check_untouched_cues_are_not_sent_and_edited_ones_are_kept():
    _, control = stage()
    assert sent().get("cues") is None
    control.soliloquy_cues.rows[1].phone = "b"
    bpy.ops.soliloquy.generate()
    request = sent()
    data = json.loads(Path(request["cues"]).read_text(encoding="utf-8"))
    assert data["kind"] == "cues" and data["cues"][1] == {"phone": "b", "start": 0.3, "end": 0.4}
    assert cues.rows(control)[1][0] == "b" and cues.edited(control)  # the answer's list, marked as edited still
    bpy.ops.soliloquy.hear_again()
    bpy.ops.soliloquy.generate()
    assert sent().get("cues") is None and not cues.edited(control)


def check_the_range_is_asked_for_in_seconds_and_the_layer_above_stays():
    scene, control = stage()
    head = find.head_of(control)
    key = head.data.shape_keys
    key.key_blocks[1].value = 0.25
    key.key_blocks[1].keyframe_insert("value", frame=20)
    own = {path: [tuple(p.co) for p in c.keyframe_points] for path, c in fcurves.own_curves(key).items()}
    before = bpy.path.abspath(control["take"])
    scene.use_preview_range, scene.frame_preview_start, scene.frame_preview_end = True, 21, 36
    assert bpy.ops.soliloquy.generate_range() == {"FINISHED"}
    request = sent()
    assert Path(request["into"]) == Path(before) and request["from"] == 10 / 25 and request["to"] == 1.0
    assert control["take"] != before and len(own)
    assert own == {path: [tuple(p.co) for p in c.keyframe_points] for path, c in fcurves.own_curves(key).items()}


def check_a_range_needs_a_range_and_a_take():
    scene, control = stage(generated=False)
    assert not bpy.ops.soliloquy.generate_range.poll()
    bpy.ops.soliloquy.generate()
    assert not bpy.ops.soliloquy.generate_range.poll()
    scene.use_preview_range = True
    assert bpy.ops.soliloquy.generate_range.poll()
    control["take"] = "/nowhere/x.npz"
    assert not bpy.ops.soliloquy.generate_range.poll()


def check_transcript_language_and_downloads_are_sent():
    _, control = stage(generated=False)
    file = Path(FOLDER, "words.txt")
    file.write_text("\ufeffHello\n  there, world", encoding="utf-8")
    assert bpy.ops.soliloquy.load_transcript(filepath=str(file)) == {"FINISHED"}
    assert control["transcript"] == "Hello there, world"
    control["language"] = "en"
    bpy.ops.soliloquy.generate()
    request = sent()
    assert (request["transcript"], request["language"], request["download"]) == ("Hello there, world", "en", False)
    control["transcript"] = "word " * 8000
    bpy.ops.soliloquy.generate()
    request = sent()
    assert Path(request["transcript"]).read_text(encoding="utf-8") == control["transcript"].strip()
    file.write_bytes(b"\xff\xfe\x00")
    refuses(bpy.ops.soliloquy.load_transcript, "UTF-8", filepath=str(file))


def check_cue_files_go_out_and_come_in():
    _, control = stage()
    out = Path(FOLDER, "c.TextGrid")
    assert bpy.ops.soliloquy.export_cues(filepath=str(out)) == {"FINISHED"}
    assert 'class = "IntervalTier"' in out.read_text(encoding="utf-8")
    assert bpy.ops.soliloquy.export_cues(filepath=str(Path(FOLDER, "d.json")), form=".csv") == {"FINISHED"}
    assert Path(FOLDER, "d.csv").read_text(encoding="utf-8").startswith("phone,start,end\n_,0.000,0.300\nm,")
    cues.write(control, [])
    assert bpy.ops.soliloquy.import_cues(filepath=str(out)) == {"FINISHED"}
    assert close(cues.rows(control), HEARD) and cues.edited(control)
    bad = Path(FOLDER, "bad.csv")
    bad.write_text("hello")
    refuses(bpy.ops.soliloquy.import_cues, "must begin with the line phone,start,end", filepath=str(bad))
    assert close(cues.rows(control), HEARD)


def check_cues_survive_saving_and_follow_the_voice():
    _, control = stage()
    control.soliloquy_cues.rows[1].phone = "b"
    path = str(Path(FOLDER, "saved.blend"))
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.wm.open_mainfile(filepath=path)
    control = next(ob for ob in bpy.data.objects if find.is_control(ob))
    assert cues.edited(control) and cues.rows(control)[1][0] == "b"
    strip = voice.strip_of(bpy.context.scene, control)
    if strip is not None:
        strip.frame_start += 10
    else:  # the wheel of 4.2 has no sound, so the voice has no strip to move
        assert not voice._has_sound()
        control["voice_frame"] += 10
    assert abs(control.soliloquy_cues.rows[1].first - (21 + 0.3 * 25)) < 1e-2
    assert abs(control.soliloquy_cues.rows[1].start - 0.3) < 1e-6


def check_new_layers_are_on_the_control():
    _, control = stage(generated=False)
    for layer in ("nod", "brow", "accent"):
        assert control[f"{layer}_on"] and control[f"{layer}_strength"] == 1.0 and control[f"{layer}_seed"] == 0
    control["brow_on"] = False
    bpy.ops.soliloquy.generate()
    assert sent()["controls"]["layers"]["brow"]["on"] is False


def check_nothing_to_edit_is_said():
    fresh()
    try:
        cues.active(stage(generated=False)[1])
    except SceneProblem as problem:
        assert "Generate a performance first" in str(problem)
    assert not bpy.ops.soliloquy.split_cue.poll()


main(globals())
