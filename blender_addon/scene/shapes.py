"""Shape keys for a mesh that has none: its points for the engine, a preview to look at, and the keys themselves.

The preview is a local copy of the mesh with all keys; the mesh itself is touched only when the artist applies it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import bpy
import numpy as np

from ..convert.axes import to_blender, to_engine
from . import SceneProblem, find

# Marks that the artist shows on the mesh, in the order of picking: the engine's name, and what to click.
MARKS: dict[str, str] = {
    "outer_eye_right": "the outer corner of the character's RIGHT eye",
    "outer_eye_left": "the outer corner of the character's LEFT eye",
    "nose_tip": "the tip of the nose",
    "mouth_right": "the RIGHT corner of the character's mouth",
    "mouth_left": "the LEFT corner of the character's mouth",
    "menton": "the lowest point of the chin",
}
PICK, PREVIEW = "pick_", "shapes_preview"  # on the control: a mark's place on the mesh; the preview object


def set_pick(control: bpy.types.Object, mark: str, place: Sequence[float]) -> None:
    """Remember a mark at `place` [3], in the mesh's own space."""
    control[PICK + mark] = [float(x) for x in place]


def picks(control: bpy.types.Object) -> dict[str, np.ndarray]:
    """Mark -> [3] in the mesh's own space, for those that are picked."""
    return {mark: np.array(control[PICK + mark]) for mark in MARKS if PICK + mark in control}


def need_bare(control: bpy.types.Object) -> bpy.types.Object:
    """The control's mesh, if it can get shape keys; else SceneProblem."""
    mesh = find.need_head(control)
    if mesh.library is not None or mesh.data.library is not None or mesh.data.override_library is not None:
        raise SceneProblem(f"'{mesh.name}' comes from another file, so it cannot get shape keys: append it instead")
    if mesh.data.shape_keys is not None and len(mesh.data.shape_keys.key_blocks) > 1:
        raise SceneProblem(f"'{mesh.name}' has shape keys already: map those instead")
    return mesh


def need_picks(control: bpy.types.Object) -> dict[str, np.ndarray]:
    """All marks, or a SceneProblem that names the next one to pick."""
    found = picks(control)
    for mark, words in MARKS.items():
        if mark not in found:
            raise SceneProblem(f"Pick {words} first")
    return found


def write_target(mesh: bpy.types.Object, path: Path) -> None:
    """The mesh as OBJ for the engine: world size in metres, Y up, vertices in Blender's order."""
    count = len(mesh.data.vertices)
    points = np.empty(3 * count, np.float32)
    mesh.data.vertices.foreach_get("co", points)
    with open(path, "w", encoding="ascii") as file:
        np.savetxt(file, _to_world(mesh, points.reshape(-1, 3)), "v %.7f %.7f %.7f")
        for polygon in mesh.data.polygons:
            file.write("f " + " ".join(str(i + 1) for i in polygon.vertices) + "\n")


def world_picks(mesh: bpy.types.Object, found: dict[str, np.ndarray]) -> dict[str, list[float]]:
    """Marks for the engine: metres, Y up."""
    return {mark: _to_world(mesh, place[None])[0].tolist() for mark, place in found.items()}


def _to_world(mesh: bpy.types.Object, points: np.ndarray) -> np.ndarray:
    matrix = np.array(mesh.matrix_world)
    return to_engine(points.astype(np.float64) @ matrix[:3, :3].T + matrix[:3, 3])


def _offsets_of(mesh: bpy.types.Object, shape: np.ndarray) -> np.ndarray:
    """Engine offsets [v, 3] in the mesh's own space."""
    inverse = np.linalg.inv(np.array(mesh.matrix_world)[:3, :3])
    return to_blender(np.asarray(shape, np.float64)) @ inverse.T


def add_keys(mesh: bpy.types.Object, names: Sequence[str], shapes: np.ndarray) -> None:
    """Shape keys with these names. shapes [k, v, 3]: offsets in metres, engine axes."""
    if shapes.shape != (len(names), len(mesh.data.vertices), 3):
        raise SceneProblem(
            f"The shapes are made for {shapes.shape[1]} vertices, '{mesh.name}' has {len(mesh.data.vertices)} now: "
            "make them again"
        )
    if mesh.data.shape_keys is None:
        mesh.shape_key_add(name="Basis", from_mix=False)
    rest = np.empty(3 * len(mesh.data.vertices), np.float32)
    mesh.data.shape_keys.reference_key.data.foreach_get("co", rest)
    for name, shape in zip(names, shapes, strict=True):
        block = mesh.shape_key_add(name=name, from_mix=False)
        block.data.foreach_set("co", rest + _offsets_of(mesh, shape).astype(np.float32).ravel())
        block.value = 0.0


def preview_of(control: bpy.types.Object) -> bpy.types.Object | None:
    """The copy that shows the shapes before they are applied, or None."""
    ob = control.get(PREVIEW)
    return ob if isinstance(ob, bpy.types.Object) and ob.name in bpy.data.objects else None


def make_preview(control: bpy.types.Object, names: Sequence[str], shapes: np.ndarray) -> bpy.types.Object:
    """Show the shapes on a copy of the mesh; the mesh is hidden meanwhile."""
    discard(control)
    mesh = need_bare(control)
    copy = mesh.copy()
    copy.data = mesh.data.copy()
    copy.name = copy.data.name = f"{mesh.name} preview"
    for collection in mesh.users_collection:
        collection.objects.link(copy)
    add_keys(copy, names, shapes)
    control[PREVIEW] = copy
    mesh.hide_set(True)
    return copy


def show(control: bpy.types.Object, name: str, value: float) -> None:
    """One shape of the preview at `value`, the others at rest."""
    copy = preview_of(control)
    if copy is not None and copy.data.shape_keys is not None:
        for block in copy.data.shape_keys.key_blocks[1:]:
            block.value = value if block.name == name else 0.0


def apply(control: bpy.types.Object) -> int:
    """Give the previewed keys to the mesh itself and remove the preview; how many keys it got."""
    copy, mesh = preview_of(control), need_bare(control)
    if copy is None:
        raise SceneProblem("Make the shapes first, then look at them and apply them")
    if len(copy.data.vertices) != len(mesh.data.vertices):
        raise SceneProblem(f"'{mesh.name}' was edited since its shapes were made: make them again")
    if mesh.data.shape_keys is None:
        mesh.shape_key_add(name="Basis", from_mix=False)
    coordinates = np.empty(3 * len(mesh.data.vertices), np.float32)
    blocks = copy.data.shape_keys.key_blocks[1:]
    for block in blocks:
        block.data.foreach_get("co", coordinates)
        own = mesh.shape_key_add(name=block.name, from_mix=False)
        own.data.foreach_set("co", coordinates)
        own.value = 0.0
    count = len(blocks)
    discard(control)
    return count


def discard(control: bpy.types.Object) -> bool:
    """Remove the preview and show the mesh again."""
    copy, mesh = preview_of(control), find.head_of(control)
    if PREVIEW in control:
        del control[PREVIEW]
    if copy is None:
        return False
    data = copy.data
    bpy.data.objects.remove(copy)
    bpy.data.meshes.remove(data)
    if mesh is not None and mesh.name in bpy.context.view_layer.objects:
        mesh.hide_set(False)
    return True
