"""Settings of the Soliloquy render engine, and Blender's own panels that make sense with it."""

from __future__ import annotations

import bpy

ENGINE_ID = "SOLILOQUY"


class SoliloquyRenderSettings(bpy.types.PropertyGroup):
    """How the viewport shows avatars; on the scene, as other engines keep theirs."""

    viewport_pass: bpy.props.EnumProperty(
        name="Viewport Pass",
        description="What the viewport's Rendered mode shows",
        items=[
            ("COMBINED", "Combined", "The picture"),
            ("DEPTH", "Depth", "Near is bright"),
            ("NORMAL", "Normal", "World-space surface direction"),
            ("ALPHA", "Alpha", "How much of the background is covered"),
        ],
    )
    viewport_divider: bpy.props.EnumProperty(
        name="Viewport Pixels",
        description="Draw fewer pixels on a slow computer",
        items=[("1", "Full", "Every pixel"), ("2", "Half", "Half the width"), ("4", "Quarter", "Quarter of the width")],
    )


class SOLILOQUY_PT_render(bpy.types.Panel):
    bl_label = "Viewport"
    bl_space_type = "PROPERTIES"
    bl_region_type = "WINDOW"
    bl_context = "render"
    COMPAT_ENGINES = {ENGINE_ID}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return context.engine in cls.COMPAT_ENGINES

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        settings = context.scene.soliloquy_render
        layout.prop(settings, "viewport_pass")
        layout.prop(settings, "viewport_divider")
        layout.prop(context.scene.render, "film_transparent", text="Transparent Film")


class SOLILOQUY_PT_passes(bpy.types.Panel):
    bl_label = "Passes"
    bl_space_type = "PROPERTIES"
    bl_region_type = "WINDOW"
    bl_context = "view_layer"
    COMPAT_ENGINES = {ENGINE_ID}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return context.engine in cls.COMPAT_ENGINES

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        column = layout.column(heading="Data")
        column.prop(context.view_layer, "use_pass_z", text="Depth")
        column.prop(context.view_layer, "use_pass_normal", text="Normal")
        layout.label(text="Combined and SolAlpha are always there")


CLASSES = (SoliloquyRenderSettings, SOLILOQUY_PT_render, SOLILOQUY_PT_passes)

# Panels of Blender's that speak of things which this engine does not have.
_UNFIT = {"VIEWLAYER_PT_filter", "VIEWLAYER_PT_layer_passes", "RENDER_PT_freestyle", "RENDER_PT_simplify"}


def _blenders_panels() -> list[type]:
    """Output, colour management, camera, mesh panels and so on: all that work with any engine."""
    return [
        panel
        for panel in bpy.types.Panel.__subclasses__()
        if isinstance(getattr(panel, "COMPAT_ENGINES", None), set)  # another add-on's may be of any kind
        and "BLENDER_RENDER" in panel.COMPAT_ENGINES
        and panel.__name__ not in _UNFIT
    ]


def register() -> None:
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    bpy.types.Scene.soliloquy_render = bpy.props.PointerProperty(type=SoliloquyRenderSettings)
    for panel in _blenders_panels():
        panel.COMPAT_ENGINES.add(ENGINE_ID)


def unregister() -> None:
    if not bpy.app.background:  # drawing needs a window
        from . import drawing

        drawing.forget()
    for panel in bpy.types.Panel.__subclasses__():
        if isinstance(getattr(panel, "COMPAT_ENGINES", None), set) and panel not in CLASSES:
            panel.COMPAT_ENGINES.discard(ENGINE_ID)
    del bpy.types.Scene.soliloquy_render
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
