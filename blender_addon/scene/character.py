"""A brought character: its meshes and its mapping, kept on the control Empty, and what a take becomes on it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import bpy
import numpy as np

from ..convert import closure, mapping, visemes
from ..convert.mapping import TURN, Row, Target
from ..convert.names import ARKIT, EXTRA, JOINTS
from . import SceneProblem, find, nla, targets
from .drivers import CannotFollow

FEW = 10  # keys; with fewer known names a rig's own sliders are looked at
PROPERTY = "soliloquy_character"  # on the control Empty, see ui/character.py


def settings_of(control: bpy.types.Object | None) -> bpy.types.PropertyGroup | None:
    """The control's character settings, or None where the add-on's properties are not registered."""
    return getattr(control, PROPERTY, None) if control is not None else None


def meshes_of(control: bpy.types.Object) -> list[bpy.types.Object]:
    """The character's meshes: the control's head first, then those added to it."""
    settings = settings_of(control)
    found = [find.head_of(control)]
    found += [entry.object for entry in settings.meshes] if settings is not None else []
    return list(dict.fromkeys(m for m in found if m is not None and m.type == "MESH"))


def rows_of(control: bpy.types.Object) -> tuple[Row, ...]:
    """The mapping table; () for a head of our own, whose names need none."""
    settings = settings_of(control)
    return tuple(_read(row) for row in settings.rows) if settings is not None else ()


def _read(row: bpy.types.PropertyGroup) -> Row:
    place = row.object.name if row.object is not None else ""
    channel = row.channel if row.kind == "BONE" else ""
    return Row(row.source, Target(row.kind, row.name, place, channel), row.gain, row.offset, row.on)


def set_rows(control: bpy.types.Object, rows: Iterable[Row]) -> None:
    """Replace the table."""
    settings = settings_of(control)
    settings.rows.clear()
    for row in rows:
        entry = settings.rows.add()
        entry.source, entry.kind, entry.name = row.source, row.target.kind, row.target.name
        entry.object = bpy.data.objects.get(row.target.object) if row.target.object else None
        if row.target.kind == "BONE":
            entry.channel = row.target.channel
        entry.gain, entry.offset, entry.on = row.gain, row.offset, row.on
    settings.row_index = min(settings.row_index, max(len(settings.rows) - 1, 0))


def set_meshes(control: bpy.types.Object, meshes: Sequence[bpy.types.Object]) -> None:
    """The first is the head that speaks; the others follow with the keys that they share with it."""
    settings = settings_of(control)
    control[find.HEAD_POINTER] = meshes[0]
    settings.meshes.clear()
    for mesh in meshes[1:]:
        settings.meshes.add().object = mesh


def key_names(meshes: Iterable[bpy.types.Object]) -> list[str]:
    """Names of all shape keys but the first of each mesh, without repeats."""
    names = [b.name for m in meshes if m.data.shape_keys for b in m.data.shape_keys.key_blocks[1:]]
    return list(dict.fromkeys(names))


def gather_meshes(objects: Iterable[bpy.types.Object]) -> list[bpy.types.Object]:
    """Meshes with shape keys among the objects, or bound to the armatures among them; the one with the most known
    names first. Where none has keys: all meshes, the largest first."""
    objects = list(objects)
    found: list[bpy.types.Object] = []
    for ob in objects:
        if ob.type == "MESH":
            found.append(ob)
        elif ob.type == "ARMATURE":
            found += [m for m in bpy.data.objects if m.type == "MESH" and find.armature_of(m) == ob]
        else:
            found += [m for m in ob.children_recursive if m.type == "MESH"]
    meshes = [m for m in dict.fromkeys(found) if m.data.shape_keys is not None]
    if not meshes:
        return sorted(dict.fromkeys(found), key=lambda m: len(m.data.vertices), reverse=True)
    return sorted(meshes, key=_known, reverse=True)


def _known(mesh: bpy.types.Object) -> int:
    names = key_names([mesh])
    return 100 * mapping.auto_map(names).count + 10 * len(visemes.find(names)[1]) + min(len(names), 9)


def auto_rows(meshes: Sequence[bpy.types.Object], rig: bpy.types.Object | None) -> tuple[Row, ...]:
    """The table by names: ARKit-like keys; visemes for a mouth that knows only those; head and eye bones."""
    names = key_names(meshes)
    found = mapping.auto_map(names)
    rows = list(found.rows)
    aimed = {row.target.name for row in rows}
    for mesh in meshes[1:]:  # lashes or teeth may spell their names in another way
        rows += [row for row in mapping.auto_map(key_names([mesh])).rows if row.target.name not in aimed]
    mouth = sum(name.startswith(("mouth", "jaw")) for name in found.found)
    _, by_viseme = visemes.find(names)
    if by_viseme and mouth < 10:
        taken = {row.target.name for row in by_viseme}
        rows = [r for r in rows if not r.source.startswith(("mouth", "jaw", "tongue")) and r.target.name not in taken]
        rows += by_viseme
    if rig is not None and found.count < FEW:
        sliders = rig_sliders(rig)
        by_slider = mapping.auto_map(list(sliders)).rows
        if len(by_slider) > len(rows):
            rows = [dataclasses.replace(r, target=Target("PROP", sliders[r.target.name], rig.name)) for r in by_slider]
    if rig is not None:
        turns = mapping.joint_rows([b.name for b in rig.data.bones], rig.name)
        if "eyeLookInLeft" in found.found:  # the eyes are turned by keys
            turns = [row for row in turns if row.source == "neck"]
        rows += turns
    return tuple(rows)


def rig_sliders(rig: bpy.types.Object) -> dict[str, str]:
    """Name -> data path of the custom properties with numbers on an armature object and its pose bones."""
    found: dict[str, str] = {}
    holders = [("", rig), *((f'pose.bones["{bpy.utils.escape_identifier(b.name)}"]', b) for b in rig.pose.bones)]
    for path, holder in holders:
        for name, value in holder.items():
            if isinstance(value, int | float):
                found.setdefault(name, f'{path}["{bpy.utils.escape_identifier(name)}"]')
    return found


def owners(control: bpy.types.Object) -> list[bpy.types.ID]:
    """Data-blocks that a take on this character would surely write to (drivers not followed)."""
    meshes = meshes_of(control)
    out: list[bpy.types.ID] = []
    for row in rows_of(control):
        if not row.on:
            continue
        if row.target.kind == "KEY":
            out += [m.data.shape_keys for m in targets.key_meshes(row.target, meshes)]
        elif (ob := bpy.data.objects.get(row.target.object)) is not None:
            out.append(ob)
    return list(dict.fromkeys(out))


def check(control: bpy.types.Object) -> None:
    """SceneProblem if no take can be written on the mapped character. Cheap: drivers are not followed."""
    rows = [row for row in rows_of(control) if row.on and row.source]
    if not rows:
        raise SceneProblem("No row of the mapping is on: press Auto Map in the section My Character")
    for owner in owners(control):
        nla.need_writable(owner, "The character's")


def lip_model(meshes: Sequence[bpy.types.Object], rows: Iterable[Row]) -> closure.LipModel | None:
    """How the rows' keys open the lips of the mesh that speaks; None where its lips cannot be found."""
    rows = [r for r in rows if r.on and r.target.kind == "KEY" and r.source in ARKIT + EXTRA]
    jaw = next((r for r in rows if r.source == "jawOpen"), None)
    mesh = next(iter(targets.key_meshes(jaw.target, meshes)), None) if jaw is not None else None
    if mesh is None:
        return None
    offsets: dict[str, np.ndarray] = {}
    for row in rows:
        if targets.key_meshes(row.target, [mesh]):
            delta = row.gain * key_offsets(mesh, row.target.name)
            offsets[row.source] = offsets[row.source] + delta if row.source in offsets else delta
    found = closure.find_lip_pairs(_coordinates(mesh.data.shape_keys.reference_key), offsets["jawOpen"])
    return closure.lip_model(*found, offsets) if found is not None else None


