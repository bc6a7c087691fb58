"""Who belongs to whom: control Empty -> head mesh -> armature. Reads only.

Everything is found through plain custom properties, so it survives files, undo and the add-on's absence.
"""

from __future__ import annotations

import bpy

from ..convert.names import shape_lookup
from . import SceneProblem

CONTROL_MARK = "soliloquy_control"  # on the control Empty: format version of its properties
HEAD_MARK = "soliloquy_head"  # on the head's mesh object: sha256 of its topology
FLAME_MARK = "soliloquy_flame"  # on the head's mesh object: the FLAME version whose parameters its keys are
HEAD_POINTER = "head"  # on the control Empty: the mesh object that it drives


FLAME_KEYS = ("exp_", "eyelid_", "res_")


def is_control(ob: bpy.types.Object | None) -> bool:
    return ob is not None and ob.type == "EMPTY" and CONTROL_MARK in ob


def alive(ob: object) -> bool:
    """Whether this is an object that somebody can still see: X takes it out of the scenes, but a pointer on a custom
    property keeps it in the file."""
    return isinstance(ob, bpy.types.Object) and (ob.library is not None or len(ob.users_scene) > 0)


def controls(scene: bpy.types.Scene) -> list[bpy.types.Object]:
    """All control Empties of the scene, by name."""
    return sorted((ob for ob in scene.objects if is_control(ob)), key=lambda ob: ob.name)


def active_control(context: bpy.types.Context) -> bpy.types.Object | None:
    """The control that the panel shows: that of the active object, else the scene's only one."""
    found = controls(context.scene)
    active = context.view_layer.objects.active
    if is_control(active):
        return active
    if active is not None:
        for control in found:
            mesh = head_of(control)
            if mesh is not None and active in (mesh, armature_of(mesh)):
                return control
    return found[0] if len(found) == 1 else None


def head_of(control: bpy.types.Object) -> bpy.types.Object | None:
    """The mesh object that the control drives, or None if there is none (or it left the file)."""
    mesh = control.get(HEAD_POINTER)
    return mesh if alive(mesh) and mesh.type == "MESH" else None


def armature_of(mesh: bpy.types.Object) -> bpy.types.Object | None:
    """The armature that deforms the mesh, or None."""
    for modifier in mesh.modifiers:
        if modifier.type == "ARMATURE" and modifier.object is not None:
            return modifier.object
    return None


def shape_keys(mesh: bpy.types.Object) -> dict[str, str]:
    """Standard shape name -> this character's key name; on an imported FLAME head its own parameters' names. Empty
    without shape keys."""
    keys = mesh.data.shape_keys
    if keys and FLAME_MARK in mesh:
        return {block.name: block.name for block in keys.key_blocks[1:] if block.name.startswith(FLAME_KEYS)}
    return shape_lookup([block.name for block in keys.key_blocks]) if keys else {}


def talking_mesh(ob: bpy.types.Object | None) -> bpy.types.Object | None:
    """The object itself, or its child with the most standard shape keys, if one has at least jawOpen; else None."""
    if ob is None:
        return None
    meshes = [m for m in (ob, *ob.children_recursive) if m.type == "MESH" and "jawOpen" in shape_keys(m)]
    return max(meshes, key=lambda m: len(shape_keys(m)), default=None)


def need_control(context: bpy.types.Context) -> bpy.types.Object:
    """The active control; SceneProblem if there is none or the choice is not clear."""
    control = active_control(context)
    if control is not None:
        return control
    if controls(context.scene):
        raise SceneProblem("Several heads are in the scene: select the head or its control first")
    raise SceneProblem("Add a head first")


def need_head(control: bpy.types.Object) -> bpy.types.Object:
    mesh = head_of(control)
    if mesh is None:
        raise SceneProblem(f"'{control.name}' drives no head: choose the head's mesh in the Head section")
    return mesh
