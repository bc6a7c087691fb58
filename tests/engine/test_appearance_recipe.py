"""An appearance net on a tiny capture whose truth reddens as the jaw opens: held-out pictures get better, and the file
gives the same face again."""

import numpy as np
import pytest
import tiny_capture
import torch

from engine.avatar.appearance import build
from engine.avatar.appearance.files import read_appearance, save_appearance
from engine.avatar.appearance.play import Player
from engine.avatar.face_values import of_take
from engine.core.errors import BadFile, BadInput
from engine.core.names import ARKIT_INDEX, AU_INDEX, PAPER17
from engine.head.library import load_head
from engine.studio.poses import make
from engine.train import avatar_measure
from engine.train.appearance_recipe import Dressed, train_appearance, worn_by
from engine.train.avatar import Recipe, train
from engine.train.avatar_data import read_capture

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def head():
    return load_head()


@pytest.fixture(scope="module")
def setting(head, tmp_path_factory):
    """(capture of 64 x 64, the avatar that was photographed, without what reddens it)."""
    folder = tmp_path_factory.mktemp("capture")
    truth = tiny_capture.spread_with_colour(head)
    tiny_capture.write(folder, head, truth, added=np.array([0.12, 0.0, 0.0]))
    capture = read_capture(folder, head)
    # The tiny set's pictures for validation are all neutral, where nets add nothing: the unseen pose decides instead.
    capture.views["val"] = capture.views["test"]
    return capture, truth


def test_a_net_learns_what_the_mesh_does_not_show(setting, tmp_path):
    """One decibel more on the unseen pose, in 60 steps (measured 2 and more)."""
    capture, avatar = setting
    out = tmp_path / "net.safetensors"
    result = train_appearance(capture, avatar, "emotalk3d", out, steps=60, check=20, rate=5e-3)
    print(result)
    assert result["steps"] > 0 and result["with"]["head_psnr"] > result["without"]["head_psnr"] + 1
    assert result["test_with"]["head_psnr"] > result["test_without"]["head_psnr"] + 1
    dressed = Dressed(capture, avatar)
    _, net, about = read_appearance(out, dressed.rest)
    again = dressed.measure(net, capture.views["test"], 1)
    assert again["head_psnr"] == pytest.approx(result["test_with"]["head_psnr"], abs=0.05)  # float16
    assert about["steps"] == result["steps"]
    measured = avatar_measure.measure(avatar, capture, worn=worn_by(out, capture, avatar))
    assert measured["head_psnr"] == pytest.approx(again["head_psnr"], abs=0.006), "the same figure, rounded"


def test_the_net_hears_what_the_capture_wrote_of_a_pose(head, tmp_path, monkeypatch):
    """A named expression drives units and emotion: the files are numbered, the pose's name is another."""
    happy = make("happy", {"labels": {"happy": 1.0}})
    monkeypatch.setattr(tiny_capture, "POSES", (make("neutral", {}), happy))
    avatar = tiny_capture.spread_with_colour(head)
    tiny_capture.write(tmp_path, head, avatar)
    capture = read_capture(tmp_path, head)
    row = next(i for i, posed in capture.poses.items() if posed.name == "happy")
    drive = Dressed(capture, avatar).drive(row)
    units = [AU_INDEX[name] for name in PAPER17]
    assert drive.aus.numpy() == pytest.approx(happy.au[units].mean(1)) and drive.aus.max() > 0.3
    assert drive.emotion.numpy() == pytest.approx(happy.emotion[1:]) and drive.emotion.max() == 1
    still = Dressed(capture, avatar).drive(next(i for i, p in capture.poses.items() if p.name == "neutral"))
    assert not still.aus.any() and not still.emotion.any()


