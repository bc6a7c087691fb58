"""Axes, rotations and the frame clock of the add-on, against closed forms and scipy."""

from fractions import Fraction

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from blender_addon.convert.axes import (
    TO_BLENDER,
    bone_locations,
    bone_quaternions,
    gaze_angles,
    quaternions,
    to_blender,
    to_engine,
)
from blender_addon.convert.frames import VoiceClock, rate_text, scene_rate
from engine.core.clock import FrameClock


def test_axes_are_a_turn_and_come_back_exactly():
    points = np.random.default_rng(0).normal(size=(4, 7, 3)).astype(np.float32)
    assert np.array_equal(to_engine(to_blender(points)), points) and to_blender(points).dtype == np.float32
    assert np.allclose(points @ TO_BLENDER.T, to_blender(points), atol=0)
    assert np.linalg.det(TO_BLENDER) == 1
    up, forward, left = to_blender(np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]]))
    assert (up.tolist(), forward.tolist(), left.tolist()) == ([0, 0, 1], [0, -1, 0], [1, 0, 0])


@pytest.mark.parametrize("shape", [(3, 2), (4,), ()])
def test_points_of_another_shape_are_refused(shape):
    for turn in (to_blender, to_engine):
        with pytest.raises(ValueError, match="must be"):
            turn(np.zeros(shape))


def test_quaternions_agree_with_scipy_and_do_not_jump():
    angles = np.linspace(-9, 9, 400)[:, None] * np.array([[0.6, 0.0, 0.8]])  # several whole turns
    q = quaternions(angles)
    assert (np.sum(q[1:] * q[:-1], -1) > 0).all()
    theirs = Rotation.from_rotvec(angles).as_matrix()
    assert np.allclose(Rotation.from_quat(q[:, [1, 2, 3, 0]]).as_matrix(), theirs, atol=1e-12)
    tiny = quaternions(np.array([[1e-12, 0, 0], [0, 0, 0]]))
    assert np.allclose(tiny, [[1, 0.5e-12, 0, 0], [1, 0, 0, 0]], atol=1e-20)


def test_bone_rotations_are_the_engines_seen_from_the_bone():
    rng = np.random.default_rng(1)
    r, rest = rng.normal(size=(5, 3)), Rotation.from_rotvec(rng.normal(size=3)).as_matrix()
    q = bone_quaternions(r, rest)
    basis = Rotation.from_quat(q[:, [1, 2, 3, 0]]).as_matrix()
    wanted = TO_BLENDER @ Rotation.from_rotvec(r).as_matrix() @ TO_BLENDER.T  # in Blender's axes
    assert np.allclose(rest @ basis @ rest.T, wanted, atol=1e-12)
    assert np.allclose(bone_locations(r, rest) @ rest.T, to_blender(r))


def test_gaze_angles():
    eyes = np.array([0, -0.1, 1.6])
    ahead, left, up = eyes + [0, -2, 0], eyes + [1, -1, 0], eyes + [0, -1, 1]
    yaw, pitch = gaze_angles(np.array([ahead, left, up]), eyes)
    assert np.allclose(yaw, [0, np.pi / 4, 0]) and np.allclose(pitch, [0, 0, np.pi / 4])


@pytest.mark.parametrize(
    "fps, base, rate",
    [(25, 1.0, "25"), (24, 1.001, "24000/1001"), (30, np.float32(1.001), "30000/1001"), (50, 2, "25")],
)
def test_scene_rates_are_exact(fps, base, rate):
    assert rate_text(scene_rate(fps, base)) == rate


@pytest.mark.parametrize("fps, base", [(0, 1.0), (25, 0.0), (25, -1.0)])
def test_impossible_rates_are_refused(fps, base):
    with pytest.raises(ValueError, match="not possible"):
        scene_rate(fps, base)


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(25), Fraction(30)])
def test_the_clock_is_the_engines(rate):
    mine, theirs = VoiceClock(rate, 7), FrameClock(rate, 7)
    for duration in (0.0, 0.04, 1.0, 59.999, 1800.0):
        assert mine.count(duration) == theirs.count(duration)
    frames = theirs.scene_frames(100)
    assert np.array_equal(mine.seconds(frames), theirs.times(100))
    assert np.allclose(mine.frames(mine.seconds(frames)), frames, atol=1e-9)
