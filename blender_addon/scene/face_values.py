"""What a face does in the shown frame beside its mesh, as the depsgraph has it: weights, action units, emotion.

Weights are read from the evaluated shape keys (through the mapping on a brought character), so keys by hand and drivers
count. Action units are the take's, moved by as much as the weights differ from the take's; emotions are the control's
own sliders. Reads only.
"""

from __future__ import annotations

import functools
import zipfile
from pathlib import Path

import bpy
import numpy as np

from ..convert import mapping
from ..convert.action_units import units_after
from ..convert.mapping import Row, Target
from ..convert.names import ARKIT, AUS, EMOTIONS, EXTRA, FACE_VALUES, SIDES
from . import character, find, nla, targets

SHAPES = ARKIT + EXTRA


def read(mesh: bpy.types.Object, depsgraph: bpy.types.Depsgraph) -> np.ndarray:
    """[len(FACE_VALUES)] float32 of a head's mesh object (the original one); NaN: not known."""
    scene = depsgraph.scene.original
    control = _control_of(mesh, scene)
    recorded = _recorded(mesh, control, depsgraph.scene) if control is not None else None
    rows = character.rows_of(control) if control is not None else ()
    meshes = character.meshes_of(control) if rows else []
    values = _target_values(rows, meshes, depsgraph)
    shown = mapping.unmapped(rows, values) if rows else _own_weights(mesh, depsgraph)
    weights = np.where(np.isnan(shown) & ~np.isnan(shown).all(), np.float32(0), shown)
    au = np.full((len(AUS), len(SIDES)), np.nan, np.float32)
    if recorded is not None:
        was, au = recorded
        weights = was if np.isnan(weights).all() else weights
        # A shape that the character lacks was moved by nobody, nor one that the mapping renders in its own way.
        expected = mapping.unmapped(rows, _as_mapped(rows, meshes, values, was)) if rows else was
        au = units_after(au, np.where(np.isnan(shown), np.float32(0), shown - expected))
    elif not np.isnan(weights).any():
        au = units_after(np.zeros_like(au), weights)
    feeling = np.full(len(EMOTIONS) + 1, np.nan, np.float32)
    if control is not None:
        sliders = control.evaluated_get(depsgraph)
        feeling[:] = [*(float(sliders.get(name, 0.0)) for name in EMOTIONS), float(sliders.get("intensity", 1.0))]
    out = np.concatenate([weights, au.ravel(), feeling]).astype(np.float32)
    assert len(out) == len(FACE_VALUES)
    return out


def _control_of(mesh: bpy.types.Object, scene: bpy.types.Scene) -> bpy.types.Object | None:
    found = (c for c in find.controls(scene) if find.head_of(c) == mesh or mesh in character.meshes_of(c))
    return next(found, None)


def _own_weights(mesh: bpy.types.Object, depsgraph: bpy.types.Depsgraph) -> np.ndarray:
    """[59] by the names of the mesh's own keys; NaN for those that it lacks."""
    shown = _key_values(mesh, depsgraph)
    own = {name: key for name, key in find.shape_keys(mesh).items() if name in SHAPES}
    return np.array([shown.get(own[name], 0.0) if name in own else np.nan for name in SHAPES], np.float32)


def _as_mapped(
    rows: tuple[Row, ...], meshes: list[bpy.types.Object], values: dict[Target, float], weights: np.ndarray
) -> dict[Target, float]:
    """What weights [59] make of the targets that have a value, where no hand touched them: sliders keep their range."""
    told = mapping.apply(rows, {name: weights[i : i + 1] for i, name in enumerate(SHAPES)})
    out = {target: float(told[target][0]) for target in values if target in told}
    for target in out:
        if target.kind == "KEY":
            block = targets.key_meshes(target, meshes)[0].data.shape_keys.key_blocks[target.name]
            out[target] = min(max(out[target], block.slider_min), block.slider_max)
    return out


def _key_values(mesh: bpy.types.Object, depsgraph: bpy.types.Depsgraph) -> dict[str, float]:
    """Shape key -> how far it shows: a muted one not at all, a pinned one alone."""
    keys = mesh.data.shape_keys
    if keys is None:
        return {}
    names = [block.name for block in keys.key_blocks]
    if mesh.show_only_shape_key:
        return {names[mesh.active_shape_key_index]: 1.0}
    evaluated = keys.evaluated_get(depsgraph).key_blocks
    values, mute = np.empty(len(names), np.float32), np.empty(len(names), bool)
    evaluated.foreach_get("value", values)
    evaluated.foreach_get("mute", mute)
    return dict(zip(names, np.where(mute, 0.0, values).tolist(), strict=True))


def _target_values(
    rows: tuple[Row, ...], meshes: list[bpy.types.Object], depsgraph: bpy.types.Depsgraph
) -> dict[Target, float]:
    """The values of the rows' shape keys and properties."""
    found: dict[Target, float] = {}
    shown = {mesh.name: _key_values(mesh, depsgraph) for mesh in meshes}
    for target in {row.target for row in rows if row.on}:
        if target.kind == "KEY":
            holders = targets.key_meshes(target, meshes)
            if holders:
                found[target] = shown[holders[0].name].get(target.name, 0.0)
        elif target.kind == "PROP" and (ob := bpy.data.objects.get(target.object)) is not None:
            try:
                found[target] = float(ob.evaluated_get(depsgraph).path_resolve(target.name))
            except (ValueError, TypeError):
                continue  # the row's own check says it when a take is written
    return found


def _recorded(
    mesh: bpy.types.Object, control: bpy.types.Object, scene: bpy.types.Scene
) -> tuple[np.ndarray, np.ndarray] | None:
    """(weights [59], action units [18, 2]) of the take at the shown frame; None without a take that plays."""
    keys = mesh.data.shape_keys
    strips = nla.marked(keys, "take", control) if keys is not None and control.get("take") else []
    if not strips or strips[0][0].mute or strips[0][1].mute:
        return None
    path = Path(bpy.path.abspath(str(control["take"])))
    try:
        stat = path.stat()
        weights, au = _take(str(path), stat.st_mtime_ns, stat.st_size)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None  # the panel says it when the take is needed for more
    strip = strips[0][1]
    frame = scene.frame_current + scene.frame_subframe
    played = strip.action_frame_start + (frame - strip.frame_start) / max(strip.scale, 1e-6)
    row = min(max(played - strip.action.frame_range[0], 0.0), len(weights) - 1.0)
    low = int(row)
    high, part = min(low + 1, len(weights) - 1), np.float32(row - low)
    return weights[low] + part * (weights[high] - weights[low]), au[low] + part * (au[high] - au[low])


@functools.lru_cache(maxsize=4)
def _take(path: str, mtime_ns: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """(weights [t, 59], action units [t, 18, 2]) of a take file."""
    with np.load(path, allow_pickle=False) as data:
        weights = np.concatenate([data["arkit"], data["extra"]], 1).astype(np.float32)
        au = data["drive.au_final"] if "drive.au_final" in data.files else data["au"]
        au = np.asarray(au, np.float32)
    if weights.shape[1] != len(SHAPES) or au.shape != (len(weights), len(AUS), len(SIDES)) or not len(weights):
        raise ValueError("not a take")
    return weights, au
