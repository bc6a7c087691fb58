"""The voice as a sound strip in the sequencer. The scene's frame rate is never touched; its range only grows."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

import bpy

from ..convert.frames import VoiceClock, scene_rate
from . import SceneProblem, nla

MARK = "soliloquy_control"  # on the strip: the control Empty that it belongs to
NO_SOUND = "This Blender was built without sound: the voice drives the face but cannot be heard here"


def strips_of(scene: bpy.types.Scene, create: bool = False) -> Any:
    """The sequencer's strip collection (`strips` from 4.4 on, `sequences` before), or None."""
    editor = scene.sequence_editor
    if editor is None:
        if not create:
            return None
        editor = scene.sequence_editor_create()
    return editor.strips if hasattr(editor, "strips") else editor.sequences


def strip_of(scene: bpy.types.Scene, control: bpy.types.Object) -> Any:
    """The control's voice strip, also inside a meta strip, or None."""
    editor = scene.sequence_editor
    if editor is None:
        return None
    every = editor.strips_all if hasattr(editor, "strips_all") else editor.sequences_all
    return next((s for s in every if s.type == "SOUND" and s.get(MARK) == control), None)


def path_of(scene: bpy.types.Scene, control: bpy.types.Object) -> Path:
    """The voice's file. SceneProblem if none was loaded or the file is gone."""
    strip = strip_of(scene, control)
    if strip is not None and strip.sound is not None:
        text = strip.sound.filepath
    else:  # where Blender has no sound there never was a strip; elsewhere it was deleted
        text = "" if _has_sound() else control.get("voice", "")
    if not text:
        raise SceneProblem("Load a voice first")
    path = Path(bpy.path.abspath(text))
    if not path.is_file():
        raise SceneProblem(f"The voice file {path} is not there: load it again")
    return path


def clock_of(scene: bpy.types.Scene, control: bpy.types.Object) -> VoiceClock:
    """The scene's rate and the frame of the voice's first sample (the strip may have been moved or trimmed)."""
    strip = strip_of(scene, control)
    first = round(strip.frame_start) if strip is not None else int(control.get("voice_frame", 1))
    return VoiceClock(scene_rate(scene.render.fps, scene.render.fps_base), first)


def load(scene: bpy.types.Scene, control: bpy.types.Object, path: str | Path, frame: int) -> str | None:
    """Put the voice on the timeline from `frame` on, instead of an earlier one.

    Returns a sentence if it cannot be heard here, else None. SceneProblem if Blender cannot read the file.
    """
    nla.need_writable(control, "The control")
    path = Path(bpy.path.abspath(str(path)))
    if not path.is_file():
        raise SceneProblem(f"{path} is not there: choose a sound file")
    strips = strips_of(scene, create=True)
    old = strip_of(scene, control)
    notice = None
    try:
        strip = strips.new_sound(
            name=path.stem, filepath=str(path), channel=_free_channel(strips, old), frame_start=frame
        )
    except RuntimeError as error:
        if _has_sound():
            raise SceneProblem(f"{path.name} is not a sound file that Blender can read ({error})".strip()) from None
        strip, notice = None, NO_SOUND
    if old is not None:
        meta = old.parent_meta()
        (strips if meta is None else getattr(meta, "strips", None) or meta.sequences).remove(old)
    if strip is not None:
        strip[MARK] = control
        strip.sound.filepath = _stored(path)
        extend_range(scene, frame, int(strip.frame_final_end) - 1)
        if scene.sync_mode == "NONE":
            scene.sync_mode = "AUDIO_SYNC"  # otherwise a slow playback shows lips late
    control["voice"] = _stored(path)
    control["voice_frame"] = frame
    return notice


def duration(scene: bpy.types.Scene, control: bpy.types.Object) -> float:
    """Seconds of the voice, to a frame; from a wav's header where Blender has no sound. SceneProblem if unknown."""
    strip = strip_of(scene, control)
    if strip is not None:
        return float(strip.frame_duration / clock_of(scene, control).rate)
    path = path_of(scene, control)
    try:
        with wave.open(str(path), "rb") as file:
            return file.getnframes() / file.getframerate()
    except (wave.Error, EOFError, ZeroDivisionError):
        raise SceneProblem(f"{NO_SOUND}, and the length of {path.name} is unknown: give it as a wav file") from None


def extend_range(scene: bpy.types.Scene, first: int, last: int) -> None:
    """Let the scene's range hold [first, last]; it is never shortened."""
    if scene.frame_start > first >= 0:
        scene.frame_start = first
    scene.frame_end = max(scene.frame_end, last)


def _stored(path: Path) -> str:
    """Relative to the .blend where Blender can say so, else absolute."""
    if bpy.data.filepath:
        try:
            return bpy.path.relpath(str(path))
        except ValueError:  # another drive on Windows
            pass
    return str(path)


def _free_channel(strips: Any, old: Any) -> int:
    """The old strip's channel, else the first above every strip."""
    if old is not None and old.parent_meta() is None:
        return old.channel
    return max((s.channel for s in strips), default=0) + 1


def _has_sound() -> bool:
    try:
        import aud  # noqa: F401  (Blender's own audio module; missing from some wheels)
    except ImportError:
        return False
    return True
