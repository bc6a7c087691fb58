"""FLAME's skinning on a made-up model: against body-models' numbers, and the torch twin with its gradients."""

import importlib.util
import json
from pathlib import Path

import flame_like
import numpy as np
import pytest

from engine.core.anatomy import Head
from engine.core.names import PARENTS
from engine.head.evaluate import flame_vertices
from engine.head.flame.play import joint_shifts

# Both sides are float32 somewhere: coordinates of 0.1 m with 400 terms err by about 1e-7.
TOLERANCE_M = 1e-6


def bare_head(fields):
    """The model alone as a `Head`."""
    v, f = len(fields["v_template"]), len(fields["f"])
    faces = np.c_[fields["f"].astype(np.int32), np.full(f, -1, np.int32)]
    dirs = fields["shapedirs"].astype(np.float32)
    return Head(
        name="bare", template=fields["v_template"].astype(np.float32), faces=faces, uv=np.zeros((0, 2), np.float32),
        uv_faces=faces, materials=(), face_material=np.zeros(f, np.uint8), albedo=np.zeros((v, 3), np.float32),
        shape_names=("none",), shapes=np.zeros((1, v, 3), np.float32), identity=dirs[:, :, :300],
        expression_names=tuple(f"exp_{i:03d}" for i in range(100)), expression=dirs[:, :, 300:],
        posedirs=fields["posedirs"].astype(np.float32), joint_regressor=fields["J_regressor"].astype(np.float32),
        parents=PARENTS, weights=fields["weights"].astype(np.float32), lip_pairs=np.zeros((0, 2), np.int32),
    )  # fmt: skip


@pytest.fixture(scope="module")
def head():
    return bare_head(flame_like.random_model(0))


def parameters():
    """As the golden file's recipe says."""
    rng = np.random.default_rng(1)
    shape, expression, pose = rng.normal(0, 1, (3, 300)), rng.normal(0, 1, (3, 100)), rng.normal(0, 0.4, (3, 15))
    pose[0] = 0
    return shape, expression, pose


def test_vertices_are_those_of_body_models(head):
    golden = json.loads((Path(__file__).resolve().parents[1] / "golden" / "flame_skinning.json").read_text())
    rows = np.linspace(0, 5022, 9).astype(int)
    shape, expression, pose = parameters()
    for i, wanted in enumerate(golden["vertices"]):
        got = flame_vertices(head, shape[i], expression[i : i + 1], pose[i : i + 1])[0, rows]
        assert np.abs(got - wanted).max() < TOLERANCE_M
    turned = flame_vertices(head, shape[2], expression[2:3], pose[1:2])[0, rows]
    assert np.abs(turned - golden["vertices"][2]).max() > 1e-3, "another pose must not pass"


@pytest.mark.skipif(importlib.util.find_spec("body_models") is None, reason="body-models is a development reference")
def test_all_vertices_are_those_of_body_models(head, tmp_path):
    import torch
    from body_models.flame.torch import FLAME

    flame_like.write_npz(tmp_path / "model.npz", flame_like.random_model(0))
    model = FLAME(model_path=tmp_path / "model.npz")
    shape, expression, pose = parameters()
    shape, expression, turn = (torch.as_tensor(a, dtype=torch.float32) for a in (shape, expression, pose))
    turn = turn.reshape(3, 5, 3)
    wanted = model.forward_vertices(turn[:, 1:], head_rotation=turn[:, 0], shape=shape, expression=expression).numpy()
    for i in range(3):
        got = flame_vertices(head, shape[i].numpy(), expression[i : i + 1].numpy(), pose[i : i + 1])
        assert np.abs(got - wanted[i]).max() < TOLERANCE_M


def test_the_torch_twin_gives_the_same_vertices(head):
    import torch

    from engine.head.lbs_torch import TorchHead

    torch.set_num_threads(1)
    shape, expression, pose = parameters()
    twin = TorchHead(head, torch.float64)
    got = twin(*(torch.as_tensor(a) for a in (shape[1], expression, pose))).numpy()
    # Both in double precision; the numpy path keeps pose correctives in float32.
    assert np.abs(got - flame_vertices(head, shape[1], expression, pose)).max() < 1e-8


@pytest.mark.parametrize("scale", [0.0, 1e-6, 0.4, 3.0])
def test_the_torch_twins_gradients(scale):
    """Central differences in double precision, at no turn too, where the rotation's formula is 0/0."""
    import torch

    from engine.head.lbs_torch import TorchHead

    torch.set_num_threads(1)
    rng = np.random.default_rng(3)
    fields = flame_like.random_model(0)
    few = np.arange(0, 5023, 150)
    small = {name: fields[name][few] for name in ("v_template", "shapedirs", "posedirs", "weights")}
    regressor = rng.random((5, len(few)))
    head = bare_head({**small, "f": np.zeros((1, 3), int), "J_regressor": regressor / regressor.sum(1, keepdims=True)})
    twin = TorchHead(head, torch.float64)
    pose = torch.as_tensor(scale * rng.normal(0, 1, (2, 15)), dtype=torch.float64).requires_grad_()
    expression = torch.as_tensor(rng.normal(0, 1, (2, 100)), dtype=torch.float64).requires_grad_()
    shape = torch.as_tensor(rng.normal(0, 1, 300), dtype=torch.float64).requires_grad_()
    weight = torch.as_tensor(rng.normal(0, 1, (2, len(few), 3)))

    def loss(s, e, p):
        return (twin(s, e, p) * weight).sum()

    loss(shape, expression, pose).backward()
    for tensor, slot in ((shape, 0), (expression, 1), (pose, 2)):
        for at in rng.choice(tensor.numel(), 5, replace=False):
            both = []
            for step in (1e-6, -1e-6):
                moved = [t.detach().clone() for t in (shape, expression, pose)]
                moved[slot].view(-1)[at] += step
                both.append(float(loss(*moved)))
            numeric = (both[0] - both[1]) / 2e-6
            assert abs(float(tensor.grad.view(-1)[at]) - numeric) < 1e-6 * max(1, abs(numeric))


def test_standing_bones_with_shifts_are_the_same_skin(head):
    """What a rig does: bones turn about resting joints and are moved by `joint_shifts`."""
    from engine.head import lbs

    shape, expression, pose = parameters()
    shift = joint_shifts(head, shape[1], expression, pose).reshape(-1, 5, 3)
    rest = head.joint_regressor.astype(float) @ head.template
    turn = lbs.rodrigues_reference(pose.reshape(-1, 5, 3))
    points = head.template + head.identity.astype(float) @ shape[1]
    points = points + np.moveaxis(np.tensordot(head.expression.astype(float), expression, (2, 1)), -1, 0)
    features = (turn[:, 1:] - np.eye(3)).reshape(3, -1)
    points = points + np.moveaxis(np.tensordot(head.posedirs.astype(float), features, (2, 1)), -1, 0)
    out = np.zeros_like(points)
    world = []
    for j, parent in enumerate(PARENTS):
        own = np.tile(np.eye(4), (3, 1, 1))
        own[:, :3, :3] = turn[:, j]
        own[:, :3, 3] = rest[j] - turn[:, j] @ rest[j] + shift[:, j]
        world.append(own if parent < 0 else world[parent] @ own)
        posed = np.einsum("tab,tvb->tva", world[j][:, :3, :3], points) + world[j][:, None, :3, 3]
        out += head.weights[:, j, None] * posed
    assert np.abs(out - flame_vertices(head, shape[1], expression, pose)).max() < 1e-7
    assert np.abs(shift).max() > 1e-4, "joints that stand still would prove nothing"
