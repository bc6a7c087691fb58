"""The side panel "Soliloquy" of the 3D view, in the order of the work: head, voice, emotion ... generate, export."""

from __future__ import annotations

from pathlib import Path

import bpy

from ..convert.names import AU_NAMES, AUS, DIALS, EMOTIONS, LAYERS, SIDES
from ..ops.tasks import board
from ..scene import appearance, find, hair, prompts, voice, wrinkles
from . import status

LAYER_TITLES = ("Blink", "Eyes", "Head", "Holds", "Nods", "Brows", "Swell")


class _Panel:
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Soliloquy"


class _Section(_Panel):
    """A section that needs a control."""

    bl_parent_id = "SOLILOQUY_PT_main"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return find.active_control(context) is not None


def _prop(layout: bpy.types.UILayout, control: bpy.types.Object, name: str, text: str | None = None) -> None:
    """A custom property as a slider with its keyframe dot."""
    if name in control:
        layout.prop(control, f'["{name}"]', text=text or name.replace("_", " ").capitalize(), slider=True)


def _dial(layout: bpy.types.UILayout, control: bpy.types.Object, name: str) -> None:
    """A property whose name is long: half of the width for it, which Blender's own split does not give."""
    split = layout.split(factor=0.5, align=True)
    cell = split.row()
    cell.alignment = "RIGHT"
    cell.label(text=name.replace("_", " ").capitalize())
    row = split.row(align=True)
    row.prop(control, f'["{name}"]', text="", slider=True)
    row.prop_decorator(control, f'["{name}"]')


def _split(layout: bpy.types.UILayout) -> bpy.types.UILayout:
    layout.use_property_split = True
    layout.use_property_decorate = True
    return layout.column(align=True)


class SOLILOQUY_PT_main(_Panel, bpy.types.Panel):
    bl_idname = "SOLILOQUY_PT_main"
    bl_label = "Soliloquy"

    def draw(self, context: bpy.types.Context) -> None:
        status.draw(self.layout, context)


class SOLILOQUY_PT_head(_Panel, bpy.types.Panel):
    bl_idname = "SOLILOQUY_PT_head"
    bl_label = "Head"
    bl_parent_id = "SOLILOQUY_PT_main"

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        control = find.active_control(context)
        column = layout.column(align=True)
        if control is not None:
            mesh = find.head_of(control)
            icon = "CHECKMARK" if mesh is not None else "ERROR"
            row = column.row(align=True)
            row.label(text=mesh.name if mesh is not None else "no head", icon=icon)
            strands = hair.of_head(mesh)
            if strands is not None:
                row.operator("soliloquy.show_hair", icon="STRANDS", depress=hair.shown(strands))
            if mesh is not None and wrinkles.ON in mesh:
                row = column.row(align=True)
                row.prop(mesh, f'["{wrinkles.ON}"]', text="Wrinkles", toggle=True)
                row.prop(mesh, f'["{wrinkles.STRENGTH}"]', text="", slider=True)
            if mesh is not None and find.HEAD_MARK in mesh:
                self._appearance(column, mesh)
        column.operator("soliloquy.add_head", icon="ADD")
        column.operator("soliloquy.use_character", icon="USER")

    def _appearance(self, layout: bpy.types.UILayout, mesh: bpy.types.Object) -> None:
        """The net of the avatar: none, or a file. The file's name needs the whole width."""
        worn = bool(mesh.get(appearance.PROPERTY))
        row = layout.row(align=True)
        text = appearance.label_of(mesh) if worn else "Appearance: none"
        row.operator("soliloquy.choose_appearance", text=text, icon="SHADING_TEXTURE" if worn else "FILE_FOLDER")
        if worn:
            row.operator("soliloquy.clear_appearance", text="", icon="X")


