"""Spherical harmonics in numpy: the basis is the rasteriser's, turned coefficients give the same colours; splats."""

import dataclasses

import numpy as np
import pytest
import torch
from test_avatar_bind import avatar_of

from engine.avatar.attach import rotate
from engine.avatar.bind import bind
from engine.avatar.files import save_avatar
from engine.avatar.harmonics import basis, turned
from engine.core.errors import BadInput
from engine.core.units import to_blender
from engine.head.library import load_head
from engine.render import reference
from engine.serve.avatars import splats

torch.set_num_threads(1)


def directions(n=50, seed=0):
    d = np.random.default_rng(seed).normal(size=(n, 3))
    return d / np.linalg.norm(d, axis=1, keepdims=True)


def test_the_functions_are_orthonormal_over_the_sphere():
    """Gauss-Legendre in z and even steps around integrate their products, of degree 6 at most, exactly."""
    z, weight = np.polynomial.legendre.leggauss(8)
    angle = np.arange(16) * (2 * np.pi / 16)
    ring = np.sqrt(1 - z * z)[:, None]
    points = np.stack([ring * np.cos(angle), ring * np.sin(angle), np.repeat(z[:, None], 16, 1)], -1).reshape(-1, 3)
    values, share = basis(points, 16), np.repeat(weight, 16) * (2 * np.pi / 16)
    assert np.abs(values.T @ (share[:, None] * values) - np.eye(16)).max() < 1e-9  # the constants have 16 digits


@pytest.mark.parametrize("terms", [1, 4, 9, 16])
def test_tensors_and_arrays_give_the_same(terms):
    d = directions()
    seen = reference.sh_basis(torch.as_tensor(d), terms).numpy()
    assert seen.shape == (50, terms) and np.abs(basis(d, terms) - seen).max() < 1e-12


@pytest.mark.parametrize("terms", [1, 4, 9, 16])
def test_turned_colours_are_the_same_seen_from_the_turned_side(terms):
    rng = np.random.default_rng(1)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    sh, d = rng.normal(size=(7, terms, 3)), directions()
    before = np.einsum("dt,ntc->ndc", basis(d, terms), sh)
    after = np.einsum("dt,ntc->ndc", basis(d @ turn.T, terms), turned(sh, turn))
    assert np.abs(before - after).max() < 1e-5


def test_splats_are_the_gaussians_in_blenders_axes(tmp_path):
    """Each array by its meaning: a Gaussian's long axis, its colour from a side, its place."""
    head = load_head()
    avatar = dataclasses.replace(avatar_of([3, 800, 4000]), head=head.name, topology_sha256=head.topology_sha256)
    save_avatar(tmp_path / "a.npz", avatar)
    answer = splats({"avatar": str(tmp_path / "a.npz")})
    arrays = answer["arrays"]
    from engine.avatar.files import read_avatar

    g = bind(read_avatar(tmp_path / "a.npz"), head.triangles, head.template)
    assert answer["count"] == 3 and answer["blend_space"] == "srgb"
    assert np.allclose(arrays["position"], to_blender(g.means)) and np.array_equal(arrays["scale"], g.scales)
    axis = np.tile([1.0, 0, 0], (3, 1))
    ours = rotate(np.asarray(g.quats, np.float64), axis)
    assert np.allclose(rotate(arrays["rotation"].astype(np.float64), axis), to_blender(ours), atol=1e-5)
    assert np.allclose(arrays["base"][:, 3], g.opacity)
    full = np.concatenate([arrays["base"][None, :, :3], arrays["sh"]]).transpose(1, 0, 2)
    d, terms = directions(5), g.sh.shape[1]
    seen = np.einsum("dt,ntc->ndc", basis(to_blender(d), terms), full)
    assert np.allclose(seen, np.einsum("dt,ntc->ndc", basis(d, terms), g.sh), atol=1e-5)
    save_avatar(tmp_path / "other.npz", avatar_of([1]))
    with pytest.raises(BadInput, match="head"):
        splats({"avatar": str(tmp_path / "other.npz")})
