"""The command line on real files: what it writes agrees with the engine, and bad input is one line and exit code 1."""

import csv
import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from engine.core.names import ARKIT
from engine.core.progress import Reporter
from engine.core.takefile import read_take
from engine.head.library import load_head
from engine.head.replay import take_vertices
from engine.measure.meshes import mesh_errors, read_pc2
from engine.serve import jobs
from engine.studio.sample import make_sample

ROOT = Path(__file__).resolve().parents[2]


def soliloquy(*args, rc=0):
    """Run the command as a person does; (stdout, stderr)."""
    run = subprocess.run(
        [sys.executable, "-m", "engine", *map(str, args)], cwd=ROOT, capture_output=True, text=True, timeout=240
    )
    assert run.returncode == rc, run.stderr[-2000:]
    return run.stdout, run.stderr


@pytest.fixture(scope="module")
def voice(tmp_path_factory):
    """One second of the sample voice."""
    folder = tmp_path_factory.mktemp("voice")
    make_sample(folder / "long.wav")
    samples, rate = soundfile.read(folder / "long.wav")
    soundfile.write(folder / "voice.wav", samples[: int(1.2 * rate)], rate)
    return folder / "voice.wav"


@pytest.fixture(scope="module")
def take_file(voice):
    out = voice.with_name("take.npz")
    stdout, _ = soliloquy(
        "speak", voice, "--out", out, "--fps", "23.976", "--emotion", "happy", "--intensity", 0.7,
        "--prompt", "raise your eyebrows@0.2-0.9", "--seed", 4, "--json",
    )  # fmt: skip
    result = json.loads(stdout)
    assert result["fps"] == [24000, 1001] and result["frames"] == len(read_take(out))
    return out


def test_speak_writes_what_was_asked(take_file):
    take = read_take(take_file)
    assert take.meta["seed"] == 4 and take.meta["system"] == "direct" and len(take) == 29  # ceil(1.2 s x 23.976)
    assert take.drive["intensity"] == pytest.approx(0.7) and take.drive["emotion"].max() == 1.0
    smile, brow = (take.arkit[:, ARKIT.index(n)] for n in ("mouthSmileLeft", "browOuterUpLeft"))
    assert smile.max() > 0.3 and brow.max() > 0.3 and brow[0] < 0.05


def test_exports_agree_with_the_take(take_file, tmp_path):
    take, head = read_take(take_file), load_head()
    soliloquy("export", take_file, "--out", tmp_path / "w.csv")
    rows = list(csv.DictReader((tmp_path / "w.csv").read_text(encoding="utf-8").splitlines()))
    assert len(rows) == len(take) and float(rows[7]["jawOpen"]) == pytest.approx(take.arkit[7, 17], abs=1e-5)
    soliloquy("export", take_file, "--out", tmp_path / "m.pc2")
    points = take_vertices(take, head, np.arange(len(take)))
    assert np.array_equal(read_pc2(tmp_path / "m.pc2"), points)
    soliloquy("export", take_file, "--out", tmp_path / "m.obj", "--frame", 3)
    lines = (tmp_path / "m.obj").read_text().splitlines()
    vertex = np.array([line.split()[1:] for line in lines if line.startswith("v ")], float)
    assert np.abs(vertex - points[3]).max() < 1e-6 and sum(x.startswith("f ") for x in lines) == len(head.faces)
    out, _ = soliloquy("measure", "meshes", take_file, tmp_path / "m.pc2", "--json")
    assert json.loads(out)["mve_mm"] == 0.0 and json.loads(out)["frames"] == len(take)


def test_gaussians_of_a_frame_are_a_standard_ply(take_file, tmp_path):
    soliloquy("export", take_file, "--out", tmp_path / "g.ply", "--frame", 2)
    head = (tmp_path / "g.ply").read_bytes()[:2000].decode("ascii", "ignore")
    assert head.startswith("ply\nformat binary_little_endian 1.0") and "property float f_dc_0" in head


# How far two files of a frame may lie apart. A face evaluated alone is rounded otherwise than in a block (1e-8 m).
# .ply: float32 of metres, and of what a logarithm and a logit make of it. .spz: one step of each field
# (engine/avatar/spz.py); a rotation's largest part follows from the three others, which it moves by a step each.
STEPS = {
    "ply": {"means": 1e-6, "quats": 1e-5, "log_scales": 1e-5, "opacity": 1e-6, "sh0": 1e-6, "sh": 1e-6},
    "spz": {
        "means": 2.0**-20, "quats": 3 * 0.5**0.5 / 511, "log_scales": 1 / 16, "opacity": 1 / 255,
        "sh0": 1 / (0.15 * 255), "sh": 1 / 128,
    },
}  # fmt: skip


