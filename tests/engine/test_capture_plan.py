"""Plans of captures: poses by name, views round the head, an order whose every beginning is useful, files on disk."""

import ast
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.avatar.channels import CHANNELS
from engine.core.errors import BadFile, BadInput
from engine.core.names import ARKIT_INDEX, EMOTIONS, EXTRA_INDEX
from engine.head.library import load_head
from engine.render.cameras import orbit
from engine.studio import capture
from engine.studio.capture_plan import TURNED, dome, file_name, plan, ring, spread, to_json, unseen
from engine.studio.poses import make, of_take, table

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def bundled():
    train, test = table()
    return plan(train, test, load_head().template), train, test


def test_the_bundled_plan_is_what_was_asked_for(bundled):
    made, train, test = bundled
    assert len(train) >= 41 and sum(p.open_mouth for p in train) >= 5 and len(test) >= 12
    used = [v for v in made.views if v.split == "train"]
    assert len(used) >= 24 and min(v.elevation for v in used) == -20 and max(v.elevation for v in used) <= 40
    gaps = np.diff(sorted(v.azimuth for v in used))
    assert gaps.max() < 20 and max(v.azimuth for v in used) - min(v.azimuth for v in used) > 340
    tests = [s for s in made.shots if s.split == "test"]
    assert len(tests) >= 24 and all(s.samples >= 64 and s.pose >= len(train) for s in tests)
    assert len({s.view for s in tests}) == len(tests), "each from its own view"
    assert all(s.samples >= 32 for s in made.shots)
    assert len({file_name(s) for s in made.shots}) == len(made.shots)
    emotions = {EMOTIONS[int(np.argmax(p.emotion))] for p in train if p.emotion.any()}
    assert emotions == set(EMOTIONS) - {"neutral"}


def test_every_beginning_is_a_capture(bundled):
    made, train, _ = bundled
    shots = made.shots
    neutral = [s for s in shots if s.pose == 0 and s.split == "train"]
    assert [s.pose for s in shots[: len(neutral)]] == [0] * len(neutral), "the face at rest comes first"
    half = np.sort([made.views[s.view].azimuth for s in neutral[: len(neutral) // 2]])
    assert np.diff(half).max() < 60, "half of it already goes round"
    poses = [s for s in shots if s.split == "train" and s.pose]
    for count in (60, 150, 300):
        seen = np.bincount([s.pose for s in poses[:count]], minlength=len(train))[1:]
        assert seen.max() - seen.min() <= 1, "no pose is far ahead"
    for p in range(1, len(train)):
        views = [s.view for s in poses if s.pose == p]
        azimuths = np.array([made.views[v].azimuth for v in views])
        assert len(set(views)) == len(views) >= 8 and (np.abs(azimuths) <= TURNED).sum() >= 8
        assert np.ptp(azimuths) > 120 and np.diff(np.sort(azimuths[np.abs(azimuths) < TURNED])).max() < 90
    first_tests = [i for i, s in enumerate(shots) if s.split == "test"]
    assert max(first_tests) < 0.5 * len(shots) and max(i for i, s in enumerate(shots) if s.split == "val") < 90


@pytest.mark.parametrize("each", [0, 1, 2, 5])
def test_no_picture_gets_lost_in_short_plans(each):
    train, test = table()
    shots = plan(train, test, load_head().template, 64, each=each, tests=10).shots
    count = {split: sum(s.split == split for s in shots) for split in ("train", "val", "test")}
    assert count == {"train": 30 + each * (len(train) - 1), "val": 12, "test": 10}


def test_views_are_apart_from_each_other():
    assert [v.azimuth for v in dome()] == pytest.approx(np.linspace(-90, 90, 11)) and len(dome()) == 11
    seen = ring()
    for view in unseen(24):
        nearest = min(abs(view.azimuth - v.azimuth) + abs(view.elevation - v.elevation) for v in seen)
        assert nearest > 1.5 and -20 <= view.elevation <= 40
    assert spread(7) != list(range(7)) and sorted(spread(7)) == list(range(7))


def test_cameras_are_written_as_opengl_and_keep_the_head(bundled):
    made, _, _ = bundled
    points = load_head().template
    job = to_json(made)
    for view, camera, written in zip(made.views, made.cameras, job["cameras"], strict=True):
        assert np.allclose(camera.world_to_camera, orbit(points, 512, 512, view.azimuth, view.elevation, 22, 0.97)
                           .world_to_camera)  # fmt: skip
        to_world = np.array(written["transform_matrix"])
        looks = -to_world[:3, 2]  # OpenGL looks along -z
        eye = to_world[:3, 3]
        assert np.dot(looks, points.mean(0) - eye) > 0.9 * np.linalg.norm(points.mean(0) - eye)
        assert np.linalg.det(to_world[:3, :3]) == pytest.approx(1)


def test_poses_say_what_they_are():
    pose = make("x", {"labels": {"happy": 1.0}, "shapes": {"jawOpen": 0.3, "browMedialDown": 0.5}, "gaze": [10, -5]})
    assert pose.arkit[ARKIT_INDEX["mouthSmileLeft"]] > 0.8 and pose.arkit[ARKIT_INDEX["jawOpen"]] == np.float32(0.3)
    assert pose.extra[EXTRA_INDEX["browMedialDown_L"]] == pose.extra[EXTRA_INDEX["browMedialDown_R"]] == 0.5
    assert pose.joints[10] == pytest.approx(np.radians(10)) and pose.joints[9] == pytest.approx(np.radians(5))
    assert pose.joints[12:15] == pytest.approx(pose.joints[9:12])


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"kind": "capture_poses"}', '{"kind": "capture_poses", "train": {}, "test": {}}',
             '{"kind": "capture_poses", "train": {"a": {"shapes": {"nose": 1}}}, "test": {}}',
             '{"kind": "capture_poses", "train": {"a": {"shapes": {"jawOpen": 1}}}, "test": {}}'],
)  # fmt: skip
def test_damaged_tables_are_refused(tmp_path, text):
    path = tmp_path / "poses.json"
    path.write_text(text)
    with pytest.raises(BadFile):
        table(path)


