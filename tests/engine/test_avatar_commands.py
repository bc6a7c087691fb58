"""`avatar train` and `avatar measure` as a person types them, and a tracked FLAME capture by the same line."""

import json
import shutil

import flame_like
import numpy as np
import pytest
import tiny_capture
from typer.testing import CliRunner

from engine.cli import app
from engine.core.errors import BadFile, BadInput
from engine.core.names import ARKIT_INDEX
from engine.head.evaluate import flame_vertices
from engine.head.library import load_head
from engine.train.avatar_data import read_capture


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("capture")
    head = load_head()
    tiny_capture.write(path, head, tiny_capture.spread_with_colour(head))
    return path


def _run(*words):
    return CliRunner().invoke(app, [str(w) for w in words], catch_exceptions=True)


def test_train_then_measure_then_info(folder, tmp_path):
    out, strip = tmp_path / "me.npz", tmp_path / "strip.png"
    done = _run("avatar", "train", folder, out, "--gaussians", 120, "--steps", 30, "--check", 15, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["gaussians"] == 120 and told["steps"] == 30 and told["bytes"] == out.stat().st_size < 40_000
    assert told["test"]["pictures"] == 2 and (tmp_path / "me.preview.png").is_file()
    done = _run("avatar", "measure", folder, out, "--strip", strip, "--rows", 2, "--json")
    assert done.exit_code == 0, done.output
    again = json.loads(done.stdout)
    # The file holds half floats; the figures were taken from the training's own numbers.
    assert again["head_psnr"] == pytest.approx(told["test"]["head_psnr"], abs=0.1) and strip.is_file()
    info = json.loads(_run("avatar", "info", out, "--json").stdout)
    assert info["psnr"] == told["test"]["head_psnr"] and info["gaussians"] == 120
    # Three views: one in front and one on either side of the back, so nowhere a gap of a quarter turn is closed.
    listed = read_capture(folder, load_head()).views["train"]
    angles = [np.radians([getattr(v, n) for v in listed]) for n in ("azimuth", "elevation")]
    expected = [f(a) for a in angles for f in (min, max)]
    assert info["view_range"] == pytest.approx(expected, abs=1e-6), "the views that it was trained from"


@pytest.mark.parametrize(
    "words, said",
    [
        (("avatar", "train", "/no/such/folder", "out.npz"), "no such folder"),
        (("avatar", "measure", "/no/such/folder"), "no such folder"),
        (("avatar", "measure", "/no/such/folder", "--strip", "{tmp}/strip"), "ends in .png"),
        (("avatar", "measure", "/no/such/folder", "--strip", "{tmp}/strip.jpg"), "ends in .png"),
        (("avatar", "measure", "/no/such/folder", "--strip", f"{__file__}/strip.png"), "cannot be written"),
        (("studio", "capture", "{tmp}", "--resume"), "capture.json"),
        (("studio", "capture", "{tmp}", "--cameras", "cube"), "cube"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, words, said):
    done = _run(*(w.format(tmp=tmp_path / "x") for w in words))
    assert isinstance(done.exception, BadInput) and said in str(done.exception)


def test_out_must_be_an_avatar_file(folder, tmp_path):
    done = _run("avatar", "train", folder, tmp_path / "me.ply")
    assert isinstance(done.exception, BadInput) and ".npz" in str(done.exception)


def test_flame_parameters_of_trackers_pose_the_users_own_flame(folder, tmp_path):
    """VHAP's fields give the vertices that FLAME has for them, shape and offsets included."""
    head = load_head(flame_like.prepared()[2])
    copy = shutil.copytree(folder, tmp_path / "tracked")
    (copy / "capture.json").unlink()
    rng = np.random.default_rng(0)
    v = len(head.template)
    shape, static = rng.normal(0, 0.5, 300).astype(np.float32), rng.normal(0, 1e-4, (1, v + 120, 3)).astype(np.float32)
    expr, jaw = rng.normal(0, 0.3, (1, 100)).astype(np.float32), np.array([[0.2, 0, 0]], np.float32)
    fields = {
        "shape": shape, "expr": expr, "jaw_pose": jaw, "rotation": np.array([[0, 0.1, 0]], np.float32),
        "neck_pose": np.zeros((1, 3), np.float32), "eyes_pose": np.zeros((1, 6), np.float32),
        "translation": np.array([[0.01, 0.02, 0.03]], np.float32), "static_offset": static,
    }  # fmt: skip
    for path in (copy / "flame_param").iterdir():
        np.savez(path, **fields)
    capture = read_capture(copy, head)
    posed = next(iter(capture.poses.values()))
    expression = np.zeros((1, len(head.expression_names)))
    expression[:, :100] = expr
    pose = np.zeros((1, 15))
    pose[0, 1], pose[0, 6] = 0.1, 0.2
    expected = flame_vertices(head, shape[: head.identity.shape[2]], expression, pose)[0] + static[0, :v]
    assert np.abs(posed.vertices - expected - [0.01, 0.02, 0.03]).max() < 1e-5
    assert posed.weights[ARKIT_INDEX["jawOpen"]] > 0.1, "channels hear of the open jaw"
    with pytest.raises(BadInput, match="import your FLAME"):
        read_capture(copy, load_head())
    spoilt = {
        "two_turns": {"rotation": np.zeros((2, 3), np.float32)}, "offset": {"static_offset": np.zeros((1, 7))},
        "place": {"translation": np.zeros(2)}, "word": {"expr": np.full((1, 100), "wide")},
    }  # fmt: skip
    for change in spoilt.values():
        np.savez(copy / "flame_param" / "00001.npz", **{**fields, **change})
        with pytest.raises(BadFile, match=r"00001\.npz.*other sizes"):
            read_capture(copy, head)
