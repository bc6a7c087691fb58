"""How the panel's buttons work (not the performance: that is on the control Empty, in plain custom properties)."""

from __future__ import annotations

import bpy

from ..ops.performance import KEY_MODES


class SOLILOQUY_PG_settings(bpy.types.PropertyGroup):
    """Kept in the file with the scene; a file without the add-on loses nothing that plays."""

    key_mode: bpy.props.EnumProperty(
        name="Keys", items=KEY_MODES, default="DENSE", description="How many keys the performance gets"
    )
    motion: bpy.props.StringProperty(
        name="Motion", default="direct", description="Name of the motion system that turns speech into movement"
    )
    live_units: bpy.props.BoolProperty(
        name="Live", default=True, description="Show what the action-unit sliders do at once, without generating again"
    )
    speech: bpy.props.StringProperty(
        name="Speech",
        description="Speech encoder: empty is the built-in one; else the folder or hub id of a fitted HuBERT or "
        "wav2vec 2.0 model",
    )
    ease: bpy.props.FloatProperty(
        name="Ease In", default=0.4, min=0.0, max=10.0, unit="TIME_ABSOLUTE",
        description="How long before its key an emotion begins to change",
    )  # fmt: skip
    strength: bpy.props.FloatProperty(
        name="Strength", default=1.0, min=0.0, max=1.0, subtype="FACTOR", description="Weight of a keyed emotion"
    )
    prompt: bpy.props.StringProperty(
        name="Direction", description="What the face should do, such as 'raise the left brow and smirk'"
    )
    prompt_seconds: bpy.props.FloatProperty(
        name="Length", default=1.5, min=0.05, max=600.0, unit="TIME_ABSOLUTE", description="How long it lasts"
    )
    output: bpy.props.StringProperty(
        name="Output", subtype="DIR_PATH", default="//", description="Folder for films, sheets and mesh sequences"
    )
    prompt_index: bpy.props.IntProperty(options={"HIDDEN"})


CLASSES = (SOLILOQUY_PG_settings,)


def register() -> None:
    bpy.types.Scene.soliloquy = bpy.props.PointerProperty(type=SOLILOQUY_PG_settings)


def unregister() -> None:
    del bpy.types.Scene.soliloquy
