"""Characters from other files: what is linked cannot be keyed, an override of it can."""

from __future__ import annotations

import bpy

from . import SceneProblem, character, find


def linked_parts(control: bpy.types.Object) -> list[bpy.types.ID]:
    """Objects, meshes and keys of the character that belong to another file and are not overridden here."""
    parts: list[bpy.types.ID] = []
    for mesh in character.meshes_of(control):
        keys = mesh.data.shape_keys
        parts += [part for part in (mesh, mesh.data, keys) if part is not None and part.library is not None]
    rig = find.armature_of(find.need_head(control))
    if rig is not None and rig.library is not None:
        parts.append(rig)
    return parts


def override_character(context: bpy.types.Context, control: bpy.types.Object) -> list[bpy.types.Object]:
    """Override the character's hierarchy and its meshes' data; the control then drives the overrides.

    SceneProblem if nothing is linked, or Blender cannot override it.
    """
    if not linked_parts(control):
        raise SceneProblem("This character is not linked: it can be keyed as it is")
    meshes, rows = character.meshes_of(control), character.rows_of(control)
    heir = {mesh: _override_object(context, mesh) for mesh in meshes}
    for mesh in heir.values():
        if mesh.data.library is not None and mesh.data.override_create(remap_local_usages=True) is None:
            raise SceneProblem(f"Blender cannot override the mesh of '{mesh.name}': append the character instead")
    character.set_meshes(control, list(heir.values()))
    if rows:
        character.set_rows(control, rows)
        _renamed(control, heir)
    return list(heir.values())


def _override_object(context: bpy.types.Context, mesh: bpy.types.Object) -> bpy.types.Object:
    """The local override of a linked object: an existing one, or made with everything that belongs to it."""
    if mesh.library is None:
        return mesh
    existing = _override_of(mesh)
    if existing is not None:
        return existing
    root = _root(context, mesh)
    done = root.override_hierarchy_create(context.scene, context.view_layer, do_fully_editable=True)
    made = _override_of(mesh)
    if done is None or made is None:
        raise SceneProblem(f"Blender cannot override '{mesh.name}': append the character instead of linking it")
    return made


def _override_of(ob: bpy.types.ID) -> bpy.types.Object | None:
    return next(
        (o for o in bpy.data.objects if o.override_library is not None and o.override_library.reference == ob), None
    )


def _root(context: bpy.types.Context, mesh: bpy.types.Object) -> bpy.types.ID:
    """What to override: the linked collection that holds the character (its instance included), else its top object."""
    instances = [
        ob
        for ob in context.scene.objects
        if ob.library is None
        and ob.instance_collection is not None
        and mesh in list(ob.instance_collection.all_objects)
    ]
    if instances:
        return instances[0].instance_collection
    for collection in bpy.data.collections:
        if collection.library is not None and mesh in list(collection.all_objects):
            return collection
    top = mesh
    while top.parent is not None and top.parent.library is not None:
        top = top.parent
    return top


def _renamed(control: bpy.types.Object, heir: dict[bpy.types.Object, bpy.types.Object]) -> None:
    """Rows that name a linked object name its override from now on."""
    for row in character.settings_of(control).rows:
        if row.object is not None and row.object.library is not None:
            row.object = heir.get(row.object) or _override_of(row.object) or row.object
