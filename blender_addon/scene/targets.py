"""From a row of the mapping to the numbers in the file that it keys, drivers followed. Reads only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import bpy
import numpy as np

from ..convert import driven
from ..convert.axes import bone_quaternions
from ..convert.mapping import TURN, Row, Target
from .drivers import CannotFollow, Followed, Place, follow, place_at, transform_place


@dataclass
class Wanted:
    """What all rows together ask of one place: a sum of direct contributions, and demands of sliders it drives."""

    place: Place
    direct: np.ndarray | None = None
    demands: list[tuple[int, np.ndarray]] = field(default_factory=list)

    def values(self) -> np.ndarray:
        """[t]."""
        rest = self.place.rest()
        out = driven.combine(rest, self.demands) if self.demands else rest
        return out + self.direct if self.direct is not None else np.asarray(out)


def key_path(name: str) -> str:
    """A shape key's value, on its Key."""
    return f'key_blocks["{bpy.utils.escape_identifier(name)}"].value'


def key_meshes(target: Target, meshes: Sequence[bpy.types.Object]) -> list[bpy.types.Object]:
    """The character's meshes that have this key: all of them, or the one that the target names."""
    return [
        mesh
        for mesh in meshes
        if (not target.object or mesh.name == target.object)
        and mesh.data.shape_keys is not None
        and target.name in mesh.data.shape_keys.key_blocks
    ]


def places(target: Target, meshes: Sequence[bpy.types.Object]) -> list[Place | Followed]:
    """Where a target's value is keyed, one entry for each mesh with the key. Raises CannotFollow with a sentence."""
    if target.kind == "KEY":
        found: list[Place | Followed] = []
        for mesh in key_meshes(target, meshes):
            keys, path = mesh.data.shape_keys, key_path(target.name)
            block = keys.key_blocks[target.name]
            found.append(follow(keys, path, 0, block.slider_min, block.slider_max) or Place(keys, path, 0))
        if not found:
            raise CannotFollow("no mesh of the character has this shape key")
        return found
    ob = bpy.data.objects.get(target.object)
    if ob is None:
        raise CannotFollow(f"there is no object '{target.object}'" if target.object else "its object is not chosen")
    if target.kind == "BONE":
        what, _, axis = target.channel.partition("_")
        place = transform_place(ob, target.name, what, axis)
    else:
        place = property_place(ob, target.name)
    return [_free(place)]


def _free(place: Place) -> Place | Followed:
    if place.turn:
        return place
    return follow(place.owner, place.path, place.index, -1e9, 1e9) or place


def property_place(ob: bpy.types.Object, path: str) -> Place:
    """A data path on an object; "data." and "data.shape_keys." lead to its data and keys, which own their values."""
    owner: bpy.types.ID = ob
    for _ in range(2):
        for word in ("data", "shape_keys"):
            rest = path[len(word) :]
            if (
                path.startswith(word)
                and rest[:1] in (".", "[")
                and isinstance(getattr(owner, word, None), bpy.types.ID)
            ):
                owner, path = getattr(owner, word), rest.removeprefix(".")
    place = place_at(owner, path)
    try:
        value = owner.path_resolve(place.path)
        value = value[place.index] if hasattr(value, "__len__") else value
    except (ValueError, IndexError, TypeError):
        raise CannotFollow(f"'{owner.name}' has no property {path}") from None
    if not isinstance(value, int | float):
        raise CannotFollow(f"{path} of '{owner.name}' is not a number")
    return place


def gather(
    values: dict[Target, np.ndarray], meshes: Sequence[bpy.types.Object]
) -> tuple[dict[tuple, Wanted], list[str]]:
    """All values [t] sent to their places: ({place key: wanted}, sentences about targets that cannot be keyed)."""
    wanted: dict[tuple, Wanted] = {}
    notes: list[str] = []
    for target, value in values.items():
        try:
            found = places(target, meshes)
        except CannotFollow as problem:
            notes.append(f"'{target}' is left out: {problem}")
            continue
        for entry in found:
            place = entry.place if isinstance(entry, Followed) else entry
            at = wanted.setdefault(place.key, Wanted(place))
            if isinstance(entry, Followed):
                at.demands.append((entry.inverse.direction, entry.inverse(value)))
            else:
                at.direct = value if at.direct is None else at.direct + value
    return wanted, notes


