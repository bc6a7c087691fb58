"""LPIPS against plain numpy, its gradient against differences, damaged weights, `measure images`, avatar training."""

import json
import pickle

import numpy as np
import pytest
import tiny_capture
import torch
from PIL import Image
from safetensors.numpy import save_file
from typer.testing import CliRunner

from engine.avatar.files import read_avatar
from engine.cli import app
from engine.core.errors import BadFile, BadInput
from engine.head.library import load_head
from engine.measure.lpips import NETS, read_lpips
from engine.train.avatar import Recipe, Training, train
from engine.train.avatar_data import read_capture
from engine.train.avatar_loss import perceptual, psnr
from engine.train.avatar_measure import drawn, over_grey, placed
from engine.train.compare_images import compare_images

torch.set_num_threads(1)


def _random(name, seed=0):
    """Weights of a net that keeps its signal's size; linear layers are positive, as the trained ones are."""
    rng, out = np.random.default_rng(seed), {}
    for layer in NETS[name]:
        part, shape = (
            f"net.slice{layer.slice}.{layer.number}",
            (layer.outputs, layer.inputs, layer.kernel, layer.kernel),
        )
        out[f"{part}.weight"] = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape).astype(np.float32)
        out[f"{part}.bias"] = rng.normal(0, 0.1, layer.outputs).astype(np.float32)
        out[f"lin{layer.slice - 1}.model.1.weight"] = rng.random((1, layer.outputs, 1, 1)).astype(np.float32)
    return out


@pytest.fixture(scope="module")
def weights():
    return _random("alex")


