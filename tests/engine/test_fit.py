"""Mesh sequences become weights again: in-span motion to a hundredth of a millimetre, rigid motion exactly."""

import dataclasses
import json
import time
from fractions import Fraction

import numpy as np
import pytest
from test_cli import soliloquy

from engine.core.errors import BadFile, BadInput, Cancelled
from engine.core.names import ARKIT, ARKIT_INDEX, AU_INDEX, EXTRA
from engine.core.progress import Reporter
from engine.core.takefile import read_take, write_take
from engine.head import action_units, evaluate, lbs
from engine.head.boxls import solve_box, solve_box_reference
from engine.head.fit import action_units_of, channels, fit_sequence, rebuilt, take_of
from engine.head.library import load_head
from engine.head.residual import PREFIX, read_residual, residual_shapes, write_residual
from engine.head.unpose import Pose, find_pose, offsets, offsets_reference, unskin


@pytest.fixture(scope="module")
def head():
    return load_head("default")


def performance(frames, seed=0):
    """(arkit [t, 52], extra [t, 7], pose [t, 15], translation [t, 3]): smooth, with pauses at 0."""
    rng = np.random.default_rng(seed)
    seconds = np.arange(frames)[:, None] / 25

    def tracks(n):
        wave = np.sin(seconds * rng.uniform(1, 9, n) + rng.uniform(0, 6, n))
        return np.clip(0.5 * wave * rng.uniform(0, 1, n) + rng.uniform(-0.3, 0.3, n), 0, 1).astype(np.float32)

    pose = np.zeros((frames, 15))
    pose[:, 3:6] = 0.15 * np.sin(seconds * [1.0, 1.3, 0.7])
    pose[:, 9:15] = 0.1 * np.sin(seconds * np.arange(1, 7))
    return tracks(len(ARKIT)), tracks(len(EXTRA)), pose, 0.01 * np.sin(seconds * [1.0, 2.0, 0.5])


# The solver


def problem(k=12, t=20, seed=0):
    rng = np.random.default_rng(seed)
    basis = rng.normal(size=(k, 40)) * rng.uniform(0.2, 3, (k, 1))
    basis[1] = 0.9 * basis[0] + 0.1 * basis[1]  # two shapes that are nearly the same
    return basis, rng.normal(size=(t, 40)) * 2


def test_the_solver_agrees_with_scipys():
    basis, goal = problem()
    normal, right = basis @ basis.T, goal @ basis.T
    fast, plain = solve_box(normal, right, sweeps=20_000), solve_box_reference(normal, right)
    assert ((fast > 0) & (fast < 1)).any() and (fast == 0).any() and (fast == 1).any()  # every case occurs
    # 2e-6 is the solver's own stop; the near-twin shapes spread it over a direction forty times as soft.
    assert np.abs(fast - plain).max() < 1e-3
    cost = [0.5 * ((w @ basis - goal) ** 2).sum() for w in (fast, plain)]
    assert cost[0] <= cost[1] * (1 + 1e-8)


def test_smoothness_solves_its_own_conditions():
    basis, goal = problem(6, 15)
    normal, right = basis @ basis.T, goal @ basis.T
    w = solve_box(normal, right, smooth=0.5, sparse=0.01, sweeps=20_000)
    d = np.diag(normal)
    pull = np.zeros_like(w)
    pull[1:] += w[1:] - w[:-1]
    pull[:-1] += w[:-1] - w[1:]
    gradient = w @ normal - right + 0.01 * d + 0.5 * d * pull
    inside = (w > 0) & (w < 1)
    assert inside.any() and np.abs(gradient[inside] / np.broadcast_to(d, w.shape)[inside]).max() < 1e-4
    assert (gradient[w == 0] > -1e-3).all() and (gradient[w == 1] < 1e-3).all()


def test_noise_jitters_less_with_smoothness_and_empty_shapes_stay_at_zero():
    basis, _ = problem(6)
    basis[4] = 0
    rng = np.random.default_rng(1)
    goal = 0.5 * basis[:4].sum(0) + rng.normal(size=(80, 40))
    normal, right = basis @ basis.T, goal @ basis.T
    rough, smooth = (np.diff(solve_box(normal, right, s), axis=0).std() for s in (0.0, 2.0))
    assert smooth < 0.3 * rough
    assert (solve_box(normal, right)[:, 4] == 0).all()


