"""The section My Character: meshes, the mapping table and its presets."""

from __future__ import annotations

import bpy

from ..convert import mapping, visemes
from ..convert.names import ARKIT, EXTRA, JOINTS
from ..ops.character import presets
from ..scene import SceneProblem, character, find, linked, shapes, targets
from ..scene.drivers import CannotFollow, Followed
from .panels import _Panel
from .status import wrapped

KINDS = [
    ("KEY", "Shape Key", "A shape key, on every mesh of the character that has it", "SHAPEKEY_DATA", 0),
    ("BONE", "Bone", "A bone's location, rotation or scale", "BONE_DATA", 1),
    ("PROP", "Property", "Any number of an object, by its data path", "RNA", 2),
]
CHANNELS = [
    *(
        (f"{what}_{axis}", f"{axis} {word}", f"{word} along or about the bone's own {axis} axis")
        for what, word in (("LOC", "Location"), ("ROT", "Rotation"), ("SCALE", "Scale"))
        for axis in "XYZ"
    ),
    (mapping.TURN, "Whole Turn", "The bone turns as the head's joint of the performance does"),
]
WIDE = 330  # pixels of the sidebar from which a row shows its target and gain too
SOURCES = (*ARKIT, *EXTRA, *visemes.viseme_names(), *JOINTS)


def _matching(self: object, context: object, text: str) -> list[str]:
    """Sources whose names hold the typed letters."""
    return [name for name in SOURCES if text.lower() in name.lower()]


def _show(self: bpy.types.PropertyGroup, context: object) -> None:
    shapes.show(self.id_data, self.preview_shape, self.preview_value)


class SOLILOQUY_PG_map_row(bpy.types.PropertyGroup):
    """One row: target += gain x source + offset."""

    on: bpy.props.BoolProperty(name="On", default=True, description="Use this row")
    source: bpy.props.StringProperty(
        name="Source", search=_matching, description="Channel of the performance: an ARKit shape, a viseme or a joint"
    )
    kind: bpy.props.EnumProperty(name="Kind", items=KINDS, description="What is moved")
    object: bpy.props.PointerProperty(
        name="Object",
        type=bpy.types.Object,
        description="Whose bone or property it is; for a shape key, empty means all",
    )
    channel: bpy.props.EnumProperty(name="Channel", items=CHANNELS, default="LOC_Y", description="What the bone does")
    gain: bpy.props.FloatProperty(
        name="Gain", default=1.0, soft_min=-2.0, soft_max=2.0, description="How much of the source"
    )
    offset: bpy.props.FloatProperty(name="Offset", soft_min=-1.0, soft_max=1.0, description="Added always")
    # `name`, the target, is every property group's own.


class SOLILOQUY_PG_mesh(bpy.types.PropertyGroup):
    object: bpy.props.PointerProperty(type=bpy.types.Object)


class SOLILOQUY_PG_character(bpy.types.PropertyGroup):
    """On the control Empty, so that nothing is kept on the character."""

    rows: bpy.props.CollectionProperty(type=SOLILOQUY_PG_map_row)
    row_index: bpy.props.IntProperty(name="Row", options={"HIDDEN"})
    meshes: bpy.props.CollectionProperty(type=SOLILOQUY_PG_mesh)
    preview_shape: bpy.props.StringProperty(
        name="Shape", default="jawOpen", update=_show, description="Which of the new shapes the preview shows"
    )
    preview_value: bpy.props.FloatProperty(
        name="Amount", default=1.0, min=0.0, max=1.0, subtype="FACTOR", update=_show, description="How much of it"
    )


class SOLILOQUY_UL_mapping(bpy.types.UIList):
    def draw_item(
        self, context: bpy.types.Context, layout: bpy.types.UILayout, data: object, item: bpy.types.PropertyGroup,
        icon: int, active_data: object, active_property: str, index: int = 0, flags: int = 0,
    ) -> None:  # fmt: skip
        row = layout.row(align=True)
        row.prop(item, "on", text="")
        row = row.row(align=True)
        row.active, row.alert = item.on, not item.name
        kind = {"KEY": "SHAPEKEY_DATA", "BONE": "BONE_DATA"}.get(item.kind, "RNA")
        row.label(text=item.source or "no source", icon=kind)
        if context.region.width > WIDE * context.preferences.system.ui_scale:
            row.label(text=item.name or "no target")
            cell = row.row()
            cell.scale_x = 0.6
            cell.prop(item, "gain", text="", emboss=False)

    def filter_items(
        self, context: bpy.types.Context, data: object, field: str
    ) -> tuple[list[int], list[int]]:  # fmt: skip
        """The search field looks at sources and targets alike."""
        rows, word = getattr(data, field), self.filter_name.lower()
        shown = [word in row.source.lower() or word in row.name.lower() for row in rows]
        return [self.bitflag_filter_item if s else 0 for s in shown], []