@pytest.fixture(scope="module")
def file(weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("lpips") / "alex.safetensors"
    save_file(weights, path)
    return path


def _pictures(h=41, w=53):
    rng = np.random.default_rng(9)
    x = rng.random((h, w, 3)).astype(np.float32)
    return x, np.clip(x + rng.normal(0, 0.1, x.shape), 0, 1).astype(np.float32)


# The reference implementation's layers, written out: (slice, number, stride, padding, pool before).
PLAIN = {
    "alex": ((1, 0, 4, 2, 0), (2, 3, 1, 2, 3), (3, 6, 1, 1, 3), (4, 8, 1, 1, 0), (5, 10, 1, 1, 0)),
    "vgg": (
        (1, 0, 1, 1, 0), (1, 2, 1, 1, 0), (2, 5, 1, 1, 2), (2, 7, 1, 1, 0), (3, 10, 1, 1, 2), (3, 12, 1, 1, 0),
        (3, 14, 1, 1, 0), (4, 17, 1, 1, 2), (4, 19, 1, 1, 0), (4, 21, 1, 1, 0), (5, 24, 1, 1, 2), (5, 26, 1, 1, 0),
        (5, 28, 1, 1, 0),
    ),
}  # fmt: skip


def _plain_features(arrays, name, picture):
    x = (picture.astype(np.float64) * 2 - 1 - [-0.030, -0.088, -0.188]) / [0.458, 0.448, 0.450]
    x, found = x.transpose(2, 0, 1), {}
    for part, number, stride, pad, pool in PLAIN[name]:
        if pool:
            x = np.lib.stride_tricks.sliding_window_view(x, (pool, pool), (1, 2))[:, ::2, ::2].max((3, 4))
        weight = arrays[f"net.slice{part}.{number}.weight"].astype(np.float64)
        x = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
        windows = np.lib.stride_tricks.sliding_window_view(x, weight.shape[2:], (1, 2))[:, ::stride, ::stride]
        x = (
            np.tensordot(weight, windows, ((1, 2, 3), (0, 3, 4)))
            + arrays[f"net.slice{part}.{number}.bias"][:, None, None]
        )
        x = np.maximum(x, 0)
        found[part] = x / (np.sqrt((x * x).sum(0)) + 1e-10)
    return found


def _plain(arrays, name, first, second):
    p, q = (_plain_features(arrays, name, a) for a in (first, second))
    gaps = [((p[k] - q[k]) ** 2 * arrays[f"lin{k - 1}.model.1.weight"][0].astype(np.float64)).sum(0) for k in p]
    return sum(gap.mean() for gap in gaps)


@pytest.mark.parametrize("name", ["alex", "vgg"])
def test_the_distance_is_plain_numpys(tmp_path, name):
    arrays = _random(name, 3)
    np.savez(tmp_path / "w.npz", **arrays)
    net = read_lpips(tmp_path / "w.npz")
    x, y = _pictures()
    found, expected = net.of(x, y), _plain(arrays, name, x, y)
    assert net.name == name and found > 0.01
    assert abs(found - expected) < 1e-4 * expected  # float32 sums of some thousand products against float64
    assert net.of(x, x) == 0 and abs(net.of(y, x) - found) < 1e-6


def test_the_gradient_is_that_of_differences(file):
    """By the picture, and through a background by colour and alpha; in float64, so that the step can be small."""
    net = read_lpips(file)
    x, y = _pictures(32, 36)
    value, gradient = net.graded(x, y)
    assert value == pytest.approx(net.of(x, y), rel=1e-6) and gradient.shape == x.shape
    net.weights = {key: a.double() for key, a in net.weights.items()}
    first, second = (torch.from_numpy(a.astype(np.float64)).permute(2, 0, 1)[None] for a in (x, y))
    along = np.random.default_rng(0).normal(0, 1, x.shape)
    step = 1e-6 * torch.from_numpy(along).permute(2, 0, 1)[None]
    with torch.no_grad():
        slope = float((net(first + step, second) - net(first - step, second))[0]) / 2e-6
    assert abs(slope - (gradient * along).sum()) < 1e-3 * np.linalg.norm(gradient)  # of a float32 gradient

    rgba = np.concatenate([x * 0.5, np.full((32, 36, 1), 0.8, np.float32)], 2)
    truth = np.concatenate([y * 0.6, np.full((32, 36, 1), 0.9, np.float32)], 2)
    background = np.array([0.2, 0.5, 0.9], np.float32)
    _, by = perceptual(read_lpips(file).graded, rgba, truth, background)
    over = [a[..., :3] + (1 - a[..., 3:]) * background for a in (rgba, truth)]
    _, d = read_lpips(file).graded(*over)
    assert np.allclose(by[..., :3], d, atol=1e-7) and np.allclose(by[..., 3], -(d * background).sum(2), atol=1e-6)


def _spoilt(weights, path, **changes):
    save_file({k: v for k, v in {**weights, **changes}.items() if v is not None}, path)
    return path


def test_weights_that_do_not_fit_are_one_sentence(weights, tmp_path):
    path, bias = tmp_path / "w.safetensors", "net.slice3.6.bias"
    cases = [
        ({bias: None}, r"no 'net\.slice3\.6\.bias'"),
        ({"lin2.model.1.weight": None}, r"no 'lin2\.model\.1\.weight'"),
        ({bias: np.zeros(7, np.float32)}, r"shape \(7,\) where alex has numbers of shape \(384,\)"),
        ({bias: np.full(384, np.nan, np.float32)}, "not finite"),
        ({bias: np.zeros(384, np.int32)}, "has numbers"),
        ({"net.slice1.0.weight": np.zeros((64, 3, 7, 7), np.float32)}, "AlexNet or VGG16"),
    ]
    for change, words in cases:
        with pytest.raises(BadFile, match=words) as caught:
            read_lpips(_spoilt(weights, path, **change))
        assert "\n" not in str(caught.value)
    path.write_bytes(path.read_bytes()[:300])
    (tmp_path / "w.npz").write_bytes(b"PK\x03\x04 cut")
    (tmp_path / "w.pth").write_bytes(pickle.dumps({"a": 1}))
    for name, words in {
        "w.safetensors": "damaged",
        "w.npz": "damaged",
        "w.pth": "neither",
        "none.npz": "no such",
    }.items():
        with pytest.raises(BadFile, match=words):
            read_lpips(tmp_path / name)


def test_a_state_dict_without_dropout_is_read_too(weights, file, tmp_path):
    named = {name.replace("model.1", "model.0"): a for name, a in weights.items()}
    x, y = _pictures()
    assert read_lpips(_spoilt(named, tmp_path / "w.safetensors")).of(x, y) == read_lpips(file).of(x, y)


def test_pictures_are_compared_by_the_command(file, tmp_path):
    x, y = (np.round(a * 255).astype(np.uint8) for a in _pictures())
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for folder, picture in ((ours, x), (theirs, y)):
        folder.mkdir()
        for name in "ab":
            Image.fromarray(picture).save(folder / f"{name}.png")
    Image.fromarray(x).save(ours / "alone.png")
    run = CliRunner()
    line = ["measure", "images", str(ours), str(theirs), "--json"]
    found = json.loads(run.invoke(app, line).stdout)
    assert found["pictures"] == 2 and found["lpips"] is None and 0 < found["ssim"] < 1
    assert found["psnr"] == round(psnr(x / np.float32(255), y / np.float32(255)), 2)
    with_net = json.loads(run.invoke(app, [*line, "--lpips", str(file)]).stdout)
    wanted = read_lpips(file).of(x.astype(np.float32) / 255, y.astype(np.float32) / 255)
    assert with_net == {**found, "lpips": round(wanted, 4)}
    assert compare_images(ours / "a.png", ours / "b.png", file)["lpips"] == 0


def test_pictures_that_cannot_be_compared(file, tmp_path):
    small, large, text, empty = (tmp_path / n for n in ("s.png", "l.png", "t.png", "empty"))
    Image.new("RGB", (20, 20), "red").save(small)
    Image.new("RGBA", (40, 40), (0, 0, 0, 0)).save(large)
    text.write_text("no picture")
    empty.mkdir()
    for one, other, words in (
        (small, large, "20 x 20 pixels.*40 x 40"), (small, empty, "one of each"), (empty, empty, "same names"),
        (text, text, "no readable picture"), (tmp_path / "none.png", small, "no such"),
    ):  # fmt: skip
        with pytest.raises(BadInput, match=words):
            compare_images(one, other)
    with pytest.raises(BadInput, match="32 pixels or more"):
        compare_images(small, small, file)


def test_an_avatar_trains_with_it(file, tmp_path):
    """The distance of training pictures falls further with it in the loss than without; the file says which weights."""
    head, folder = load_head(), tmp_path / "capture"
    tiny_capture.write(folder, head, tiny_capture.spread_with_colour(head))
    capture, net, found = read_capture(folder, head), read_lpips(file), {}
    for graded in (None, net.graded):
        run = Training(capture, Recipe(count=200, degree=1, steps=80, seed=1), graded=graded)
        for _ in range(80):
            run.step()
        found[graded is not None] = np.mean([_distance(net, run, view) for view in capture.views["train"]])
    assert found[True] < 0.95 * found[False], found
    train(folder, tmp_path / "a.npz", head, Recipe(count=50, steps=4, check=4), lpips=file)
    assert read_avatar(tmp_path / "a.npz").meta["recipe"]["lpips"] == net.sha256 != ""


def _distance(net, run, view):
    picture = run.capture.picture(view)
    return net.of(over_grey(drawn(placed(run.avatar({}), run.capture, view), picture)), over_grey(picture.values))