def test_the_solver_refuses_what_does_not_fit():
    with pytest.raises(BadInput, match="do not fit"):
        solve_box(np.eye(3), np.zeros((2, 4)))
    with pytest.raises(BadInput, match="not finite"):
        solve_box(np.eye(2), np.array([[np.nan, 0]]))
    assert solve_box(np.eye(2), np.zeros((0, 2))).shape == (0, 2)


# Pose


def test_skinning_is_undone():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(4, 30, 3)).astype(np.float64)
    weights = rng.dirichlet(np.ones(5), 30)
    transforms = lbs.joint_transforms(rng.normal(size=(1, 5, 3)), rng.normal(size=(4, 15)) * 0.3, (-1, 0, 1, 1, 1))
    moved = lbs.skin_reference(points, transforms, weights)
    unskin(moved, transforms, weights)
    assert np.abs(moved - points).max() < 1e-9


def test_rest_offsets_agree_with_the_plain_twin(head):
    arkit, extra, pose, shift = performance(6)
    verts = evaluate.vertices(head, arkit, extra, pose, shift)
    rows = np.arange(0, len(head.template), 7)
    fast, plain = (f(head, verts, Pose(pose, shift), rows) for f in (offsets, offsets_reference))
    assert np.abs(fast - plain).max() < 2e-7  # float32 coordinates of 0.2 m
    weights = evaluate.shape_weights(head, arkit, extra)
    truth = evaluate.shape_offsets(head, weights, pose)[:, rows]  # before skinning; lids follow the eyes' joints
    assert np.abs(fast - truth).max() < 1e-6


def test_rigid_motion_is_found_exactly(head):
    _, _, pose, shift = performance(9)
    pose[:, :3] = 0.1 * np.sin(np.arange(9)[:, None] * [1.0, 0.5, 0.2])
    verts = evaluate.vertices_reference(head, np.zeros((9, 52)), None, pose, shift)
    found = find_pose(head, verts)
    assert np.abs(found.pose - pose).max() < 1e-6 and np.abs(found.translation - shift).max() < 1e-7
    fit = fit_sequence(head, verts)
    assert fit.weights.max() < 1e-5 and fit.error[:, 1].max() < 1e-3


# Sequences


def test_in_span_motion_comes_back_and_fast(head):
    arkit, extra, pose, shift = performance(250)
    verts = evaluate.vertices(head, arkit, extra, pose, shift)
    fit_sequence(head, verts[:3])  # compiles
    start = time.process_time()
    fit = fit_sequence(head, verts)
    worked = time.process_time() - start
    figures = fit.figures(head)
    assert figures["error_mm"]["max"] <= 0.1 and figures["frames"] == 250
    # The bar is 2 s on two cores, so 4 s of work: the wall's clock tells more of what else a machine runs.
    assert worked < 4
    mine = channels(head, fit.weights)
    close, jaw = ARKIT_INDEX["mouthClose"], ARKIT_INDEX["jawOpen"]
    look = [i for i, name in enumerate(ARKIT) if name.startswith("eyeLook")]
    for weights in (mine[0], arkit):  # what shows nothing cannot be told: lids follow the eyes' joints by themselves,
        weights[:, close] = np.minimum(weights[:, close], weights[:, jaw])  # and mouthClose ends at jawOpen
        weights[:, look] = 0
    assert np.abs(mine[0] - arkit).max() < 0.05 and np.abs(mine[1] - extra).max() < 0.05
    shown = rebuilt(head, fit, slice(0, 8))
    assert np.linalg.norm(shown - verts[:8], axis=2).max() * 1000 <= figures["error_mm"]["max"] + 1e-4


def test_weights_stay_in_their_box(head):
    arkit = np.full((2, 52), 0.0, np.float32)
    arkit[0, ARKIT_INDEX["jawOpen"]], arkit[1, ARKIT_INDEX["mouthPucker"]] = 1.6, -0.5
    fit = fit_sequence(head, evaluate.vertices(head, arkit))
    assert fit.weights.min() >= 0 and fit.weights.max() <= 1 and fit.error[:, 1].min() > 1
    wide = fit_sequence(head, evaluate.vertices(head, arkit), smooth=0, upper=2.0)
    assert wide.weights[0, head.shape_index["jawOpen"]] == pytest.approx(1.6, abs=1e-3)


