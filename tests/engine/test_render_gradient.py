"""Gradients of the cpu rasteriser: against autograd through the reference, finite differences, bad Gaussians."""

import dataclasses

import numpy as np
import pytest
import torch
from test_render_reference import near_and_wide

from engine.core.errors import BadInput
from engine.core.splats import Camera, Gaussians
from engine.render import gradient, reference
from engine.render.bench import head_camera, head_scene

torch.set_num_threads(1)
CAMERA = head_camera(64, 56, azimuth=0.3)
CAMERAS = {
    "front": CAMERA,
    "inside": near_and_wide(),
    "orthographic": dataclasses.replace(CAMERA, orthographic=True, fx=200.0, fy=190.0),
}
# Norm of the difference over the norm, per parameter group, float32 kernels against float64 autograd. Measured here:
# 3e-6 where nothing saturates; 2e-5 on the opaque scene, where single pixels fall on the other side of a cut
# (alpha = 1/255, transmittance 1e-4).
THIN, OPAQUE = 1e-5, 1e-4


def thin_scene(n=800, degree=3):
    """Translucent enough that no pixel is ever finished."""
    opacity = np.random.default_rng(1).uniform(0.02, 0.12, n).astype(np.float32)
    g = head_scene(n, degree=degree)
    return dataclasses.replace(g, opacity=opacity, scales=g.scales * np.float32(0.5))


def parameters(g, dtype=torch.float32):
    values = (g.means, g.quats, np.log(g.scales), np.log(g.opacity / (1 - g.opacity)), g.sh)
    return [torch.tensor(np.array(a), dtype=dtype).requires_grad_() for a in values]


def loss_of(picture, weights, geometry):
    weights = weights.to(picture.rgba.dtype)
    loss = (picture.rgba * weights[..., :4]).sum()
    if geometry:
        seen = (picture.rgba[..., 3] > 0.3).detach()
        loss = loss + (10 * picture.depth * weights[..., 4])[seen].sum()
        loss = loss + (picture.normal * weights[..., 5:])[seen].sum()
    return loss


def both(g, camera, geometry=False, antialiased=False, normals=None):
    """Gradients (numba, reference in float64), each a list of arrays."""
    weights = torch.as_tensor(np.random.default_rng(0).normal(size=(camera.height, camera.width, 8)))
    out = []
    for dtype in (torch.float32, torch.float64):
        p = parameters(g, dtype)
        given = None if normals is None else torch.tensor(normals, dtype=dtype, requires_grad=True)
        if dtype == torch.float32:
            picture = gradient.render(*p, camera, geometry, given, antialiased)
        else:
            picture = reference.rasterise(p[0], p[1], p[2].exp(), p[3].sigmoid(), p[4], camera, given, antialiased)
        loss_of(picture, weights, geometry).backward()
        out.append([a.grad.double().numpy() for a in [*p, *([] if given is None else [given])]])
    return out


def check(ours, truth, bound):
    for name, a, b in zip(("means", "quats", "log_scales", "logits", "sh", "normals"), ours, truth, strict=False):
        assert np.linalg.norm(a - b) <= bound * np.linalg.norm(b), name


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize("antialiased", [False, True], ids=["classic", "antialiased"])
@pytest.mark.parametrize("geometry", [False, True], ids=["rgba", "geometry"])
def test_gradients_are_the_references(camera, antialiased, geometry):
    check(*both(thin_scene(), CAMERAS[camera], geometry, antialiased), THIN)


@pytest.mark.parametrize("degree", [0, 1, 2])
def test_gradients_at_lower_degrees(degree):
    check(*both(thin_scene(degree=degree), CAMERA), THIN)


def test_gradients_of_given_normals():
    normals = np.random.default_rng(3).normal(size=(800, 3)).astype(np.float32)
    ours, truth = both(thin_scene(), CAMERA, geometry=True, normals=normals)
    assert len(ours) == 6 and np.abs(truth[5]).max() > 0
    check(ours, truth, THIN)


@pytest.mark.parametrize("geometry", [False, True], ids=["rgba", "geometry"])
def test_gradients_where_pixels_finish(geometry):
    check(*both(head_scene(2000), CAMERA, geometry), OPAQUE)


def test_gradients_against_finite_differences():
    """Along random directions of all parameters at once; no cut is near: wide Gaussians, picture in their middle.

    Five-thousandths allow for float32 pictures at a step of 1e-2 (measured 1e-3)."""
    g = head_scene(6, degree=2, seed=3)
    g = dataclasses.replace(g, scales=g.scales * np.float32(3), opacity=np.full(6, 0.4, np.float32))
    g = dataclasses.replace(g, means=g.means * np.float32(0.2))
    camera, rng = head_camera(12, 10), np.random.default_rng(0)
    weights = torch.as_tensor(rng.normal(size=(10, 12, 8)).astype(np.float32))
    p = parameters(g)
    loss_of(gradient.render(*p, camera), weights, False).backward()
    sizes = (1e-3, 0.05, 0.05, 0.1, 0.1)
    for a, size in zip(p, sizes, strict=True):
        direction = torch.as_tensor(rng.normal(size=tuple(a.shape)).astype(np.float32)) * size
        with torch.no_grad():
            ends = []
            for step in (-0.05, 0.05):
                moved = [b + step * direction if b is a else b for b in p]
                ends.append(float(loss_of(gradient.render(*moved, camera), weights, False)))
        slope = float((a.grad * direction).sum())
        assert (ends[1] - ends[0]) / 0.1 == pytest.approx(slope, rel=5e-3)


