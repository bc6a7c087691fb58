"""Composition and the residual of the normals in training: pictures, gradients, and what they change."""

import dataclasses

import numpy as np
import pytest
import tiny_capture
import torch
from test_appearance import scene  # noqa: F401 (a fixture)

from engine.avatar import bind_kernels
from engine.avatar.appearance.apply import turned
from engine.avatar.appearance.emotalkinggaussian import compose
from engine.avatar.bind import bind
from engine.core.affect import affect_of
from engine.core.errors import BadInput
from engine.core.names import EMOTION_INDEX
from engine.head.library import load_head
from engine.render.cameras import front
from engine.render.gradient import backward, forward
from engine.studio.poses import make
from engine.train import appearance_layers as layers
from engine.train.appearance_recipe import Dressed, train_appearance
from engine.train.avatar_data import read_capture

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def drawn(scene):  # noqa: F811
    """(Gaussians, inside [n], camera, anchors, frames [n, 8])."""
    head, avatar, anchors, _ = scene
    avatar = dataclasses.replace(avatar, log_scales=avatar.log_scales + np.array([1.0, 0.3, 1.2], np.float32))
    frames = np.empty((len(head.triangles), bind_kernels.FRAME), np.float32)
    bind_kernels.frames(
        np.ascontiguousarray(head.triangles, np.int32), np.ascontiguousarray(head.template, np.float32), frames
    )
    camera = front(head.template, 48, 48)
    return bind(avatar, head.triangles, head.template), avatar.layer == 1, camera, anchors, frames[avatar.triangle]


def test_a_composed_picture_is_s9_and_s10(drawn):
    g, inside, camera, *_ = drawn
    face, mouth = (torch.from_numpy(forward(layers.part_of(g, part), camera)[0]) for part in (~inside, inside))
    background = torch.tensor([0.2, 0.5, 0.9])
    rgba = layers.Shot(g, camera, inside).rgba
    ours = rgba[..., :3] + (1 - rgba[..., 3:]) * background.numpy()
    assert np.abs(ours - compose(face, mouth, background).numpy()).max() < 1e-6
    assert np.array_equal(layers.Shot(g, camera).rgba, forward(g, camera)[0])
    assert np.abs(rgba - forward(g, camera)[0]).max() > 0.01, "drawn at once, the mouth's are not all behind"


def test_the_way_back_of_a_composed_picture(drawn):
    """The rasteriser's own gradients of the two parts, for the pixels' gradients by torch's autograd of S9-S10."""
    g, inside, camera, *_ = drawn
    rng = np.random.default_rng(4)
    v = rng.normal(size=(48, 48, 4)).astype(np.float32)
    parts = [forward(layers.part_of(g, part), camera) for part in (~inside, inside)]
    face, mouth = (torch.from_numpy(part[0]).requires_grad_() for part in parts)
    whole = torch.cat([compose(face, mouth, torch.zeros(3)), face[..., 3:] + (1 - face[..., 3:]) * mouth[..., 3:]], -1)
    (whole * torch.from_numpy(v)).sum().backward()
    found = layers.Shot(g, camera, inside).back(v)
    for mask, part, pixels in zip((~inside, inside), parts, (face, mouth), strict=True):
        for name, expected in backward(part[2], pixels.grad.numpy())._asdict().items():
            if name != "normals":
                ours = getattr(found, name)[..., mask]
                assert np.abs(ours - expected).max() < 1e-4 * np.abs(expected).max(), name


def test_normals_with_a_residual_and_their_way_back(drawn):
    """At rest the residual is added as it is; its gradient by central differences."""
    g, _, _, anchors, frames = drawn
    rng = np.random.default_rng(1)
    residual = 0.3 * rng.normal(size=(len(anchors), 3)).astype(np.float32)
    plain, made = (layers.Normals(g, anchors, frames, r) for r in (0 * residual, residual))
    assert np.allclose(np.linalg.norm(made.unit, axis=1), 1, atol=1e-6)
    added = np.einsum("mk,mkc->mc", anchors.shares, residual[anchors.corners])
    wanted = plain.unit[anchors.rows] + added
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    assert np.abs(made.unit[anchors.rows] - wanted).max() < 1e-5
    slope, direction = rng.normal(size=(3, len(g))), rng.normal(size=residual.shape)
    ends = [
        float((layers.Normals(g, anchors, frames, residual + s * 1e-3 * direction).unit.T * slope).sum(dtype=float))
        for s in (-1, 1)
    ]
    assert (ends[1] - ends[0]) / 2e-3 == pytest.approx(float((made.back(slope) * direction).sum()), rel=1e-3)


