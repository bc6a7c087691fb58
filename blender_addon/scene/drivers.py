"""Driven values cannot be keyed: this follows a driver to the number that an animator would key, and turns it round.

Reads only. A chain of drivers (key <- property <- bone) is followed to its end.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import bpy

from ..convert.driven import Inverse, turn_round
from ..convert.expressions import NotUnderstood, function_of

DEEPEST = 8
_AXES = {"X": 0, "Y": 1, "Z": 2}
_PARTS = {"LOC": "location", "ROT": "rotation_euler", "SCALE": "scale"}


class CannotFollow(Exception):
    """The driver leads to no single number that could be keyed; one sentence."""


@dataclass(frozen=True)
class Place:
    """A number that can be keyed. turn: an angle about axis `index` of a bone or object that turns by quaternion."""

    owner: bpy.types.ID
    path: str
    index: int
    turn: bool = False

    @property
    def key(self) -> tuple[str, str, str, int]:
        return self.owner.bl_rna.identifier, self.owner.name_full, self.path, self.index

    def rest(self) -> float:
        """Its value when nobody touches it."""
        if self.turn or self.path.endswith(("location", "rotation_euler")):
            return 0.0
        if self.path.endswith("scale"):
            return 1.0
        holder, name = _custom(self.owner, self.path)
        if holder is not None:
            try:
                default = holder.id_properties_ui(name).as_dict().get("default", 0.0)
            except TypeError:  # a property without such data
                default = 0.0
            return float(default[self.index] if hasattr(default, "__len__") else default)
        return 0.0


@dataclass(frozen=True)
class Followed:
    """Where a driven value comes from: key `place` with `inverse(wanted)`."""

    place: Place
    inverse: Inverse


def driver_of(owner: bpy.types.ID, path: str, index: int = 0) -> bpy.types.FCurve | None:
    """The driver that holds this value, or None (a muted one holds nothing)."""
    anim = owner.animation_data
    if anim is None:
        return None
    for curve in anim.drivers:
        if not curve.mute and curve.array_index == index and curve.data_path == path:
            return curve
    return None


def follow(owner: bpy.types.ID, path: str, index: int = 0, low: float = 0.0, high: float = 1.0) -> Followed | None:
    """What to key instead of a driven value in [low, high]; None if it is not driven. Raises CannotFollow."""
    curve = driver_of(owner, path, index)
    if curve is None:
        return None
    steps: list[Callable[[float], float]] = []
    place = Place(owner, path, index)
    while curve is not None:
        if len(steps) == DEEPEST:
            raise CannotFollow("its drivers lead in a circle")
        place, function = _one_step(curve)
        steps.append(function)
        curve = driver_of(place.owner, place.path, place.index)

    def whole(x: float) -> float:
        for function in reversed(steps):
            x = function(x)
        return min(max(x, low), high)

    inverse = turn_round(whole, place.rest())
    if inverse is None:
        raise CannotFollow("no value of its driver's input raises it steadily from rest to 1")
    return Followed(place, inverse)


def _one_step(curve: bpy.types.FCurve) -> tuple[Place, Callable[[float], float]]:
    """(the driver's only input, value as a function of it)."""
    driver = curve.driver
    used = list(driver.variables)
    if driver.type == "SCRIPTED":
        words = set(re.findall(r"[A-Za-z_]\w*", driver.expression))
        used = [v for v in used if v.name in words]
    if not used:
        raise CannotFollow("its driver reads no property or bone")
    if len(used) > 1:
        raise CannotFollow(f"its driver mixes {len(used)} values ({', '.join(v.name for v in used)})")
    place, scale = _input(used[0])
    if driver.type == "SCRIPTED":
        try:
            formula = function_of(driver.expression, used[0].name)
        except NotUnderstood as problem:
            raise CannotFollow(
                f"its driver's formula '{driver.expression}' cannot be turned round: {problem}"
            ) from None
    else:
        formula = float  # average, sum, minimum and maximum of one value are that value
    shape = _curve_shape(curve)
    return place, lambda x: shape(formula(scale * x))


def _curve_shape(curve: bpy.types.FCurve) -> Callable[[float], float]:
    """The driver's own curve in the graph editor, applied to the formula's result."""
    if len(curve.keyframe_points):
        return curve.evaluate
    active = [m for m in curve.modifiers if not m.mute]
    if not active:
        return float
    if all(m.type == "GENERATOR" and not m.use_additive for m in active):
        return curve.evaluate
    raise CannotFollow("its driver's curve has modifiers that cannot be turned round")


def _input(variable: bpy.types.DriverVariable) -> tuple[Place, float]:
    """The number that a variable reads, and the variable's value per unit of it."""
    target = variable.targets[0]
    if target.id is None:
        raise CannotFollow(f"its driver's variable '{variable.name}' reads nothing")
    if variable.type == "SINGLE_PROP":
        return place_at(target.id, target.data_path), 1.0
    if variable.type == "TRANSFORMS":
        return _transform(target), 1.0
    kind = {"ROTATION_DIFF": "an angle between bones", "LOC_DIFF": "a distance"}.get(variable.type, "a setting")
    raise CannotFollow(f"its driver reads {kind}, which cannot be keyed")


def place_at(owner: bpy.types.ID, path: str) -> Place:
    """A data path with its index ('location[2]', 'location.z', '["smile"]') as a place."""
    found = re.fullmatch(r"(.*[^\[])\[(\d+)\]", path)
    if found:
        return Place(owner, found.group(1), int(found.group(2)))
    found = re.fullmatch(r"(.*(?:location|rotation_euler|scale))\.([xyz])", path)
    if found:
        return Place(owner, found.group(1), "xyz".index(found.group(2)))
    return Place(owner, path, 0)


def _transform(target: bpy.types.DriverTarget) -> Place:
    """The channel behind a transform variable; only local space is a channel."""
    what, _, axis = target.transform_type.partition("_")
    name = f"bone '{target.bone_target}'" if target.bone_target else f"'{target.id.name}'"
    if target.transform_space != "LOCAL_SPACE":
        raise CannotFollow(f"its driver reads {name} in world or transform space: only local space can be keyed")
    if axis not in _AXES or what not in _PARTS:
        raise CannotFollow(f"its driver reads {target.transform_type} of {name}, which cannot be keyed")
    return transform_place(target.id, target.bone_target, what, axis)


def transform_place(ob: bpy.types.Object, bone: str, what: str, axis: str) -> Place:
    """Location, rotation or scale (LOC, ROT, SCALE) about X, Y or Z of a pose bone, or of the object if bone is ""."""
    holder: Any = ob
    prefix = ""
    if bone:
        holder = ob.pose.bones.get(bone) if ob.pose else None
        if holder is None:
            raise CannotFollow(f"'{ob.name}' has no bone '{bone}'")
        prefix = f'pose.bones["{bpy.utils.escape_identifier(bone)}"].'
    if what == "ROT" and holder.rotation_mode in ("QUATERNION", "AXIS_ANGLE"):
        if holder.rotation_mode == "AXIS_ANGLE":
            raise CannotFollow(f"'{bone or ob.name}' turns by axis and angle: set its rotation mode to Euler")
        return Place(ob, f"{prefix}rotation_quaternion", _AXES[axis], turn=True)
    return Place(ob, f"{prefix}{_PARTS[what]}", _AXES[axis])


def _custom(owner: bpy.types.ID, path: str) -> tuple[Any, str]:
    """(holder, name) of a custom property's path, else (None, "")."""
    found = re.fullmatch(r'(?:(.*?)\.?)?\["((?:[^"\\]|\\.)*)"\]', path)
    if not found:
        return None, ""
    try:
        holder = owner.path_resolve(found.group(1)) if found.group(1) else owner
    except ValueError:
        return None, ""
    name = bpy.utils.unescape_identifier(found.group(2))
    return (holder, name) if hasattr(holder, "keys") and name in holder.keys() else (None, "")  # noqa: SIM118
