"""My Character: choose meshes, map by name, edit the table, keep presets, make a linked character writable."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import bpy

from ..convert import mapping
from ..convert.mapping import BadPreset, Row, Target
from ..scene import SceneProblem, character, control_empty, find, linked
from .head import select_only
from .tasks import unavailable, why_not, wrong_mode

PACKAGE = __package__.rpartition(".")[0]


def chosen_meshes(context: bpy.types.Context) -> list[bpy.types.Object]:
    """Meshes that the selection stands for. SceneProblem if there are none."""
    active = context.view_layer.objects.active
    chosen = list(dict.fromkeys([ob for ob in (active, *context.selected_objects) if ob is not None]))
    meshes = character.gather_meshes(ob for ob in chosen if not find.is_control(ob))
    if not meshes:
        raise SceneProblem("Select a mesh, several of them, or the armature of a character")
    return meshes


def new_character(context: bpy.types.Context) -> list[bpy.types.Object]:
    """The chosen meshes, if they have no control yet. SceneProblem with what to do."""
    meshes = chosen_meshes(context)
    for control in find.controls(context.scene):
        if meshes[0] in character.meshes_of(control):
            raise SceneProblem(f"'{meshes[0].name}' already has a control: '{control.name}'")
    return meshes


def need_character(context: bpy.types.Context) -> bpy.types.Object:
    """The active control, if its head is a brought one."""
    control = find.need_control(context)
    if find.HEAD_MARK in find.need_head(control):
        raise SceneProblem("This head is Soliloquy's own: its names need no mapping")
    return control


def busy(context: bpy.types.Context) -> str | None:
    """A sentence while the character's meshes keep a copy of their own that would undo what is written to them."""
    control = find.active_control(context)
    for mesh in character.meshes_of(control) if control is not None else ():
        if mesh.mode != "OBJECT":
            return f"Leave {mesh.mode.replace('_', ' ').lower()} mode of '{mesh.name}' first"
    return wrong_mode(context)


class _CharacterOperator:
    """Poll and error report that these operators share."""

    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return unavailable(busy(context) or why_not(need_character, context), cls)

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            sentence = self.act(context, need_character(context))
        except (SceneProblem, BadPreset, OSError) as problem:
            self.report({"ERROR"}, str(problem))
            return {"CANCELLED"}
        if sentence:
            self.report({"INFO"}, sentence)
        return {"FINISHED"}


class SOLILOQUY_OT_use_character(bpy.types.Operator):
    """Let a control drive the selected character: meshes with shape keys, or an armature. Names are mapped at once"""

    bl_idname = "soliloquy.use_character"
    bl_label = "Use Selected Character"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return unavailable(wrong_mode(context) or why_not(new_character, context), cls)

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            meshes = new_character(context)
        except SceneProblem as problem:
            self.report({"ERROR"}, str(problem))
            return {"CANCELLED"}
        # The scene's own collection is local even where the character's is linked.
        control = control_empty.create(f"{meshes[0].name} control", meshes[0], context.scene.collection)
        if find.HEAD_MARK not in meshes[0]:
            character.set_meshes(control, meshes)
            map_by_name(control)
        select_only(context, control)
        self.report({"INFO"}, summary(control))
        return {"FINISHED"}


def map_by_name(control: bpy.types.Object) -> None:
    """Fill the table from names, instead of what it holds."""
    meshes = character.meshes_of(control)
    character.set_rows(control, character.auto_rows(meshes, find.armature_of(meshes[0])))


def summary(control: bpy.types.Object) -> str:
    """One sentence: how much of the performance the character shows."""
    rows, name = character.rows_of(control), find.need_head(control).name
    count = mapping.served(rows) if rows else len(find.shape_keys(find.need_head(control)))
    visemes = sum(row.on and "viseme_" in row.source for row in rows)
    if visemes:
        return f"'{name}' speaks with {visemes} visemes and shows {count} of ARKit's 52 shapes"
    if not count and not rows:
        return f"'{name}' has no keys that are known: pick points and make shapes, or fill the table by hand"
    return f"'{name}' shows {count} of ARKit's 52 shapes"


class SOLILOQUY_OT_auto_map(_CharacterOperator, bpy.types.Operator):
    """Fill the table from the names of the character's shape keys and bones; what it holds now is replaced"""

    bl_idname = "soliloquy.auto_map"
    bl_label = "Auto Map"

    def act(self, context: bpy.types.Context, control: bpy.types.Object) -> str:
        map_by_name(control)
        return summary(control)


class SOLILOQUY_OT_add_character_meshes(_CharacterOperator, bpy.types.Operator):
    """Add the selected meshes (teeth, tongue, lashes ...): they follow with the shape keys that they share"""

    bl_idname = "soliloquy.add_character_meshes"
    bl_label = "Add Selected Meshes"

    def act(self, context: bpy.types.Context, control: bpy.types.Object) -> str:
        meshes = character.meshes_of(control)
        more = [m for m in character.gather_meshes(context.selected_objects) if m not in meshes]
        if not more:
            raise SceneProblem("Select meshes with shape keys that are not in the list yet, and the control last")
        character.set_meshes(control, meshes + more)
        return f"Added {', '.join(m.name for m in more)}"


class SOLILOQUY_OT_remove_character_mesh(_CharacterOperator, bpy.types.Operator):
    """Take this mesh out of the list; the mesh itself stays as it is"""

    bl_idname = "soliloquy.remove_character_mesh"
    bl_label = "Remove Mesh"

    index: bpy.props.IntProperty()

    def act(self, context: bpy.types.Context, control: bpy.types.Object) -> None:
        meshes = character.meshes_of(control)
        if len(meshes) > 1 and 0 <= self.index < len(meshes):
            del meshes[self.index]
            character.set_meshes(control, meshes)


