"""The character of a capture: built from the engine's head or opened from a .blend, with a frame for each pose."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from ..convert.names import ARKIT, EXTRA
from . import SceneProblem, capture_stage, character, control_empty, find, hair, head, take
from .shader_nodes import SOCKETS

STAGE = "stage"  # folder of the head's arrays in a capture
MOVED_M, REACH, HAIR = 2e-4, 1.8, 0.12  # see head_points


def load(job: Mapping[str, Any], folder: Path) -> list[bpy.types.Object]:
    """The character's meshes, the one that speaks first, alone in the render. Raises SceneProblem."""
    if not job.get("scene"):
        return _built(folder)
    path = Path(str(job["scene"]))
    if not path.is_file():
        raise SceneProblem(f"{path}: no such .blend file")
    bpy.ops.wm.open_mainfile(filepath=str(path), load_ui=False)
    control = _control(str(job.get("mesh") or ""))
    meshes = character.meshes_of(control)
    if not job.get("keep_scene"):
        _alone(meshes)
    for mesh in meshes:
        capture_stage.cage_only(mesh)
    return meshes


def _built(folder: Path) -> list[bpy.types.Object]:
    """The engine's head, from the arrays that it laid beside the plan."""
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    stage = folder / STAGE
    try:
        info = json.loads((stage / "head.json").read_text(encoding="utf-8"))
        arrays = {path.stem: np.load(path, mmap_mode="r", allow_pickle=False) for path in stage.glob("*.npy")}
        wanted = head.arrays_of({**info, "arrays": arrays}) | hair.arrays_of(info)
        missing = sorted(set(wanted) - set(arrays))
    except (OSError, ValueError) as error:
        raise SceneProblem(f"{stage} does not hold the head ({error}): plan the capture again") from None
    if missing:
        raise SceneProblem(f"{stage} lacks {missing[0]}.npy: plan the capture again")
    info["arrays"] = {name: {} for name in arrays}
    collection = bpy.context.scene.collection
    mesh, rig = head.build(info, arrays, collection)
    if info.get("hair"):
        hair.add(info, arrays, rig, collection)
    control_empty.create("capture control", mesh, collection)
    return [mesh]


def _control(name: str) -> bpy.types.Object:
    """The control of the mesh with this name, or the scene's only one; made where the file has none."""
    scene = bpy.context.scene
    if name and bpy.data.objects.get(name) is None:
        raise SceneProblem(f"the scene has no object '{name}'")
    wanted = find.talking_mesh(bpy.data.objects[name]) if name else None
    for control in find.controls(scene):
        if find.head_of(control) is not None and (wanted is None or find.head_of(control) == wanted):
            return control
    if wanted is None:
        candidates = [m for m in scene.objects if m.type == "MESH" and "jawOpen" in find.shape_keys(m)]
        wanted = max(candidates, key=lambda m: len(find.shape_keys(m)), default=None)
    if wanted is None:
        raise SceneProblem(
            "no mesh of the scene has shape keys with ARKit's names: map the character in Blender first (My Character)"
        )
    control = control_empty.create("capture control", wanted, scene.collection)
    rig = find.armature_of(wanted)
    meshes = character.gather_meshes([rig]) if rig is not None else [wanted]
    meshes = [wanted, *(m for m in meshes if m != wanted)]
    if len(meshes) > 1:
        character.set_meshes(control, meshes)
        character.set_rows(control, character.auto_rows(meshes, rig))
    return control


def head_points(meshes: list[bpy.types.Object]) -> np.ndarray:
    """[n, 3] world, engine axes: vertices of the character about what its shape keys move, hair and throat included.

    A body in full would leave the head a few pixels; so what is farther from the face's middle than REACH times the
    face's size is left out.
    """
    bpy.context.view_layer.update()
    face = capture_stage.world_vertices(meshes)
    keys = meshes[0].data.shape_keys
    moved = np.zeros(len(face), bool)
    for block in keys.key_blocks[1:] if keys else ():
        moved |= np.abs(character.key_offsets(meshes[0], block.name)).max(1) > MOVED_M
    moved = moved if moved.any() else np.ones(len(face), bool)
    low, high = face[moved].min(0), face[moved].max(0)
    reach = REACH * float(np.linalg.norm(high - low)) / 2
    every = np.concatenate([capture_stage.world_vertices([mesh]) for mesh in meshes])
    near = every[np.linalg.norm(every - (low + high) / 2, axis=1) < reach]
    # Hair may be particles or curves, which have no vertices: room above stands for them.
    above = near[near[:, 1] > (low + high)[1] / 2] + [0.0, HAIR * float(high[1] - low[1]), 0.0]
    return np.concatenate([near, above]).astype(np.float32)


def without_subsurface() -> None:
    """Light enters no surface: a third less work, and under large soft lights hardly a difference (39 dB)."""
    for material in bpy.data.materials:
        for node in material.node_tree.nodes if material.node_tree else ():
            if node.type == "BSDF_PRINCIPLED":
                socket = next(node.inputs[n] for n in SOCKETS["subsurface"] if n in node.inputs)
                for link in list(socket.links):
                    material.node_tree.links.remove(link)
                socket.default_value = 0.0


def _alone(meshes: list[bpy.types.Object]) -> None:
    """Hide from renders what is neither the character, nor hung on it, nor a light."""
    rigs = {rig for mesh in meshes if (rig := find.armature_of(mesh)) is not None}
    ours = set(meshes) | rigs
    for ob in list(ours):
        ours |= set(ob.children_recursive)
    for ob in bpy.context.scene.objects:
        if ob not in ours and ob.type not in ("LIGHT", "CAMERA", "EMPTY", "ARMATURE"):
            ob.hide_render = True


def pose_all(scene: bpy.types.Scene, job: Mapping[str, Any], folder: Path, meshes: list[bpy.types.Object]) -> list[str]:
    """Write the poses as a performance: pose i on frame FIRST_FRAME + i, by the same way as a take."""
    try:
        with np.load(folder / "poses.npz", allow_pickle=False) as data:
            poses = {name: np.asarray(data[name], np.float32) for name in ("arkit", "extra", "joints", "translation")}
    except (OSError, KeyError, ValueError) as error:
        raise SceneProblem(f"{folder / 'poses.npz'} does not hold the poses ({error})") from None
    if len(poses["arkit"]) != len(job["poses"]):
        raise SceneProblem(f"{folder / 'poses.npz'} holds other poses than the plan: plan the capture again")
    control = next(c for c in find.controls(scene) if find.head_of(c) == meshes[0])
    performance = take.TakeArrays(
        weights=np.concatenate([poses["arkit"], poses["extra"]], 1), shape_names=(*ARKIT, *EXTRA), pose=poses["joints"],
        translation=poses["translation"], first_frame=capture_stage.FIRST_FRAME, path="",
    )  # fmt: skip
    return take.write(control, performance)
