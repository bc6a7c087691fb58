"""Free Gaussians: EmoTalk3D's decaying motion and blended copies, carried with the head, kept in files, trainable."""

from dataclasses import replace

import numpy as np
import pytest
import tiny_capture

from engine.avatar import free
from engine.avatar.attach import attach
from engine.avatar.bind import bind
from engine.avatar.files import read_avatar, save_avatar
from engine.core.errors import BadFile
from engine.head.evaluate import vertices
from engine.head.library import load_head
from engine.studio.poses import make
from engine.train.avatar import Recipe, Training
from engine.train.avatar_data import Posed, read_capture
from engine.train.avatar_model import Model
from engine.train.avatar_start import spread, with_loose


@pytest.fixture(scope="module")
def head():
    return load_head()


def test_the_papers_formulas():
    assert free.decay(0.010) == pytest.approx(np.exp(-1)), "0.1 per mm: 10 mm leave 37 %"
    assert free.canonical_share(np.array([0.0, 0.005, 0.010, 0.015, 0.1])) == pytest.approx([0, 0, 0.5, 1, 1])


def _loose(head, distance):
    """Ten Gaussians of an avatar made free, all at one distance."""
    avatar = spread(head, 200, seed=2)
    rows = np.arange(0, 200, 20)
    return free.let_go(avatar, head, rows, np.full(len(rows), distance), fused=False), avatar, rows


@pytest.mark.parametrize("distance", [0.0, 0.007, 0.02, 0.2])
def test_movement_decays_with_distance(head, distance):
    loose, avatar, rows = _loose(head, distance)
    pose = make("jaw", {"shapes": {"jawOpen": 1.0}})
    opened = vertices(head, pose.arkit[None])[0]
    still, moved = (bind(loose, head.triangles, v) for v in (head.template, opened))
    before = bind(avatar, head.triangles, head.template)
    assert np.abs(still.means - before.means).max() < 1e-5, "at rest nothing is changed"
    middles = [v[head.triangles[avatar.triangle[rows]]].mean(1) for v in (head.template, opened)]
    expected = (middles[1] - middles[0]) * np.exp(-100 * distance)
    assert np.abs((moved.means - still.means)[rows] - expected).max() < 2e-5
    assert np.abs(moved.scales[rows] - still.scales[rows]).max() < 1e-6
    others = np.setdiff1d(np.arange(200), rows)
    assert np.array_equal(moved.means[others], bind(avatar, head.triangles, opened).means[others])


def test_a_head_that_is_carried_takes_its_shoulders_along(head):
    loose, _, rows = _loose(head, 0.2)
    turn = free.similarity(np.eye(3), np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1.0]]))[1]
    carried = (1.3 * head.template @ turn.T + [0.4, -0.2, 2.0]).astype(np.float32)
    rest, there = bind(loose, head.triangles, head.template), bind(loose, head.triangles, carried)
    expected = 1.3 * rest.means @ turn.T + [0.4, -0.2, 2.0]
    assert np.abs(there.means - expected)[rows].max() < 1e-4
    assert there.scales[rows] == pytest.approx(1.3 * rest.scales[rows], rel=1e-3)


def test_border_points_have_two_copies_whose_opacities_add_up(head):
    avatar = spread(head, 30)
    rows, distance = np.array([3, 7, 11]), np.array([0.002, 0.010, 0.03])
    made = free.let_go(avatar, head, rows, distance)
    assert len(made) == 31 and list(made.free.rows) == [3, 7, 11, 30]
    assert made.opacity[[3, 7, 11, 30]] == pytest.approx(avatar.opacity[[3, 7, 11, 7]] * [1, 0.5, 1, 0.5])
    assert made.free.follow == pytest.approx([np.exp(-0.2), np.exp(-1), 0, 0], abs=1e-6)


def test_files_keep_them(head, tmp_path):
    made, _, _ = _loose(head, 0.01)
    save_avatar(tmp_path / "a.npz", made)
    again = read_avatar(tmp_path / "a.npz")
    for name in ("rows", "follow", "rest", "anchors", "anchor_rest"):
        assert np.array_equal(getattr(again.free, name), getattr(made.free, name)), name
    spoilt = dict(np.load(tmp_path / "a.npz"))
    for name, value in (("free_rows", spoilt["free_rows"] + 1000), ("free_follow", spoilt["free_follow"][:2])):
        np.savez(tmp_path / "b.npz", **{**spoilt, name: value})
        with pytest.raises(BadFile, match="free"):
            read_avatar(tmp_path / "b.npz")


def test_training_places_them_as_bind_does(head):
    made = with_loose(spread(head, 50), head, 40)
    assert made.free is not None and len(made.free.rows) >= 40
    model = Model(made, head, degree=0)
    pose = make("jaw", {"shapes": {"jawOpen": 0.7}})
    opened = vertices(head, pose.arkit[None])[0]
    ours = model.place(4, Posed("jaw", opened, np.zeros(59, np.float32)))
    theirs = bind(made, head.triangles, opened)
    assert np.abs(ours.means - theirs.means).max() < 1e-5


def _with_scarf(head):
    """An avatar with a green scarf before its neck, which no triangle carries."""
    avatar = spread(head, 2000)
    rng = np.random.default_rng(1)
    points = rng.uniform([-0.07, -0.15, 0.03], [0.07, -0.07, 0.09], (150, 3))
    corners = head.template[head.triangles].astype(np.float64)
    triangle = np.linalg.norm(corners.mean(1)[None] - points[:, None], axis=2).argmin(1).astype(np.int32)
    local = attach(triangle, points, np.tile([1.0, 0, 0, 0], (150, 1)), np.full((150, 3), 0.009), corners)
    names = ("triangle", "local_means", "local_quats", "log_scales")
    arrays = {n: np.concatenate([getattr(avatar, n), a]) for n, a in zip(names, (triangle, *local), strict=True)}
    green = np.tile(np.array([[[-1.5, 1.2, -1.0]]], np.float32), (150, 1, 1))
    arrays |= {
        "sh": np.concatenate([avatar.sh, green]), "layer": np.concatenate([avatar.layer, np.full(150, 2, np.uint8)]),
        "opacity": np.concatenate([avatar.opacity, np.full(150, 0.9, np.float32)]),
    }  # fmt: skip
    return free.let_go(replace(avatar, **arrays), head, np.arange(2000, 2150), np.full(150, 0.05))


def test_what_the_mesh_lacks_is_learned_by_them(head, tmp_path):
    """A scarf before the neck: no Gaussian on the mesh can stand there, free ones begin everywhere and stay there."""
    tiny_capture.write(tmp_path / "c", head, _with_scarf(head))
    capture = read_capture(tmp_path / "c", head)
    found = {}
    for loose in (0, 3000):
        run = Training(capture, Recipe(count=400, steps=150, loose=loose, geometry=False, dynamic=False))
        losses = [run.step() for _ in range(150)]
        found[loose] = np.mean(losses[-30:])
    assert found[3000] < 0.75 * found[0], found