def apart_by_field(a, b):
    """The largest differences of two sets of Gaussians; a quaternion and its negative are one rotation."""
    same = np.sign((a.quats * b.quats).sum(1, keepdims=True))
    pairs = {
        "means": (a.means, b.means), "quats": (a.quats, same * b.quats), "opacity": (a.opacity, b.opacity),
        "log_scales": (np.log(a.scales), np.log(b.scales)), "sh0": (a.sh[:, 0], b.sh[:, 0]),
        "sh": (a.sh[:, 1:], b.sh[:, 1:]),
    }  # fmt: skip
    assert a.sh.shape == b.sh.shape
    return {name: float(np.abs(x - y).max(initial=0.0)) for name, (x, y) in pairs.items()}


def test_gaussians_of_a_take_are_a_sequence(take_file, tmp_path):
    from test_avatar_files import avatar_of

    from engine.avatar.files import read_ply, save_avatar
    from engine.avatar.spz import read_spz

    head, take = load_head(), read_take(take_file)
    avatar = dataclasses.replace(avatar_of([3, 500]), head=head.name, topology_sha256=head.topology_sha256)
    save_avatar(tmp_path / "a.npz", avatar)
    for kind, read in (("ply", read_ply), ("spz", read_spz)):
        soliloquy("export", take_file, "--out", tmp_path / f"g.{kind}", "--avatar", tmp_path / "a.npz")
        files = sorted(tmp_path.glob(f"g_*.{kind}"))
        assert len(files) == len(take) and files[0].name == f"g_0001.{kind}"
        soliloquy("export", take_file, "--out", tmp_path / f"one.{kind}", "--avatar", tmp_path / "a.npz", "--frame", 9)
        one, ninth, first = (read(path) for path in (tmp_path / f"one.{kind}", files[9], files[0]))
        assert len(one) == len(ninth) == 2
        apart = apart_by_field(one, ninth)
        assert all(apart[name] <= 1.01 * step for name, step in STEPS[kind].items()), (kind, apart)
        moved = apart_by_field(first, ninth)
        assert any(moved[name] > 1.01 * STEPS[kind][name] for name in ("means", "quats")), "the face moves"
    soliloquy("avatar", "export", tmp_path / "n.spz", "--avatar", tmp_path / "a.npz")
    assert len(read_spz(tmp_path / "n.spz")) == 2


def test_a_film_and_a_sheet(take_file, voice, tmp_path):
    import av
    from PIL import Image

    soliloquy(
        "render", take_file, "--out", tmp_path / "t.mp4", "--size", "96x96", "--camera", "turntable", "--audio", voice
    )
    with av.open(str(tmp_path / "t.mp4")) as film:
        assert film.streams.video[0].average_rate == read_take(take_file).fps
        frames = [f.to_ndarray(format="rgb24") for f in film.decode(video=0)]
    assert len(frames) == len(read_take(take_file)) and frames[0].shape == (96, 96, 3)
    assert np.abs(frames[0].astype(int) - frames[14]).mean() > 2  # it turns
    soliloquy("sheet", take_file, "--out", tmp_path / "s.png", "--moments", 2)
    picture = np.asarray(Image.open(tmp_path / "s.png").convert("RGB"), float)
    assert picture.std() > 10


def test_text_to_action_units():
    out, _ = soliloquy("text2au", "a big smile", "the cat sat on the mat", "--json")
    smile, cat = json.loads(out)
    assert smile["aus"] == ["AU06", "AU12", "AU25"] and smile["recognised"] and not cat["recognised"]


