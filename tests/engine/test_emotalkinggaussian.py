"""EmoTalkingGaussian's network: its branches against their equations, points, labels and feelings."""

import dataclasses

import numpy as np
import pytest
import torch
from test_emotag import clips

from engine.avatar.appearance.triplane import TriPlaneHash as AppearancePlanes
from engine.controls.emotions import affect_au
from engine.core.affect import LABEL_AFFECT, affect_of
from engine.core.names import ARKIT_INDEX, AU_INDEX, EMOTION_INDEX, EMOTIONS
from engine.head.library import load_head
from engine.motion import emotalkinggaussian as system
from engine.motion.nets import file
from engine.motion.nets.basis import left_out_mm, region_metric
from engine.motion.nets.face_branches import EDGE, UNITS, FaceBranches, of_config, parts_of, sites_of
from engine.motion.nets.triplane import TriPlaneHash
from engine.train import emotalkinggaussian_recipe as recipe
from engine.train.motion_data import of_examples

torch.set_num_threads(1)
SMALL = {"audio": 8, "hidden": 16, "face": 72, "mouth": 12}


@pytest.fixture(scope="module")
def head():
    return load_head()


@pytest.fixture(scope="module")
def basis():
    return file.shared_basis()


@pytest.fixture(scope="module")
def sites(head, basis):
    return sites_of(head, basis)


@pytest.fixture(scope="module")
def pool():
    return of_examples(clips(each=2, rows=200), file.shared_basis())


@pytest.fixture(scope="module")
def extra():
    """Curated speech of the tests: noise in the form of interface v1."""
    return tuple(np.random.default_rng(i).random((60 + 20 * i, 75)).astype(np.float32) for i in range(3))


def small(head, basis, **more):
    """A small network whose parts all do something."""
    torch.manual_seed(1)
    net = of_config(head, basis, {**SMALL, **more})
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return net


def given(b=2, t=5, seed=0, dtype=torch.float32):
    rng = torch.Generator().manual_seed(seed)
    return tuple(
        torch.rand(b, n, c, generator=rng).to(dtype) for n, c in ((t + 2 * EDGE, 75), (t, UNITS), (t, 2))
    )  # fmt: skip


# --- encoders and points


@pytest.mark.parametrize("rows", [12, 6])
def test_the_encoder_is_the_plain_one(rows):
    """Values and gradients (tables, points) of bilinear sampling against plain torch, hashed levels included; points
    outside too. Gradients by points are sums of hundreds of features of about 1 times 255 nodes: 1e-5 of the largest.
    """
    torch.manual_seed(0)
    low, high = torch.tensor([0.0, -1, 2]), torch.tensor([1.0, 1, 3])
    fast = TriPlaneHash(low, high, levels=8, log2_rows=rows, fine=256)
    plain = AppearancePlanes(low, high, log2_rows=rows)
    assert fast.sizes == plain.sizes and fast.sizes[-1] ** 2 > fast.rows
    with torch.no_grad():
        plain.table.copy_(fast.table.normal_())
    points = torch.rand(300, 3) * torch.tensor([1.2, 2.4, 1.2]) + torch.tensor([-0.1, -1.2, 1.9])
    one, two = (points.clone().requires_grad_() for _ in range(2))
    a, b = fast(one), plain.plain(((two - plain.low) / plain.span).clamp(0, 1))
    assert torch.allclose(a, b, atol=2e-4)  # float32 places of nodes, features that differ by several from node to node
    slope = torch.randn_like(a)
    a.backward(slope)
    b.backward(slope)
    inside = ((points > low) & (points < high)).all(1)
    assert torch.allclose(fast.table.grad, plain.table.grad, atol=2e-4)
    assert torch.allclose(one.grad[inside], two.grad[inside], atol=1e-5 * float(two.grad.abs().max()), rtol=1e-3)
    with torch.no_grad():
        assert torch.equal(fast.eval()(points), a) and fast._kept is not None, "planes are spread out once"


def test_points_lie_where_the_face_moves(head, basis, sites):
    lips = np.asarray(head.masks["lips"]) > 0.5
    within = np.max([np.asarray(head.masks[n]) for n in ("mouth_inside", "teeth_lower", "tongue")], axis=0) > 0.5
    face, mouth = sites.vertices[: sites.face], sites.vertices[sites.face :]
    assert len(sites.vertices) <= 5000 and len(set(sites.vertices.tolist())) == len(sites.vertices)
    assert lips[face].sum() >= 50 and within[mouth].all() and not within[face].any()
    again = sites_of(head, basis)
    assert np.array_equal(again.vertices, sites.vertices) and np.array_equal(again.project, sites.project)


