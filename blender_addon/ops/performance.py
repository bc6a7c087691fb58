"""Load the voice, generate, clear."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import bpy

from ..convert import controls as controls_json
from ..convert.frames import rate_text
from ..link import shared
from ..link.jobs import Task, call
from ..scene import SceneProblem, control_empty, cues, find, live_units, sample, take, voice
from .answers import heard_cues, next_take_path, read_take, stored
from .tasks import EngineOperator, board, unavailable, why_not, wrong_mode

KEY_MODES = (
    ("DENSE", "Every Frame", "A key on every frame: exact"),
    ("SPARSE", "Few, Smooth", "Few Bezier keys that stay close to the performance: good to edit by hand"),
    ("LINEAR", "Few, Straight", "Few keys with straight joins"),
    ("TWOS", "On 2s", "Held drawings of two frames; closed lips are kept"),
    ("THREES", "On 3s", "Held drawings of three frames; closed lips are kept"),
)
INLINE_TEXT = 16 * 1024  # bytes of a transcript in a request, which holds 64 KiB in all
SOUND_FILES = "*.wav;*.flac;*.mp3;*.ogg"


class SOLILOQUY_OT_load_voice(bpy.types.Operator):
    """Put a recorded voice on the timeline as a sound strip. The frame rate stays; the range grows if it must"""

    bl_idname = "soliloquy.load_voice"
    bl_label = "Load Voice"
    bl_options = {"REGISTER", "UNDO"}

    filepath: bpy.props.StringProperty(subtype="FILE_PATH")
    filter_glob: bpy.props.StringProperty(default=SOUND_FILES, options={"HIDDEN"})
    frame: bpy.props.IntProperty(
        name="Start Frame",
        default=1,
        options={"SKIP_SAVE"},
        description="Frame of the first sample (the scene's first frame if unset)",
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return unavailable(why_not(find.need_control, context), cls)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            control = find.need_control(context)
            frame = self.frame if self.properties.is_property_set("frame") else context.scene.frame_start
            notice = voice.load(context.scene, control, self.filepath, frame)
        except SceneProblem as problem:
            self.report({"ERROR"}, str(problem))
            return {"CANCELLED"}
        if notice:
            self.report({"WARNING"}, notice)
        self.report(
            {"INFO"}, f"{Path(self.filepath).name} begins at frame {voice.clock_of(context.scene, control).first}"
        )
        return {"FINISHED"}


class SOLILOQUY_OT_generate(EngineOperator, bpy.types.Operator):
    """Turn the voice, the emotions and the directions into keys on the head. Your own layer above stays as it is"""

    bl_idname = "soliloquy.generate"
    bl_label = "Generate Performance"
    bl_options = {"UNDO"}
    title = "Generate"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if board.running is not None:
            return unavailable(f"{board.running.title} is still under way", cls)
        return unavailable(wrong_mode(context) or why_not(check_ready, context), cls)

    def task(self, context: bpy.types.Context) -> Task[str]:
        scene = context.scene
        control = check_ready(context)
        if control.library is None:
            control_empty.ensure(control)  # a file of an earlier version
        clock = voice.clock_of(scene, control)
        request = speak_request(scene, control)
        scene_name, control_name, mode = scene.name, control.name, scene.soliloquy.key_mode
        board.messages = []
        answer = yield from call(shared.engine(), "speak", request, board.messages.append)
        # Blender was in use meanwhile: undo makes old references void, so everything is looked up again.
        scene, control = bpy.data.scenes.get(scene_name), bpy.data.objects.get(control_name)
        if scene is None or not find.alive(control):
            raise SceneProblem(f"'{control_name}' was removed or renamed while it was being generated: generate again")
        heard = heard_cues(answer, shared.engine().session)
        performance = read_take(answer, shared.engine().session, clock)
        performance = dataclasses.replace(performance, path=stored(performance.path))
        board.messages += take.write(control, performance, mode)
        live_units.remember(scene, control)
        control[control_empty.DRAWN_BLINKS] = json.dumps(answer.get("meta", {}).get("blinks", []))
        if heard is not None:
            cues.write(control, heard, edited=cues.edited(control))
        voice.extend_range(scene, clock.first, clock.first + len(performance.weights) - 1)
        seconds = len(performance.weights) / float(clock.rate)
        return f"Generated {len(performance.weights)} frames ({seconds:.1f} s) on '{find.head_of(control).name}'"


class SOLILOQUY_OT_clear(bpy.types.Operator):
    """Remove the generated performance from the head. Your own layer, keys and directions stay"""

    bl_idname = "soliloquy.clear"
    bl_label = "Clear Performance"
    bl_options = {"UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return unavailable(wrong_mode(context) or why_not(need_take, context), cls)

    def execute(self, context: bpy.types.Context) -> set[str]:
        take.clear(find.need_control(context))
        return {"FINISHED"}


def check_ready(context: bpy.types.Context) -> bpy.types.Object:
    """The active control if a performance can be generated for it; else SceneProblem with the next step."""
    control = find.need_control(context)
    take.check(control)
    voice.path_of(context.scene, control)
    return control


def need_take(context: bpy.types.Context) -> bpy.types.Object:
    control = find.need_control(context)
    if not control.get("take"):
        raise SceneProblem("Generate a performance first")
    return control


def speak_request(scene: bpy.types.Scene, control: bpy.types.Object) -> dict[str, Any]:
    """The `speak` job's request for what is on the timeline now. Large controls go to a file beside the take."""
    clock = voice.clock_of(scene, control)
    strip = voice.strip_of(scene, control)
    last = max(scene.frame_end, int(strip.frame_final_end) if strip is not None else 0)
    keys = controls_json.to_controls(sample.read(scene, control, clock, last))
    path = next_take_path(control.name)
    _make_folder(path.parent)
    request: dict[str, Any] = {
        "audio": str(voice.path_of(scene, control)),
        "fps": rate_text(clock.rate),
        "first_frame": clock.first,
        "motion": scene.soliloquy.motion or "direct",
        "head": str(find.need_head(control).get("soliloquy_head_name", "default")),
        "seed": keys["seed"],
        "take": str(path),
        "speech": bpy.path.abspath(scene.soliloquy.speech) or "default",
        "transcript": str(control.get("transcript", "")).strip() or None,
        "language": str(control.get("language", "")).strip() or None,
        "download": may_download(),
    }
    if len(str(request["transcript"] or "").encode()) > INLINE_TEXT:
        request["transcript"] = str(_write(path.with_suffix(".transcript.txt"), request["transcript"].encode()))
    if cues.edited(control):
        cues.save(path.with_suffix(".cues.json"), cues.rows(control))
        request["cues"] = str(path.with_suffix(".cues.json"))
    if controls_json.fits_inline(keys):
        request["controls"] = keys
    else:
        request["controls_path"] = str(_write(path.with_suffix(".controls.json"), controls_json.encoded(keys)))
    return request


def _write(file: Path, content: bytes) -> Path:
    """What is too large for a request. SceneProblem where it cannot be written."""
    try:
        file.write_bytes(content)
    except OSError as error:
        raise SceneProblem(f"{file} cannot be written ({error}): make room, or save the .blend elsewhere") from None
    return file


def may_download() -> bool:
    """Whether the person allowed speech models to be fetched, here and in Blender itself."""
    addon = bpy.context.preferences.addons.get(__package__.rpartition(".")[0])
    allowed = bool(addon and getattr(addon.preferences, "allow_download", False))
    return allowed and bool(getattr(bpy.app, "online_access", True))


def _make_folder(folder: Path) -> None:
    """The folder of the takes. SceneProblem where it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SceneProblem(
            f"The folder for takes, {folder}, cannot be made ({error}): save the .blend where you may write"
        ) from None


CLASSES = (SOLILOQUY_OT_load_voice, SOLILOQUY_OT_generate, SOLILOQUY_OT_clear)