def key_offsets(mesh: bpy.types.Object, name: str) -> np.ndarray:
    """What a shape key adds to the key it is relative to. [v, 3]."""
    block = mesh.data.shape_keys.key_blocks[name]
    return _coordinates(block) - _coordinates(block.relative_key)


def _coordinates(block: bpy.types.ShapeKey) -> np.ndarray:
    out = np.empty(3 * len(block.data), np.float32)
    block.data.foreach_get("co", out)
    return out.reshape(-1, 3)


def performance_values(
    weights: Mapping[str, np.ndarray], contact: np.ndarray | None, rows: Sequence[Row],
    meshes: Sequence[bpy.types.Object],
) -> dict[Target, np.ndarray]:  # fmt: skip
    """Scalar values of every target. weights: ARKit and extra name -> [t]; contact [t, 3] closure, lip on teeth, voice
    in [0, 1], or None where the take does not say."""
    weights = {**{name: np.zeros(len(next(iter(weights.values())))) for name in ARKIT + EXTRA}, **weights}
    if contact is not None:
        shut, bite, voice = contact.T.astype(np.float64)
    else:
        (shut, bite), voice = closure.contact(weights), None
    served = set(mapping.sources(rows))
    heard = {name: value for name, value in weights.items() if name in served}
    values = closure.seal(heard, shut, lip_model(meshes, rows) if "jawOpen" in served else None, voice)
    which = visemes.set_in_use(rows)
    if which:
        values.update(visemes.fit(weights, shut, bite, which))
    return mapping.apply(rows, values)


