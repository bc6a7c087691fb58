"""What a stopped avatar training may go on from (the same pictures, head and recipe, a whole state), and what it keeps
in memory."""

import dataclasses
import os

import numpy as np
import pytest
import tiny_capture

from engine.avatar.surface import INSIDE
from engine.core.errors import BadFile, BadInput
from engine.core.files import read_archive, write_archive
from engine.head.library import load_head
from engine.train import avatar_model, avatar_poses
from engine.train.avatar import GROW, REACH_INSIDE_M, Recipe, Training, _key
from engine.train.avatar_data import Posed, read_capture
from engine.train.avatar_start import closed_throat, spread

RECIPE = Recipe(count=50, steps=5, geometry=False)


@pytest.fixture(scope="module")
def head():
    return load_head()


@pytest.fixture
def folder(head, tmp_path):
    tiny_capture.write(tmp_path / "capture", head, tiny_capture.spread_with_colour(head))
    return tmp_path / "capture"


def test_the_key_hangs_on_what_is_learned_from(head, folder):
    """Pictures drawn anew under the same names, another neutral face, another pose, another recipe."""
    capture = read_capture(folder, head)
    first = _key(capture, RECIPE)
    assert _key(read_capture(folder, head), RECIPE) == first
    assert _key(capture, dataclasses.replace(RECIPE, seed=1)) != first
    wider = dataclasses.replace(head, template=head.template * np.float32(1.01))
    assert _key(dataclasses.replace(capture, head=wider), RECIPE) != first
    moved = {i: dataclasses.replace(p, vertices=p.vertices + np.float32(0.001)) for i, p in capture.poses.items()}
    assert _key(dataclasses.replace(capture, poses=moved), RECIPE) != first
    for split in ("train", "val"):
        picture = capture.views[split][0].picture
        before, kept = picture.read_bytes(), picture.stat()
        picture.write_bytes(before + b" ")
        os.utime(picture, ns=(kept.st_atime_ns, kept.st_mtime_ns))
        assert _key(capture, RECIPE) != first, "another size"
        picture.write_bytes(before)
        os.utime(picture, ns=(kept.st_atime_ns, kept.st_mtime_ns + 10**9))
        assert _key(capture, RECIPE) != first, "another time"
        os.utime(picture, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    assert _key(capture, RECIPE) == first


def test_frames_of_few_poses_are_kept(head, monkeypatch):
    """The oldest go first, and a pose that comes again has the same frames."""
    monkeypatch.setattr(avatar_model, "FRAMES_KEPT", 3)
    model = avatar_model.Model(spread(head, 20), head)
    poses = [Posed(str(i), head.template * np.float32(1 + i / 10), np.zeros(59)) for i in range(5)]
    first = model.frames(0, poses[0])
    for i in (1, 2, 0, 3):
        model.frames(i, poses[i])
    assert len(model._frames) == 3 and model.frames(0, poses[0]) is first, "0 was used again after 1 and 2"
    for i in (1, 2, 3, 4):
        model.frames(i, poses[i])
    again = model.frames(0, poses[0])
    assert again is not first and np.array_equal(again, first) and len(model._frames) == 3


def test_more_pictures_go_on_from_an_avatar(head, folder, tmp_path):
    """Its first step is where the other ended; it is another run; a slower one moves less."""
    capture = read_capture(folder, head)
    run = Training(capture, RECIPE)
    for _ in range(5):
        run.step()
    first = run.avatar({})
    on = Training(capture, RECIPE, begin=first)
    for name, value in run.model.values.items():
        assert np.allclose(on.model.values[name], value, atol=1e-5), name
    assert _key(capture, RECIPE, first) != _key(capture, RECIPE)
    slow = Training(capture, dataclasses.replace(RECIPE, rate=0.1), begin=first)
    on.step()
    slow.step()
    for name in ("means", "sh0"):
        moved, less = (np.abs(r.model.values[name] - run.model.values[name]).mean() for r in (on, slow))
        assert moved > 5 * less > 0, name
    with pytest.raises(BadInput, match="rate"):
        dataclasses.replace(RECIPE, rate=0)


def test_poses_make_room_and_come_back(head, folder, monkeypatch):
    """No more than fits is held; what comes again is the same."""
    monkeypatch.setattr(avatar_poses, "POSES_BYTES", 2 * head.template.nbytes)
    poses = read_capture(folder, head).poses
    assert len(poses) >= 3 and len(poses._kept) == 2
    every = {i: poses[i].vertices.copy() for i in poses}
    assert len(poses._kept) == 2 and all(np.array_equal(poses[i].vertices, v) for i, v in every.items())
    assert poses._bytes == sum(p.vertices.nbytes for p in poses._kept.values())


def test_a_state_that_does_not_fit_changes_nothing(head, folder, tmp_path):
    """Its last array is of another size: neither the model nor the step is taken over."""
    capture, path = read_capture(folder, head), tmp_path / "s.npz"
    run = Training(capture, RECIPE)
    for _ in range(3):
        run.step()
    run.save(path, "key")
    arrays, meta = read_archive(path, "avatar_training", 1)
    fresh = Training(capture, RECIPE)
    before = {name: a.copy() for name, a in fresh.model.values.items()}
    last = list(fresh._state()["best"])[-1]
    for spoilt in (arrays[f"best.{last}"][:-1], np.full(arrays[f"best.{last}"].shape, "x")):
        write_archive(tmp_path / "b.npz", "avatar_training", 1, {**arrays, f"best.{last}": spoilt}, meta)
        assert not fresh.load(tmp_path / "b.npz", "key") and fresh.at == 0
    write_archive(tmp_path / "c.npz", "avatar_training", 1, arrays, {**meta, "history": 3})
    with pytest.raises(BadFile, match="damaged"):
        fresh.load(tmp_path / "c.npz", "key")
    assert not fresh.load(path, "another key")
    assert fresh.at == 0 and all(np.array_equal(before[n], a) for n, a in fresh.model.values.items())
    assert fresh.load(path, "key") and fresh.at == 3
    assert all(np.array_equal(run.model.values[n], a) for n, a in fresh.model.values.items())
    assert not np.array_equal(before["sh0"], fresh.model.values["sh0"])


def test_a_mouth_stays_closed_and_near_its_seeds(head, folder):
    """Whatever pictures say: the lining opaque, the skin about it nearly so, parts inside within 1.5 mm of theirs."""
    run = Training(read_capture(folder, head), dataclasses.replace(RECIPE, count=400))
    triangle = run.model.triangle
    material = np.array([m.name for m in head.materials])[head.face_material[head.triangle_face[triangle]]]
    inside = np.isin(material, INSIDE)
    assert inside.sum() > 10 and (material == "mouth").sum() > 3
    run.model.values["logits"] -= 5
    run.model.values["log_scales"] += 3
    run.model.values["means"] += 50
    run.step()
    opacity = run.avatar({}).opacity
    assert opacity[material == "mouth"].min() > 0.94 and opacity[np.isfinite(run._floor)].min() > 0.89
    assert opacity[~np.isfinite(run._floor)].max() < 0.6
    gap = np.linalg.norm((run.model.values["means"] - run.model.start) * run.model.sizes(), axis=0)
    assert gap[inside].max() < REACH_INSIDE_M + 1e-6 < gap[~inside].max()
    grown = run.model.values["log_scales"][:, inside] - run._seeded
    assert grown.max() <= GROW + 1e-5 and grown.max() > 0


def test_discs_far_back_in_the_mouth_are_larger_and_no_others(head):
    avatar = spread(head, 6000)
    grown = np.ptp(closed_throat(avatar, head).log_scales - avatar.log_scales, axis=1)
    assert np.allclose(grown, 0, atol=1e-6), "the same for all three axes"
    grown = (closed_throat(avatar, head).log_scales - avatar.log_scales)[:, 0]
    material = np.array([m.name for m in head.materials])[head.face_material[head.triangle_face[avatar.triangle]]]
    middle = head.template[head.triangles[avatar.triangle]].mean(1)
    lips = head.template[np.unique(head.lip_pairs)]
    assert (grown > 0).sum() > 20 and set(material[grown > 0]) == {"mouth"}
    assert middle[grown > 0][:, 2].max() < lips[:, 2].mean() - 0.012
    no_lips = dataclasses.replace(head, lip_pairs=head.lip_pairs[:0])
    assert closed_throat(avatar, no_lips) is avatar