class SOLILOQUY_MT_mappings(bpy.types.Menu):
    bl_idname = "SOLILOQUY_MT_mappings"
    bl_label = "Saved Mappings"

    def draw(self, context: bpy.types.Context) -> None:
        names = presets()
        for name in names:
            self.layout.operator("soliloquy.load_mapping", text=name).name = name
        if not names:
            self.layout.label(text="None saved yet")
        self.layout.separator()
        self.layout.operator_context = "INVOKE_DEFAULT"
        self.layout.operator("soliloquy.save_mapping", icon="ADD")
        for name in names:
            self.layout.operator("soliloquy.remove_mapping", text=f"Delete {name}", icon="TRASH").name = name


class SOLILOQUY_PT_character(_Panel, bpy.types.Panel):
    bl_idname = "SOLILOQUY_PT_character"
    bl_label = "My Character"
    bl_parent_id = "SOLILOQUY_PT_main"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        control = find.active_control(context)
        mesh = find.head_of(control) if control is not None else None
        return mesh is not None and find.HEAD_MARK not in mesh

    def draw(self, context: bpy.types.Context) -> None:
        control = find.active_control(context)
        self._meshes(context, control)
        if linked.linked_parts(control):
            box = self.layout.box()
            wrapped(box, context, "The character is linked: it can be keyed as a library override", "LINKED")
            box.operator("soliloquy.override_character", icon="LIBRARY_DATA_OVERRIDE")
        self._make_shapes(control)
        row = self.layout.row(align=True)
        row.operator("soliloquy.auto_map", icon="SHADERFX")
        row.menu("SOLILOQUY_MT_mappings", text="", icon="PRESET")
        self._result(context, character.rows_of(control))

    def _meshes(self, context: bpy.types.Context, control: bpy.types.Object) -> None:
        column = self.layout.column(align=True)
        meshes = character.meshes_of(control)
        for i, mesh in enumerate(meshes):
            row = column.row(align=True)
            keys = mesh.data.shape_keys
            count = len(keys.key_blocks) - 1 if keys else 0
            row.label(text=f"{mesh.name}: {count} keys", icon="MESH_DATA")
            if len(meshes) > 1:
                row.operator("soliloquy.remove_character_mesh", text="", icon="X", emboss=False).index = i
        column.operator("soliloquy.add_character_meshes", icon="ADD")

    def _make_shapes(self, control: bpy.types.Object) -> None:
        """For a mesh without keys: points, the preview, and what to do with it."""
        try:
            shapes.need_bare(control)
        except SceneProblem:
            return
        box = self.layout.box().column(align=True)
        preview = shapes.preview_of(control)
        if preview is not None:
            settings = character.settings_of(control)
            box.label(text="Look at the new shapes", icon="HIDE_OFF")
            box.prop_search(settings, "preview_shape", preview.data.shape_keys, "key_blocks", text="")
            box.prop(settings, "preview_value", slider=True)
            row = box.row(align=True)
            row.operator("soliloquy.apply_shapes", icon="CHECKMARK")
            row.operator("soliloquy.discard_shapes", icon="X")
            return
        picked = len(shapes.picks(control))
        box.label(text="No shape keys yet", icon="INFO")
        box.operator("soliloquy.pick_points", icon="EYEDROPPER", text=f"Pick Points ({picked} of {len(shapes.MARKS)})")
        box.operator("soliloquy.make_shapes", icon="SHAPEKEY_DATA")

    def _result(self, context: bpy.types.Context, rows: tuple[mapping.Row, ...]) -> None:
        """How much is served, and what is not."""
        served = set(mapping.sources(rows))
        spoken = [s for s in served if s in visemes.viseme_names()]
        missing = [name for name in ARKIT if name not in served]
        if spoken:
            missing = [n for n in missing if not n.startswith(("mouth", "jaw", "tongue"))]
            self.layout.label(text=f"{len(spoken)} visemes, {len(served & set(ARKIT))} of 52 shapes", icon="CHECKMARK")
        else:
            count = len(served & set(ARKIT))
            self.layout.label(text=f"{count} of 52 shapes", icon="CHECKMARK" if count >= 50 else "INFO")
        if missing and served:
            text = f"Without: {', '.join(missing[:6])}{f' and {len(missing) - 6} more' if len(missing) > 6 else ''}"
            wrapped(self.layout, context, text)