def channels(
    control: bpy.types.Object, weights: Mapping[str, np.ndarray], contact: np.ndarray | None, pose: np.ndarray,
    tolerance: float,
) -> tuple[dict[bpy.types.ID, list[targets.Channel]], list[str]]:  # fmt: skip
    """({data-block: curves}, sentences) of a take on the mapped character. pose [t, 15] axis-angle, engine axes."""
    rows, meshes = rows_of(control), meshes_of(control)
    wanted, notes = targets.gather(performance_values(weights, contact, rows, meshes), meshes)
    out = targets.channels(wanted.values(), tolerance)
    for row in rows:
        if row.on and row.target.channel == TURN and row.source in JOINTS:
            j = JOINTS.index(row.source)
            try:
                owner, curves = targets.turn_channels(row, pose[:, 3 * j : 3 * j + 3], tolerance / 8)
            except CannotFollow as problem:
                notes.append(f"'{row.target}' is left out: {problem}")
                continue
            out.setdefault(owner, []).extend(curves)
    for owner in out:
        nla.need_writable(owner, "The character's")
    return out, notes + _cut(out, rows)


def _cut(out: Mapping[bpy.types.ID, list[targets.Channel]], rows: Sequence[Row]) -> list[str]:
    """A sentence about keys whose sliders end before their row's values do: an artist's own range is left as it is.

    Where several sources share a key, its slider's end is meant as the limit of their sum.
    """
    aimed = [row.target.name for row in rows if row.on and row.target.kind == "KEY"]
    names = []
    for owner, curves in out.items():
        if isinstance(owner, bpy.types.Key):
            blocks = {targets.key_path(b.name): b for b in owner.key_blocks if aimed.count(b.name) == 1}
            for path, _, values, _ in curves:
                block = blocks.get(path)
                if block and (values.max() > block.slider_max + 0.01 or values.min() < block.slider_min - 0.01):
                    names.append(block.name)
    if not names:
        return []
    several = " ..." if len(names) > 4 else ""
    return [f"{', '.join(dict.fromkeys(names[:4]))}{several}: values beyond the slider's range are cut there"]
