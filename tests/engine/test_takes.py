"""Takes as jobs answer them: truth that only vertices hold becomes residual shapes, finished takes are opened again."""

import dataclasses
import json
from fractions import Fraction

import numpy as np
import pytest
from test_cli import soliloquy

from engine.core.errors import BadFile, BadInput
from engine.core.progress import Reporter
from engine.core.take import FlameTrack, Take
from engine.core.takefile import read_take, write_take
from engine.core.units import MM
from engine.head import lbs
from engine.head.evaluate import vertices
from engine.head.library import load_head
from engine.head.replay import take_vertices
from engine.head.residual import principal, take_residual
from engine.serve.jobs import JOBS
from engine.serve.takes import at_rate, take_arrays

FRAMES = 12


@pytest.fixture(scope="module")
def head():
    return load_head("default")


@pytest.fixture(scope="module")
def bumps(head):
    """[t, v, 3] metres: two bumps that come and go (undone turns make up to six directions of them)."""
    skin = head.template[head.parts["skin"]]
    near = np.exp(-((head.template[None] - skin[[100, 900], None]) ** 2).sum(2) / (2 * 0.01**2))
    shapes = near[:, :, None] * np.array([[[0.001, 0.0, 0.002]], [[0.0, -0.002, 0.0]]])
    return np.tensordot(np.sin(np.arange(FRAMES)[:, None] * [0.5, 1.1]), shapes, 1).astype(np.float32)


def take_with(head, **more):
    """A take of seeded weights with a turning neck; authority "vertices"."""
    rng = np.random.default_rng(0)
    t = FRAMES
    pose = np.zeros((t, 15), np.float32)
    pose[:, 3:6] = rng.normal(0, 0.15, (t, 3))
    flame = FlameTrack(
        head.flame_version, np.zeros(0, np.float32), np.zeros((t, len(head.expression_names)), np.float32), pose,
        rng.normal(0, 0.01, (t, 3)).astype(np.float32), np.zeros((t, 2), np.float32),
    )  # fmt: skip
    weights = (rng.random((t, 59)) ** 3).astype(np.float32)
    return Take(
        Fraction(25), 7, np.zeros((t, 18, 2), np.float32), weights[:, :52], weights[:, 52:], flame,
        authority="vertices", meta={"head": head.name, "topology_sha256": head.topology_sha256}, **more,
    )  # fmt: skip


def test_offsets_become_few_shapes_within_the_bound(head, bumps):
    take = take_with(head, offsets=bumps)
    for bound in (0.05, 0.5):
        found = take_residual(head, take, bound)
        assert found.error_mm <= bound and 0 < len(found.shapes) <= 6 and np.abs(found.weights).max() <= 1 + 1e-6
        again = dataclasses.replace(
            take, offsets=None, residual_shapes=found.shapes, residual_weights=found.weights
        )  # fmt: skip
        rows = np.arange(FRAMES)
        off = np.linalg.norm(take_vertices(again, head, rows) - take_vertices(take, head, rows), axis=2).max() * MM
        assert off <= bound + 0.002  # float32 skinning of a head 0.3 m tall
    without = dataclasses.replace(take, offsets=None)
    assert np.linalg.norm(take_vertices(without, head, rows) - take_vertices(take, head, rows), axis=2).max() > 0.001


def test_residual_shapes_turn_with_the_head(head, bumps):
    take = take_with(head, residual_shapes=bumps[3:4], residual_weights=np.ones((FRAMES, 1), np.float32))
    pose = take.flame.pose
    rest = vertices(head, take.arkit, take.extra)
    # The plain way: the shape is added before the joints turn.
    joints = (head.joint_regressor.astype(np.float64) @ head.template)[None]
    plain = take_vertices(dataclasses.replace(take, authority="arkit"), head, np.arange(FRAMES))
    moved = lbs.skin_reference(
        np.repeat(bumps[3:4].astype(np.float64), FRAMES, 0),
        np.concatenate([lbs.joint_transforms(joints, pose, head.parents)[..., :3], np.zeros((FRAMES, 5, 3, 1))], -1),
        head.weights,
    )
    assert rest.shape == plain.shape
    assert np.abs(take_vertices(take, head, np.arange(FRAMES)) - plain - moved).max() < 1e-6