def test_the_loss_of_normals_and_its_gradient():
    """Central differences in double precision; pixels that are not solid or have no depth say nothing."""
    rng = np.random.default_rng(2)
    rgba, depth = np.ones((7, 8, 4), np.float32), np.ones((7, 8), np.float32)
    rgba[0, :, 3], depth[:, 0] = 0.5, 0.0
    normal = rng.normal(size=(7, 8, 3))
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    sums = rng.normal(size=(7, 8, 4))
    value, gradient = layers.normal_loss(rgba, sums, depth, normal)
    assert value > 0 and not gradient[0].any() and not gradient[:, 0].any() and not gradient[..., 0].any()
    direction = rng.normal(size=sums.shape)
    ends = [layers.normal_loss(rgba, sums + s * 1e-6 * direction, depth, normal)[0] for s in (-1, 1)]
    assert (ends[1] - ends[0]) / 2e-6 == pytest.approx(float((gradient * direction).sum()), rel=1e-4)
    same = np.concatenate([np.ones((7, 8, 1)), np.tile([0.0, 0.0, 1.0], (7, 8, 1))], -1)
    assert layers.normal_loss(rgba, same, depth, same[..., 1:])[0] == 0
    assert layers.normal_loss(rgba * 0, sums, depth, normal)[0] == 0


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    head = load_head()
    folder = tmp_path_factory.mktemp("layers")
    truth = tiny_capture.spread_with_colour(head)
    tiny_capture.write(folder, head, truth, added=np.array([0.12, 0.0, 0.0]))
    capture = read_capture(folder, head)
    capture.views["val"] = capture.views["test"]
    return capture, truth


def test_training_with_normals_moves_the_residual(setting, tmp_path, monkeypatch):
    """Of Gaussians that stand askew the rendered normals come nearer to the capture's; each view once a round."""
    capture, avatar = setting
    turns = 0.35 * np.random.default_rng(0).normal(size=(len(avatar), 3))
    askew = dataclasses.replace(avatar, local_quats=turned(avatar.local_quats, turns).astype(np.float32))
    losses, kept = [], layers.normal_loss

    def noting(*given):
        losses.append(kept(*given)[0])
        return kept(*given)

    monkeypatch.setattr(layers, "normal_loss", noting)
    each = len(capture.views["train"])
    train_appearance(
        capture, askew, "emotalkinggaussian", tmp_path / "n.safetensors", steps=3 * each, check=3 * each, rate=2e-2,
        normals=True,
    )  # fmt: skip
    assert len(losses) == 3 * each and np.mean(losses[-each:]) < 0.9 * np.mean(losses[:each]), losses
    losses.clear()
    train_appearance(capture, avatar, "emotalkinggaussian", tmp_path / "m.safetensors", steps=2, check=2)
    assert not losses, "off unless asked for"


def test_training_composed(setting, tmp_path):
    """Without Gaussians inside the mouth there is nothing to compose; with them the training runs on both layers."""
    capture, avatar = setting
    with pytest.raises(BadInput, match="--composed"):
        train_appearance(capture, avatar, "emotalk3d", tmp_path / "n.safetensors", steps=1, composed=True)
    layer = np.zeros(len(avatar), np.uint8)
    layer[::5] = 1
    both = dataclasses.replace(avatar, layers=("face", "inside_mouth"), layer=layer)
    result = train_appearance(
        capture, both, "emotalkinggaussian", tmp_path / "n.safetensors", steps=6, check=6, rate=5e-3, composed=True
    )
    assert result["off"] == [] and np.isfinite(result["with"]["head_psnr"])


def test_branches_are_driven_by_what_captures_hold(tmp_path, monkeypatch):
    """A label's place on the pad drives the emotion branch; what jaw and lips do drives the mouth's."""
    head = load_head()
    happy = make("happy", {"labels": {"happy": 0.8}, "shapes": {"jawOpen": 0.5}})
    monkeypatch.setattr(tiny_capture, "POSES", (make("neutral", {}), happy))
    avatar = tiny_capture.spread_with_colour(head)
    tiny_capture.write(tmp_path, head, avatar)
    capture = read_capture(tmp_path, head)
    row = next(i for i, posed in capture.poses.items() if posed.name == "happy")
    drive = Dressed(capture, avatar).drive(row)
    shares = np.zeros(14, np.float32)
    shares[EMOTION_INDEX["happy"]] = 0.8
    assert drive.va.numpy() == pytest.approx(affect_of(shares)) and drive.mouth[0] >= 0.5 and not drive.speech.any()