class SOLILOQUY_PT_voice(_Section, bpy.types.Panel):
    bl_idname = "SOLILOQUY_PT_voice"
    bl_label = "Voice"

    def draw(self, context: bpy.types.Context) -> None:
        layout, scene = self.layout, context.scene
        control = find.active_control(context)
        strip = voice.strip_of(scene, control)
        if control.get("voice"):
            clock = voice.clock_of(scene, control)
            name = Path(str(control["voice"]).replace("//", "")).name
            column = layout.column(align=True)
            column.label(text=name, icon="SOUND")
            if strip is not None:
                seconds = strip.frame_duration / float(clock.rate)
                column.label(text=f"From frame {clock.first}, {seconds:.1f} s", icon="BLANK1")
        layout.operator(
            "soliloquy.load_voice", icon="FILE_SOUND", text="Load Another" if control.get("voice") else None
        )
        if "transcript" in control:
            column = _split(layout)
            column.use_property_decorate = False
            row = column.row(align=True)
            row.prop(control, '["transcript"]', text="Transcript")
            row.operator("soliloquy.load_transcript", text="", icon="FILE_FOLDER")
            if control["transcript"]:
                column.prop(control, '["language"]', text="Language")


class SOLILOQUY_PT_emotion(_Section, bpy.types.Panel):
    bl_idname = "SOLILOQUY_PT_emotion"
    bl_label = "Emotion"

    def draw(self, context: bpy.types.Context) -> None:
        layout, settings = self.layout, context.scene.soliloquy
        control = find.active_control(context)
        layout.operator("soliloquy.emotion_menu", icon="KEYFRAME_HLT", text="Key Emotion at Playhead")
        column = _split(layout)
        column.use_property_decorate = False
        column.prop(settings, "ease")
        column.prop(settings, "strength")
        column = _split(layout)
        for emotion in EMOTIONS:
            _prop(column, control, emotion)
        column = _split(layout)
        for name in ("intensity", "valence", "arousal"):
            _prop(column, control, name)


class SOLILOQUY_PT_directions(_Section, bpy.types.Panel):
    bl_idname = "SOLILOQUY_PT_directions"
    bl_label = "Directions"

    def draw(self, context: bpy.types.Context) -> None:
        layout, settings = self.layout, context.scene.soliloquy
        control = find.active_control(context)
        layout.prop(settings, "prompt", text="", icon="OUTLINER_OB_FONT")
        column = _split(layout)
        column.use_property_decorate = False
        column.prop(settings, "prompt_seconds")
        layout.operator("soliloquy.add_prompt", icon="ADD")
        strips = prompts.strips(control)
        if strips:
            self._list(layout, settings, strips)

    def _list(self, layout: bpy.types.UILayout, settings: bpy.types.PropertyGroup, strips: list) -> None:
        chosen = min(max(settings.prompt_index, 0), len(strips) - 1)
        box = layout.box().column(align=True)
        for i, strip in enumerate(strips):
            split = box.split(factor=0.55, align=True)
            row = split.row(align=True)
            row.operator(
                "soliloquy.go_to_prompt",
                text=str(strip.action.get("text", strip.name)),
                depress=i == chosen,
                emboss=i == chosen,
            ).index = i
            row = split.row(align=True)
            row.label(text=f"{strip.frame_start:.0f}-{strip.frame_end:.0f}")
            row.prop(strip, "mute", text="", icon="HIDE_ON" if strip.mute else "HIDE_OFF", emboss=False)
        strip = strips[chosen]
        column = _split(layout)
        column.use_property_decorate = False
        column.prop(strip.action, '["text"]', text="Text")
        column.prop(strip.action, '["strength"]', text="Strength", slider=True)
        column.prop(strip, "frame_start", text="Start")
        column.prop(strip, "frame_end", text="End")
        column.prop(strip, "blend_in", text="Ease In")
        column.prop(strip, "blend_out", text="Ease Out")
        row = layout.row(align=True)
        row.operator("soliloquy.read_prompt", text="Read Again", icon="FILE_REFRESH")
        row.operator("soliloquy.remove_prompt", text="Remove", icon="TRASH")