@pytest.mark.parametrize(
    "args, says",
    [
        (("speak", "{tmp}/no.wav", "--out", "{tmp}/x.npz"), "no.wav"),
        (("speak", "{tmp}/text.wav", "--out", "{tmp}/x.npz"), "text.wav"),
        (("speak", "{voice}", "--out", "{tmp}/x.npz", "--fps", "fast"), "frame rate"),
        (("speak", "{voice}", "--out", "{tmp}/x.npz", "--emotion", "hangry"), "hangry"),
        (("speak", "{voice}", "--out", "{tmp}/x.npz", "--motion", "magic"), "magic"),
        (("speak", "{voice}", "--out", "{tmp}/x.npz", "--controls", "{tmp}/text.wav"), "text.wav"),
        (("speak", "{voice}"), "--out"),
        (("speak", "{voice}", "--out", "{tmp}"), "file name"),
        (("speak", "{voice}", "--out", "{voice}/x.npz"), "cannot be written"),
        (("speak", "{voice}", "--out", "{tmp}/x.npz", "--seed", "-1"), "seed"),
        (("speak", "{voice}", "--out", "{tmp}/x.npz", "--controls", "{tmp}/text.wav", "--intensity", "0.1"), "both"),
        (("render", "{tmp}/none.npz", "--out", "{tmp}/x.mov"), "x.mov"),
        (("export", "{tmp}/text.wav", "--out", "{tmp}/x.csv"), "text.wav"),
        (("render", "{tmp}/none.npz", "--out", "{tmp}/x.mp4"), "none.npz"),
        (("head", "info", "nobody"), "nobody"),
        (("measure", "lipsync", "{tmp}/text.wav"), "text.wav"),
    ],
)
def test_bad_input_is_one_line(args, says, voice, tmp_path):
    (tmp_path / "text.wav").write_text("this is no sound")
    filled = [a.format(tmp=tmp_path, voice=voice) for a in args]
    _, err = soliloquy(*filled, rc=1)
    said = [line for line in err.splitlines() if line.startswith("soliloquy: ")]
    assert len(said) == 1 and says in said[0] and "Traceback" not in err
    assert not list(tmp_path.glob("x.*")) and not list(tmp_path.glob(".*"))


def test_mesh_errors_in_closed_form():
    head = load_head()
    truth = np.repeat(head.template[None], 3, 0)
    moved = truth + np.array([0.001, 0, 0], np.float32)
    errors = mesh_errors(moved, truth, head)
    assert errors["mve_mm"] == errors["lve_mm"] == errors["uve_mm"] == pytest.approx(1.0, abs=1e-3)
    one = truth.copy()
    lip = int(np.argmax(head.masks["lips"]))
    one[1, lip, 1] += 0.003
    errors = mesh_errors(one, truth, head)
    assert errors["lve_mm"] == pytest.approx(1.0, abs=1e-3)  # 3 mm on one of three frames
    assert errors["lve_mean_mm"] < 0.02


class Watch(Reporter):
    """Remembers the longest time between two looks at whether someone cancelled, and where it was."""

    def __init__(self):
        super().__init__()
        self.last, self.gap, self.where, self.stage = time.monotonic(), 0.0, "", ""

    def check(self):
        now = time.monotonic()
        if now - self.last > self.gap:
            self.gap, self.where = now - self.last, self.stage
        self.last = now

    def step(self, stage, done, total):
        self.stage = f"{stage} {done}/{total}"
        super().step(stage, done, total)


@pytest.mark.alone
def test_a_long_voice_can_be_stopped_at_any_time(tmp_path):
    """Five minutes of voice: between two looks for a cancel lie less than 200 ms of work (x 3 on a busy machine)."""
    import torch

    torch.set_num_threads(1)
    make_sample(tmp_path / "v.wav")
    samples, rate = soundfile.read(tmp_path / "v.wav", dtype="float32")
    soundfile.write(tmp_path / "long.wav", np.tile(samples, int(300 * rate / len(samples)) + 1), rate)
    jobs.speak({"audio": str(tmp_path / "v.wav"), "take": str(tmp_path / "warm.npz")}, Watch())  # imports, kernels
    watch = Watch()
    jobs.speak({"audio": str(tmp_path / "long.wav"), "take": str(tmp_path / "t.npz"), "fps": "30"}, watch)
    assert watch.gap < 0.6, watch.where


def test_what_the_reader_noticed_reaches_the_result(tmp_path):
    samples = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    samples[4000:4100] = np.nan
    soundfile.write(tmp_path / "nan.wav", samples, 16000, subtype="FLOAT")
    result = jobs.speak({"audio": str(tmp_path / "nan.wav"), "take": str(tmp_path / "t.npz")})
    assert any("not numbers" in sentence for sentence in result["warnings"])
