"""GaussianAvatars' files: in on a FLAME-layout head and driven, out and in again, damage."""

import dataclasses
import os
from pathlib import Path

import flame_like
import numpy as np
import pytest
from test_avatar_files import avatar_of

from engine.avatar.bind import bind
from engine.avatar.files import write_table
from engine.avatar.gaussian_avatars import BINDING, PARAMETERS, POINTS, read_gaussian_avatar, write_gaussian_avatar
from engine.core.errors import BadFile, BadInput
from engine.core.progress import Reporter
from engine.head.files import read_head
from engine.head.library import load_head
from engine.serve.avatars import export_avatar, import_avatar


@pytest.fixture(scope="module")
def head():
    return load_head(flame_like.prepared()[2])


def foreign(folder, triangles, seed=0, **changes):
    """A file as their program writes it, by its own column names; returns the columns."""
    n, rng = len(triangles), np.random.default_rng(seed)
    fields = {
        "means": rng.normal(0, 0.5, (n, 3)), "quats": rng.normal(size=(n, 4)),
        "log_scales": rng.normal(-1, 0.3, (n, 3)), "opacity": rng.uniform(0.1, 0.9, n),
        "sh": rng.normal(0, 0.3, (n, 16, 3)),
    }  # fmt: skip
    fields = {name: np.asarray(changes.get(name, value), np.float32) for name, value in fields.items()}
    write_table(folder / POINTS, *fields.values(), {BINDING: np.asarray(triangles, np.float32)})
    return fields


def parameters(folder, head, **more):
    rng = np.random.default_rng(5)
    shape = rng.normal(0, 0.5, head.identity.shape[2]).astype(np.float32)
    offset = rng.normal(0, 1e-3, (1, 5143, 3)).astype(np.float32)
    np.savez(folder / PARAMETERS, shape=shape, static_offset=offset, expr=np.zeros((2, 100), np.float32), **more)
    return shape, offset


def test_import_is_their_formula(tmp_path, head):
    """Positions in space by GaussianAvatars' published equations, in plain numpy, on the shaped face."""
    triangles = [0, 5, 5, 4000, 9975]
    fields = foreign(tmp_path, triangles)
    shape, offset = parameters(tmp_path, head)
    avatar, shaped = read_gaussian_avatar(tmp_path, head)
    points = head.template + head.identity[:, :, : len(shape)] @ shape
    points[:5023] += offset[0, :5023]
    assert np.abs(shaped.template - points).max() < 1e-6 and shaped.topology_sha256 == head.topology_sha256
    g = bind(avatar, shaped.triangles, shaped.template)
    for i, t in enumerate(triangles):
        a, b, c = points[head.faces[t, :3]].astype(np.float64)
        e = (b - a) / np.linalg.norm(b - a)
        n = np.cross(e, c - a)
        n /= np.linalg.norm(n)
        third = -np.cross(n, e)
        size = (np.linalg.norm(b - a) + abs(third @ (c - a))) / 2
        turn = np.stack([e, n, third], 1)
        expected = turn @ fields["means"][i] * size + (a + b + c) / 3
        assert np.abs(g.means[i] - expected).max() < 1e-6
        assert np.allclose(g.scales[i], np.exp(fields["log_scales"][i]) * size, rtol=1e-4)
    assert np.allclose(g.opacity, fields["opacity"], atol=1e-6) and np.array_equal(g.sh, fields["sh"])


def test_out_and_in_again(tmp_path, head):
    avatar = avatar_of([3, 5, 9975, 9976])  # the last lies in our mouth, which FLAME lacks
    avatar = dataclasses.replace(avatar, head=head.name, topology_sha256=head.topology_sha256)
    moved = dataclasses.replace(head, template=head.template + np.float32(0.01))
    heard = []
    assert write_gaussian_avatar(tmp_path, avatar, moved, head, Reporter(warn=heard.append)) == 3
    assert "1 Gaussians inside the mouth" in heard[0]
    again, shaped = read_gaussian_avatar(tmp_path, head)
    assert np.abs(shaped.template[:5023] - moved.template[:5023]).max() < 1e-6
    before = bind(avatar, head.triangles, moved.template)
    after = bind(again, head.triangles, shaped.template)
    for name in ("means", "scales", "opacity"):
        assert np.allclose(getattr(after, name), getattr(before, name)[:3], rtol=1e-5, atol=1e-6)
    assert np.allclose(after.sh[:, : avatar.sh.shape[1]], before.sh[:3])


