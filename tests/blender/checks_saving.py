"""Checks inside Blender of where files go: exports, takes and voices, with the stage engine."""

import contextlib
import shutil
import tempfile
from pathlib import Path

import bpy
import numpy as np
from in_blender import main
from stage import fresh, stage_engine, write_voice

import blender_addon

blender_addon.register()

from blender_addon.convert.names import AU_SLIDERS  # noqa: E402
from blender_addon.ops import answers, exporting  # noqa: E402
from blender_addon.scene import SceneProblem, find, voice  # noqa: E402

FOLDER = Path(tempfile.mkdtemp(prefix="soliloquy-test-"))
VOICE = write_voice(FOLDER / "voice.wav")


def stage():
    """A fresh file with head and voice through the operators; (scene, control, mesh)."""
    scene = fresh()
    stage_engine()
    bpy.ops.soliloquy.add_head()
    control = find.active_control(bpy.context)
    bpy.ops.soliloquy.load_voice(filepath=str(VOICE), frame=1)
    return scene, control, find.head_of(control)


def refused(operator, *words):
    """The operator reports one sentence with these words."""
    try:
        operator()
    except RuntimeError as error:
        assert all(word in str(error) for word in words) and "Traceback" not in str(error), str(error)
    else:
        raise AssertionError(f"{operator} did not refuse")


def save(*parts, **options):
    path = FOLDER.joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    bpy.ops.wm.save_as_mainfile(filepath=str(path), check_existing=False, **options)
    return path


def check_paths_beside_the_blend_are_made_whole_first():
    scene, _control, _mesh = stage()
    plain = exporting.Path

    def strict(text):
        """As on Windows, where a path that begins with // names a computer."""
        assert not str(text).startswith("//"), text
        return plain(text)

    exporting.Path = strict
    try:
        for given, output in (("", "//"), ("", "//films"), ("//a.abc", "//")):
            scene.soliloquy.output = output
            try:
                exporting.output_path(bpy.context, given, "head.abc")
            except SceneProblem as problem:
                assert "Save the file first" in str(problem)
            else:
                raise AssertionError((given, output))
        save("paths", "a.blend")
        scene.soliloquy.output = "//films"
        assert exporting.output_path(bpy.context, "", "head.abc") == FOLDER / "paths" / "films" / "head.abc"
        assert exporting.output_path(bpy.context, "//other/x.abc", "head.abc") == FOLDER / "paths" / "other" / "x.abc"
    finally:
        exporting.Path = plain


def check_a_voice_in_a_meta_strip_is_found():
    scene, control, _mesh = stage()
    strip = voice.strip_of(scene, control)
    if strip is None:
        return  # this Blender was built without sound
    strip.frame_start = 9
    meta = voice.strips_of(scene).new_meta("Meta", 3, 1)
    strip.move_to_meta(meta)
    assert strip.name not in voice.strips_of(scene) and voice.strip_of(scene, control) == strip
    assert voice.clock_of(scene, control).first == 9
    assert voice.path_of(scene, control) == VOICE
    voice.load(scene, control, VOICE, 5)
    assert voice.clock_of(scene, control).first == 5, "another voice replaces it"
    editor = scene.sequence_editor
    every = editor.strips_all if hasattr(editor, "strips_all") else editor.sequences_all
    assert [s.type for s in every].count("SOUND") == 1


def check_a_deleted_voice_strip_is_no_voice():
    scene, control, _mesh = stage()
    strip = voice.strip_of(scene, control)
    if strip is None:
        assert voice.path_of(scene, control) == VOICE, "without sound the file's name is all there is"
        return
    voice.strips_of(scene).remove(strip)
    try:
        voice.path_of(scene, control)
    except SceneProblem as problem:
        assert str(problem) == "Load a voice first"
    else:
        raise AssertionError("the deleted strip still speaks")


def check_the_sound_is_stored_beside_the_blend():
    stage()
    save("moved", "a.blend")
    bpy.ops.soliloquy.load_voice(filepath=str(VOICE), frame=1)
    control = find.active_control(bpy.context)
    strip = voice.strip_of(bpy.context.scene, control)
    assert control["voice"] == "//../voice.wav"
    if strip is not None:
        assert strip.sound.filepath == "//../voice.wav" and strip.frame_duration > 10
        assert voice.path_of(bpy.context.scene, control).samefile(VOICE)


def generated():
    """(control, text of its take's file) of a performance in a fresh file that was never saved."""
    _scene, control, _mesh = stage()
    bpy.ops.soliloquy.generate()
    assert Path(bpy.app.tempdir) in Path(control["take"]).parents
    return control, Path(control["take"]).read_bytes()