def test_the_picture_is_the_rasterisers():
    from engine.render.cpu import CpuRaster

    g, camera = head_scene(3000), head_camera(131, 77, azimuth=0.7)
    truth = np.empty((77, 131, 4), np.float32)
    for antialiased in (False, True):
        CpuRaster(1).draw(g, camera, truth, colour_space="display", antialiased=antialiased)
        rgba, _, _ = gradient.forward(g, camera, antialiased=antialiased)
        assert np.array_equal(rgba, truth)


def bad_scene():
    """Every kind of Gaussian that has no ellipse or no colour, beside good ones."""
    g = thin_scene(400)
    means, quats, scales, opacity, sh = (np.array(a) for a in (g.means, g.quats, g.scales, g.opacity, g.sh))
    means[0], means[1, 1], means[2] = np.nan, np.inf, 1e20
    quats[3], quats[4] = 0, np.nan
    scales[5], scales[6], scales[7], scales[8, :2] = 0, np.inf, np.nan, 0
    opacity[9:13] = 0, 1, np.nan, 1e-30
    sh[13], sh[14] = np.nan, np.inf
    means[15] = np.linalg.inv(CAMERA.world_to_camera)[:3, 3]  # at the eye
    opacity[20:60] = 1.0  # at the clamp of 0.999, where they are thickest
    return Gaussians(means, quats, scales, opacity, sh)


@pytest.mark.parametrize("antialiased", [False, True], ids=["classic", "antialiased"])
def test_no_gradient_is_ever_nan(antialiased):
    with np.errstate(all="ignore"):
        p = parameters(bad_scene())
    picture = gradient.render(*p, CAMERA, geometry=True, antialiased=antialiased)
    assert torch.isfinite(picture.rgba).all()
    loss_of(picture, torch.ones(56, 64, 8), True).backward()
    for a in p:
        assert torch.isfinite(a.grad).all() and a.grad[100:].abs().max() > 0
    for row in (0, 1, 2, 3, 4, 6, 7, 9, 11, 12, 13, 14, 15):
        assert not any(a.grad[row].abs().sum() for a in p), row


def test_a_clamped_gaussian_gets_no_gradient():
    """One opaque Gaussian that covers the picture: alpha is 0.999 everywhere, whatever its shape."""
    camera = Camera(8, 8, 10.0, 10.0, 4.0, 4.0, np.eye(4))
    p = [torch.tensor(a).requires_grad_() for a in (
        [[0.0, 0, 2]], [[1.0, 0, 0, 0]], [[4.0, 4, 4]], [20.0], [[[0.3, 0.2, 0.1]]],
    )]  # fmt: skip
    picture = gradient.render(*p, camera)
    assert torch.allclose(picture.rgba[..., 3], torch.tensor(0.999))
    picture.rgba.sum().backward()
    assert all(not a.grad.abs().sum() for a in p[:4])
    assert torch.allclose(p[4].grad, torch.tensor(64 * 0.999 * 0.28209479))


def test_threads_and_bands_change_only_the_rounding(monkeypatch):
    g, camera = head_scene(1500), head_camera(100, 90)
    v = np.random.default_rng(0).normal(size=(90, 100, 4)).astype(np.float32)
    rgba, more, tape = gradient.forward(g, camera, geometry=True)
    truth = gradient.backward(tape, v, v)
    monkeypatch.setattr(gradient, "MAX_ENTRIES", 500)
    for threads in (1, 2, 3):
        again, sums, tape = gradient.forward(g, camera, geometry=True, threads=threads)
        assert np.array_equal(again, rgba) and np.array_equal(sums, more) and tape.lists is None
        for a, b in zip(gradient.backward(tape, v, v), truth, strict=True):
            assert np.linalg.norm(a - b) <= 1e-6 * np.linalg.norm(b)


def test_nothing_to_draw():
    p = [a.detach()[:0].requires_grad_() for a in parameters(head_scene(5))]
    gradient.render(*p, CAMERA).rgba.sum().backward()
    assert p[0].grad.shape == (0, 3)
    behind = parameters(head_scene(50))
    view = CAMERA.world_to_camera.copy()
    view[2, 3] = -3
    gradient.render(*behind, dataclasses.replace(CAMERA, world_to_camera=view)).rgba.sum().backward()
    assert all(not a.grad.any() for a in behind)
    with pytest.raises(BadInput, match="coefficients"):
        gradient.render(*behind[:4], torch.zeros(50, 5, 3), CAMERA)
