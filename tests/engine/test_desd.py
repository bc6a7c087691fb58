"""DE-SD: spirals and pooling on the head, joins as EmoVOCA compares them, a small training that learns."""

import numpy as np
import pytest
import torch

from engine.head.library import load_head
from engine.motion.nets.desd import DESD, JOINS, LATENT, landmark_weights, reconstruction_loss
from engine.motion.nets.spiral import LENGTH, Pool, SpiralConv, levels_of, spirals
from engine.train.emovoca_desd import Frames, Surface, fit, max_vertex_error
from engine.train.motion_loop import Plan

torch.set_num_threads(1)
COUNTS = (96, 32, 12)


@pytest.fixture(scope="module")
def head():
    return load_head()


@pytest.fixture(scope="module")
def levels(head):
    return levels_of(head, COUNTS)


def test_spirals_begin_with_the_point_and_turn_one_way(levels):
    for level, count in zip(levels.spirals, COUNTS, strict=True):
        assert level.shape == (count, LENGTH) and np.array_equal(level[:, 0], np.arange(count))
        assert all(len(set(row)) == LENGTH for row in level.tolist())
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, 7), np.linspace(-1, 1, 7)), -1).reshape(-1, 2)
    flat = np.concatenate([grid, 5.0 - 0.1 * (grid**2).sum(1, keepdims=True)], 1)  # a dome that faces +z
    flat[:, 2] += 0
    middle = 24
    ring = flat[spirals(flat - [0, 0, 4.0])[middle][1:7], :2] - flat[middle, :2]
    turn = np.unwrap(np.arctan2(ring[:, 0], ring[:, 1]))
    assert np.all(np.diff(turn) > -1e-6) or np.all(np.diff(turn) < 1e-6), "neighbours are in order of angle"


def test_a_spiral_convolution_is_a_linear_layer_over_neighbours(levels):
    conv = SpiralConv(levels.spirals[1], 2, 3)
    x = torch.randn(2, COUNTS[1], 2)
    out = conv(x)
    i = 5
    plain = conv.mix.weight @ x[1, levels.spirals[1][i]].flatten() + conv.mix.bias
    assert torch.allclose(out[1, i], plain, atol=1e-5)


def test_pooling_keeps_constants_and_places(head, levels):
    down, up = Pool(levels.down[0]), Pool(levels.up[0])
    assert torch.allclose(down(torch.ones(1, COUNTS[0], 1)), torch.ones(1, COUNTS[1], 1), atol=1e-6)
    points = torch.from_numpy(head.template[levels.vertices])[None]
    back = up(down(points))
    assert (back - points).norm(dim=-1).max() < 0.03, "there and back stays within a level's spacing"


@pytest.mark.parametrize("join", JOINS)
def test_every_join_rebuilds_and_mixes(levels, join):
    net = DESD(levels, join).eval()
    x, y = torch.randn(2, COUNTS[0], 3), torch.randn(2, COUNTS[0], 3)
    assert net.rebuild(x, "talk").shape == net.mix(x, y).shape == x.shape
    width = LATENT if join in ("sum", "mult") else 2 * LATENT
    assert net.decode.enter.in_features == width
    assert not torch.allclose(net.mix(x, y), net.mix(x, y, feel_share=0.2), atol=1e-6)


def test_putting_a_feature_in_twice_is_what_mixing_with_itself_does(levels):
    net = DESD(levels, single=True).eval()
    x = torch.randn(1, COUNTS[0], 3)
    assert torch.allclose(net.rebuild(x, "talk"), net.mix(x, x), atol=1e-6)
    assert sum(p.numel() for p in net.parameters()) < sum(p.numel() for p in DESD(levels).parameters())


def test_points_near_landmarks_count_more():
    weight = landmark_weights(torch.tensor([[0.0, 0, 0], [0.01, 0, 0], [0.1, 0, 0]]), torch.zeros(1, 3))
    assert weight[0] > weight[1] > weight[2] and weight.mean() == pytest.approx(1)
    error = torch.tensor([[[3.0, 4.0, 0.0], [0, 0, 0], [0, 0, 0]]])
    assert reconstruction_loss(error, torch.zeros_like(error), weight).item() == pytest.approx(
        5 * weight[0].item() / 3, rel=1e-5
    )


def made_up(seed):
    """Talking frames move the mouth's shapes, expressions brows, cheeks and nose: no frame has both."""
    rng = np.random.default_rng(seed)
    talk, feel = np.zeros((200, 59), np.float32), np.zeros((200, 59), np.float32)
    talk[:, 17:25] = rng.random((200, 8)) * rng.random((200, 1))
    feel[:, 41:51] = rng.random((200, 10)) * rng.random((200, 1))
    return Frames(talk, feel)


def test_it_learns_to_rebuild_and_a_mix_has_both(head):
    net, surface, log = fit(head, made_up(0), Plan(240, rate=3e-3, every=60), counts=COUNTS)
    assert log[-1]["loss"] < 0.6 * log[0]["loss"]
    held = made_up(1)
    moved = {
        k: float(surface.displace(getattr(held, k)).norm(dim=-1).max(1).values.mean()) * 5 for k in ("talk", "feel")
    }
    error = max_vertex_error(net, surface, held)
    assert error["talk"] < 0.75 * moved["talk"] and error["feel"] < 0.75 * moved["feel"], (error, moved)


def test_weights_come_back_from_displacements(head, levels):
    surface = Surface(head, levels_of(head, (192, 48)))
    weights = made_up(2).talk[:20]
    back = surface.weights(surface.displace(weights))
    # Shapes that do nearly the same may trade places: faces are compared, not numbers.
    assert (surface.displace(back) - surface.displace(weights)).norm(dim=-1).max() * 5 < 0.5
