"""Camera conventions by closed form, framing, camera files."""

import dataclasses
import json
import math

import numpy as np
import pytest

from engine.core.errors import BadFile, BadInput
from engine.core.splats import Gaussians
from engine.render import cameras, rasterise

RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(200, 3)) * [0.08, 0.12, 0.1] + [0.01, 1.5, 0.03]


def pixel(camera, points):
    """OpenCV's projection, written out: [n, 2] pixels."""
    at = np.c_[np.atleast_2d(points), np.ones(len(np.atleast_2d(points)))] @ camera.world_to_camera.T
    z = np.ones(len(at)) if camera.orthographic else at[:, 2]
    return np.stack([camera.fx * at[:, 0] / z + camera.cx, camera.fy * at[:, 1] / z + camera.cy], 1)


def test_axes_up_is_up_and_the_subjects_left_is_on_the_right_of_the_picture():
    camera = cameras.look_at(np.array([0, 0, 1.0]), np.zeros(3))
    assert np.allclose(camera @ [0, 0, 0, 1], [0, 0, 1, 1])
    assert np.allclose(camera @ [1, 0, 0, 1], [1, 0, 1, 1])  # +X, the subject's left: right in the picture
    assert np.allclose(camera @ [0, 1, 0, 1], [0, -1, 1, 1])  # up: smaller row
    assert np.linalg.det(camera[:3, :3]) == pytest.approx(1)


@pytest.mark.parametrize("orthographic", [False, True])
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_a_point_lands_on_its_pixel(orthographic, backend):
    """A tiny opaque Gaussian's centre of mass in the picture against the closed form, within a hundredth of a pixel."""
    camera = cameras.orbit(POINTS, 90, 70, azimuth_deg=31, elevation_deg=12)
    if orthographic:
        camera = dataclasses.replace(camera, orthographic=True, fx=200.0, fy=200.0)
    where = POINTS.mean(0) + [0.02, 0.03, -0.01]
    g = Gaussians(*(np.array(a, np.float32) for a in ([where], [[1, 0, 0, 0]], [[0.002] * 3], [0.99], [[[1.0] * 3]])))
    alpha = rasterise(g, camera, backend=backend, passes=("rgba",)).alpha.astype(float)
    y, x = np.mgrid[: camera.height, : camera.width] + 0.5
    centre = [(alpha * x).sum() / alpha.sum(), (alpha * y).sum() / alpha.sum()]
    assert np.allclose(centre, pixel(camera, where)[0], atol=0.02)


@pytest.mark.parametrize("size", [(400, 400), (300, 700), (800, 300)])
def test_every_azimuth_keeps_the_head_in_the_picture(size):
    for camera in cameras.turntable(POINTS, *size, count=24):
        at = pixel(camera, POINTS)
        assert (at > 0).all() and (at < size).all()
    full = np.concatenate([pixel(c, POINTS) for c in cameras.turntable(POINTS, *size, count=24)])
    assert max(np.ptp(full[:, 0]) / size[0], np.ptp(full[:, 1]) / size[1]) > 0.7  # and large in it


def test_views_look_from_where_they_say():
    def azimuth(camera):
        eye = np.linalg.inv(camera.world_to_camera)[:3, 3] - (POINTS.min(0) + POINTS.max(0)) / 2
        return math.degrees(math.atan2(eye[0], eye[2]))

    assert azimuth(cameras.front(POINTS, 50, 50)) == pytest.approx(0, abs=1e-9)
    assert azimuth(cameras.three_quarter(POINTS, 50, 50)) == pytest.approx(38)
    assert azimuth(cameras.profile(POINTS, 50, 50)) == pytest.approx(90)
    turn = cameras.turntable(POINTS, 50, 50, count=6, period=4)
    assert [round(azimuth(c)) for c in turn] == pytest.approx([0, 90, 180, -90, 0, 90])


def test_lenses():
    assert cameras.focal_from_fov(1000, 90) == pytest.approx(500)
    assert cameras.fov_from_focal(640, cameras.focal_from_fov(640, 33.3)) == pytest.approx(33.3)
    assert cameras.focal_from_lens(1920, 50, 36) == pytest.approx(1920 * 50 / 36)
    with pytest.raises(BadInput):
        cameras.focal_from_fov(100, 180)
    with pytest.raises(BadInput):
        cameras.look_at([0, 1, 0], [0, 2, 0])
    with pytest.raises(BadInput):
        cameras.orbit(np.zeros((0, 3)), 10, 10)


def test_camera_files_round_trip_and_scale(tmp_path):
    path = tmp_path / "cameras.json"
    turn = cameras.turntable(POINTS, 320, 200, count=5)
    path.write_text(json.dumps(cameras.to_json(turn)))
    for a, b in zip(turn, cameras.from_json(path, 320, 200, 5), strict=True):
        assert np.allclose(a.world_to_camera, b.world_to_camera)
        assert (a.fx, a.cy, a.width) == (b.fx, b.cy, b.width)
    twice = cameras.from_json(path, 640, 400, 3)
    assert np.allclose(pixel(twice[2], POINTS), 2 * pixel(turn[2], POINTS))
    one = {"position": [0, 1.5, 2], "target": [0, 1.5, 0], "fov_deg": 30}
    assert len(cameras.from_json(one, 64, 48, 9)) == 9
    flat = cameras.from_json({**one, "orthographic": True, "height_m": 0.4}, 64, 48)[0]
    assert flat.orthographic and flat.fy == pytest.approx(120)


@pytest.mark.parametrize(
    "value, words",
    [
        ("[]", "not a camera file"),
        ("{", "not a readable JSON"),
        ('{"kind": "take"}', "holds take"),
        ('{"kind": "cameras", "format": 99, "cameras": []}', "newer"),
        ('{"cameras": []}', "no list of cameras"),
        ('{"cameras": [3]}', "no list of cameras"),
        ('{"fov_deg": 30}', "world_to_camera, or position"),
        ('{"world_to_camera": [[1, 0], [0, 1]], "fov_deg": 30}', r"\[4, 4\] finite"),
        ('{"position": [0, 0, NaN], "target": [0, 0, 0]}', r"\[3\] finite"),
        ('{"position": [0, 0, 1], "target": [0, 0, 0], "fx": "wide"}', "fx must be a number"),
        ('{"position": [0, 0, 1], "target": [0, 0, 0], "orthographic": true}', "height_m must be"),
    ],
)
def test_bad_camera_files(tmp_path, value, words):
    path = tmp_path / "camera.json"
    path.write_text(value)
    with pytest.raises(BadFile, match=words):
        cameras.from_json(path, 64, 64, 1)


def test_too_few_cameras(tmp_path):
    with pytest.raises(BadFile, match="3 cameras for 7 frames"):
        cameras.from_json(cameras.to_json(cameras.turntable(POINTS, 8, 8, count=3)), 8, 8, 7)