class SOLILOQUY_PT_mapping(_Panel, bpy.types.Panel):
    bl_idname = "SOLILOQUY_PT_mapping"
    bl_label = "Mapping Table"
    bl_parent_id = "SOLILOQUY_PT_character"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        control = find.active_control(context)
        settings = character.settings_of(control)
        column = self.layout.column()
        column.template_list("SOLILOQUY_UL_mapping", "", settings, "rows", settings, "row_index", rows=7)
        row = column.row(align=True)
        row.operator("soliloquy.add_map_row", icon="ADD")
        row.operator("soliloquy.remove_map_row", text="", icon="REMOVE")
        if 0 <= settings.row_index < len(settings.rows):
            self._row(context, control, settings.rows[settings.row_index])

    def _row(self, context: bpy.types.Context, control: bpy.types.Object, row: bpy.types.PropertyGroup) -> None:
        """The chosen row in full, and where its keys will go."""
        layout = self.layout.column(align=True)
        layout.prop(row, "source", text="", icon="FORWARD")
        layout.prop(row, "kind", text="")
        meshes = character.meshes_of(control)
        if row.kind == "KEY":
            holder = row.object if row.object is not None else next((m for m in meshes if _has(m, row.name)), meshes[0])
            if holder.type == "MESH" and holder.data.shape_keys is not None:
                layout.prop_search(row, "name", holder.data.shape_keys, "key_blocks", text="")
            else:
                layout.prop(row, "name", text="", icon="SHAPEKEY_DATA")
        else:
            layout.prop(row, "object", text="")
            if row.kind == "BONE" and row.object is not None and row.object.type == "ARMATURE":
                layout.prop_search(row, "name", row.object.data, "bones", text="")
                layout.prop(row, "channel", text="")
            else:
                layout.prop(row, "name", text="", icon="RNA")
        layout = self.layout.column(align=True)
        layout.use_property_split, layout.use_property_decorate = True, False
        if row.kind == "KEY":
            layout.prop(row, "object", text="Only On")
        layout.prop(row, "gain")
        layout.prop(row, "offset")
        wrapped(self.layout, context, *_destination(row, meshes))


def _has(mesh: bpy.types.Object, key: str) -> bool:
    return mesh.data.shape_keys is not None and key in mesh.data.shape_keys.key_blocks


def _destination(row: bpy.types.PropertyGroup, meshes: list[bpy.types.Object]) -> tuple[str, str]:
    """(sentence, icon): what the row will key."""
    if not row.name:
        return "Choose a target", "INFO"
    if row.kind == "BONE" and row.channel == mapping.TURN:
        return "Turns the bone as the joint turns", "CHECKMARK"
    place = row.object.name if row.object is not None else ""
    target = mapping.Target(row.kind, row.name, place, row.channel if row.kind == "BONE" else "")
    try:
        found = targets.places(target, meshes)
    except CannotFollow as problem:
        return f"Left out: {problem}", "ERROR"
    driven = [entry.place for entry in found if isinstance(entry, Followed)]
    if driven:
        return f"Driven: keys go to {driven[0].path} of '{driven[0].owner.name}'", "DRIVER"
    return f"Keyed on {len(found)} mesh{'es' if len(found) > 1 else ''}" if row.kind == "KEY" else "Keyed", "CHECKMARK"


CLASSES = (
    SOLILOQUY_PG_map_row, SOLILOQUY_PG_mesh, SOLILOQUY_PG_character, SOLILOQUY_UL_mapping, SOLILOQUY_MT_mappings,
    SOLILOQUY_PT_character, SOLILOQUY_PT_mapping,
)  # fmt: skip


def register() -> None:
    setattr(bpy.types.Object, character.PROPERTY, bpy.props.PointerProperty(type=SOLILOQUY_PG_character))


def unregister() -> None:
    delattr(bpy.types.Object, character.PROPERTY)