def test_the_projection_finds_the_face_that_the_points_show(head, basis, sites):
    """Displacements of real faces come back as those faces: the points see every component that faces use."""
    rng = np.random.default_rng(0)
    weights = (rng.random((40, 59)) * (rng.random((40, 59)) < 0.2)).astype(np.float32)
    weights = basis.weights(basis.coefficients(weights))  # what the basis holds of them
    wanted = torch.from_numpy(basis.coefficients(weights))
    net = FaceBranches(sites)
    moved = net.displacement_of(wanted)
    found = net.coefficients(moved)
    assert left_out_mm(head, basis, weights) < 0.1
    for name, bound in (("lips", 0.002), ("upper_face", 0.02)):  # mm; the ridge shrinks what few points see
        missed = (found - wanted).numpy() @ region_metric(head, basis, name)
        assert np.sqrt(np.square(missed).sum(1)).max() < bound, name
    from engine.head.evaluate import vertices

    slight = np.zeros((1, 59), np.float32)
    slight[0, [ARKIT_INDEX[n] for n in ("jawOpen", "mouthSmileLeft", "browInnerUp")]] = 0.02  # no corrective answers
    points = (vertices(head, slight[:, :52], slight[:, 52:])[0] - head.template)[sites.vertices] * 1000
    rest = net.displacement_of(torch.from_numpy(basis.coefficients(slight)))[0].numpy()
    assert np.abs(points - rest).max() < 0.01, "displacements are those of the head's vertices, from rest, in mm"


# --- the branches


@pytest.mark.parametrize("more", [{}, {"combined": True}, {"emotion": False}])
def test_the_fast_way_is_the_equations(head, basis, more):
    """Values and gradients of every parameter in double precision."""
    net = small(head, basis, **more).double()
    for plane in net.planes.values():
        plane.double()
    inputs, slopes = given(dtype=torch.float64), None
    found = []
    for way in (net.forward, net.plain):
        net.zero_grad()
        made = way(*inputs)
        slopes = slopes if slopes is not None else torch.randn_like(made.coefficients)
        (made.coefficients * slopes).sum().backward()
        found.append((made, {name: p.grad.clone() for name, p in net.named_parameters()}))
    (a, grad_a), (b, grad_b) = found
    assert all(torch.allclose(x, y, atol=1e-10) for x, y in zip(a, b, strict=True))
    for name, value in grad_a.items():
        assert torch.allclose(value, grad_b[name], rtol=1e-6, atol=1e-10), name
        assert value.abs().any(), f"{name} learns nothing"


def test_each_branch_hears_what_the_paper_gives_it(head, basis):
    """d_m speech alone; d_u speech and units; d_e valence and arousal, at the place where the face branch put it."""
    net = small(head, basis).eval()
    speech, units, affect = given()
    with torch.no_grad():
        made = net(speech, units, affect)
        other_units, other_affect = (net(speech, *x) for x in ((1 - units, affect), (units, -affect)))
        other_voice = net(1 - speech, units, affect)
    assert torch.equal(made.mouth, other_units.mouth) and torch.equal(made.mouth, other_affect.mouth)
    assert torch.equal(made.face, other_affect.face) and not torch.equal(made.face, other_units.face)
    assert not torch.equal(made.emotion, other_affect.emotion)
    assert not torch.equal(made.mouth, other_voice.mouth) and not torch.equal(made.face, other_voice.face)
    assert not torch.allclose(made.emotion, other_voice.emotion, atol=1e-7), "read where the face is by then"
    places = net.points[: net.count]
    still = net.emotion(torch.zeros_like(made.face[0]), affect[0][:, None], places)
    moved = net.emotion(made.face[0], affect[0][:, None], places)
    assert not torch.allclose(still, moved, atol=1e-7)
    combined = small(head, basis, combined=True).eval()
    with torch.no_grad():
        one, two = combined(speech, units, affect), combined(speech, units, -affect)
    assert not torch.equal(one.face, two.face) and not one.emotion.any() and "emotion" not in combined.nets
    without = net(speech, units, affect, emotion=False)
    assert not without.emotion.any() and torch.equal(without.face, made.face)


def test_a_part_of_the_points_shows_the_same_face(head, basis, sites):
    """Fewer points in a step: the same displacement there, and of real faces the same coefficients."""
    net = FaceBranches(sites).eval()
    speech, units, affect = given()
    for part in parts_of(sites, 80, 2):
        with torch.no_grad():
            whole, some = net(speech, units, affect), net(speech, units, affect, part=part)
        assert torch.allclose(whole.displacement[:, :, part.every], some.displacement, atol=1e-5)
        weights = np.random.default_rng(0).random((20, 59)).astype(np.float32) * 0.5
        wanted = torch.from_numpy(basis.coefficients(weights))
        found = net.coefficients(net.displacement_of(wanted)[:, part.every], part.project)
        missed = (found - wanted).numpy() @ region_metric(head, basis, "lips")
        assert np.sqrt(np.square(missed).sum(1)).max() < 0.01


def test_attention_weighs_a_condition_by_place(head, basis):
    net = small(head, basis).eval()
    features = net.planes["face"](net.points[: net.count])
    condition = torch.rand(3, 1, UNITS)
    seen = net.looks["units"](features, condition)
    assert seen.shape == (3, net.count, UNITS) and (seen <= condition).all() and (seen >= 0).all()
    assert seen.std(1).min() > 0, "places differ"


