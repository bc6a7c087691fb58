"""The plain torch rasteriser against gsplat's own torch functions, closed forms and finite differences."""

import dataclasses

import numpy as np
import pytest
import torch

from engine.core.splats import Camera
from engine.render import reference
from engine.render.bench import head_camera, head_scene

torch.set_num_threads(1)
F64 = torch.float64


def tensors(g, dtype=F64):
    return [torch.as_tensor(np.array(a, order="C")).to(dtype) for a in (g.means, g.quats, g.scales, g.opacity, g.sh)]


def near_and_wide():
    """A camera among the Gaussians: many lie beside, behind and beyond the clamp of the Jacobian."""
    view = head_camera(96, 80).world_to_camera.copy()
    view[2, 3] = 0.12
    return Camera(96, 80, 60.0, 55.0, 40.0, 47.0, view)


CAMERAS = {
    "front": head_camera(120, 90),
    "side": head_camera(120, 90, azimuth=1.2),
    "wide": near_and_wide(),
    "orthographic": dataclasses.replace(head_camera(120, 90), orthographic=True, fx=400.0, fy=390.0),
}


@pytest.mark.parametrize("name", CAMERAS)
def test_projection_is_gsplats(name):
    ours_impl = pytest.importorskip("gsplat.cuda._torch_impl", reason="gsplat is an optional package")
    camera = CAMERAS[name]
    means, quats, scales, _, _ = tensors(head_scene(500))
    covars, _ = ours_impl._quat_scale_to_covar_preci(quats, scales, compute_preci=False)
    k = torch.tensor([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]], dtype=F64)
    view = torch.as_tensor(camera.world_to_camera)
    radii, mean, depth, conic, share = ours_impl._fully_fused_projection(
        means,
        covars,
        view[None],
        k[None],
        camera.width,
        camera.height,
        camera_model="ortho" if camera.orthographic else "pinhole",
        calc_compensations=True,
    )
    got = reference.project(means, quats, scales, camera)
    seen = (radii[0] > 0).all(-1)
    assert seen.any() and (got.seen | ~seen).all()
    inverse = torch.linalg.inv(got.covariance[seen])
    assert torch.allclose(got.mean[seen], mean[0][seen], rtol=1e-10)
    assert torch.allclose(got.depth[seen], depth[0][seen], rtol=1e-12)
    assert torch.allclose(got.share[seen], share[0][seen], rtol=1e-6)
    ours = torch.stack([inverse[:, 0, 0], inverse[:, 0, 1], inverse[:, 1, 1]], -1)
    assert torch.allclose(ours, conic[0][seen], rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_spherical_harmonics_are_gsplats(degree):
    ours_impl = pytest.importorskip("gsplat.cuda._torch_impl", reason="gsplat is an optional package")
    means, _, _, _, sh = tensors(head_scene(300, degree=degree))
    camera = CAMERAS["side"]
    eye = torch.linalg.inv(torch.as_tensor(camera.world_to_camera))[:3, 3]
    theirs = ours_impl._spherical_harmonics(degree, means - eye, sh)
    assert torch.allclose(reference.colours(means, sh, camera), (theirs + 0.5).clamp_min(0), atol=1e-12)


def test_spherical_harmonics_are_orthonormal():
    """Over the sphere the 16 functions have unit length and no overlap: closed form, independent of any program."""
    from engine.avatar.raycast import sphere_directions

    d = torch.as_tensor(sphere_directions(20_000))
    basis = reference.sh_basis(d, 16)
    assert torch.allclose(4 * np.pi * basis.T @ basis / len(d), torch.eye(16, dtype=F64), atol=2e-3)


@pytest.mark.parametrize("orthographic", [False, True])
def test_one_gaussian_is_its_closed_form(orthographic):
    """A round Gaussian on the axis: alpha = opacity exp(-r² / 2 s²) with s² = (f s / z)² + 0.3."""
    z, s, opacity, f = 2.0, 0.01, 0.8, 500.0
    camera = Camera(21, 21, f, f, 10.5, 10.5, np.eye(4), orthographic)
    arguments = ([[0, 0, z]], [[1, 0, 0, 0]], [[s] * 3], [opacity], [[[1.0, 0, -1.0]]])
    out = reference.rasterise(*(torch.tensor(a, dtype=F64) for a in arguments), camera)
    variance = (f * s / (1 if orthographic else z)) ** 2 + 0.3
    y, x = np.mgrid[:21, :21] - 10.0
    alpha = opacity * np.exp(-0.5 * (x * x + y * y) / variance)
    alpha[alpha < 1 / 255] = 0
    assert np.allclose(out.rgba[..., 3], alpha, atol=1e-12)
    assert np.allclose(out.rgba[..., 0], alpha * (0.5 + 0.28209479177387814), atol=1e-12)
    assert np.allclose(out.depth[alpha > 0], z) and (out.depth[alpha == 0] == 0).all()


def test_nearer_hides_farther_and_a_full_pixel_stops():
    """Three opaque layers: the second brings transmittance to 0.001 * 0.001 <= 1e-4 and is not drawn any more."""
    camera = Camera(1, 1, 10.0, 10.0, 0.5, 0.5, np.eye(4))
    n = 3
    means = torch.tensor([[0, 0, 3.0], [0, 0, 1.0], [0, 0, 2.0]], dtype=F64)
    sh = torch.zeros(n, 1, 3, dtype=F64)
    sh[1, 0, 0], sh[0, 0, 1], sh[2, 0, 2] = 1, 1, 1
    one = torch.ones(n, dtype=F64)
    quats = torch.tensor([[1.0, 0, 0, 0]], dtype=F64).expand(n, 4)
    out = reference.rasterise(means, quats, 10 * torch.ones(n, 3, dtype=F64), one, sh, camera)
    assert out.rgba[0, 0, 3] == pytest.approx(0.999)
    assert out.rgba[0, 0, 0] == pytest.approx(0.999 * (0.5 + 0.28209479177387814))
    assert out.depth[0, 0] == pytest.approx(1.0)


def test_gradients_are_right():
    """Against central differences, where nothing is clamped or cut (those steps have no derivative)."""
    g = head_scene(6, degree=1, seed=3)
    means, quats, scales, opacity, sh = tensors(g)
    scales, opacity, means = scales * 3, opacity * 0 + 0.4, means * 0.2
    camera = head_camera(12, 10)
    weights = torch.as_tensor(np.random.default_rng(0).normal(size=(10, 12, 4)))

    def loss(*inputs):
        return (reference.rasterise(*inputs, camera).rgba * weights).sum()

    inputs = [a.requires_grad_() for a in (means, quats, scales, opacity, sh)]
    assert torch.autograd.gradcheck(loss, inputs, eps=1e-7, atol=2e-4, rtol=1e-3)