def test_the_job_answers_with_residual_shapes(head, bumps, tmp_path):
    write_take(tmp_path / "a.npz", take_with(head, offsets=bumps))
    answer = JOBS["take"]({"take": str(tmp_path / "a.npz"), "residual_mm": 0.1})
    arrays = answer["arrays"]
    assert arrays["weights"].shape == (FRAMES, 59) and arrays["res_weights"].shape == (
        FRAMES,
        len(arrays["res_shapes"]),
    )
    assert answer["fps"] == [25, 1] and answer["first_frame"] == 7 and not answer["warnings"]
    plain = take_with(head)
    assert "res_shapes" not in take_arrays(head, plain) and take_residual(head, plain) is None
    slow = JOBS["take"]({"take": str(tmp_path / "a.npz"), "fps": "50", "first_frame": 1})
    assert slow["frames"] == 2 * FRAMES and slow["first_frame"] == 1 and "brought to 50" in slow["warnings"][0]
    assert np.abs(slow["arrays"]["weights"][::2] - arrays["weights"]).max() < 1e-6


def test_a_take_at_another_rate_keeps_its_length_and_values(head, bumps):
    take = take_with(head, offsets=bumps)
    other = at_rate(take, Fraction(24000, 1001))
    assert abs(len(other) / other.fps - len(take) / take.fps) < 1 / other.fps
    seconds = np.arange(len(other)) / float(other.fps) * 25
    inside = seconds <= FRAMES - 1
    wanted = [np.interp(seconds, np.arange(FRAMES), take.arkit[:, k]) for k in range(52)]
    assert np.abs(other.arkit - np.stack(wanted, 1))[inside].max() < 1e-5
    assert other.offsets.shape[0] == len(other)


def test_an_unreachable_bound_is_a_warning_in_a_job(head, bumps):
    said = []
    reporter = Reporter()
    reporter.warn = said.append
    noise = np.random.default_rng(0).normal(0, 0.001, bumps.shape).astype(np.float32)
    found = take_residual(head, take_with(head, offsets=noise), 0.001, most=3, report=reporter)
    assert len(found.shapes) == 3 and found.error_mm > 0.001 and "3 shapes show this motion" in said[0]
    assert principal(np.zeros((4, 9), np.float32), 0.05).shapes.shape == (0, 3, 3)


def test_a_fitted_take_carries_its_residual(head, bumps, tmp_path):
    take = take_with(head)
    verts = take_vertices(take, head, np.arange(FRAMES)) + bumps
    np.save(tmp_path / "scan.npy", verts)
    printed, _ = soliloquy(
        "head", "fit", tmp_path / "scan.npy", "--out", tmp_path / "t.npz", "--residual", tmp_path / "r.npz", "--json"
    )
    again = read_take(tmp_path / "t.npz")
    assert again.authority == "vertices" and json.loads(printed)["residual"]["error_mm"] <= 0.05
    shown = take_vertices(again, head, np.arange(FRAMES))
    assert np.linalg.norm(shown - verts, axis=2).max() * MM <= 0.052
    assert "res_shapes" in JOBS["take"]({"take": str(tmp_path / "t.npz")})["arrays"]


def test_bad_takes_and_requests_get_a_sentence(head, bumps, tmp_path):
    with pytest.raises(BadInput, match="go together"):
        take_with(head, residual_shapes=bumps[:1])
    with pytest.raises(BadInput, match="do not fit"):
        take_with(head, residual_shapes=bumps[:1], residual_weights=np.zeros((3, 1), np.float32))
    with pytest.raises(BadInput, match="offsets"):
        take_with(head, offsets=bumps[:3])
    with pytest.raises(BadInput, match="not finite"):
        take_with(head, residual_shapes=bumps[:1] * np.nan, residual_weights=np.zeros((FRAMES, 1), np.float32))
    other = take_with(head, residual_shapes=bumps[:1, :50], residual_weights=np.ones((FRAMES, 1), np.float32))
    with pytest.raises(BadInput, match="50 vertices"):
        take_arrays(head, other)
    with pytest.raises(BadInput, match="lacks 'take'"):
        JOBS["take"]({})
    with pytest.raises(BadFile):
        JOBS["take"]({"take": str(tmp_path / "none.npz")})
    write_take(tmp_path / "a.npz", take_with(head))
    for request, says in (
        ({"residual_mm": 0}, "above 0"),
        ({"residual_mm": "much"}, "above 0"),
        ({"fps": "fast"}, "frame rate"),
        ({"first_frame": 1.5}, "whole number"),
    ):
        with pytest.raises(BadInput, match=says):
            JOBS["take"]({"take": str(tmp_path / "a.npz"), **request})
    foreign = take_with(head)
    foreign.meta["topology_sha256"] = "0" * 64
    write_take(tmp_path / "b.npz", foreign)
    with pytest.raises(BadInput, match="another mesh"):
        JOBS["take"]({"take": str(tmp_path / "b.npz")})
