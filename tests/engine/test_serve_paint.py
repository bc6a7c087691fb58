"""The real painter: real head, real binding and rasteriser, an avatar of six dots whose places are known."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fakes"))

from dots import centroids, places
from serve_dots import dots

from engine.avatar import library
from engine.avatar.appearance import build
from engine.avatar.appearance.anchors import anchors_of, rest_of
from engine.avatar.appearance.files import save_appearance
from engine.avatar.channels import COUNT, column
from engine.avatar.face_values import FaceValues
from engine.avatar.files import save_avatar
from engine.core.errors import BadFile, BadInput
from engine.core.splats import FAR_DEPTH, Camera, Channel
from engine.core.units import to_blender
from engine.head.evaluate import vertices as vertices_of
from engine.head.library import load_head
from engine.serve import paint

torch.set_num_threads(1)

# Blender's world to an OpenCV camera one metre in front of the face (Blender's -Y), looking along +Y.
VIEW = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 1], [0, 0, 0, 1]])
SPEC = {"head": "default", "avatar": "dots"}
EYE = np.eye(4)


@pytest.fixture(scope="module")
def head():
    return load_head("default")


@pytest.fixture
def painter(monkeypatch):
    monkeypatch.setattr(paint, "load_avatar", lambda name, head: dots(head))
    return lambda *specs: paint.HeadPainter(specs or (SPEC,))


def expected(head, camera, matrix=EYE):
    """Pixels of the six places by plain arithmetic, rows counted from the bottom. [6, 2]."""
    _, corners = places(head.template, head.faces)
    world = to_blender(head.template[corners].mean(1)) @ matrix[:3, :3].T + matrix[:3, 3]
    x, y, z = (world @ camera.world_to_camera[:3, :3].T + camera.world_to_camera[:3, 3]).T
    scale = 1 if camera.orthographic else z
    return np.stack([camera.fx * x / scale + camera.cx, camera.height - camera.fy * y / scale - camera.cy], 1), z


def draw(painter, head, camera, matrix=EYE, planes=("rgba", "depth", "normal")):
    painter.pose([to_blender(head.template)], matrix[None])
    frame = painter.draw(camera, planes)
    return frame, centroids(frame.rgba[::-1])


@pytest.mark.parametrize("orthographic", [False, True])
def test_dots_lie_where_arithmetic_puts_them(painter, head, orthographic):
    focal = 500.0
    camera = Camera(320, 300, focal, 1.2 * focal, 165.0, 150.0, VIEW, orthographic)
    frame, seen = draw(painter(), head, camera)
    places_px, z = expected(head, camera)
    # The centre of a symmetric spot is its mean; what is left is the cut at alpha 1/255 on the pixel grid.
    assert np.abs(seen - places_px).max() < 0.05
    for (x, y), far in zip(places_px, z, strict=True):
        assert abs(frame.depth[::-1][int(y), int(x)] - far) < 0.002


def test_an_orthographic_camera_amid_the_scene(painter, head):
    """Blender's orthographic viewport has half of the head behind the camera plane; all of it is drawn."""
    view = VIEW.copy()
    view[2, 3] = -0.05
    camera = Camera(320, 300, 500.0, 500.0, 160.0, 150.0, view, True)
    frame, seen = draw(painter(), head, camera)
    places_px, z = expected(head, camera)
    assert z.min() < 0 and np.abs(seen - places_px).max() < 0.05
    solid = frame.depth < FAR_DEPTH / 2
    assert solid.any() and frame.depth[solid].min() < 0


def test_object_matrices_move_scale_and_shear(painter, head):
    matrix = np.array([[0.5, 0.1, 0, 0.02], [0, 0.8, 0, -0.1], [0, 0, 1.2, 0.03], [0, 0, 0, 1]])
    camera = Camera(320, 300, 500.0, 500.0, 160.0, 150.0, VIEW)
    _, seen = draw(painter(), head, camera, matrix)
    assert np.abs(seen - expected(head, camera, matrix)[0]).max() < 0.1


def test_two_heads_in_one_picture(painter, head):
    both = painter(SPEC, SPEC)
    aside = EYE.copy()
    aside[0, 3] = 0.3
    vertices = to_blender(head.template)
    both.pose([vertices, vertices], np.stack([EYE, aside]))
    camera = Camera(600, 300, 500.0, 500.0, 160.0, 150.0, VIEW)
    frame = both.draw(camera, ("rgba",))
    left, right = (centroids(part[::-1]) for part in (frame.rgba[:, :235], frame.rgba[:, 235:]))
    assert np.abs(left - expected(head, camera)[0]).max() < 0.05
    assert np.abs(right + [235, 0] - expected(head, camera, aside)[0]).max() < 0.05


def test_vertices_that_are_not_finite(painter, head):
    vertices = to_blender(head.template).copy()
    vertices[5] = np.nan
    with pytest.raises(BadInput, match="not finite"):
        painter().pose([vertices], EYE[None])


def folded(head):
    """Six dots, the first of which darkens with the jaw."""
    one = np.ones(1, np.float32)
    jaw = {"jawOpen": 1.0}
    return replace(dots(head), channels=(Channel("jaw", jaw, jaw, np.zeros(1, np.int32), one, one, -one[:, None]),))


def jaw(value):
    weights = np.zeros(COUNT, np.float32)
    weights[column("jawOpen")] = value
    return FaceValues(weights)


