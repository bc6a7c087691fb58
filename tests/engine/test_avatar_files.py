"""Avatar files and 3DGS .ply: round trips, an independent reader, damage."""

import dataclasses

import numpy as np
import pytest
from test_avatar_bind import avatar_of

from engine.avatar.files import read_avatar, read_ply, save_avatar, write_ply
from engine.core.errors import BadFile
from engine.core.progress import Reporter
from engine.render.bench import head_scene


def test_avatar_round_trip(tmp_path):
    avatar = dataclasses.replace(
        avatar_of([3, 5, 5, 9]), meta={"seed": 4}, licence="CC0-1.0", view_range=(-1.0, 1.0, 0, 0.5)
    )
    path = tmp_path / "a.npz"
    save_avatar(path, avatar)
    again = read_avatar(path)
    for field in dataclasses.fields(avatar):
        a, b = getattr(avatar, field.name), getattr(again, field.name)
        if isinstance(a, np.ndarray):
            assert a.shape == b.shape and np.allclose(a, b, rtol=6e-4, atol=1e-6)  # float16: 11 bits
        else:
            assert a == b, field.name
    assert again.sh.transpose(1, 2, 0).flags.c_contiguous  # ready for the kernels


def damage(path, **changes):
    arrays = dict(np.load(path))
    arrays.update(changes)
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"opacity": None}, "damaged"),
        ({"local_quats": np.zeros((4, 3), np.float16)}, "damaged"),
        ({"sh": np.zeros((4, 5, 3), np.float16)}, "spherical harmonics"),
        ({"sh": np.full((4, 4, 3), np.nan, np.float16)}, "not finite"),
        ({"meta": np.frombuffer(b'{"kind": "take", "format": 1}', np.uint8)}, "holds a take"),
        ({"meta": np.frombuffer(b'{"kind": "avatar", "format": 99}', np.uint8)}, "newer"),
        ({"meta": np.frombuffer(b'{"kind": "avatar", "format": 1}', np.uint8)}, "damaged"),
    ],
)
def test_damaged_avatars(tmp_path, changes, words):
    path = tmp_path / "a.npz"
    save_avatar(path, avatar_of([0, 1, 2, 3]))
    damage(path, **changes)
    with pytest.raises(BadFile, match=words):
        read_avatar(path)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_ply_round_trip(tmp_path, degree):
    g, path = head_scene(50, degree=degree), tmp_path / "g.ply"
    write_ply(path, g)
    again = read_ply(path)
    for name, tolerance in (("means", 0), ("sh", 0), ("quats", 1e-6), ("scales", 5e-8), ("opacity", 1e-6)):
        assert np.abs(getattr(g, name) - getattr(again, name)).max() <= tolerance, name


def test_ply_means_the_same_to_another_program(tmp_path):
    """trimesh reads the vertices and every property by name; logit, logarithm and channel order are checked by hand."""
    import trimesh

    g, path = head_scene(20, degree=1), tmp_path / "g.ply"
    write_ply(path, g)
    cloud = trimesh.load(path)
    data = cloud.metadata["_ply_raw"]["vertex"]["data"]
    assert np.array_equal(np.asarray(cloud.vertices, np.float32), g.means)
    assert np.allclose(1 / (1 + np.exp(-data["opacity"].ravel())), g.opacity, atol=1e-6)
    assert np.allclose(np.exp(data["scale_1"].ravel()), g.scales[:, 1])
    assert np.array_equal(data["f_dc_2"].ravel(), g.sh[:, 0, 2])
    assert np.array_equal(data["f_rest_4"].ravel(), g.sh[:, 2, 1])  # channel 1, second of three
    assert np.array_equal(data["rot_0"].ravel(), g.quats[:, 0])


def test_ply_rows_that_are_not_finite_are_left_out(tmp_path):
    g, path = head_scene(30), tmp_path / "g.ply"
    means, quats = np.array(g.means), np.array(g.quats)
    means[3, 1], quats[7] = np.nan, 0
    write_ply(path, dataclasses.replace(g, means=means, quats=quats))
    heard = []
    again = read_ply(path, Reporter(warn=heard.append))
    assert len(again) == 28 and "2 of 30" in heard[0] and np.isfinite(again.quats).all()


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda b: b[:-5], "cut off"),
        (lambda b: b"plx" + b[3:], "not a .ply"),
        (lambda b: b.replace(b"binary_little_endian", b"ascii"), "ascii"),
        (lambda b: b.replace(b"float f_dc_1", b"float g_dc_1"), "lacks 'f_dc_1'"),
        (lambda b: b.replace(b"float f_rest_8", b"float g_rest_8"), "f_rest"),
        (lambda b: b.replace(b"float opacity", b"list uchar int opacity"), "not a number"),
        (lambda b: b.replace(b"element vertex 30", b"element vertex 999999999999"), "at most"),
        (lambda b: b.replace(b"element vertex 30", b"element face 30"), "no plain list"),
        (lambda b: b"", "not a .ply"),
    ],
)
def test_damaged_ply(tmp_path, change, words):
    path = tmp_path / "g.ply"
    write_ply(path, head_scene(30, degree=1))
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(BadFile, match=words):
        read_ply(path)


def test_absent_files(tmp_path):
    for read in (read_avatar, read_ply):
        with pytest.raises(BadFile):
            read(tmp_path / "absent")


def test_an_avatar_in_the_users_folder_is_found_by_name(tmp_path, monkeypatch):
    from engine.assets import registry

    monkeypatch.setenv("SOLILOQUY_HOME", str(tmp_path))
    save_avatar(tmp_path / "avatar" / "mine.npz", avatar_of([0, 1]))
    assert len(read_avatar(registry.resolve("mine", "avatar"))) == 2
