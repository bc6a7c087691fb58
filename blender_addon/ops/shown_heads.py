"""The Soliloquy heads that a depsgraph shows, and their vertices as they stand: keys, armatures, own rigs and all."""

from __future__ import annotations

from dataclasses import dataclass

import bpy
import numpy as np

from ..link.live import HeadSpec
from ..scene import appearance, face_values, hair
from ..scene.find import HEAD_MARK


class NotNow(Exception):
    """The heads cannot be read at the moment; `str()` is a sentence, or empty when there is nothing to say."""


@dataclass
class ShownHead:
    """A marked mesh object in the scene. matrix: object to world, row by row; values: what its face does, float32
    numbers by convert.names.FACE_VALUES."""

    original: bpy.types.Object
    matrix: tuple[float, ...]
    spec: HeadSpec
    values: bytes


def shown_heads(depsgraph: bpy.types.Depsgraph) -> list[ShownHead]:
    """Every visible marked head, instances included.

    Raises NotNow in edit mode (the evaluated mesh is empty then) and for modifiers that change the topology.
    """
    found: list[ShownHead] = []
    values: dict[bpy.types.Object, bytes] = {}
    for instance in depsgraph.object_instances:
        ob = instance.object
        if ob.type != "MESH" or HEAD_MARK not in ob or not instance.show_self:
            continue
        if ob.mode == "EDIT":
            raise NotNow("")
        count, drawn = len(ob.original.data.vertices), len(ob.data.vertices)
        if count != drawn:
            raise NotNow(
                f"Modifiers of '{ob.name}' change its vertices from {count} to {drawn}: the avatar needs the head's "
                "own topology, so switch them off"
            )
        head = str(ob.get("soliloquy_head_name", "default"))
        avatar = hair.avatar_of(ob.original, depsgraph.mode == "RENDER")
        matrix = tuple(x for row in instance.matrix_world for x in row)
        original = ob.original
        if original not in values:
            values[original] = face_values.read(original, depsgraph).tobytes()
        spec = HeadSpec(head, avatar, count, appearance.path_of(original))
        found.append(ShownHead(original, matrix, spec, values[original]))
    return found


def write_vertices(heads: list[ShownHead], depsgraph: bpy.types.Depsgraph, blocks: list[memoryview]) -> None:
    """Fill one float32 block [count * 3] a head with its evaluated vertices in object space."""
    for head, block in zip(heads, blocks, strict=True):
        mesh = head.original.evaluated_get(depsgraph).data
        out = np.frombuffer(block, np.float32)
        position = mesh.attributes.get("position")  # from 3.5 on; 40 to 100 times faster than the vertices
        if position is not None:
            position.data.foreach_get("vector", out)
        else:
            mesh.vertices.foreach_get("co", out)
