"""Key emotions at the playhead; typed directions."""

from __future__ import annotations

import bpy

from ..convert.names import AU_SLIDERS, EMOTIONS
from ..link import shared
from ..link.jobs import Task, call
from ..scene import SceneProblem, emotion_keys, find, prompts, voice
from .tasks import EngineOperator, unavailable, why_not, wrong_mode

EMOTION_ITEMS = [(e, e.capitalize(), f"Be {e} at the playhead", i) for i, e in enumerate(EMOTIONS)]


class SOLILOQUY_OT_key_emotion(bpy.types.Operator):
    """Be in this emotion at the playhead: a key means arrived, the ease-in starts before it"""

    bl_idname = "soliloquy.key_emotion"
    bl_label = "Key Emotion"
    bl_options = {"REGISTER", "UNDO"}

    emotion: bpy.props.EnumProperty(name="Emotion", items=EMOTION_ITEMS)
    strength: bpy.props.FloatProperty(name="Strength", default=1.0, min=0.0, max=1.0, subtype="FACTOR")
    ease: bpy.props.FloatProperty(
        name="Ease In",
        default=0.4,
        min=0.0,
        max=10.0,
        unit="TIME_ABSOLUTE",
        description="Seconds of change before the key",
    )
    frame: bpy.props.IntProperty(
        name="Frame", options={"SKIP_SAVE"}, description="Where to arrive (the playhead if unset)"
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return unavailable(why_not(find.need_control, context), cls)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        self.ease, self.strength = context.scene.soliloquy.ease, context.scene.soliloquy.strength
        return self.execute(context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            control = find.need_control(context)
            frame = self.frame if self.properties.is_property_set("frame") else context.scene.frame_current
            rate = float(voice.clock_of(context.scene, control).rate)
            emotion_keys.key(control, self.emotion, frame, self.ease * rate, self.strength)
        except SceneProblem as problem:
            self.report({"ERROR"}, str(problem))
            return {"CANCELLED"}
        return {"FINISHED"}


class SOLILOQUY_OT_emotion_menu(bpy.types.Operator):
    """Choose an emotion to key at the playhead"""

    bl_idname = "soliloquy.emotion_menu"
    bl_label = "Key Emotion..."

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return unavailable(why_not(find.need_control, context), cls)

    def execute(self, context: bpy.types.Context) -> set[str]:
        return bpy.ops.wm.call_menu_pie(name="SOLILOQUY_MT_key_emotion")


class SOLILOQUY_OT_add_prompt(EngineOperator, bpy.types.Operator):
    """Read the typed direction as facial actions and lay it on the timeline from the playhead on"""

    bl_idname = "soliloquy.add_prompt"
    bl_label = "Add Direction"
    bl_options = {"REGISTER", "UNDO"}
    title = "Add direction"

    text: bpy.props.StringProperty(
        name="Direction", description="What the face should do; empty takes the panel's text"
    )
    frame: bpy.props.IntProperty(name="Start Frame", options={"SKIP_SAVE"})
    seconds: bpy.props.FloatProperty(name="Length", default=1.5, min=0.05, unit="TIME_ABSOLUTE")
    strength: bpy.props.FloatProperty(name="Strength", default=1.0, min=0.0, max=1.0, subtype="FACTOR")

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return unavailable(wrong_mode(context) or why_not(find.need_control, context), cls)

    def task(self, context: bpy.types.Context) -> Task[str]:
        control = find.need_control(context)
        settings = context.scene.soliloquy
        text = (self.text or settings.prompt).strip()
        if not text:
            raise SceneProblem("Type what the face should do first, for example 'raises the brows in surprise'")
        given = self.properties.is_property_set
        start = self.frame if given("frame") else context.scene.frame_current
        seconds = self.seconds if given("seconds") else settings.prompt_seconds
        rate = float(voice.clock_of(context.scene, control).rate)
        name = control.name
        found = yield from recognise(text)
        control = bpy.data.objects.get(name)
        if not find.alive(control):
            raise SceneProblem(f"'{name}' was removed while its direction was being read: try again")
        blend = (min(0.3, seconds / 3) * rate, min(0.4, seconds / 3) * rate)
        prompts.add(control, text, (start, start + seconds * rate), found, blend, self.strength)
        settings = bpy.context.scene.soliloquy
        settings.prompt_index = len(prompts.strips(control)) - 1
        return f"'{text}' reads as {_words(found)}"


class SOLILOQUY_OT_read_prompt(EngineOperator, bpy.types.Operator):
    """Read the direction's text again, after it was edited; hand edits of its strength curves are replaced"""

    bl_idname = "soliloquy.read_prompt"
    bl_label = "Read Direction Again"
    bl_options = {"UNDO"}
    title = "Read direction"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return unavailable(why_not(chosen_prompt, context), cls)

    def task(self, context: bpy.types.Context) -> Task[str]:
        name = chosen_prompt(context).action.name
        control_name = find.need_control(context).name
        found = yield from recognise(str(bpy.data.actions[name].get("text", "")))
        action, control = bpy.data.actions.get(name), bpy.data.objects.get(control_name)
        if action is None or not find.alive(control):
            raise SceneProblem("The direction was removed while it was being read")
        length = action.frame_range[1] - action.frame_range[0]
        prompts.set_activation(control, action, None, found, max(length, 1.0))
        return f"'{action['text']}' reads as {_words(found)}"


class SOLILOQUY_OT_remove_prompt(bpy.types.Operator):
    """Remove the chosen direction from the timeline"""

    bl_idname = "soliloquy.remove_prompt"
    bl_label = "Remove Direction"
    bl_options = {"UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return unavailable(why_not(chosen_prompt, context), cls)

    def execute(self, context: bpy.types.Context) -> set[str]:
        prompts.remove(find.need_control(context), chosen_prompt(context))
        context.scene.soliloquy.prompt_index = max(0, context.scene.soliloquy.prompt_index - 1)
        return {"FINISHED"}


class SOLILOQUY_OT_go_to_prompt(bpy.types.Operator):
    """Choose this direction and put the playhead on its start"""

    bl_idname = "soliloquy.go_to_prompt"
    bl_label = "Go to Direction"
    bl_options = {"INTERNAL"}

    index: bpy.props.IntProperty()

    def execute(self, context: bpy.types.Context) -> set[str]:
        control = find.active_control(context)
        strips = prompts.strips(control) if control else []
        if not 0 <= self.index < len(strips):
            return {"CANCELLED"}
        context.scene.soliloquy.prompt_index = self.index
        context.scene.frame_set(round(strips[self.index].frame_start))
        return {"FINISHED"}


def chosen_prompt(context: bpy.types.Context) -> bpy.types.NlaStrip:
    """The strip chosen in the panel's list. SceneProblem if there is none."""
    strips = prompts.strips(find.need_control(context))
    index = context.scene.soliloquy.prompt_index
    if not strips:
        raise SceneProblem("There is no direction yet: type one and add it")
    return strips[min(max(index, 0), len(strips) - 1)]


def recognise(text: str) -> Task[dict[str, float]]:
    """Task: the text's action units with their strengths. SceneProblem if it names no facial action."""
    answer = yield from call(shared.engine(), "text2au", {"texts": [text]})
    result = answer["results"][0]
    found = {str(au): float(v) for au, v in (result.get("activation") or {}).items() if str(au) in AU_SLIDERS}
    if not result.get("recognised", bool(found)):
        raise SceneProblem(
            f"'{text}' names no facial action that is known: say what the face does, such as "
            "'smile and raise the left brow'"
        )
    return found


def _words(found: dict[str, float]) -> str:
    units = sorted({au[:4] for au in found})
    return ", ".join(units) if units else "no movement (it only holds something back)"


CLASSES = (
    SOLILOQUY_OT_key_emotion, SOLILOQUY_OT_emotion_menu, SOLILOQUY_OT_add_prompt, SOLILOQUY_OT_read_prompt,
    SOLILOQUY_OT_remove_prompt, SOLILOQUY_OT_go_to_prompt,
)  # fmt: skip