@pytest.mark.parametrize("shrink", [8, 100])
def test_pictures_too_small_to_measure_are_refused_at_once(setting, tmp_path, head, shrink):
    """Eight pixels of 64 are left, then less than one."""
    capture, avatar = setting
    with pytest.raises(BadInput, match="smaller --shrink"):
        train_appearance(capture, avatar, "emotalk3d", tmp_path / "net.safetensors", shrink=shrink)
    with pytest.raises(BadInput, match="smaller --shrink"):
        train(capture.folder, tmp_path / "me.npz", head, Recipe(count=20, shrink=shrink))


def test_a_take_is_rendered_with_its_net(setting, tmp_path, head):
    """The frame with the widest jaw differs from the same without the net."""
    from test_motion import QUIET, sound, voice

    from engine.motion.perform import perform
    from engine.render.cameras import front
    from engine.serve.pictures import frames_of

    _, avatar = setting
    rest = Dressed(setting[0], avatar).rest
    net = build("emotalk3d", rest)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1)
    save_appearance(tmp_path / "net.safetensors", "emotalk3d", net, {})
    take = perform(sound(), QUIET, fps=24, head=head, speech=voice())
    widest = int(take.arkit[:, ARKIT_INDEX["jawOpen"]].argmax())
    camera = front(head.template, 48, 48)

    def picture(**more):
        frames = frames_of(take, head, avatar, [camera], np.array([widest]), "cpu", **more)
        return next(iter(frames)).rgba

    # The same fields as in training: a take's valence and arousal reach no net.
    drive = Player(tmp_path / "net.safetensors", avatar, head).drive(of_take(take, widest), head.template)
    assert drive.mouth.any() and not drive.va.any() and not drive.speech.any()
    plain, dressed = picture(), picture(appearance=str(tmp_path / "net.safetensors"))
    assert np.isfinite(dressed).all() and np.abs(plain - dressed).max() > 0.01


def test_branches_that_nothing_drives_are_left_out(setting, tmp_path, head):
    """Captures hold no features of the voice: the branches hear what the mouth does, unless they are told not to."""
    capture, avatar = setting
    out = tmp_path / "net.safetensors"
    assert train_appearance(capture, avatar, "emotalkinggaussian", out, steps=1, check=1)["off"] == []
    result = train_appearance(capture, avatar, "emotalkinggaussian", out, steps=1, check=1, heard="speech")
    assert result["off"] == ["mouth"]
    with pytest.raises(BadInput, match=r"branch 'mouth'.*'speech'"):
        train_appearance(capture, avatar, "emotalkinggaussian", out, steps=1, mouth=True, heard="speech")
    rest = Dressed(capture, avatar).rest
    save_appearance(out, "emotalkinggaussian", build("emotalkinggaussian", rest), {})
    with pytest.raises(BadFile, match="'speech'"):
        Player(out, avatar, head)
    for config in ({"mouth": False}, {"heard": "mouth"}):
        save_appearance(out, "emotalkinggaussian", build("emotalkinggaussian", rest, **config), {})
        assert Player(out, avatar, head).name == "emotalkinggaussian"
    with pytest.raises(BadInput, match="heard=ears"):
        build("emotalkinggaussian", rest, heard="ears")


def test_what_does_not_help_is_not_written(setting, tmp_path, monkeypatch):
    """A rate that throws the net far off: the looks say that it is worse than the avatar alone, and no file is made."""
    capture, avatar = setting
    out, looks = tmp_path / "net.safetensors", []
    measure = Dressed.measure

    def noting(self, net, views, shrink):
        looks.append((net, measure(self, net, views, shrink)))
        return looks[-1][1]

    monkeypatch.setattr(Dressed, "measure", noting)
    result = train_appearance(capture, avatar, "emotalk3d", out, steps=2, check=1, rate=3.0)
    trained = [figures["head_psnr"] for net, figures in looks if net is not None]
    assert len(trained) == 2 and max(trained) < result["without"]["head_psnr"] - 1, "measured, and worse"
    assert result["steps"] == 0 and result["with"] == result["without"] and not out.exists()
    with pytest.raises(BadInput, match="step"):
        train_appearance(capture, avatar, "emotag", out, steps=0)
