"""Checks with the engine itself: a foreign avatar becomes a head that moves, an avatar a point cloud of splats."""

import os
import sys
from pathlib import Path

import bpy
import numpy as np
from in_blender import main
from stage import ROOT, fresh, vertices

import blender_addon

blender_addon.register()

from blender_addon.link import shared  # noqa: E402
from blender_addon.link.client import Engine  # noqa: E402
from blender_addon.scene import find, splats  # noqa: E402

PYTHON = os.environ.get("SOLILOQUY_ENGINE_PYTHON", sys.executable)
HEAD, FOLDER = sys.argv[1], Path(sys.argv[2])
ENGINE = Engine([PYTHON, "-m", "engine", "serve"], cwd=str(ROOT))
shared._engine = ENGINE
shared.engine = lambda: ENGINE
FIELDS = {"FLOAT_VECTOR": ("vector", 3), "QUATERNION": ("value", 4), "FLOAT_COLOR": ("color", 4), "FLOAT": ("value", 1)}


def read(cloud, name):
    attribute = cloud.attributes[name]
    field, width = FIELDS[attribute.data_type]
    out = np.empty(width * len(attribute.data), np.float32)
    attribute.data.foreach_get(field, out)
    return out.reshape(-1, width)


def fails(operator, words, **arguments):
    try:
        operator(**arguments)
    except RuntimeError as error:
        assert words in str(error), error
    else:
        raise AssertionError("it did not say what is wrong")


def check_a_foreign_avatar_becomes_a_head():
    fresh()
    path = str(FOLDER / "point_cloud.ply")
    assert bpy.ops.soliloquy.import_avatar(filepath=path, head=HEAD) == {"FINISHED"}
    control = find.active_control(bpy.context)
    mesh = find.head_of(control)
    first = FOLDER / "point_cloud_soliloquy.npz"
    assert mesh["soliloquy_avatar"] == str(first) and first.is_file()
    assert mesh["soliloquy_head_name"] == str(FOLDER / "point_cloud_soliloquy_head.npz")
    assert len(mesh.data.shape_keys.key_blocks) > 100


def check_a_second_import_leaves_the_first_ones_files():
    paths = sorted(FOLDER.glob("*_soliloquy*.npz"))
    before = [(p, p.read_bytes()) for p in paths]
    assert len(before) == 2
    assert bpy.ops.soliloquy.import_avatar(filepath=str(FOLDER / "point_cloud.ply"), head=HEAD) == {"FINISHED"}
    mesh = find.head_of(find.active_control(bpy.context))
    assert mesh["soliloquy_avatar"] == str(FOLDER / "point_cloud_soliloquy_2.npz")
    assert mesh["soliloquy_head_name"] == str(FOLDER / "point_cloud_soliloquy_2_head.npz")
    assert all(p.read_bytes() == data for p, data in before)


def check_its_splats_lie_on_its_mesh():
    """Positions as the engine binds them are on the mesh that Blender shows; both spellings hold the same."""
    mesh = find.head_of(find.active_control(bpy.context))
    assert bpy.ops.soliloquy.splat_points() == {"FINISHED"}
    ob = next(o for o in bpy.data.objects if splats.MARK in o)
    cloud = ob.data
    assert ob.type == "POINTCLOUD" and len(cloud.attributes["position"].data) == 40
    points, on = read(cloud, "position"), vertices(mesh, world=True)
    away = np.linalg.norm(points[:, None] - on[None], axis=2).min(1)
    assert away.max() < 0.02, away.max()
    scale, turn = read(cloud, "scale"), read(cloud, "rotation")
    assert (scale > 0).all() and (scale < 0.05).all() and np.allclose(np.linalg.norm(turn, axis=1), 1, atol=1e-5)
    assert np.array_equal(read(cloud, "radiance:base"), read(cloud, "color"))
    opacity = read(cloud, "color")[:, 3]
    assert (opacity > 0).all() and (opacity < 1).all()
    for k in range(15):
        assert np.array_equal(read(cloud, f"radiance:sh_{k}"), read(cloud, f"sh_{k}"))
    assert not [m for m in bpy.data.meshes if m.users == 0]
    if hasattr(cloud, "render_as"):
        assert cloud.render_as == "PT_RENDER_AS_SPLATS"


def check_trouble_is_said_and_changes_nothing():
    fresh()
    fails(bpy.ops.soliloquy.import_avatar, "is not there", filepath=str(FOLDER / "absent.ply"), head=HEAD)
    broken = FOLDER / "broken.ply"
    broken.write_bytes((FOLDER / "point_cloud.ply").read_bytes()[:-9])
    fails(bpy.ops.soliloquy.import_avatar, "cut off", filepath=str(broken), head=HEAD)
    fails(bpy.ops.soliloquy.import_avatar, "FLAME", filepath=str(FOLDER / "point_cloud.ply"), head="default")
    assert len(bpy.data.objects) == 0


main(globals())
