"""Gaussians in the frames of triangles: kernels against the plain torch twin, and geometry's own rules."""

import dataclasses

import numpy as np
import pytest
import torch

from engine.avatar.attach import attach, quaternions
from engine.avatar.bind import bind, bind_reference, frames_reference
from engine.avatar.layout import as_planes, planes
from engine.avatar.rotations import matrices
from engine.core.errors import BadInput
from engine.core.splats import Avatar

torch.set_num_threads(1)
F64 = torch.float64


def avatar_of(triangle, seed=0):
    rng, n = np.random.default_rng(seed), len(triangle)
    return Avatar(
        np.asarray(triangle, np.int32), as_planes(rng.normal(size=(n, 3)) * 0.4), as_planes(rng.normal(size=(n, 4))),
        as_planes(rng.normal(size=(n, 3)) - 1.5), np.full(n, 0.9, np.float32), as_planes(rng.normal(size=(n, 4, 3))),
        np.zeros(n, np.uint8), "test", "0" * 64,
    )  # fmt: skip


def mesh(seed=0, count=40):
    """Random triangles of millimetres, some without area: all corners one, two corners one, corners in a line."""
    rng = np.random.default_rng(seed)
    vertices = (
        rng.normal(size=(3 * count, 3)) * 0.003 + rng.normal(size=(count, 1, 3)).repeat(3, 1).reshape(-1, 3) * 0.1
    )
    triangles = np.arange(3 * count, dtype=np.int32).reshape(-1, 3)
    triangles[0] = triangles[0, 0]
    triangles[1, 2] = triangles[1, 1]
    a, b, _ = triangles[2]
    vertices[triangles[2, 2]] = 0.25 * vertices[a] + 0.75 * vertices[b]
    return triangles, vertices.astype(np.float32)


def reference(avatar, triangles, vertices):
    args = (avatar.local_means, avatar.local_quats, avatar.log_scales, vertices[triangles])
    tensors = [torch.as_tensor(np.array(a)).to(F64) for a in args]
    return bind_reference(torch.as_tensor(avatar.triangle).long(), *tensors)


def test_kernel_is_the_reference():
    triangles, vertices = mesh()
    avatar = avatar_of(np.random.default_rng(1).integers(0, len(triangles), 1003))
    got = bind(avatar, triangles, vertices)
    means, rotations, scales = (a.numpy() for a in reference(avatar, triangles, vertices))
    # float32 of numbers of 0.1 m has steps of 7e-9; a frame's rotation is good to 1e-6 on a triangle of 3 mm.
    assert np.abs(got.means - means).max() < 3e-7
    solid = avatar.triangle > 2
    assert np.abs(matrices(torch.as_tensor(np.array(got.quats)).to(F64)).numpy() - rotations)[solid].max() < 2e-5
    assert np.abs(got.scales / scales - 1)[solid].max() < 1e-5
    assert all(np.isfinite(getattr(got, f.name)).all() for f in dataclasses.fields(got))


def test_frames_are_rotations_even_without_area():
    triangles, vertices = mesh()
    _, rotation, size = frames_reference(torch.as_tensor(vertices[triangles]).to(F64))
    assert torch.allclose(torch.linalg.det(rotation), torch.ones(len(triangles), dtype=F64), atol=1e-9)
    assert torch.allclose(rotation.transpose(1, 2) @ rotation, torch.eye(3, dtype=F64).expand_as(rotation), atol=1e-9)
    assert (size > 0).all()


def test_a_known_triangle():
    """Edge along x, area upwards: frame = identity with columns e = x, n = z', t = e x n, size = (4 + 2) / 2 mm."""
    vertices = np.array([[0, 0, 0], [0.004, 0, 0], [0.001, 0.002, 0]], np.float32)
    avatar = dataclasses.replace(
        avatar_of([0]), local_means=np.array([[0.5, 2.0, 1.0]]), local_quats=np.array([[1.0, 0, 0, 0]]),
        log_scales=np.log([[1.0, 2.0, 3.0]]),
    )  # fmt: skip
    got = bind(avatar, np.array([[0, 1, 2]]), vertices)
    size = 0.003
    centre = vertices.mean(0)
    assert np.allclose(got.means[0], centre + size * np.array([0.5, -1.0, 2.0]), atol=1e-8)
    assert np.allclose(got.scales[0], size * np.array([1, 2, 3]), rtol=1e-6)
    axes = matrices(torch.as_tensor(np.array(got.quats))).numpy()[0]
    assert np.allclose(axes, [[1, 0, 0], [0, 0, -1], [0, 1, 0]], atol=1e-6)


