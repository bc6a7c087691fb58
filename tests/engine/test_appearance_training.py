"""Appearance nets behind the rasteriser: gradients of the whole way by finite differences, and nets that learn."""

import dataclasses

import numpy as np
import pytest
import torch
from test_appearance import drive_of, net_of, scene  # noqa: F401 (a fixture)

from engine.avatar import bind_kernels
from engine.avatar.appearance import NETS, build
from engine.avatar.appearance.apply import changed, from_local
from engine.avatar.appearance.drive import drive_of as drive_of_frame
from engine.avatar.bind import bind
from engine.avatar.rotations import matrices
from engine.core.errors import BadInput
from engine.core.names import ARKIT_INDEX
from engine.head.evaluate import vertices
from engine.render.cameras import front
from engine.render.gradient import backward, forward
from engine.train.avatar_appearance import Learner
from engine.train.avatar_kernels import to_local

torch.set_num_threads(1)


def frames_of(head, points):
    triangles = np.ascontiguousarray(head.triangles, np.int32)
    out = np.empty((len(triangles), bind_kernels.FRAME), np.float32)
    bind_kernels.frames(triangles, np.ascontiguousarray(points, np.float32), out)
    return out


def local_of(head, now, points, g, d_means, d_quats, d_scales, d_opacity, d_sh):
    """Gradients in space -> of the local parameters."""
    n = len(now)
    local = {"means": np.zeros((3, n)), "quats": np.zeros((4, n)), "log_scales": np.zeros((3, n))}
    local = {name: np.ascontiguousarray(a, np.float32) for name, a in local.items()}
    scales = np.ascontiguousarray(g.scales.T, np.float32)
    to_local(now.triangle, frames_of(head, points), scales, d_means, d_quats, d_scales, *local.values())
    return {**local, "logits": d_opacity * g.opacity * (1 - g.opacity), "sh": d_sh}


def test_gradients_of_the_whole_way(scene):  # noqa: F811
    """Vertex changes -> Gaussians in space -> a smooth function of them, and back; central differences along random
    directions. (The picture has steps of its own at its cuts; its gradient is test_render_gradient.py's.)"""
    head, avatar, anchors, _ = scene
    rng, points = np.random.default_rng(0), head.template
    w = {k: rng.normal(size=(400, v)) for k, v in {"means": 3, "turn": 9, "scales": 3, "opacity": 1, "sh": 12}.items()}

    def value(now, gradient=False):
        g = bind(now, head.triangles, points)
        t = [torch.tensor(np.array(a), dtype=torch.float64, requires_grad=True) for a in (
            g.means, g.quats, g.scales, g.opacity, g.sh.reshape(400, -1)
        )]  # fmt: skip
        parts = (100 * t[0], matrices(t[1]).reshape(-1, 9), 100 * t[2], t[3][:, None], t[4])
        loss = sum((torch.sin(p) * torch.as_tensor(x)).sum() for p, x in zip(parts, w.values(), strict=True))
        if not gradient:
            return loss.item()
        loss.backward()
        d = [np.ascontiguousarray(a.grad.numpy().T, np.float32) for a in t]
        return local_of(head, now, points, g, *d)

    sizes = {"means": 1e-3, "turns": 0.4, "log_scales": 0.2, "logits": 0.4, "sh": 0.4}
    widths = {"means": 3, "turns": 3, "log_scales": 1, "logits": 1, "sh": 12}
    change = {n: sizes[n] * rng.normal(size=(len(anchors), k)).astype(np.float32) for n, k in widths.items()}
    now = changed(avatar, anchors, change)
    slopes = from_local(anchors, value(now, gradient=True), now.local_quats, change["turns"])
    for name, width in widths.items():
        direction = sizes[name] * rng.normal(size=(len(anchors), width)).astype(np.float32)
        ends = [value(changed(avatar, anchors, {**change, name: change[name] + h * direction})) for h in (-0.01, 0.01)]
        found, slope = (ends[1] - ends[0]) / 0.02, float((slopes[name] * direction).sum(dtype=float))
        # float32 Gaussians: 1e-3 of the length of the sum's terms.
        assert found == pytest.approx(slope, rel=2e-3, abs=1e-3 * np.linalg.norm(slopes[name] * direction)), name


def raster_gradients(head, now, points, camera, weights):
    g = bind(now, head.triangles, points)
    _, _, tape = forward(g, camera)
    d = backward(tape, weights)
    return local_of(head, now, points, g, d.means, d.quats, d.scales, d.opacity, d.sh)


@pytest.mark.parametrize("name", NETS)
def test_nets_learn(scene, name):  # noqa: F811
    """Another net's pictures of one frame as truth: the error falls to a fifth of the canonical avatar's in 40
    steps (measured 0.01 to 0.03)."""
    head, avatar, anchors, rest = scene
    avatar = dataclasses.replace(avatar, log_scales=avatar.log_scales + 1)
    drive, camera = drive_of(len(anchors)), front(head.template, 48, 48)
    points = head.template

    def picture(what):
        return forward(bind(what, head.triangles, points), camera)[0]

    with torch.no_grad():
        teacher = net_of(name, rest).eval()
        out = {part: 3 * value.numpy() for part, value in teacher(drive).items()}
    truth = picture(changed(avatar, anchors, out))
    torch.manual_seed(5)
    learner = Learner(build(name, rest), anchors, rate=5e-3)
    errors = []
    for _ in range(40):
        now = learner.begin(avatar, drive)
        apart = picture(now) - truth
        errors.append(float(np.square(apart).mean()))
        learner.end(now, raster_gradients(head, now, points, camera, (2 * apart).astype(np.float32)))
    start = float(np.square(picture(avatar) - truth).mean())
    assert start > 1e-6 and min(errors[-5:]) < 0.2 * start


def test_drive_of_a_frame(scene):  # noqa: F811
    head, _, anchors, _ = scene
    weights, au = np.zeros(59, np.float32), np.zeros((18, 2), np.float32)
    weights[ARKIT_INDEX["jawOpen"]], au[-1] = 0.7, (0.2, 0.4)
    emotion = np.zeros(14)
    emotion[[0, 5]] = 0.4, 0.6  # neutral, happy
    points = vertices(head, weights[None, :52])[0]
    drive = drive_of_frame(head, anchors, points, weights, au, emotion, 0.5)
    assert drive.mouth[0] == pytest.approx(0.7) and drive.aus[16] == pytest.approx(0.3) and drive.aus.shape == (17,)
    assert drive.emotion.sum() == pytest.approx(0.3) and drive.emotion.shape == (13,)
    assert drive.moved.norm(dim=1).max() > 0.01
    still = drive_of_frame(head, anchors, head.template, np.zeros(59), np.zeros((18, 2)))
    assert all(getattr(still, f.name).abs().max() < 1e-6 for f in dataclasses.fields(still))
    with pytest.raises(BadInput, match="weights"):
        drive_of_frame(head, anchors, points, weights[:52], au)
