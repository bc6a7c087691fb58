"""Controls JSON as the add-on writes it is what the engine reads; shot files; arrays of an answer."""

import json
from pathlib import Path

import numpy as np
import pytest

from blender_addon.convert import shots
from blender_addon.convert.arrays import BadArray, open_array, open_arrays
from blender_addon.convert.controls import (
    INLINE_BYTES,
    Channel,
    PromptStrip,
    Sampled,
    encoded,
    fits_inline,
    to_controls,
)
from engine.controls.files import parse_controls
from engine.core.clock import parse_fps

DEMO = Path(__file__).resolve().parents[2] / "examples" / "demo_shot.json"


def curve(values, seconds=None):
    return Channel(np.arange(len(values)) / 25.0 if seconds is None else np.asarray(seconds), np.asarray(values, float))


def test_the_engine_reads_what_the_add_on_writes():
    sampled = Sampled(
        channels={
            "happy": curve([0, 0.5, 1, 1, 1.2]), "sad": curve([0, 0, 0]), "intensity": curve([0.8]),
            "valence": curve([-0.5, 0.5]), "AU12_L": curve([0, -0.3]),
        },
        gaze={"yaw": curve([0.2]), "pitch": curve([0.0]), "influence": curve([1.0])},
        layers={"blink": {"on": False, "strength": 0.5, "seed": 3}},
        dials={"articulation": curve([1.2]), "jaw": curve([1.0]), "mouth_lead": curve([-5, 0])},
        blinks=((0.4, 1.0),),
        prompts=(PromptStrip("smile", 0.4, 1.4, activation={"AU12_L": 0.8}), PromptStrip("frown", 2.0, 3.0)),
        seed=4,
    )  # fmt: skip
    read = parse_controls(json.loads(encoded(to_controls(sampled))))
    assert set(read.emotions) == {"happy"} and read.emotions["happy"][-1] == (0.16, 1.0), "overshoot is cut"
    assert read.intensity == ((0.0, 0.8),) and read.valence == ((0.0, -0.5), (0.04, 0.5))
    assert read.au == {"AU12_L": ((0.0, 0.0), (0.04, -0.3))} and read.arousal == ((0.0, 0.0),)
    assert not read.layers["blink"].on and read.layers["head"].on and read.layers["blink"].seed == 3
    assert read.dials == {"articulation": ((0.0, 1.2),), "mouth_lead": ((0.0, -4.0), (0.04, 0.0))}
    assert read.blinks == ((0.4, 1.0),) and parse_controls(to_controls(Sampled())).blinks is None
    assert read.seed == 4 and read.gaze["yaw"] == ((0.0, 0.2),)
    assert [p.text for p in read.prompts] == ["smile", "frown"]
    assert read.prompts[0].activation == {"AU12_L": 0.8} and read.prompts[1].activation is None
    assert parse_controls(to_controls(Sampled())).emotions == {}


def test_large_controls_are_told_apart():
    rng = np.random.default_rng(0)
    small = to_controls(Sampled(channels={"happy": curve([0, 1])}))
    large = to_controls(Sampled(channels={e: curve(rng.random(900)) for e in ("happy", "sad", "angry", "fear")}))
    assert fits_inline(small) and not fits_inline(large) and len(encoded(large)) > INLINE_BYTES


def shot(**changes):
    return {"kind": "shot", "format": 1, "voice": DEMO.name, **changes}


def test_the_demo_shot_is_read(tmp_path):
    voice = tmp_path / "voice.wav"
    voice.touch()
    read = shots.read(DEMO, voice=str(voice), out=str(tmp_path / "out"))
    assert {k.emotion for k in read.emotions} == {"neutral", "happy", "surprised", "sad", "angry"}
    assert read.outputs["blend"] == tmp_path / "out" / "demo.blend" and len(read.prompts) == 2
    assert read.emotions[1].at.seconds(10.0) == pytest.approx(1.8)


