"""Gaussians as a point cloud with the attributes that Blender's own splats read (5.3 and newer).

Two spellings of the colours are known, "radiance:base" with "radiance:sh_0" ... and "color" with "sh_0" ...: both are
written. Older Blenders show the points and keep the attributes for geometry nodes and for later.
"""

from __future__ import annotations

from collections.abc import Mapping

import bpy
import numpy as np

from . import SceneProblem

MARK = "soliloquy_splats"
BASES = (("radiance:base", "radiance:sh_{}"), ("color", "sh_{}"))
_FIELDS = {"FLOAT_VECTOR": "vector", "QUATERNION": "value", "FLOAT_COLOR": "color", "FLOAT": "value"}
RADIUS = 0.5  # of the largest deviation: what Blenders without splats show of a Gaussian


def why_unavailable() -> str | None:
    """A sentence for Blenders whose meshes cannot carry the attributes into a point cloud."""
    return None if bpy.app.version >= (4, 1, 0) else "Point clouds with rotations need Blender 4.1 or newer"


def add(arrays: Mapping[str, np.ndarray], name: str, collection: bpy.types.Collection) -> bpy.types.Object:
    """A point cloud object in the collection. arrays: the `splats` job's answer, Blender's axes and metres.

    Blender's Python makes no points in a point cloud, so they begin as the vertices of a mesh that is converted.
    """
    if problem := why_unavailable():
        raise SceneProblem(problem)
    mesh = bpy.data.meshes.new(name)
    mesh.vertices.add(len(arrays["position"]))
    mesh.vertices.foreach_set("co", np.ascontiguousarray(arrays["position"], np.float32).ravel())
    _attribute(mesh, "scale", "FLOAT_VECTOR", arrays["scale"])
    _attribute(mesh, "rotation", "QUATERNION", arrays["rotation"])
    _attribute(mesh, "radius", "FLOAT", RADIUS * np.asarray(arrays["scale"]).max(1, initial=0.0))
    for base, higher in BASES:
        _attribute(mesh, base, "FLOAT_COLOR", arrays["base"])
        for k, term in enumerate(arrays["sh"]):
            _attribute(mesh, higher.format(k), "FLOAT_VECTOR", term)
    ob = bpy.data.objects.new(name, mesh)
    collection.objects.link(ob)
    with bpy.context.temp_override(object=ob, active_object=ob, selected_objects=[ob], selected_editable_objects=[ob]):
        bpy.ops.object.convert(target="POINTCLOUD")
    if ob.type != "POINTCLOUD":
        bpy.data.objects.remove(ob)
        raise SceneProblem("This Blender could not make a point cloud: go to object mode and try again")
    if mesh.users == 0:
        bpy.data.meshes.remove(mesh)
    ob[MARK] = True
    if hasattr(ob.data, "render_as"):
        ob.data.render_as = "PT_RENDER_AS_SPLATS"
    return ob


def _attribute(mesh: bpy.types.Mesh, name: str, kind: str, values: np.ndarray) -> None:
    made = mesh.attributes.new(name, kind, "POINT")
    made.data.foreach_set(_FIELDS[kind], np.ascontiguousarray(values, np.float32).ravel())
