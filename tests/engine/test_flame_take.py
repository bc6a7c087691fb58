"""Takes on an imported FLAME head: FLAME parameters are the truth, lips meet, and flame_param.npz goes out and in."""

import dataclasses
import json
import sys

import flame_like
import numpy as np
import pytest
from test_motion import CLOSURES, QUIET, sound, voice

from engine.cli import app, main
from engine.core.errors import BadFile, BadInput
from engine.core.names import ARKIT_INDEX
from engine.core.takefile import read_take, write_take
from engine.head.flame.params import fit_weights, read_params, write_params
from engine.head.library import load_head
from engine.head.lips import lip_gaps
from engine.head.replay import check_topology, take_vertices
from engine.motion.perform import perform


@pytest.fixture(scope="module")
def head():
    return load_head(flame_like.prepared()[2])


@pytest.fixture(scope="module")
def take(head):
    return perform(sound(), QUIET, fps=60, head=head, speech=voice())


def test_flame_parameters_are_the_truth(head, take):
    flame = take.flame
    assert take.authority == "flame" and flame.version == "2023-open" and take.meta["head"] == "flame-like"
    assert flame.expression.shape == (len(take), len(head.expression_names))
    assert flame.pose[:, 6].max() > 0.05 and np.abs(flame.expression[:, :100]).max() > 0.3
    assert 0 < take.residual_mm["arkit"] < 5
    # At rest both forms agree; the largest distance is the jaw's turn against a straight line.
    points = take_vertices(take, head, np.arange(3))
    assert points.dtype == np.float32 and np.isfinite(points).all()


def test_lips_meet_in_every_closure_and_part_between(head, take):
    points = take_vertices(take, head, np.arange(len(take)))
    gaps = lip_gaps(head, points)
    rest = max(0.0, lip_gaps(head, head.template[None].astype(float)).gap[0])
    for start, end in CLOSURES:
        near = (take.times > start - 0.02) & (take.times < end + 0.02)
        assert gaps.gap[near].min() < rest + 0.0006, start
    away = np.ones(len(take), bool)
    for start, end in CLOSURES:
        away &= (take.times < start - 0.12) | (take.times > end + 0.12)
    assert (gaps.gap[away] < 0.0012).mean() < 0.05, "lips must not stay shut"
    assert gaps.overlap.max() < 0.004


def test_blinks_reach_the_eyelids(head):
    from engine.core.control import Controls

    made = perform(sound(6.0), Controls(seed=2), fps=25, head=head, speech=voice(6.0))
    column = head.expression_names.index("eyelid_left")
    assert made.flame.eyelids[:, 0].max() > 0.9
    assert np.array_equal(np.clip(made.flame.expression[:, column], 0, 1), made.flame.eyelids[:, 0])
    assert np.abs(made.flame.pose[:, 9:12]).max() > 0.01, "the eyes look about"


def test_the_take_file_keeps_it(head, take, tmp_path):
    write_take(tmp_path / "t.npz", take)
    back = read_take(tmp_path / "t.npz")
    assert np.array_equal(take_vertices(back, head, np.arange(4)), take_vertices(take, head, np.arange(4)))


def test_another_version_is_refused(head, take):
    """The meshes are the same, the numbers mean something else."""
    other = dataclasses.replace(head, flame_version="2020", name="older")
    assert other.topology_sha256 == head.topology_sha256
    with pytest.raises(BadInput, match=r"FLAME 2023-open, the head 'older' is FLAME 2020"):
        check_topology(take, other)
    with pytest.raises(BadInput, match="FLAME 2023-open"):
        take_vertices(take, other, np.arange(2))
    check_topology(take, head)


def test_translation_moves_the_head(head, take):
    move = np.tile(np.float32([0.1, 0.0, -0.2]), (len(take), 1))
    moved = dataclasses.replace(take, flame=dataclasses.replace(take.flame, translation=move))
    rows = np.arange(2)
    apart = take_vertices(moved, head, rows) - take_vertices(take, head, rows)
    assert np.abs(apart - [0.1, 0, -0.2]).max() < 1e-6


