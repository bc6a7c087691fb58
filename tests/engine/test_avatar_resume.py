"""What a stopped avatar training may go on from (the same pictures, head and recipe, a whole state), and what it keeps
in memory."""

import dataclasses
import os

import numpy as np
import pytest
import tiny_capture

from engine.avatar import channels
from engine.avatar.files import read_avatar
from engine.avatar.layout import as_planes
from engine.avatar.surface import INSIDE
from engine.core.errors import BadFile, BadInput
from engine.core.files import read_archive, write_archive
from engine.head.library import load_head
from engine.train import avatar_model, avatar_poses
from engine.train.avatar import GROW, REACH_INSIDE_M, Recipe, Training, _digest, _key, train
from engine.train.avatar_data import Posed, read_capture
from engine.train.avatar_start import THROAT, closed_throat, seeded, spread, throat, with_loose

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


def test_discs_far_back_in_the_mouth_get_the_recipes_size_and_no_others_change(head):
    avatar = spread(head, 6000)
    closed = closed_throat(avatar, head)
    grown = closed.log_scales - avatar.log_scales
    rows = np.flatnonzero(np.abs(grown).max(1))
    assert np.array_equal(rows, throat(avatar, head)) and np.ptp(grown[rows]) < 1e-5, "one factor"
    material = np.array([m.name for m in head.materials])[head.face_material[head.triangle_face[avatar.triangle]]]
    middle = head.template[head.triangles[avatar.triangle]].mean(1)
    lips = head.template[np.unique(head.lip_pairs)]
    assert len(rows) > 20 and set(material[rows]) == {"mouth"}
    assert middle[rows][:, 2].max() < lips[:, 2].mean() - 0.012
    assert np.abs(closed_throat(closed, head).log_scales - closed.log_scales).max() < 1e-5, "twice is once"
    first = seeded(head, 6000)
    grown = np.delete(closed_throat(first, head).log_scales - first.log_scales, throat(first, head), axis=0)
    assert not grown.any()
    grown = (closed_throat(first, head).log_scales - first.log_scales)[throat(first, head)]
    assert np.allclose(grown, np.log(THROAT), atol=1e-5), "the recipe's own have another mean size by THROAT alone"
    no_lips = dataclasses.replace(head, lip_pairs=head.lip_pairs[:0])
    assert closed_throat(avatar, no_lips) is avatar
    few = spread(head, 900)
    assert closed_throat(few, head) is few


def test_training_ends_with_a_closed_throat(head, folder, tmp_path):
    """What is written is what closing it again would write."""
    first = spread(head, 1000)
    thin = dataclasses.replace(first, log_scales=as_planes(first.log_scales - 2))
    train(folder, tmp_path / "on.npz", head, dataclasses.replace(RECIPE, steps=2), begin=thin)
    made = read_avatar(tmp_path / "on.npz")
    rows = throat(made, head)
    assert len(rows) > 3 and (made.log_scales[rows] > thin.log_scales[rows] + 0.5).all()
    again = closed_throat(made, head)
    assert np.abs(again.log_scales - made.log_scales).max() < 2e-3, "but for float16"
    assert made.meta["begin"] == {"sha256": _digest(thin), "count": 1000}


def test_the_key_hangs_on_all_of_the_first_avatar(head, folder):
    capture, first = read_capture(folder, head), spread(head, 60)
    first = dataclasses.replace(with_loose(first, head, 20), channels=channels.empty(head, first.triangle, ("jaw",)))
    key = _key(capture, RECIPE, first)
    assert _key(capture, RECIPE, dataclasses.replace(first)) == key != _key(capture, RECIPE)
    jaw = first.channels[0]
    others = {name: getattr(first, name) + np.float32(0.01) for name in ("local_quats", "local_means", "opacity", "sh")}
    others |= {"free": dataclasses.replace(first.free, follow=first.free.follow + np.float32(0.01))}
    others |= {"channels": (dataclasses.replace(jaw, colour=jaw.colour + np.float32(0.01)),), "layer": first.layer + 1}
    for name, value in others.items():
        assert _key(capture, RECIPE, dataclasses.replace(first, **{name: value})) != key, name
    renamed = dataclasses.replace(jaw, left={"mouthPucker": 1.0})
    assert _key(capture, RECIPE, dataclasses.replace(first, channels=(renamed,))) != key