def test_a_fit_becomes_a_take(head, tmp_path):
    arkit, extra, pose, shift = performance(12)
    verts = evaluate.vertices(head, arkit, extra, pose, shift)
    fit = fit_sequence(head, verts)
    write_take(tmp_path / "take.npz", take_of(head, fit, Fraction(24000, 1001), 7, "scan.pc2"))
    take = read_take(tmp_path / "take.npz")
    assert take.first_frame == 7 and take.authority == "arkit" and take.meta["sequence"] == "scan.pc2"
    assert take.residual_mm["sequence"] <= 0.1
    pose = take.flame.pose.copy()
    pose[:, 6:9] = 0
    again = evaluate.vertices(head, take.arkit, take.extra, pose, take.flame.translation)
    assert np.linalg.norm(again - verts, axis=2).max() < 1e-4


def test_action_units_come_back_from_their_shapes():
    au = np.zeros((3, 18, 2), np.float32)
    au[0, AU_INDEX["AU12"]], au[1, AU_INDEX["AU04"], 0], au[2, AU_INDEX["AU01"]] = 0.7, 0.5, 1.0
    found = action_units_of(*action_units.to_shapes(au))
    assert found == pytest.approx(au, abs=0.02)


def test_shapes_of_other_names_are_left_out(head):
    few = dataclasses.replace(
        head, shape_names=("jawOpen", "Odd"), shapes=head.shapes[[head.shape_index["jawOpen"], 0]], corrective_names=()
    )
    plain = dataclasses.replace(head, corrective_names=())
    verts = evaluate.vertices(plain, np.eye(52, dtype=np.float32)[[ARKIT_INDEX["jawOpen"]]])
    fit = fit_sequence(few, verts)
    assert fit.weights[0].tolist() == pytest.approx([1.0, 0.0], abs=1e-3)


def test_bad_sequences_get_a_sentence(head):
    good = np.repeat(head.template[None], 2, 0)
    broken = good.copy()
    broken[1, 5, 2] = np.nan
    for verts, says in (
        (good[:, :-1], "vertices; fit it on the head"),
        (good[0], "vertices; fit it on the head"),
        (good[:0], "no frames"),
        (broken, "not finite"),
    ):
        with pytest.raises(BadInput, match=says):
            fit_sequence(head, verts)
    v = len(head.template)
    bare = dataclasses.replace(
        head, shape_names=(), shapes=np.zeros((0, v, 3), np.float32), expression_names=(),
        expression=np.zeros((v, 3, 0), np.float32), corrective_names=(),
    )  # fmt: skip
    with pytest.raises(BadInput, match="head transfer"):
        fit_sequence(bare, good)

    with pytest.raises(Cancelled):
        fit_sequence(head, good, report=Reporter(cancelled=lambda: True))


# Residual shapes


def bumped(head, frames=20):
    """A performance, and the same with two bumps that no shape of the head has."""
    arkit, extra, pose, shift = performance(frames, seed=3)
    skin = head.parts["skin"]
    bumps = np.zeros((2, *head.template.shape), np.float32)
    bumps[0, skin[::9]], bumps[1, skin[::11], 1] = 0.001, -0.002
    wave = np.sin(np.arange(frames)[:, None] * [0.3, 0.8]).astype(np.float32)
    rest = evaluate.vertices(head, arkit, extra) + np.tensordot(wave, bumps, 1)
    joints = head.joint_regressor.astype(np.float64) @ head.template
    verts = lbs.skin(rest.copy(), lbs.joint_transforms(joints[None], pose, head.parents), head.weights)
    return verts + shift[:, None].astype(np.float32)


def test_residual_shapes_keep_their_bound(head, tmp_path):
    verts = bumped(head)
    fit = fit_sequence(head, verts)
    assert fit.error[:, 1].max() > 0.5
    for bound in (0.05, 0.3):
        found = residual_shapes(head, verts, fit, bound)
        assert found.error_mm <= bound and np.abs(found.weights).max() == pytest.approx(1)
        shaped = head.template + evaluate.shape_offsets(head, fit.weights, fit.pose)
        rest = shaped + np.tensordot(found.weights, found.shapes, 1)
        joints = head.joint_regressor.astype(np.float64) @ head.template
        shown = lbs.skin(
            rest.astype(np.float32), lbs.joint_transforms(joints[None], fit.pose, head.parents), head.weights
        )
        left = np.linalg.norm(shown + fit.translation[:, None] - verts, axis=2).max() * 1000
        assert left == pytest.approx(found.error_mm, abs=0.002)  # float32 skinning
    assert found.names[0] == PREFIX + "000" and len(found.names) == len(found.shapes) < len(verts)
    write_residual(tmp_path / "res.npz", found)
    again = read_residual(tmp_path / "res.npz")
    assert np.array_equal(again.shapes, found.shapes) and again.error_mm == found.error_mm
    with pytest.raises(BadFile):
        read_residual(tmp_path / "none.npz")


