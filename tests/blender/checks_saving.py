"""Checks inside Blender of where files go: exports, takes and voices, with the stage engine."""

import tempfile
from pathlib import Path

import bpy
from in_blender import main
from stage import fresh, stage_engine, write_voice

import blender_addon

blender_addon.register()

from blender_addon.ops import exporting  # noqa: E402
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


main(globals())
