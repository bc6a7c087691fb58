"""batch.py from the outside, as a person runs it: a two-second clip with the real engine; bad shots; exit codes."""

import importlib.util
import json
import os
import subprocess
import sys
import time
import wave
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
BATCH = ROOT / "blender_addon" / "batch.py"
pytestmark = [
    pytest.mark.blender,
    pytest.mark.skipif(importlib.util.find_spec("bpy") is None, reason="needs the bpy module (pip install bpy==5.0.1)"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a voice of two seconds (bursts of a buzzing tone) and a configuration that names this engine."""
    folder = tmp_path_factory.mktemp("batch")
    t = np.arange(2 * 16000) / 16000
    buzz = sum(np.sin(2 * np.pi * 120 * k * t) / k for k in range(1, 20)) * (np.sin(2 * np.pi * 2 * t) > 0)
    with wave.open(str(folder / "voice.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes((6000 * buzz).astype("<i2").tobytes())
    config = {"kind": "soliloquy-config", "format": 1, "python": sys.executable, "root": str(ROOT), "version": "0.1.0"}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def run(folder, shot, *arguments, limit=240):
    """(exit code, stdout, stderr) of batch.py on a shot given as a dictionary."""
    path = folder / "shot.json"
    path.write_text(json.dumps(shot))
    env = {
        **os.environ, "SOLILOQUY_CONFIG": str(folder / "config.json"), "BLENDER_USER_RESOURCES": str(folder / "user"),
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    done = subprocess.run(
        ["timeout", "-s", "KILL", str(limit), sys.executable, str(BATCH), str(path), *arguments],
        cwd=folder, env=env, capture_output=True, text=True,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def shot(**changes):
    return {"kind": "shot", "format": 1, "voice": "voice.wav", "fps": 25, **changes}


@pytest.fixture(scope="module")
def finished(folder):
    """The outputs of one whole shot."""
    began = time.monotonic()
    code, out, err = run(
        folder,
        shot(
            fps=23.976,
            emotions=[{"at": 0, "emotion": "neutral"}, {"at": "50%", "emotion": "happy"}],
            valence=[[0, 0.0], ["100%", 0.5]],
            prompts=[{"text": "raise the brows", "start": "20%", "end": "60%", "strength": 0.5}],
            layers={"head": {"on": False}},
            dials={"mouth": 1.2},
            outputs={"blend": "a.blend", "alembic": "a.abc", "turntable": "a.mp4", "sheet": "a.png"},
            turntable={"size": [128, 128]},
            sheet={"moments": 2},
        ),
        "--out",
        str(folder / "out"),
    )
    assert code == 0, out + err
    print(f"\nbatch: {time.monotonic() - began:.1f} s\n{out}")
    return folder / "out"


def test_every_file_is_there(finished):
    names = {p.name for p in finished.iterdir()}
    assert {"a.blend", "a.abc", "a.mp4", "a.png", "takes"} <= names
    assert not [n for n in names if "part" in n or n.endswith(".blend1")]


def test_the_film_has_the_voice_and_the_rate(finished):
    import av

    with av.open(str(finished / "a.mp4")) as film:
        assert film.streams.audio and float(film.streams.video[0].average_rate) == pytest.approx(24000 / 1001)
        assert film.streams.video[0].width == 128 and sum(1 for _ in film.decode(video=0)) == 48


def test_the_take_obeyed_the_shot(finished):
    from engine.core.takefile import read_take

    [path] = (finished / "takes").glob("*.npz")
    take = read_take(path)
    happy = take.drive["emotion"][:, 5]
    assert happy[0] < 0.05 and happy[-1] > 0.95 and float(take.fps) == pytest.approx(23.976, abs=1e-3)
    assert np.abs(take.flame.pose[:, 3:6]).max() < 1e-6, "head motion was switched off"


def test_the_blend_plays_the_take_without_the_add_on(finished):
    """A plain Blender shows the take's weights, frame by frame."""
    from engine.core.names import ARKIT, EXTRA
    from engine.core.takefile import read_take

    code = (
        "import bpy, numpy, os, sys; bpy.ops.wm.open_mainfile(filepath=sys.argv[1]); s = bpy.context.scene\n"
        "k = next(o for o in s.objects if o.type == 'MESH').data.shape_keys.key_blocks; rows = []\n"
        "for f in range(s.frame_start, s.frame_end + 1):\n"
        "    s.frame_set(f); rows.append([k[n].value for n in sys.argv[3:]])\n"
        "numpy.save(sys.argv[2], rows); os._exit(0)"
    )
    out = finished / "weights.npy"
    subprocess.run(
        [
            "timeout",
            "-s",
            "KILL",
            "60",
            sys.executable,
            "-c",
            code,
            str(finished / "a.blend"),
            str(out),
            *ARKIT,
            *EXTRA,
        ],
        check=True,
    )
    take = read_take(next((finished / "takes").glob("*.npz")))
    assert np.abs(np.load(out) - np.concatenate([take.arkit, take.extra], 1)).max() < 1e-6


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"voice": "none.wav"}, "none.wav is not there"),
        ({"emotions": [{"at": 0, "emotion": "joy"}]}, "'joy' is not one of"),
        ({"voice": "config.json"}, "config.json"),
        ({"motion": "telepathy"}, "telepathy"),
        ({"head": "nobody"}, "nobody"),
        ({"prompts": [{"text": "buy a boat", "start": 0, "end": 1}]}, "names no facial action"),
        ({"prompts": [{"text": "smile", "start": 1, "end": 0.5}]}, "ends before it starts"),
    ],
)
def test_a_bad_shot_ends_with_one_sentence_and_code_1(folder, changes, words):
    code, out, err = run(folder, shot(**changes))
    said = [line for line in err.splitlines() if line.startswith("soliloquy: ")]
    assert code == 1 and len(said) == 1 and words in said[0], (code, out, err)
    assert "Traceback" not in err


def test_no_engine_is_one_sentence(folder, tmp_path):
    env = {**os.environ, "SOLILOQUY_CONFIG": str(tmp_path / "none.json"), "BLENDER_USER_RESOURCES": str(tmp_path)}
    (folder / "shot.json").write_text(json.dumps(shot()))
    done = subprocess.run(
        [sys.executable, str(BATCH), str(folder / "shot.json")], env=env, capture_output=True, text=True
    )
    assert done.returncode == 1 and "python install.py" in done.stderr and "Traceback" not in done.stderr


def test_usage():
    done = subprocess.run([sys.executable, str(BATCH)], capture_output=True, text=True)
    assert done.returncode == 2 and "shot" in done.stderr