def test_an_imported_avatar_follows_a_take(tmp_path, head):
    """By the jobs that the command line and Blender use: written files, then a picture of a frame's Gaussians."""
    from engine.avatar.library import load_avatar
    from engine.head.evaluate import flame_vertices

    foreign(tmp_path, list(range(0, 9976, 97)))
    parameters(tmp_path, head)
    file = flame_like.prepared()[2]
    out = import_avatar({"source": str(tmp_path), "head": str(file), "out": str(tmp_path / "a.npz")})
    shaped = read_head(out["head"])
    avatar = load_avatar(out["path"], shaped)
    assert len(avatar) == out["gaussians"] == 103
    pose = np.zeros((1, 15), np.float32)
    pose[0, 6] = 0.3
    still, opened = (
        bind(avatar, shaped.triangles, flame_vertices(shaped, None, np.zeros((1, shaped.expression.shape[2])), p)[0])
        for p in (0 * pose, pose)
    )
    moved = np.linalg.norm(still.means - opened.means, axis=1)
    assert moved.max() > 0.005 and (moved < 1e-4).mean() > 0.3  # the jaw opens, the skull stays
    again = export_avatar({"avatar": out["path"], "head": out["head"], "out": str(tmp_path / "n.spz")})
    assert again["gaussians"] == 103 and (tmp_path / "n.spz").stat().st_size > 1000


def test_added_teeth_and_bad_numbers_are_left_out(tmp_path, head):
    means = np.zeros((4, 3))
    means[1, 0] = np.nan
    quats = np.ones((4, 4))
    quats[2] = 0
    foreign(tmp_path, [1, 2, 3, 10_100], means=means, quats=quats)
    heard = []
    avatar, _ = read_gaussian_avatar(tmp_path, head, Reporter(warn=heard.append))
    assert len(avatar) == 1 and "2 of 4" in heard[0] and "teeth" in heard[1] and "mean face" in heard[2]


def test_no_gaussians(tmp_path, head):
    foreign(tmp_path, [])
    assert len(read_gaussian_avatar(tmp_path, head)[0]) == 0


def test_damage_is_said_and_nothing_is_written(tmp_path, head):
    file = str(flame_like.prepared()[2])

    def fails(words, kind=BadFile):
        with pytest.raises(kind, match=words) as error:
            import_avatar({"source": str(tmp_path), "head": file, "out": str(tmp_path / "a.npz")})
        assert "\n" not in str(error.value) and not (tmp_path / "a.npz").exists()

    fails("cannot be read")
    foreign(tmp_path, [1, -2])
    fails("damaged")
    data = foreign(tmp_path, [1, 2]) and (tmp_path / POINTS).read_bytes()
    (tmp_path / PARAMETERS).write_bytes(b"PK nonsense")
    fails("npz")
    np.savez(tmp_path / PARAMETERS, shape=np.full(4, np.nan))
    fails("not finite")
    (tmp_path / POINTS).write_bytes(data.replace(b"float binding_0", b"float bondage_0"))
    fails("bound to no triangles")
    (tmp_path / POINTS).write_bytes(data[:-4])
    fails("cut off")
    with pytest.raises(BadInput, match="FLAME"):
        read_gaussian_avatar(tmp_path, load_head())
    with pytest.raises(BadInput, match="FLAME"):
        write_gaussian_avatar(tmp_path, avatar_of([1]), load_head())
    with pytest.raises(BadInput, match="npz"):
        import_avatar({"source": str(tmp_path), "head": file, "out": str(tmp_path / "a.ply")})


def test_an_import_that_cannot_write_one_file_writes_neither(tmp_path, head):
    foreign(tmp_path, [1, 2])
    parameters(tmp_path, head)
    request = {"source": str(tmp_path), "head": str(flame_like.prepared()[2]), "out": str(tmp_path / "a.npz")}
    before = sorted(p.name for p in tmp_path.iterdir())
    for blocked in (f".a.{os.getpid()}.part.npz", "a_head.npz"):  # the avatar's temporary name, the head's own
        (tmp_path / blocked).mkdir()
        with pytest.raises((BadFile, OSError)):
            import_avatar(request)
        (tmp_path / blocked).rmdir()
        assert sorted(p.name for p in tmp_path.iterdir()) == before
    assert Path(import_avatar(request)["head"]).is_file()


def test_three_million_gaussians_take_bounded_memory(tmp_path):
    """Read from a .ply of degree 0: 68 bytes a row in the file, at most four times that in memory (measured 3)."""
    import tracemalloc

    from engine.avatar.files import read_ply

    n = 3_000_000
    zeros = np.zeros((1, 3), np.float32)
    wide = (np.broadcast_to(a, (n, a.shape[1])) for a in (zeros, zeros + 1))
    means, ones = wide
    write_table(tmp_path / "many.ply", means, np.broadcast_to(np.ones((1, 4), np.float32), (n, 4)), ones,
                np.full(n, 0.5, np.float32), np.broadcast_to(zeros, (n, 3)).reshape(n, 1, 3))  # fmt: skip
    tracemalloc.start()
    g = read_ply(tmp_path / "many.ply")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(g) == n and peak < 4 * (tmp_path / "many.ply").stat().st_size