def reopened(path):
    """The take's path as stored in a file and the bytes that it leads to."""
    bpy.ops.wm.open_mainfile(filepath=str(path))
    control = find.active_control(bpy.context)
    return control["take"], Path(bpy.path.abspath(control["take"])).read_bytes()


def check_a_take_survives_the_first_save():
    control, made = generated()
    first = Path(control["take"])
    path = save("first", "a.blend")
    assert control["take"].startswith("//takes/"), control["take"]
    first.unlink()  # as at the end of the session
    stored, found = reopened(path)
    assert found == made and len(list((FOLDER / "first" / "takes").glob("*.npz"))) == 1
    bpy.ops.wm.save_mainfile()
    assert find.active_control(bpy.context)["take"] == stored


def check_a_take_follows_a_save_elsewhere():
    _control, made = generated()
    save("here", "a.blend")
    (FOLDER / "there" / "takes").mkdir(parents=True)
    other = FOLDER / "there" / "takes" / Path(find.active_control(bpy.context)["take"]).name
    if bpy.app.version < (4, 0):  # its takes are named by their bytes: only the plain name can belong to another
        other = other.with_name(other.name.rpartition("-")[0] + ".npz")
    other.write_bytes(b"another shot's take of this name")
    path = save("there", "b.blend")
    shutil.rmtree(FOLDER / "here")
    assert reopened(path)[1] == made
    assert other.read_bytes() == b"another shot's take of this name"


def check_saving_a_copy_leaves_this_file_as_it_is():
    control, made = generated()
    before = control["take"]
    path = save("copy", "a.blend", copy=True)
    assert control["take"] == before and not Path("takes").exists()
    if bpy.app.version >= (4, 0):  # older ones tell nobody where a copy goes
        assert reopened(path)[1] == made


def check_a_save_that_fails_changes_nothing():
    if not hasattr(bpy.app.handlers, "save_post_fail"):
        return  # 3.4 tells nobody
    control, _made = generated()
    before = control["take"]
    with contextlib.suppress(RuntimeError):
        bpy.ops.wm.save_as_mainfile(filepath=str(FOLDER / "nowhere" / "a.blend"), check_existing=False)
    assert control["take"] == before


def check_the_handlers_go_with_the_add_on():
    handlers = [getattr(bpy.app.handlers, n) for n in ("save_pre", "save_post")]
    ours = [sum("saved_takes" in h.__module__ for h in each) for each in handlers]
    blender_addon.unregister()
    left = [sum("saved_takes" in h.__module__ for h in each) for each in handlers]
    blender_addon.register()
    assert ours == [1, 1] and left == [0, 0]


def check_a_folder_that_cannot_be_made_is_a_sentence():
    _scene, control, _mesh = stage()
    save("blocked", "a.blend")
    (FOLDER / "blocked" / "takes").write_text("a file stands where the folder should be")
    refused(bpy.ops.soliloquy.generate, "The folder for takes")
    (FOLDER / "blocked" / "takes").unlink()
    rng = np.random.default_rng(0)
    for name in AU_SLIDERS[:24]:  # too many keys for one line to the engine
        for frame in range(1, 250):
            control[name] = float(rng.random())
            control.keyframe_insert(f'["{name}"]', frame=frame)
    path = answers.next_take_path(control.name).with_suffix(".controls.json")
    path.mkdir(parents=True)
    refused(bpy.ops.soliloquy.generate, path.name, "cannot be written")
    path.rmdir()
    assert bpy.ops.soliloquy.generate() == {"FINISHED"}


def check_exports_are_named_after_their_head():
    _scene, _control, mesh = stage()
    mesh.name = "Anna: two/3"
    save("names", "a.blend")
    if bpy.app.build_options.alembic:
        bpy.ops.soliloquy.export_alembic()
        assert [p.name for p in (FOLDER / "names").glob("*.abc")] == ["Anna__two_3.abc"]
        bpy.ops.soliloquy.export_alembic(filepath=str(FOLDER / "names" / "mine.abc"))
        assert (FOLDER / "names" / "mine.abc").is_file()
    bpy.ops.soliloquy.generate()
    operator = type("Operator", (), {"filepath": "", "file_name": "turntable.mp4"})()
    request = exporting._PictureOperator.request(operator, bpy.context, find.active_control(bpy.context))
    assert Path(request["out"]).name == "Anna__two_3_turntable.mp4"


main(globals())
