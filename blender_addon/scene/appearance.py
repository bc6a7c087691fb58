"""The appearance net of a head's avatar: a file that is named on the head's mesh object, or none."""

from __future__ import annotations

from pathlib import Path

import bpy

from . import SceneProblem

PROPERTY = "soliloquy_appearance"  # on the head's mesh object: path of a .safetensors file; missing or "": none


def path_of(mesh: bpy.types.Object) -> str:
    """The net's file as an absolute path, or ""."""
    text = str(mesh.get(PROPERTY, ""))
    # Choices are absolute; "//" of older files counts from the file that the head comes from.
    source = mesh.override_library.reference if mesh.override_library is not None else None
    inherited = source is not None and str(source.get(PROPERTY, "")) == text
    library = source.library if inherited else mesh.library
    return bpy.path.abspath(text, library=library) if text else ""


def choose(mesh: bpy.types.Object, path: str) -> None:
    """Name a net, or none (""); absolute, because Blender does not rewrite paths in custom properties when a file is
    saved elsewhere. SceneProblem on a linked head."""
    if mesh.library is not None:
        raise SceneProblem(f"'{mesh.name}' is linked: make a library override of the character first")
    if not path:
        if PROPERTY in mesh:
            del mesh[PROPERTY]
    else:
        mesh[PROPERTY] = str(Path(path).absolute())
        if mesh.override_library is None:
            mesh.property_overridable_library_set(f'["{PROPERTY}"]', True)
    mesh.update_tag()  # viewports look again


def label_of(mesh: bpy.types.Object) -> str:
    """What the panel calls it: the file's name without its ending, or "none"."""
    return Path(str(mesh.get(PROPERTY, "")).removeprefix("//").replace("\\", "/")).stem or "none"