class SOLILOQUY_OT_add_map_row(_CharacterOperator, bpy.types.Operator):
    """Add a row with the chosen row's source, to send it to one more target"""

    bl_idname = "soliloquy.add_map_row"
    bl_label = "Add Row"

    def act(self, context: bpy.types.Context, control: bpy.types.Object) -> None:
        rows = list(character.rows_of(control))
        settings = character.settings_of(control)
        at = min(settings.row_index, len(rows) - 1)
        source = rows[at].source if rows else "jawOpen"
        rows.insert(at + 1, Row(source, Target("KEY", "")))
        character.set_rows(control, rows)
        settings.row_index = at + 1


class SOLILOQUY_OT_remove_map_row(_CharacterOperator, bpy.types.Operator):
    """Remove the chosen row"""

    bl_idname = "soliloquy.remove_map_row"
    bl_label = "Remove Row"

    def act(self, context: bpy.types.Context, control: bpy.types.Object) -> None:
        settings = character.settings_of(control)
        if 0 <= settings.row_index < len(settings.rows):
            settings.rows.remove(settings.row_index)
            settings.row_index = max(0, min(settings.row_index, len(settings.rows) - 1))


def preset_folder() -> Path:
    """Where mappings are kept: the extension's own user folder, which updates leave alone."""
    if hasattr(bpy.utils, "extension_path_user"):
        try:
            return Path(bpy.utils.extension_path_user(PACKAGE, path="mappings", create=True))
        except ValueError:  # run as an add-on of the old kind
            pass
    return Path(bpy.utils.user_resource("CONFIG", path="soliloquy/mappings", create=True))


def presets() -> list[str]:
    """Names of the saved mappings."""
    return sorted(path.stem for path in preset_folder().glob("*.json"))


class SOLILOQUY_OT_save_mapping(_CharacterOperator, bpy.types.Operator):
    """Keep this table under a name, for other characters that are built alike"""

    bl_idname = "soliloquy.save_mapping"
    bl_label = "Save Mapping"
    bl_options = {"REGISTER"}

    name: bpy.props.StringProperty(name="Name", default="My rig")

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        return context.window_manager.invoke_props_dialog(self)

    def act(self, context: bpy.types.Context, control: bpy.types.Object) -> str:
        name = bpy.path.clean_name(self.name).strip("_ ")
        if not name:
            raise SceneProblem("Give the mapping a name")
        mapping.save(preset_folder() / f"{name}.json", character.rows_of(control), self.name)
        return f"Saved the mapping '{name}'"


class SOLILOQUY_OT_load_mapping(_CharacterOperator, bpy.types.Operator):
    """Fill the table from a saved mapping"""

    bl_idname = "soliloquy.load_mapping"
    bl_label = "Load Mapping"

    name: bpy.props.StringProperty(name="Name", options={"SKIP_SAVE"})

    def act(self, context: bpy.types.Context, control: bpy.types.Object) -> str:
        rows = list(fitting(mapping.load(preset_folder() / f"{self.name}.json"), control))
        character.set_rows(control, rows)
        known = set(character.key_names(character.meshes_of(control)))
        lost = [row.target.name for row in rows if row.target.kind == "KEY" and row.target.name not in known]
        if lost:
            self.report({"WARNING"}, f"The character has no shape key {', '.join(lost[:4])}")
        return summary(control)


def fitting(rows: Iterable[Row], control: bpy.types.Object) -> Iterable[Row]:
    """A preset's rows on this character: bones and properties of an object that is not here go to its own armature."""
    rig = find.armature_of(find.need_head(control))
    for row in rows:
        target = row.target
        if target.object and target.object not in bpy.data.objects:
            if target.kind == "KEY":
                target = Target("KEY", target.name)
            elif rig is not None:
                target = Target(target.kind, target.name, rig.name, target.channel)
        yield Row(row.source, target, row.gain, row.offset, row.on)


class SOLILOQUY_OT_remove_mapping(bpy.types.Operator):
    """Delete this saved mapping from disk"""

    bl_idname = "soliloquy.remove_mapping"
    bl_label = "Delete Saved Mapping"
    bl_options = {"REGISTER"}

    name: bpy.props.StringProperty(name="Name", options={"SKIP_SAVE"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        if self.name not in presets():
            self.report({"ERROR"}, f"There is no saved mapping '{self.name}'")
            return {"CANCELLED"}
        (preset_folder() / f"{self.name}.json").unlink()
        return {"FINISHED"}


class SOLILOQUY_OT_override_character(bpy.types.Operator):
    """Make a library override of the linked character, so that its shape keys and rig can be keyed in this file"""

    bl_idname = "soliloquy.override_character"
    bl_label = "Make Library Override"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return unavailable(busy(context) or why_not(need_character, context), cls)

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            made = linked.override_character(context, need_character(context))
        except SceneProblem as problem:
            self.report({"ERROR"}, str(problem))
            return {"CANCELLED"}
        self.report({"INFO"}, f"Overridden: {', '.join(m.name for m in made)}")
        return {"FINISHED"}


CLASSES = (
    SOLILOQUY_OT_use_character, SOLILOQUY_OT_auto_map, SOLILOQUY_OT_add_character_meshes,
    SOLILOQUY_OT_remove_character_mesh, SOLILOQUY_OT_add_map_row, SOLILOQUY_OT_remove_map_row,
    SOLILOQUY_OT_save_mapping, SOLILOQUY_OT_load_mapping, SOLILOQUY_OT_remove_mapping,
    SOLILOQUY_OT_override_character,
)  # fmt: skip
