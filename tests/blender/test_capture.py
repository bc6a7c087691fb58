"""Captures end to end with the bpy module: a small head, 64 x 64, two views, two poses; resuming; ranges; bad plans."""

import importlib.util
import json
import pickle
import subprocess

import in_blender
import numpy as np
import pytest
import synthetic_head
from PIL import Image

from engine.core.errors import BadInput, Cancelled
from engine.core.names import ARKIT, EXTRA
from engine.core.progress import Reporter
from engine.studio import capture
from engine.studio.capture_plan import file_name, plan
from engine.studio.poses import make

pytestmark = [
    pytest.mark.blender,
    pytest.mark.skipif(importlib.util.find_spec("bpy") is None, reason="needs the bpy module (pip install bpy==5.0.1)"),
]
POSES = [make("neutral", {}), make("jaw", {"shapes": {"jawOpen": 1.0}})]


@pytest.fixture(scope="module")
def results():
    return in_blender.run("checks_capture")


@pytest.mark.parametrize("check", in_blender.names("checks_capture"))
def test_capture_in_blender(results, check):
    assert not results[check], results[check]


def _prepared(folder):
    info, arrays = synthetic_head.answer(ARKIT, EXTRA)
    info["materials"] = [{**m, "alpha": 1.0} for m in info["materials"]]  # a clear face has no silhouette and no depth
    made = plan(POSES, [], arrays["template"], 64, views=2, each=1, samples=2, tests=0)
    capture.prepare(folder, made, 64, {**info, "arrays": arrays}, subsurface=False)
    return made, arrays


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished capture, made in two ranges."""
    folder = tmp_path_factory.mktemp("capture") / "set"
    made, arrays = _prepared(folder)
    first = capture.run(folder, "1-2", threads=1)
    said = []
    second = capture.run(folder, threads=1, say=said.append)
    return folder, made, arrays, first, second


def test_ranges_add_up_and_nothing_is_rendered_twice(done):
    folder, made, _, first, second = done
    assert first["made"] == 2 and second["made"] == len(made.shots) - 2
    assert second["pictures"] == second["planned"] == len(made.shots)
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")}
    assert capture.run(folder, threads=1)["made"] == 0
    assert times == {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")}
    assert not list(folder.rglob("*.part*")) and not list(folder.glob(".passes*"))


def test_pictures_meshes_and_cameras_agree(done):
    """Each vertex of the written mesh, through the written camera, lies in the picture where the written depth says."""
    folder, made, arrays, *_ = done
    listed = json.loads((folder / "transforms_train.json").read_text())
    base = np.load(folder / "meshes" / "canonical.npz")["vertices"]
    assert np.abs(base - arrays["template"]).max() < 1e-5
    for frame in listed["frames"]:
        view = np.linalg.inv(np.array(frame["transform_matrix"]) * [1, -1, -1, 1])
        points = base + np.load(folder / frame["mesh_path"])["offsets"].astype(np.float32)
        local = points @ view[:3, :3].T + view[:3, 3]
        pixels = local[:, :2] / local[:, 2:] * frame["fl_x"] + [frame["cx"], frame["cy"]]
        with Image.open(folder / frame["file_path"]) as image:
            rgba = np.asarray(image)
        with Image.open(folder / frame["fg_mask_path"]) as image:
            assert np.array_equal(np.asarray(image), rgba[..., 3])
        assert rgba.shape == (64, 64, 4) and rgba[..., 3].max() == 255
        seen = np.argwhere(rgba[..., 3] > 127)[:, ::-1] + 0.5
        # The picture's silhouette is the mesh's; spikes of the noise-shaped pose end thinner than a pixel.
        slack = 1.2 if frame["timestep_index"] == 0 else 4.0
        assert np.abs(seen.min(0) - pixels.min(0)).max() < slack and np.abs(seen.max(0) - pixels.max(0)).max() < slack
        inside = ((pixels > 1) & (pixels < 63)).all(1)
        x, y = pixels[inside].astype(int).T
        depth = np.load(folder / frame["geometry_path"])["depth"][y, x] * 1e-4
        hit, solid = depth > 0, rgba[y, x, 3] > 250
        assert hit[solid].mean() > 0.95 and solid.sum() > 40
        # The camera sees the vertex itself, or another fold of the sheet in its place.
        assert (np.abs(depth - local[inside, 2])[hit] < 0.008).mean() > 0.5
    weights = np.load(folder / "flame_param" / "00001.npz")
    assert dict(zip(weights["expr_names"], weights["expr"][0], strict=True))["jawOpen"] == 1.0
    assert {s.split for s in made.shots} == {"train", "val"} and (folder / "transforms_val.json").is_file()
    assert file_name(made.shots[0]) == "00000_00" or made.shots[0].view


class _StopAfterOne(Reporter):
    """Asks to stop once a picture is there."""

    def __init__(self):
        super().__init__(lambda *_: None, lambda: self.seen)
        self.seen = False

    def step(self, stage, done, total):
        self.seen = True
        super().step(stage, done, total)


def test_a_cancel_ends_blender_and_keeps_what_is_done(tmp_path):
    folder = tmp_path / "set"
    made, _ = _prepared(folder)
    with pytest.raises(Cancelled):
        capture.run(folder, threads=1, report=_StopAfterOne())
    running = subprocess.run(["pgrep", "-f", str(folder)], capture_output=True, text=True).stdout.split()
    assert not running and not list(folder.glob(".passes*")), "Blender has ended and left nothing behind"
    count = len(list((folder / "images").glob("*.png")))
    assert 1 <= count < len(made.shots)
    assert capture.index(folder)["pictures"] == count


def test_bad_plans_are_one_sentence(tmp_path):
    folder = tmp_path / "set"
    _prepared(folder)
    with pytest.raises(BadInput, match="outside the plan"):
        capture.run(folder, "5-900")
    with pytest.raises(BadInput, match="no range"):
        capture.run(folder, "five")
    (folder / "stage" / "template.npy").unlink()
    with pytest.raises(BadInput, match=r"template\.npy"):
        capture.run(folder)
    (folder / "capture.json").write_text("{}")
    with pytest.raises(BadInput, match="no plan"):
        capture.run(folder)
    assert not (folder / "images").exists() or not list((folder / "images").iterdir())


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    spec = importlib.util.spec_from_file_location("capture_program", capture.SCRIPT)
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    program._write_npz(tmp_path / "a.npz", {"x": np.arange(3)})
    before = (tmp_path / "a.npz").read_bytes()
    with pytest.raises((AttributeError, TypeError, pickle.PicklingError)):
        program._write_npz(tmp_path / "a.npz", {"x": np.array([lambda: 0], object)})  # fails in the middle of the file
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"] and (tmp_path / "a.npz").read_bytes() == before