def test_channels_follow_what_the_face_does(monkeypatch, head):
    monkeypatch.setattr(paint, "load_avatar", lambda name, head: folded(head))
    told = paint.HeadPainter([{**SPEC, "told": True}, {**SPEC, "told": True}])
    assert told.notes == []
    vertices, objects = [to_blender(head.template)] * 2, np.stack([EYE, EYE])
    told.pose(vertices, objects, [jaw(0.5), jaw(0.0)])
    change = told._posed.sh - np.concatenate([dots(head).sh] * 2)
    assert np.allclose(change[0, 0], -0.5) and np.count_nonzero(change) == 3, "the first dot of the first head"
    told.pose(vertices, objects)
    assert np.array_equal(told._posed.sh, np.concatenate([dots(head).sh] * 2)), "nobody says"


def test_what_will_not_be_seen_is_noted_once(monkeypatch, head):
    monkeypatch.setattr(paint, "load_avatar", lambda name, head: folded(head))
    (note,) = paint.HeadPainter([SPEC, SPEC]).notes
    assert "'dots' is drawn without colour channels" in note and "add-on" in note
    told = paint.HeadPainter([{**SPEC, "told": True}])
    for _ in range(2):
        told.pose([to_blender(head.template)], EYE[None], [FaceValues()])
    (note,) = told.notes
    assert "without colour channels: nothing says" in note and "performance" in note and "My Character" in note


def opened(head):
    """[v, 3] in Blender's axes: the head with its jaw open."""
    weights = jaw(0.8).weights[None]
    return to_blender(vertices_of(head, weights[:, :52], weights[:, 52:], np.zeros((1, 15), np.float32))[0])


def write_net(path, avatar, head, seed=0):
    """A net whose every weight says something."""
    torch.manual_seed(seed)
    net = build("emotalk3d", rest_of(avatar, head, anchors_of(avatar, head)))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    save_appearance(path, "emotalk3d", net, {})


def test_a_net_and_an_avatar_written_anew_are_read_anew(monkeypatch, head, tmp_path):
    avatar, net, file = dots(head), tmp_path / "net.safetensors", tmp_path / "avatar.npz"
    spec = {**SPEC, "told": True, "avatar": str(file), "appearance": str(net)}
    seen = []
    for seed in (0, 1):
        write_net(net, avatar, head, seed)
        save_avatar(file, replace(avatar, opacity=np.full(len(avatar), 0.5 + 0.25 * seed, np.float32)))
        painter = paint.HeadPainter([spec])
        painter.pose([opened(head)], EYE[None], [jaw(0.8)])
        seen.append((np.array(painter._posed.sh), painter._posed.opacity.mean()))
    assert np.abs(seen[0][0] - seen[1][0]).max() > 0.01 and seen[1][1] - seen[0][1] > 0.2


def test_a_face_of_which_nothing_is_known_is_drawn_without_its_net(monkeypatch, head, tmp_path):
    """Zeros in place of what is not known would drive the net as a face at rest, whatever the mesh does."""
    avatar = dots(head)
    write_net(tmp_path / "net.safetensors", avatar, head)
    monkeypatch.setattr(paint, "load_avatar", lambda name, head: avatar)
    told = paint.HeadPainter([{**SPEC, "told": True, "appearance": str(tmp_path / "net.safetensors")}])
    place = ([opened(head)], EYE[None])
    told.pose(*place, [FaceValues(emotion=np.eye(14)[3])])
    assert np.array_equal(told._posed.sh, avatar.sh)
    (note,) = told.notes
    assert "without its appearance net: nothing says" in note
    told.pose(*place, [jaw(0.8)])
    assert not np.array_equal(told._posed.sh, avatar.sh), "a face that is known is driven"


def test_a_net_sees_the_face_and_not_the_objects_scale(monkeypatch, head, tmp_path):
    """EmoTalk3D's nets follow motion: the same face on a stretched object must give the same change of colour."""
    avatar = dots(head)
    write_net(tmp_path / "net.safetensors", avatar, head)
    monkeypatch.setattr(paint, "load_avatar", lambda name, head: avatar)
    told = paint.HeadPainter([{**SPEC, "told": True, "appearance": str(tmp_path / "net.safetensors")}])
    face = jaw(0.8)
    seen = []
    for matrix in (EYE, np.diag([1.5, 0.5, 2.0, 1.0])):
        told.pose([opened(head)], matrix[None], [face])
        seen.append(np.array(told._posed.sh))
    assert np.array_equal(*seen) and np.abs(seen[0] - avatar.sh).max() > 0.01
    told.pose([opened(head)], EYE[None])
    assert np.array_equal(told._posed.sh, avatar.sh)
    with pytest.raises(BadFile, match="no such file"):
        paint.HeadPainter([{**SPEC, "appearance": str(tmp_path / "gone.safetensors")}])


def test_an_avatar_of_another_head_is_refused(monkeypatch, head):
    monkeypatch.setattr(paint, "load_avatar", lambda name, head: replace(dots(head), topology_sha256="0" * 64))
    with pytest.raises(BadInput, match="another head"):
        paint.HeadPainter([SPEC])


def test_the_default_avatar_opens(head):
    painter = paint.HeadPainter([{"head": "default", "avatar": "default"}])
    assert painter.gaussians == len(library.load_avatar("default", head)) > 10_000
    painter.pose([to_blender(head.template)], EYE[None])
    frame = painter.draw(Camera(200, 200, 300.0, 300.0, 100.0, 100.0, VIEW), ("rgba", "depth", "normal"))
    assert 0.1 < (frame.alpha > 0.5).mean() < 0.9
