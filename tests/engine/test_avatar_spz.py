""".spz files: round trips within the format's own steps, closed forms, damage, many and no Gaussians."""

import dataclasses
import gzip
import struct
import tracemalloc

import numpy as np
import pytest

from engine.avatar.spz import HEADER, MAGIC, read_spz, write_spz
from engine.core.errors import BadFile, BadInput
from engine.core.progress import Reporter
from engine.core.splats import Gaussians
from engine.render.bench import head_scene

# Half a step of each entry: 24 bits for positions within 8 m, 8 bits for the rest, 9 bits and a sign of rotations.
HALF_STEPS = {"means": 0.51 / (1 << 20), "opacity": 0.51 / 255, "scales": 0.51 / 16, "rest": 0.51 / 128}


def angles(a, b):
    """Degrees between rotations given as quaternions."""
    cosine = np.abs((a * b).sum(1)) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return np.degrees(2 * np.arccos(np.clip(cosine.astype(np.float64), 0, 1)))


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_round_trip(tmp_path, version, degree):
    g, path = head_scene(300, degree=degree), tmp_path / "g.spz"
    rng = np.random.default_rng(0)
    g = dataclasses.replace(g, quats=rng.normal(size=(300, 4)).astype(np.float32))
    write_spz(path, g, version)
    again = read_spz(path)
    assert np.abs(again.means - g.means).max() <= HALF_STEPS["means"] + 1e-8
    assert np.abs(again.opacity - g.opacity).max() <= HALF_STEPS["opacity"]
    assert np.abs(np.log(again.scales) - np.log(g.scales)).max() <= HALF_STEPS["scales"]
    assert np.abs(again.sh[:, 0] - g.sh[:, 0]).max() <= 0.51 / 255 / 0.15
    assert np.abs(again.sh[:, 1:] - g.sh[:, 1:]).max(initial=0) <= HALF_STEPS["rest"]
    # Version 2: steps of 2/255 in xyz are 0.45 degrees rms at w = 1 and more below (measured 0.64 here); near w = 0 a
    # step moves w by up to sqrt(2 * 0.004): 10 degrees.
    assert np.median(angles(again.quats, g.quats)) < (0.8 if version == 2 else 0.2)
    assert angles(again.quats, g.quats).max() < (12 if version == 2 else 0.35)
    write_spz(tmp_path / "again.spz", g, version)
    assert (tmp_path / "again.spz").read_bytes() == path.read_bytes()


def test_bytes_are_the_formats():
    """One Gaussian by hand: 24-bit positions, log-scales, the identity's rotation."""
    identity = _from_bytes(3, bytes([0, 0, 0, 0xC0]))
    assert np.allclose(identity.quats, [[1, 0, 0, 0]]) and np.allclose(identity.means, [[1, -0.5, 0]])
    assert np.allclose(identity.scales, np.exp([[-10, 0, 5.9375]])) and identity.opacity[0] == pytest.approx(128 / 255)
    # x = sqrt(1/2) * 511/511 and the largest is w: a quarter turn about x.
    turned = _from_bytes(3, struct.pack("<I", 3 << 30 | 511 << 20))
    assert np.allclose(turned.quats, [[np.sqrt(0.5), np.sqrt(0.5), 0, 0]], atol=1e-6)
    back = _from_bytes(3, struct.pack("<I", 3 << 30 | 512 | 511))
    assert np.allclose(back.quats, [[np.sqrt(0.5), 0, 0, -np.sqrt(0.5)]], atol=1e-6)
    assert np.allclose(_from_bytes(2, bytes([255, 127, 127])).quats, [[0, 1, 0, 0]], atol=0.01)


def _from_bytes(version, rotation):
    import pathlib
    import tempfile

    one, half = (1 << 12).to_bytes(3, "little"), (-(1 << 11) & 0xFFFFFF).to_bytes(3, "little")
    body = one + half + bytes(3) + bytes([128]) + bytes([128, 128, 128]) + bytes([0, 160, 255]) + rotation
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "one.spz"
        path.write_bytes(gzip.compress(struct.pack(HEADER, MAGIC, version, 1, 0, 12, 0, 0) + body))
        return read_spz(path)


def test_far_positions_keep_fewer_bits(tmp_path):
    g = head_scene(20, degree=0)
    far = dataclasses.replace(g, means=g.means * np.float32(10_000))
    write_spz(tmp_path / "g.spz", far)
    span = np.abs(far.means).max()
    assert np.abs(read_spz(tmp_path / "g.spz").means - far.means).max() <= span / (1 << 22) * 1.01


def empty(terms=4):
    return Gaussians(*(np.zeros((0, *shape), np.float32) for shape in ((3,), (4,), (3,), (), (terms, 3))))


def test_no_gaussians(tmp_path):
    write_spz(tmp_path / "g.spz", empty())
    again = read_spz(tmp_path / "g.spz")
    assert len(again) == 0 and again.sh.shape == (0, 4, 3)


def rezipped(change):
    return lambda data: gzip.compress(change(gzip.decompress(data)))


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda b: b[:-40], "cut off"),
        (lambda b: b[:20] + bytes([b[20] ^ 255]) + b[21:], "damaged|no .spz"),
        (lambda b: b"ply\n" + b, "no .spz"),
        (lambda b: b"NGSP" + b, "version 4"),
        (lambda b: b"", "no .spz"),
        (rezipped(lambda b: b[:10]), "header"),
        (rezipped(lambda b: b[:-1]), "cut off"),
        (rezipped(lambda b: bytes(4) + b[4:]), "no .spz"),
        (rezipped(lambda b: b[:4] + struct.pack("<I", 7) + b[8:]), "version 7"),
        (rezipped(lambda b: b[:8] + struct.pack("<I", 4_000_000_000) + b[12:]), "at most"),
        (rezipped(lambda b: b[:8] + struct.pack("<I", 19_000_000) + b[12:]), "cut off"),
        (rezipped(lambda b: b[:12] + bytes([4]) + b[13:]), "degree 4"),
    ],
)
def test_damaged_spz(tmp_path, change, words):
    path = tmp_path / "g.spz"
    write_spz(path, head_scene(30, degree=1))
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(BadFile, match=words) as error:
        read_spz(path)
    assert "\n" not in str(error.value)


def test_what_cannot_be_written_leaves_the_old_file(tmp_path):
    g, path = head_scene(30), tmp_path / "g.spz"
    write_spz(path, g)
    before = path.read_bytes()
    means = np.array(g.means)
    means[3, 1] = np.nan
    with pytest.raises(BadInput, match="finite"):
        write_spz(path, dataclasses.replace(g, means=means))
    with pytest.raises(BadInput, match="version"):
        write_spz(path, g, version=1)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["g.spz"]


def test_antialiased_files_say_so(tmp_path):
    write_spz(tmp_path / "g.spz", head_scene(5), antialiased=True)
    heard = []
    read_spz(tmp_path / "g.spz", Reporter(warn=heard.append))
    assert "anti-aliasing" in heard[0]


def test_three_million_gaussians_take_bounded_memory(tmp_path):
    """The result is 56 bytes a Gaussian at degree 0; reading may take 250 more (measured 130)."""
    n, path = 3_000_000, tmp_path / "many.spz"
    body = bytes(n * (9 + 1 + 3 + 3)) + struct.pack("<I", 3 << 30) * n
    path.write_bytes(gzip.compress(struct.pack(HEADER, MAGIC, 3, n, 0, 12, 0, 0) + body, 1))
    del body
    tracemalloc.start()
    g = read_spz(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(g) == n and peak < n * (56 + 250)