# flame_param.npz


@pytest.fixture(scope="module")
def params(head, take, tmp_path_factory):
    path = tmp_path_factory.mktemp("params") / "flame_param.npz"
    return path, write_params(path, take, head)


def test_parameters_go_out_as_vhap_writes_them(head, take, params):
    path, error = params
    with np.load(path) as data:
        shapes = {name: (data[name].shape, data[name].dtype.str) for name in data.files}
        jaw = data["jaw_pose"]
    t = len(take)
    wanted = {"shape": (300,), "expr": (t, 100), "rotation": (t, 3), "neck_pose": (t, 3), "jaw_pose": (t, 3),
              "eyes_pose": (t, 6), "translation": (t, 3), "static_offset": (1, 5023, 3)}  # fmt: skip
    assert all(shapes[name] == (shape, "<f4") for name, shape in wanted.items())
    assert np.array_equal(jaw, take.flame.pose[:, 6:9])
    assert 0 < error < 8, "our own lip columns are left out, and that is said"


def test_parameters_come_back(head, take, params):
    back = read_params(params[0], head)
    assert back.authority == "flame" and back.flame.version == "2023-open" and back.fps == take.fps
    assert np.array_equal(back.flame.pose, take.flame.pose)
    assert np.array_equal(back.flame.expression[:, :100], take.flame.expression[:, :100])
    rows = np.arange(0, len(take), 29)
    apart = np.linalg.norm(take_vertices(back, head, rows) - take_vertices(take, head, rows), axis=2)[:, :5023]
    assert 1000 * apart.max() <= params[1] + 0.3
    # What other characters get: weights fitted to the parameters.
    jaw = ARKIT_INDEX["jawOpen"]
    assert np.corrcoef(back.arkit[:, jaw], take.arkit[:, jaw])[0, 1] > 0.9
    assert back.arkit.min() >= 0 and back.arkit.max() <= 1 and back.residual_mm["arkit"] > 0


def test_fitted_weights_find_known_ones(head):
    rng = np.random.default_rng(0)
    weights = np.zeros((4, len(head.shape_names)))
    for row in weights:
        row[[head.shape_index[n] for n in ("mouthSmileLeft", "browInnerUp", "cheekPuff")]] = rng.random(3)
    arkit, _, _ = fit_weights(head, (weights @ head.shape_expression).astype(np.float32), np.zeros((4, 3)))
    for name in ("mouthSmileLeft", "browInnerUp", "cheekPuff"):
        assert np.abs(arkit[:, ARKIT_INDEX[name]] - weights[:, head.shape_index[name]]).max() < 0.12, name


def rewritten(params, tmp_path, **changed):
    with np.load(params[0]) as data:
        arrays = {name: data[name] for name in data.files} | changed
    path = tmp_path / "changed.npz"
    np.savez(path, **{name: a for name, a in arrays.items() if a is not None})
    return path


def test_parameters_of_another_or_unknown_version_are_refused(head, params, tmp_path):
    unknown = rewritten(params, tmp_path, flame_version=None)
    with pytest.raises(BadInput, match="add --version"):
        read_params(unknown, head)
    assert len(read_params(unknown, head, "2023-open"))
    with pytest.raises(BadInput, match="of FLAME 2020, not of 2023-open"):
        read_params(unknown, head, "2020")
    with pytest.raises(BadInput, match="of FLAME 2020"):
        read_params(rewritten(params, tmp_path, flame_version=np.array("2020")), head)
    with pytest.raises(BadInput, match="no imported FLAME head"):
        read_params(params[0], load_head())


@pytest.mark.parametrize(
    "changed, says",
    [
        ({"expr": None}, "no frames in 'expr'"),
        ({"jaw_pose": np.zeros((7, 3), np.float32)}, "'jaw_pose' must be"),
        ({"eyes_pose": np.zeros((240, 3), np.float32)}, "'eyes_pose' must be"),
        ({"expr": np.full((240, 100), np.nan, np.float32)}, "not finite"),
        ({"expr": np.zeros((240, 140), np.float32)}, "140 expression"),
    ],
)
def test_damaged_parameters_are_refused(head, params, tmp_path, changed, says):
    with pytest.raises(BadFile, match=says):
        read_params(rewritten(params, tmp_path, **changed), head)