def test_a_row_hangs_on_nothing_but_its_surroundings(head, basis):
    net = small(head, basis).eval()
    speech, units, affect = given(1, 40)
    with torch.no_grad():
        whole = net(speech, units, affect).coefficients[0]
        part = net(speech[:, 11 : 11 + 9 + 2 * EDGE], units[:, 11:20], affect[:, 11:20]).coefficients[0]
    assert torch.allclose(whole[11:20], part, atol=1e-5)


# --- what it is told


def test_labels_stand_for_their_places_within_the_circle():
    shares = np.eye(14, dtype=np.float32)
    places = affect_of(shares, np.zeros((14, 2)))
    assert not places[EMOTION_INDEX["neutral"]].any() and np.linalg.norm(places, axis=1).max() <= 1
    half = affect_of(0.5 * shares, np.zeros((14, 2)))
    assert np.allclose(half, 0.5 * places)
    assert np.linalg.norm(affect_of(shares, np.tile([1.0, 1.0], (14, 1))), axis=1).max() == pytest.approx(1)
    assert set(LABEL_AFFECT) == set(EMOTIONS)
    angles = np.sort(np.degrees(np.arctan2(places[1:, 1], places[1:, 0])))
    assert np.diff(angles).min() > 8, "no two labels on one ray: a weak one is not another label"


def test_feelings_are_the_papers_twelve_places():
    printed = [
        (0.74, 0.31), (0.31, 0.74), (-0.31, 0.74), (-0.74, 0.31), (-0.74, -0.31), (-0.31, -0.74), (0.31, -0.74),
        (0.74, -0.31), (0.35, 0.35), (-0.35, 0.35), (-0.35, -0.35), (0.35, -0.35),
    ]  # fmt: skip
    assert np.abs(recipe.AFFECTS - printed).max() < 0.006  # printed to two places
    codes, affect = recipe.feelings(12, np.random.default_rng(0), 60)
    assert codes.shape == (60, 12, 36) and np.linalg.norm(affect, axis=2).max() < 0.801
    assert np.allclose(codes[7], affect_au(affect[7]).reshape(12, 36), atol=1e-6)
    level = np.linalg.norm(affect, axis=2)
    held, rises, goes = np.ptp(level, axis=1) == 0, level[:, -1] > level[:, 0], level[:, -1] < level[:, 0]
    assert held.any() and rises.any() and goes.any()
    assert level.max(1).min() > 0.45, "no window is without its feeling"


def test_another_feeling_keeps_the_lips(pool, basis):
    """A closed mouth stays closed and speech's jaw stays where it was, while brows and corners change."""
    rows = np.arange(60, 90)
    closed = dataclasses.replace(pool, contact=np.ones_like(pool.contact))
    codes = recipe.lessons(pool).codes[rows].astype(np.float32)
    before = pool.weights[rows].astype(np.float32)
    for given_pool, least in ((pool, 0.05), (closed, 0.0)):
        after, affect, goal = recipe.felt_again(given_pool, basis, rows, codes, np.random.default_rng(3))
        weights = basis.weights(goal)
        assert np.allclose(after, affect_au(affect).reshape(len(rows), 36), atol=1e-5)
        assert np.abs(weights - before).max() > least
    jaw = ARKIT_INDEX["jawOpen"]
    assert np.abs(weights[:, jaw] - before[:, jaw]).max() < 0.02, "lips that meet go on meeting"


def test_a_batch_holds_performances_then_curated_speech(pool, basis, extra):
    data = recipe.lessons(pool, extra)
    made = recipe.batch_of(data, basis, np.random.default_rng(0), felt=0.5)
    whole = recipe.BATCH + recipe.EXTRA
    assert made.speech.shape == (whole, recipe.ROWS + 2 * EDGE, 75) and made.said.shape == (whole, recipe.ROWS, 75)
    assert made.units.shape == (whole, recipe.ROWS, UNITS) and made.affect.shape == (whole, recipe.ROWS, 2)
    assert made.goal.shape == (recipe.BATCH, recipe.ROWS, basis.size)
    assert made.affect[recipe.BATCH :].any() and made.units[recipe.BATCH :].any()
    plain = recipe.batch_of(data, basis, np.random.default_rng(0))
    assert not plain.affect[recipe.BATCH :].any() and not plain.units[recipe.BATCH :].any()
    assert len(recipe.batch_of(data, basis, np.random.default_rng(0), extra=0).speech) == recipe.BATCH
    upper = [AU_INDEX[name] for name in system.UPPER]
    left = data.codes.reshape(-1, 18, 2)[:, upper, 0].astype(np.float32)
    assert (np.abs(left - plain.units[0, 0, ::2].numpy()).max(1) < 1e-6).any(), (
        "upper-face codes of a row, side by side"
    )