@pytest.mark.parametrize("fps", [25, 23.976, "30000/1001", 29.97, 60, 12.5])
def test_rates_are_read_as_the_engine_reads_them(fps):
    assert shots.rate(fps) == parse_fps(fps)
    whole, base = shots.blender_rate(shots.rate(fps))
    assert whole / base == pytest.approx(float(shots.rate(fps)), abs=1e-12)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"kind": "controls"}, "is no shot"),
        ({"format": 2}, "newer"),
        ({"voice": "none.wav"}, "none.wav is not there"),
        ({"voice": None}, "'voice'"),
        ({"fps": "fast"}, "fps: 'fast'"),
        ({"fps": 1000}, "outside 1 to 240"),
        ({"emotion": []}, "unknown entry 'emotion'"),
        ({"emotions": [{"at": 0, "emotion": "joy"}]}, r"emotions\[0\].emotion: 'joy' is not one of neutral"),
        ({"emotions": [{"at": "soon", "emotion": "happy"}]}, "'soon' is no time"),
        ({"emotions": [{"at": "120%", "emotion": "happy"}]}, "outside 0 to 100"),
        ({"emotions": [{"emotion": "happy"}]}, "lacks 'at'"),
        ({"prompts": [{"text": " ", "start": 0, "end": 1}]}, "must say what the face should do"),
        ({"intensity": 2}, "intensity: 2 is outside 0 to 1"),
        ({"valence": [[0]]}, "valence must be"),
        ({"au": {"AU99_L": 1}}, "unknown entry 'AU99_L'"),
        ({"layers": {"blink": {"on": 1}}}, "layers.blink.on must be true or false"),
        ({"dials": {"mouth": float("nan")}}, "not a number"),
        ({"outputs": {"blend": "demo.obj"}}, "ends in .blend"),
        ({"keys": "many"}, "keys: 'many' is not one of"),
        ({"turntable": {"size": [10, 10]}}, "outside 64"),
        ({"start_frame": 1.5}, "whole number"),
        ({"transcript": "none.txt"}, "none.txt cannot be read"),
        ({"appearance": "none.safetensors"}, "none.safetensors is not there"),
        ({"language": 5}, "'language' must be"),
    ],
)
def test_a_bad_shot_is_one_clear_sentence(changes, words):
    with pytest.raises(shots.BadShot, match=words) as caught:
        shots.parse(shot(**changes), DEMO.parent)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[]", ""])
def test_a_file_that_is_no_shot(tmp_path, text):
    path = tmp_path / "shot.json"
    path.write_text(text)
    with pytest.raises(shots.BadShot, match="shot"):
        shots.read(path)
    with pytest.raises(shots.BadShot, match="not there"):
        shots.read(tmp_path / "none.json")


def put(folder, array, name="a.npy"):
    np.save(folder / name, array)
    return {"path": str(folder / name), "shape": list(array.shape), "dtype": array.dtype.name}


def test_arrays_are_mapped_and_checked(tmp_path):
    spec = put(tmp_path, np.arange(6, dtype=np.float32).reshape(2, 3))
    array = open_array(spec, tmp_path)
    assert isinstance(array, np.memmap) and array.sum() == 15
    with pytest.raises((ValueError, OSError)):
        array[0, 0] = 1
    assert open_array({**spec, "path": "a.npy"}, tmp_path).shape == (2, 3)
    assert open_array(put(tmp_path, np.zeros((0, 3), np.float32), "e.npy"), tmp_path).shape == (0, 3)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"path": "../outside.npy"}, "outside the session"),
        ({"path": "/etc/hostname"}, "outside the session"),
        ({"path": "none.npy"}, "cannot be read"),
        ({"path": "pickled.npy"}, "cannot be read"),
        ({"path": "noise.npy"}, "cannot be read"),
        ({"shape": [3, 2]}, "announced"),
        ({"dtype": "float64"}, "announced"),
        ({"dtype": "object"}, "not a plain number"),
        ({"shape": None}, "describes"),
    ],
)
def test_what_cannot_be_trusted_is_refused(tmp_path, change, words):
    session = tmp_path / "session"
    session.mkdir()
    spec = put(session, np.zeros((2, 3), np.float32))
    put(tmp_path, np.zeros((2, 3), np.float32), "outside.npy")
    np.save(session / "pickled.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (session / "noise.npy").write_bytes(b"no array")
    with pytest.raises(BadArray, match=words):
        open_array({**spec, **change}, session)


def test_a_link_out_of_the_session_is_refused(tmp_path):
    session = tmp_path / "session"
    session.mkdir()
    spec = put(tmp_path, np.zeros((2, 3), np.float32))
    (session / "link.npy").symlink_to(tmp_path / "a.npy")
    with pytest.raises(BadArray, match="outside"):
        open_array({**spec, "path": "link.npy"}, session)


def test_sizes_must_agree(tmp_path):
    specs = {
        "template": put(tmp_path, np.zeros((4, 3), np.float32), "t.npy"),
        "shapes": put(tmp_path, np.zeros((2, 5, 3), np.float32), "s.npy"),
        "nan": put(tmp_path, np.full((4, 3), np.nan, np.float32), "n.npy"),
    }
    assert open_arrays(specs, tmp_path, {"template": ("v", 3)})["template"].shape == (4, 3)
    for want, words in [
        ({"template": ("v", 3), "shapes": ("k", "v", 3)}, "v = 4"),
        ({"template": ("v",)}, "must be"),
        ({"uv": ("w", 2)}, "has no uv"),
        ({"nan": ("v", 3)}, "not finite"),
    ]:
        with pytest.raises(BadArray, match=words):
            open_arrays(specs, tmp_path, want)