def test_a_truncated_file_is_refused(head, params, tmp_path):
    path = tmp_path / "cut.npz"
    path.write_bytes(params[0].read_bytes()[:5000])
    with pytest.raises(BadFile, match="no readable"):
        read_params(path, head)


def test_a_take_of_our_own_head_is_no_flame(tmp_path):
    ours = load_head()
    made = perform(sound(1.0), QUIET, fps=25, head=ours, speech=voice(1.0, ()))
    with pytest.raises(BadInput, match="imported FLAME head"):
        write_params(tmp_path / "x.npz", made, ours)


# Commands


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["soliloquy", *map(str, arguments)])
    try:
        main()
        code = 0
    except SystemExit as leave:
        code = leave.code
    text = capsys.readouterr()
    return code, text.out, text.err


def test_commands(monkeypatch, capsys, params, head, take, tmp_path):
    assert app is not None
    file = flame_like.prepared()[2]
    code, out, _ = run(monkeypatch, capsys, "head", "params", params[0], "--head", file, "--out", tmp_path / "t.npz",
                       "--json")  # fmt: skip
    assert code == 0 and json.loads(out)["version"] == "2023-open"
    code, out, _ = run(monkeypatch, capsys, "export", tmp_path / "t.npz", "--head", file, "--out", tmp_path / "f.npz")
    assert code == 0 and "FLAME 2023-open" in out
    code, _, err = run(monkeypatch, capsys, "export", tmp_path / "t.npz", "--out", tmp_path / "f.npz")
    assert code == 1 and "another mesh" in err
    bad = tmp_path / "generic_model.pkl"
    bad.write_bytes(b"cos\nsystem\n(S'echo ran > " + str(tmp_path / "ran").encode() + b"'\ntR.")
    code, _, err = run(monkeypatch, capsys, "head", "import", bad, "--out", tmp_path / "h.npz")
    assert code == 1 and "os.system" in err and len(err.strip().splitlines()) == 1
    assert not (tmp_path / "ran").exists() and not (tmp_path / "h.npz").exists()


def test_an_imported_head_answers_to_its_name(monkeypatch, capsys, tmp_path):
    """The whole import by the command, into the user's own folder."""
    model = flame_like.prepared()[0]
    default = load_head()  # built in the usual cache before the user's folder changes
    from engine.head import library

    cached = library._built_default()
    monkeypatch.setenv("SOLILOQUY_HOME", str(tmp_path))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / cached.name).write_bytes(cached.read_bytes())
    code, out, _ = run(monkeypatch, capsys, "head", "import", model, "--name", "mine", "--json")
    result = json.loads(out)
    assert code == 0 and result["flame_version"] == "2023-open" and result["arkit"] == 52
    assert result["residual_mm"]["mouthSmileLeft"]["mean"] < 0.3
    mine = load_head("mine")
    assert mine.is_flame and len(mine.template) > 5023 and default.name == "default"


def test_jobs_answer_with_what_a_rig_plays(head, take):
    from engine.serve.jobs import JOBS
    from engine.serve.takes import take_arrays

    info = JOBS["head"]({"head": str(flame_like.prepared()[2])})
    v = len(head.template)
    assert info["flame_version"] == "2023-open" and info["shape_names"] == list(head.expression_names)
    assert info["arrays"]["shapes"].shape == (len(head.expression_names), v, 3)
    assert info["arrays"]["posedirs"].shape == (36, v, 3)
    ours = JOBS["head"]({"head": "default"})
    assert "posedirs" not in ours["arrays"] and ours["shape_names"][0] == "eyeBlinkLeft"
    arrays = take_arrays(head, take)
    assert arrays["weights"].shape == take.flame.expression.shape and arrays["shifts"].shape == (len(take), 15)
    assert np.array_equal(arrays["pose"], take.flame.pose), "the jaw is a bone here"