Channel = tuple[str, int, np.ndarray, float]  # data path, array index, values [t], tolerance


def channels(wanted: Iterable[Wanted], tolerance: float) -> dict[bpy.types.ID, list[Channel]]:
    """Curves for each data-block. tolerance: of a slider; other numbers may err by as much of their range."""
    out: dict[tuple, tuple[bpy.types.ID, list[Channel]]] = {}
    turns: dict[tuple, tuple[bpy.types.ID, str, list[np.ndarray | None]]] = {}

    def curves_of(owner: bpy.types.ID) -> list[Channel]:
        return out.setdefault((owner.bl_rna.identifier, owner.name_full), (owner, []))[1]

    for want in wanted:
        place, values = want.place, want.values()
        if place.turn:
            entry = turns.setdefault((place.key[:3]), (place.owner, place.path, [None, None, None]))
            entry[2][place.index] = values
            continue
        slack = tolerance if isinstance(place.owner, bpy.types.Key) else tolerance * max(float(np.ptp(values)), 1e-6)
        curves_of(place.owner).append((place.path, place.index, values, slack))
    for owner, path, axes in turns.values():
        length = len(next(a for a in axes if a is not None))
        angles = np.stack([np.zeros(length) if a is None else a for a in axes], 1)
        quats = euler_quaternions(angles)
        curves_of(owner).extend((path, i, quats[:, i], tolerance / 8) for i in range(4))
    return dict(out.values())


def euler_quaternions(angles: np.ndarray) -> np.ndarray:
    """XYZ Euler angles [t, 3] radians -> unit quaternions [t, 4] wxyz: first about X, then Y, then Z (fixed axes)."""
    half = np.asarray(angles, np.float64) / 2
    (cx, cy, cz), (sx, sy, sz) = np.cos(half).T, np.sin(half).T
    return np.stack(
        [
            cx * cy * cz + sx * sy * sz,
            sx * cy * cz - cx * sy * sz,
            cx * sy * cz + sx * cy * sz,
            cx * cy * sz - sx * sy * cz,
        ],
        1,
    )


def turn_channels(row: Row, pose: np.ndarray, tolerance: float) -> tuple[bpy.types.ID, list[Channel]]:
    """Curves that turn a bone as a joint of the performance turns. pose [t, 3] axis-angle, engine axes.

    Raises CannotFollow if there is no such bone.
    """
    ob = bpy.data.objects.get(row.target.object)
    bone = ob.pose.bones.get(row.target.name) if ob is not None and ob.pose is not None else None
    if bone is None or row.target.channel != TURN:
        raise CannotFollow(f"there is no bone '{row.target.name}' in '{row.target.object}'")
    rest = np.array(bone.bone.matrix_local.to_3x3())
    quats = bone_quaternions(row.gain * np.asarray(pose, np.float64), rest)
    path = f'pose.bones["{bpy.utils.escape_identifier(bone.name)}"]'
    if bone.rotation_mode == "QUATERNION":
        return ob, [(f"{path}.rotation_quaternion", i, quats[:, i], tolerance) for i in range(4)]
    if bone.rotation_mode == "AXIS_ANGLE":
        raise CannotFollow(f"bone '{bone.name}' turns by axis and angle: set its rotation mode to Euler or quaternion")
    eulers = _eulers(quats, bone.rotation_mode)
    return ob, [(f"{path}.rotation_euler", i, eulers[:, i], tolerance) for i in range(3)]


def _eulers(quats: np.ndarray, order: str) -> np.ndarray:
    """Quaternions [t, 4] -> Euler angles [t, 3] in Blender's order, without jumps along t."""
    from mathutils import Quaternion

    out, before = [], None
    for q in quats:
        before = Quaternion(q).to_euler(order, before) if before is not None else Quaternion(q).to_euler(order)
        out.append(tuple(before))
    return np.array(out)