def test_gaussians_follow_rigid_motion_and_growth():
    triangles, vertices = mesh(3)
    avatar = avatar_of(np.random.default_rng(4).integers(3, len(triangles), 500))
    turn = matrices(torch.tensor([[0.7, -0.2, 0.5, 0.4]], dtype=F64)).numpy()[0]
    moved = (1.7 * vertices @ turn.T + [0.3, -1, 2]).astype(np.float32)
    before, after = bind(avatar, triangles, vertices), bind(avatar, triangles, moved)
    assert np.allclose(after.means, 1.7 * before.means @ turn.T + [0.3, -1, 2], atol=2e-6)
    assert np.allclose(after.scales, 1.7 * before.scales, rtol=1e-4)
    to = torch.as_tensor
    turned = turn @ matrices(to(np.array(before.quats)).to(F64)).numpy()
    assert np.allclose(matrices(to(np.array(after.quats)).to(F64)).numpy(), turned, atol=1e-3)


def test_reference_has_finite_and_right_gradients():
    triangles, vertices = mesh(5, 6)
    avatar = avatar_of(np.repeat(np.arange(6), 2))
    inputs = [np.array(a) for a in (avatar.local_means, avatar.local_quats, avatar.log_scales, vertices[triangles])]
    tensors = [torch.as_tensor(a).to(F64).requires_grad_() for a in inputs]
    index = torch.as_tensor(avatar.triangle).long()
    torch.cat([a.reshape(-1) for a in bind_reference(index, *tensors)]).sum().backward()
    assert all(torch.isfinite(t.grad).all() for t in tensors)
    # Differences only on triangles with area: a frame around a line jumps.
    keep = index > 2
    corners = tensors[3].detach()[3:].clone().requires_grad_()
    rest = [t.detach()[keep].clone().requires_grad_() for t in tensors[:3]]
    args = (*rest, corners)
    assert torch.autograd.gradcheck(
        lambda *a: bind_reference(index[keep] - 3, *a), args, eps=1e-8, atol=1e-4, rtol=1e-4
    )


def test_attach_is_the_way_back():
    triangles, vertices = mesh(7)
    avatar = avatar_of(np.random.default_rng(8).integers(3, len(triangles), 300))
    space = bind(avatar, triangles, vertices)
    corners = vertices[triangles].astype(np.float64)
    local = attach(
        avatar.triangle, space.means.astype(float), space.quats.astype(float), space.scales.astype(float), corners
    )
    again = bind(
        dataclasses.replace(avatar, local_means=local[0], local_quats=local[1], log_scales=local[2]),
        triangles,
        vertices,
    )
    assert np.abs(again.means - space.means).max() < 1e-7
    assert np.abs(again.scales / space.scales - 1).max() < 1e-5
    assert np.abs(np.abs((again.quats * space.quats).sum(1)) - 1).max() < 1e-5


def test_quaternions_of_matrices_at_every_branch():
    q = np.concatenate([np.eye(4), np.random.default_rng(0).normal(size=(200, 4))])
    m = matrices(torch.as_tensor(q)).numpy()
    assert np.allclose(matrices(torch.as_tensor(quaternions(m))).numpy(), m, atol=1e-12)


def test_layout_views_and_values():
    a = np.random.default_rng(0).normal(size=(7, 4, 3))
    laid = as_planes(a)
    assert np.array_equal(laid, a.astype(np.float32))
    assert np.shares_memory(planes(laid), laid) and planes(laid).shape == (12, 7)
    assert np.array_equal(planes(a)[5], a[:, 1, 2].astype(np.float32))  # row = 3 * term + channel


def test_bad_bindings():
    triangles, vertices = mesh()
    with pytest.raises(BadInput, match="bound to"):
        bind(avatar_of([99]), triangles, vertices)
    with pytest.raises(BadInput, match="vertices up to"):
        bind(avatar_of([0]), triangles, vertices[:50])
    with pytest.raises(BadInput, match="are needed"):
        bind(avatar_of([0]), triangles[:, :2], vertices)
    assert len(bind(avatar_of([]), triangles, vertices)) == 0
