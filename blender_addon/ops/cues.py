"""Phone cues: edit, bring in, write out; generate the preview range anew."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import bpy

from ..link import shared
from ..link.jobs import Task, call
from ..scene import SceneProblem, cues, find, take, voice
from .answers import discard, heard_cues, read_take, stored
from .performance import check_ready, need_take, speak_request
from .tasks import EngineOperator, board, unavailable, why_not, wrong_mode

FORMS = "*.json;*.csv;*.TextGrid;*.txt"
FORM_ITEMS = (
    (".json", "JSON", "One cue a line"),
    (".csv", "CSV", "phone,start,end: spreadsheets"),
    (".TextGrid", "Praat TextGrid", "Praat, Montreal Forced Aligner"),
    (".txt", "Audacity Labels", "A label track"),
)


def need_cues(context: bpy.types.Context) -> bpy.types.Object:
    """The active control with a list of cues; else SceneProblem with the next step."""
    control = find.need_control(context)
    cues.active(control)
    return control


def need_range(context: bpy.types.Context) -> bpy.types.Object:
    """The active control, with a take, and a preview range within its voice."""
    control = check_ready(context)
    need_take(context)
    if not context.scene.use_preview_range:
        raise SceneProblem("Set the preview range first (P in the timeline): that stretch is made anew")
    if not Path(bpy.path.abspath(str(control["take"]))).is_file():
        raise SceneProblem("The take's file is gone: generate the whole performance")
    return control


class _OnCue:
    """A quick edit of the list."""

    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return unavailable(why_not(need_cues, context), cls)

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            control = need_cues(context)
            self.edit(context, control, float(voice.clock_of(context.scene, control).seconds(_playhead(context))))
        except SceneProblem as problem:
            self.report({"ERROR"}, str(problem))
            return {"CANCELLED"}
        return {"FINISHED"}


def _playhead(context: bpy.types.Context) -> float:
    return context.scene.frame_current + context.scene.frame_subframe


class SOLILOQUY_OT_split_cue(_OnCue, bpy.types.Operator):
    """Divide the phone under the playhead in two; then rename one of them"""

    bl_idname = "soliloquy.split_cue"
    bl_label = "Split at Playhead"

    def edit(self, context: bpy.types.Context, control: bpy.types.Object, second: float) -> None:
        cues.split(control, second)


class SOLILOQUY_OT_remove_cue(_OnCue, bpy.types.Operator):
    """Remove the chosen phone; the one before it takes its time"""

    bl_idname = "soliloquy.remove_cue"
    bl_label = "Remove Cue"

    def edit(self, context: bpy.types.Context, control: bpy.types.Object, second: float) -> None:
        cues.remove(control, cues.active(control))


class SOLILOQUY_OT_choose_cue(_OnCue, bpy.types.Operator):
    """Choose the phone under the playhead in the list"""

    bl_idname = "soliloquy.choose_cue"
    bl_label = "Cue at Playhead"

    def edit(self, context: bpy.types.Context, control: bpy.types.Object, second: float) -> None:
        cues.group(control)["index"] = cues.at(control, second)  # past the update: the playhead stays


class SOLILOQUY_OT_cue_border(_OnCue, bpy.types.Operator):
    """Let the chosen phone begin or end at the playhead"""

    bl_idname = "soliloquy.cue_border"
    bl_label = "Border at Playhead"

    side: bpy.props.EnumProperty(
        name="Side", items=(("START", "Start", "It begins at the playhead"), ("END", "End", "It ends at the playhead"))
    )

    def edit(self, context: bpy.types.Context, control: bpy.types.Object, second: float) -> None:
        border = {"start": second} if self.side == "START" else {"end": second}
        cues.place(control, cues.active(control), **border)


class SOLILOQUY_OT_hear_again(_OnCue, bpy.types.Operator):
    """Forget the edits of the cues: the next Generate listens to the voice again"""

    bl_idname = "soliloquy.hear_again"
    bl_label = "Forget Edits"

    def edit(self, context: bpy.types.Context, control: bpy.types.Object, second: float) -> None:
        cues.group(control).edited = False


class SOLILOQUY_OT_generate_range(EngineOperator, bpy.types.Operator):
    """Make the preview range anew, with edited cues, emotions and directions; frames outside stay as they are"""

    bl_idname = "soliloquy.generate_range"
    bl_label = "Regenerate Preview Range"
    bl_options = {"UNDO"}
    title = "Regenerate range"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if board.running is not None:
            return unavailable(f"{board.running.title} is still under way", cls)
        return unavailable(wrong_mode(context) or why_not(need_range, context), cls)

    def task(self, context: bpy.types.Context) -> Task[str]:
        scene, control = context.scene, need_range(context)
        clock = voice.clock_of(scene, control)
        first, last = scene.frame_preview_start, scene.frame_preview_end
        request = speak_request(scene, control)
        request |= {
            "into": bpy.path.abspath(str(control["take"])),
            "from": max(0.0, float(clock.seconds(first))),
            "to": float(clock.seconds(last)),
        }
        name, mode = control.name, scene.soliloquy.key_mode
        board.messages = []
        answer = yield from call(shared.engine(), "speak", request, board.messages.append)
        control = bpy.data.objects.get(name)
        if not find.alive(control):
            raise SceneProblem(f"'{name}' was removed or renamed while it was being generated: generate again")
        heard = heard_cues(answer, shared.engine().session)
        performance = read_take(answer, shared.engine().session, clock)
        performance = dataclasses.replace(performance, path=stored(performance.path))
        board.messages += take.write(control, performance, mode)
        if heard is not None:
            cues.write(control, heard, edited=cues.edited(control))
        return f"Frames {first} to {last} were made anew on '{find.head_of(control).name}'"


class SOLILOQUY_OT_export_cues(EngineOperator, bpy.types.Operator):
    """Write the phone cues for editing in other programs"""

    bl_idname = "soliloquy.export_cues"
    bl_label = "Export Cues"
    title = "Export cues"

    filepath: bpy.props.StringProperty(subtype="FILE_PATH")
    filter_glob: bpy.props.StringProperty(default=FORMS, options={"HIDDEN"})
    form: bpy.props.EnumProperty(name="Form", items=FORM_ITEMS)

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return unavailable(why_not(need_cues, context), cls)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        if not self.filepath:
            self.filepath = f"{bpy.path.clean_name(need_cues(context).name)}_cues.json"
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def task(self, context: bpy.types.Context) -> Task[str]:
        control = need_cues(context)
        out = Path(bpy.path.abspath(self.filepath))
        known = {form.lower() for form, _, _ in FORM_ITEMS}
        asked = self.properties.is_property_set("form")
        if out.suffix.lower() not in known or (asked and out.suffix.lower() != self.form.lower()):
            out = out.with_suffix(self.form)
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "cues.json"
            cues.save(source, cues.rows(control))
            answer = yield from call(shared.engine(), "cues", {"source": str(source), "out": str(out)})
        discard(answer.get("arrays", {}), shared.engine().session)
        return f"{out.name}: {answer['count']} cues"


class SOLILOQUY_OT_import_cues(EngineOperator, bpy.types.Operator):
    """Bring in phone cues: JSON, CSV, Praat TextGrid (phones tier) or Audacity labels. Then Generate"""

    bl_idname = "soliloquy.import_cues"
    bl_label = "Import Cues"
    bl_options = {"UNDO"}
    title = "Import cues"

    filepath: bpy.props.StringProperty(subtype="FILE_PATH")
    filter_glob: bpy.props.StringProperty(default=FORMS, options={"HIDDEN"})

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return unavailable(why_not(find.need_control, context), cls)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def task(self, context: bpy.types.Context) -> Task[str]:
        name = find.need_control(context).name
        request = {"source": bpy.path.abspath(self.filepath)}
        answer = yield from call(shared.engine(), "cues", request)
        control = bpy.data.objects.get(name)
        if not find.alive(control):
            raise SceneProblem(f"'{name}' was removed while its cues were being read: try again")
        found = heard_cues(answer, shared.engine().session) or []
        discard(answer["arrays"], shared.engine().session)
        if not found:
            raise SceneProblem(f"{Path(self.filepath).name} holds no cues")
        cues.write(control, found, edited=True)
        return f"{len(found)} cues; Generate Performance uses them"


class SOLILOQUY_OT_load_transcript(bpy.types.Operator):
    """Read the words that are said from a text file: the lips follow them, and p, b, m are found almost surely"""

    bl_idname = "soliloquy.load_transcript"
    bl_label = "Load Transcript"
    bl_options = {"REGISTER", "UNDO"}

    filepath: bpy.props.StringProperty(subtype="FILE_PATH")
    filter_glob: bpy.props.StringProperty(default="*.txt;*.lab;*.md", options={"HIDDEN"})

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return unavailable(why_not(find.need_control, context), cls)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            words = " ".join(Path(bpy.path.abspath(self.filepath)).read_text(encoding="utf-8-sig").split())
        except (OSError, UnicodeDecodeError) as error:
            self.report({"ERROR"}, f"{Path(self.filepath).name} cannot be read ({error}): save it as UTF-8 text")
            return {"CANCELLED"}
        find.need_control(context)["transcript"] = words
        self.report({"INFO"}, f"{len(words.split())} words; Generate Performance uses them")
        return {"FINISHED"}


CLASSES = (
    SOLILOQUY_OT_split_cue, SOLILOQUY_OT_remove_cue, SOLILOQUY_OT_choose_cue, SOLILOQUY_OT_cue_border,
    SOLILOQUY_OT_hear_again, SOLILOQUY_OT_generate_range, SOLILOQUY_OT_export_cues, SOLILOQUY_OT_import_cues,
    SOLILOQUY_OT_load_transcript,
)  # fmt: skip