def test_a_take_gives_its_most_different_moments():
    from engine.core.clock import parse_fps
    from engine.core.take import FlameTrack, Take

    arkit = np.zeros((40, 52), np.float32)
    arkit[10, ARKIT_INDEX["jawOpen"]], arkit[30, ARKIT_INDEX["mouthPucker"]] = 1.0, 0.8
    arkit[11, ARKIT_INDEX["jawOpen"]] = 0.97
    pose = np.full((40, 15), 0.2, np.float32)
    flame = FlameTrack("default-head-1", np.zeros(0), np.zeros((40, 0)), pose, np.zeros((40, 3)), np.zeros((40, 2)))
    take = Take(parse_fps("25"), 1, np.zeros((40, 18, 2), np.float32), arkit, np.zeros((40, 7), np.float32), flame)
    poses = of_take(take, 2, "voice")
    assert [p.name for p in poses] == ["voice_00010", "voice_00030"]
    assert not poses[0].joints[:9].any() and poses[0].joints[9:].all(), "the eyes turn, the head stays"
    with pytest.raises(BadInput):
        of_take(take, 0, "voice")


@pytest.mark.parametrize("what", [{"size": 8}, {"preset": "cube"}, {"samples": 0}, {"views": 1}, {"tests": -1}])
def test_plans_that_make_no_capture_are_refused(what):
    train, test = table()
    with pytest.raises(BadInput):
        plan(train, test, load_head().template, **what)


def test_a_folder_keeps_its_plan(tmp_path):
    train, test = table()
    points = load_head().template
    answer = {"name": "default", "topology_sha256": "0", "arrays": {"template": points}}
    capture.prepare(tmp_path / "a", plan(train, test, points, 64), 64, answer)
    capture.prepare(tmp_path / "a", plan(train, test, points, 64), 64, answer)
    with pytest.raises(BadInput, match="another capture"):
        capture.prepare(tmp_path / "a", plan(train, test, points, 64, each=3), 64, answer)
    with pytest.raises(BadInput, match="either"):
        capture.prepare(tmp_path / "b", plan(train, test, points, 64), 64)
    with pytest.raises(BadFile, match=r"capture\.json"):
        capture.run(tmp_path / "nothing")
    counts = capture.index(tmp_path / "a")
    assert (
        counts["pictures"] == 0 and json.loads((tmp_path / "a" / "transforms_train.json").read_text())["frames"] == []
    )


def test_other_options_are_another_capture(tmp_path):
    """Of each option that changes pictures; a plan that lacks one (an older Soliloquy's) goes on."""
    train, test = table()
    points = load_head().template
    made, scene = plan(train, test, points, 64), tmp_path / "own.blend"

    def prepare(**options):
        capture.prepare(tmp_path / "a", made, 64, scene=scene, **({"mesh": "Face", "points": points} | options))

    prepare()
    prepare()
    prepare(points=points + 1e-6)
    others = [
        {"mesh": "Hat"},
        {"noise": 0.01},
        {"light": False},
        {"keep_scene": True},
        {"points": points + 0.01},
        {"points": None},
    ]
    for other in others:
        with pytest.raises(BadInput, match="another capture"):
            prepare(**other)
    path = tmp_path / "a" / capture.PLAN
    written = json.loads(path.read_text())
    path.write_text(json.dumps({**written, "box": "no box"}))
    with pytest.raises(BadInput, match="another capture"):
        prepare()
    later = ("mesh", "noise", "light", "keep_scene", "box")
    path.write_text(json.dumps({k: v for k, v in written.items() if k not in later}))
    for other in others:
        prepare(**other)


def test_a_mask_older_than_its_picture_is_made_anew(tmp_path):
    train, test = table()
    made, folder = plan(train, test, load_head().template, 64), tmp_path / "a"
    capture.prepare(folder, made, 64, scene=tmp_path / "own.blend")
    name = f"{file_name(made.shots[0])}.png"
    picture, mask = folder / "images" / name, folder / "fg_masks" / name
    picture.parent.mkdir()

    def mask_of(alpha, time):
        Image.new("RGBA", (4, 4), (0, 0, 0, alpha)).save(picture)
        os.utime(picture, (time, time))
        assert capture.index(folder)["pictures"] == 1
        os.utime(mask, (1000, 1000))
        with Image.open(mask) as image:
            return image.getpixel((0, 0))

    assert mask_of(10, 1000) == 10
    assert mask_of(20, 1001) == 20
    assert mask_of(30, 999) == 20, "a newer mask is kept"


def test_channels_move_with_the_muscles_of_the_wrinkle_shader():
    """Blender's shader deepens a fold by the same shares by which the avatar's channel is switched on."""
    tree = ast.parse((ROOT / "blender_addon" / "scene" / "wrinkles.py").read_text(encoding="utf-8"))
    found = {
        node.target.id: ast.literal_eval(node.value)
        for node in tree.body if isinstance(node, ast.AnnAssign) and node.target.id in ("MUSCLES", "FOLDS")
    }  # fmt: skip
    for zone, _, muscle, *_ in found["FOLDS"]:
        shares = found["MUSCLES"].get(muscle) or found["MUSCLES"][f"{muscle} {{}}"]
        channel = next(mixture for place, mixture in CHANNELS.values() if place == zone)
        assert channel == shares, zone
    assert CHANNELS["chin"][1] == found["MUSCLES"]["chin"]