def test_a_sequence_that_fits_needs_no_residual_shapes(head):
    arkit, extra, pose, shift = performance(5)
    verts = evaluate.vertices(head, arkit, extra, pose, shift)
    fit = fit_sequence(head, verts, smooth=0, sparse=0)
    found = residual_shapes(head, verts, fit)
    assert found.shapes.shape == (0, len(head.template), 3) and found.weights.shape == (5, 0)
    assert found.error_mm <= 0.05


def test_an_unreachable_bound_is_said(head):
    verts = bumped(head, 8)
    fit = fit_sequence(head, verts)
    with pytest.raises(BadInput, match="allow a larger error"):
        residual_shapes(head, verts, fit, 0.001, most=1)
    with pytest.raises(BadInput, match="positive"):
        residual_shapes(head, verts, fit, 0.0)


# FLAME models


def test_flame_parameters_come_back():
    import flame_like

    from engine.head.files import read_head

    model = read_head(flame_like.prepared()[2])
    rng = np.random.default_rng(0)
    seconds = np.arange(40)[:, None] / 25
    e = len(model.expression_names)
    expression = 0.8 * np.sin(seconds * rng.uniform(1, 6, e) + rng.uniform(0, 6, e))
    pose = np.zeros((40, 15))
    pose[:, 3:6] = 0.1 * np.sin(seconds * [1.0, 1.3, 0.7])
    pose[:, 6] = 0.15 * (1 + np.sin(3 * seconds[:, 0]))
    pose[:, 9:15] = 0.1 * np.sin(seconds * np.arange(1, 7))
    verts = evaluate.flame_vertices(model, None, expression, pose) + (0.01, 0.02, 0.03)
    fit = fit_sequence(model, verts.astype(np.float32))
    assert fit.error[:, 1].max() <= 0.1
    assert np.abs(fit.pose - pose).max() < 0.01 and np.abs(fit.translation - (0.01, 0.02, 0.03)).max() < 1e-3
    assert np.linalg.norm(rebuilt(model, fit) - verts, axis=2).max() * 1000 <= 0.1
    take = take_of(model, fit, Fraction(25))
    assert take.authority == "flame" and take.flame.expression.shape == (40, e)
    assert take.arkit[:, ARKIT_INDEX["jawOpen"]].max() > 0.2  # the jaw's turn is seen in the shapes as well
    with pytest.raises(BadInput, match="expression basis"):
        residual_shapes(model, verts, fit)
    one = fit_sequence(model, verts[7:8].astype(np.float32))  # no frames beside it to begin from
    assert one.error[0, 1] <= 0.1


def test_the_fast_flame_vertices_agree_with_the_plain_twin():
    import flame_like

    from engine.head.files import read_head
    from engine.head.fit_flame import shown

    model = read_head(flame_like.prepared()[2])
    rng = np.random.default_rng(1)
    expression = rng.normal(size=(3, len(model.expression_names)))
    pose, shift = rng.normal(size=(3, 15)) * 0.3, rng.normal(size=(3, 3)) * 0.1
    plain = evaluate.flame_vertices(model, None, expression, pose) + shift[:, None]
    # float32 coordinates of a few decimetres, summed over a hundred directions
    assert np.abs(shown(model, expression, pose, shift) - plain).max() < 2e-6


# The command


def test_the_command(head, tmp_path):
    arkit, extra, pose, shift = performance(6)
    np.save(tmp_path / "scan.npy", evaluate.vertices(head, arkit, extra, pose, shift))
    out, more = tmp_path / "take.npz", tmp_path / "res.npz"
    printed, _ = soliloquy("head", "fit", tmp_path / "scan.npy", "--out", out, "--residual", more, "--json")
    result = json.loads(printed)
    assert result["error_mm"]["max"] <= 0.1 and result["frames"] == 6 and 0 < result["shapes"]["jawOpen"] <= 1
    assert len(read_take(out)) == 6 and result["residual"]["error_mm"] <= 0.05
    np.save(tmp_path / "bad.npy", np.zeros((2, 5, 3)))
    _, said = soliloquy("head", "fit", tmp_path / "bad.npy", "--out", out, rc=1)
    assert "vertices; fit it on the head" in said