class SOLILOQUY_PT_action_units(_Section, bpy.types.Panel):
    bl_idname = "SOLILOQUY_PT_action_units"
    bl_label = "Action Units"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        control = find.active_control(context)
        self.layout.prop(context.scene.soliloquy, "live_units")
        soloed = any(control.get(f"{au}_solo") for au in AUS)
        for au in AUS:
            column = self.layout.column(align=True)
            row = column.row(align=True)
            row.label(text=f"{au[2:]}  {AU_NAMES[au].capitalize()}")
            muted, solo = bool(control.get(f"{au}_mute")), bool(control.get(f"{au}_solo"))
            if f"{au}_mute" in control:  # a control of an earlier file has none until it is next generated
                row.prop(control, f'["{au}_solo"]', text="", icon="SOLO_ON" if solo else "SOLO_OFF", toggle=True)
                row.prop(control, f'["{au}_mute"]', text="", icon="HIDE_ON" if muted else "HIDE_OFF", toggle=True)
            row = column.row(align=True)
            row.active = not muted and (solo or not soloed)
            for side in SIDES:
                _prop(row, control, f"{au}_{side}", side)


class SOLILOQUY_PT_layers(_Section, bpy.types.Panel):
    bl_idname = "SOLILOQUY_PT_layers"
    bl_label = "Layers"

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        control = find.active_control(context)
        column = layout.column(align=True)
        for layer, word in ((None, ""), *zip(LAYERS, LAYER_TITLES, strict=True)):
            split = column.split(factor=0.45, align=True)
            row = split.row(align=True)
            if layer is None:
                row.label(text="")
                cells = split.split(factor=0.56, align=True)
                cells.label(text="Amount")
                cells.label(text="Seed")
                continue
            row.prop(control, f'["{layer}_on"]', text=word, toggle=True)
            cells = split.split(factor=0.56, align=True)
            cells.active = bool(control.get(f"{layer}_on", True))
            _prop(cells, control, f"{layer}_strength", " ")
            _prop(cells, control, f"{layer}_seed", " ")
        row = layout.row(align=True)
        row.operator("soliloquy.add_blink", icon="KEY_HLT")
        row.operator("soliloquy.blinks_to_keys")
        column = layout.column(align=True)
        for dial in (*DIALS, "seed"):
            if dial in control:
                _dial(column, control, dial)
        column = _split(layout)
        if find.alive(control.get("gaze_target")):
            _prop(column, control, "gaze_influence", "Follow Target")
        else:
            layout.operator("soliloquy.add_gaze_target", icon="HIDE_OFF")


class SOLILOQUY_PT_generate(_Section, bpy.types.Panel):
    bl_idname = "SOLILOQUY_PT_generate"
    bl_label = "Generate"

    def draw(self, context: bpy.types.Context) -> None:
        layout, running = self.layout, board.running
        column = _split(layout)
        column.use_property_decorate = False
        column.prop(context.scene.soliloquy, "key_mode")
        if running is not None:
            text = f"{running.stage} {running.fraction:.0%}"
            row = layout.row(align=True)
            if hasattr(row, "progress"):  # 4.0 and later
                row.progress(factor=running.fraction, text=text, type="BAR")
            else:
                row.label(text=text, icon="TIME")
            row.operator("soliloquy.stop_task", text="", icon="X")
            return
        row = layout.row()
        row.scale_y = 1.6
        row.operator("soliloquy.generate", icon="PLAY")
        control = find.active_control(context)
        column = layout.column(align=True)
        column.operator("soliloquy.load_take", icon="FILE_FOLDER")
        if control.get("take"):
            column.operator("soliloquy.clear", icon="TRASH")


class SOLILOQUY_PT_export(_Section, bpy.types.Panel):
    bl_idname = "SOLILOQUY_PT_export"
    bl_label = "Export and Render"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.prop(context.scene.soliloquy, "output", text="")
        column = layout.column(align=True)
        column.operator("soliloquy.export_alembic", icon="EXPORT")
        column.operator("soliloquy.turntable_film", icon="RENDER_ANIMATION")
        column.operator("soliloquy.contact_sheet", icon="IMAGE_DATA")
        column.operator("soliloquy.splat_points", icon="POINTCLOUD_DATA")
        layout.operator("soliloquy.import_avatar", icon="IMPORT")
        layout.operator("soliloquy.turntable_camera", icon="CAMERA_DATA")


CLASSES = (
    SOLILOQUY_PT_main, SOLILOQUY_PT_head, SOLILOQUY_PT_voice, SOLILOQUY_PT_emotion, SOLILOQUY_PT_directions,
    SOLILOQUY_PT_action_units, SOLILOQUY_PT_layers, SOLILOQUY_PT_generate, SOLILOQUY_PT_export,
)  # fmt: skip
