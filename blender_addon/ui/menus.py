"""The emotion pie: eight labels round the pointer, the other six one step further."""

from __future__ import annotations

import bpy

from ..convert.names import EMOTIONS

# A pie's slots fill as west, east, south, north, north-west, north-east, south-west, south-east.
ROUND = ("sad", "happy", "neutral", "surprised", "fear", "pleased", "angry")
MORE = tuple(e for e in EMOTIONS if e not in ROUND)
ICONS = {
    "neutral": "RADIOBUT_OFF", "happy": "SOLO_ON", "pleased": "LIGHT_SUN", "surprised": "ERROR", "sad": "MOD_FLUIDSIM",
    "angry": "FORCE_FORCE", "fear": "GHOST_ENABLED",
}  # fmt: skip


class SOLILOQUY_MT_more_emotions(bpy.types.Menu):
    bl_idname = "SOLILOQUY_MT_more_emotions"
    bl_label = "More"

    def draw(self, context: bpy.types.Context) -> None:
        self.layout.operator_context = "INVOKE_DEFAULT"
        for emotion in MORE:
            self.layout.operator("soliloquy.key_emotion", text=emotion.capitalize()).emotion = emotion


class SOLILOQUY_MT_key_emotion(bpy.types.Menu):
    bl_idname = "SOLILOQUY_MT_key_emotion"
    bl_label = "Be at the Playhead"

    def draw(self, context: bpy.types.Context) -> None:
        pie = self.layout.menu_pie()
        pie.operator_context = "INVOKE_DEFAULT"
        for emotion in ROUND:
            icon = ICONS.get(emotion, "NONE")
            pie.operator("soliloquy.key_emotion", text=emotion.capitalize(), icon=icon).emotion = emotion
        pie.menu("SOLILOQUY_MT_more_emotions", text="More", icon="THREE_DOTS")


CLASSES = (SOLILOQUY_MT_more_emotions, SOLILOQUY_MT_key_emotion)
