"""What every trained motion system that ships must do, whatever its network: one test for all of them."""

import dataclasses
import hashlib
import json

import flame_like
import numpy as np
import pytest
import torch
from fresh_voice import fresh_voice
from test_motion import CLOSURES, QUIET, gaps_mm, sound
from test_motion_nets import heard

from engine.core.errors import BadFile
from engine.core.names import ARKIT_INDEX, EMOTIONS
from engine.core.sound import Audio
from engine.head.library import load_head
from engine.head.lips import lip_gaps
from engine.head.replay import take_vertices
from engine.measure.legibility import EIGHT, load_reader, read_clip
from engine.motion.base import ABOUT, CONTROLS, SYSTEMS, get_system, offered
from engine.motion.contacts import SEALED_M
from engine.motion.perform import perform, run_system
from engine.speech.encode import encode

torch.set_num_threads(1)
TRAINED = [row["name"] for row in offered() if row["name"] != "direct"]
systems = pytest.mark.parametrize("name", TRAINED)


@pytest.fixture(scope="module")
def head():
    return load_head()


@pytest.fixture(scope="module")
def made():
    """Systems loaded once, by name."""
    return {name: get_system(name) for name in TRAINED}


@systems
def test_it_is_offered_as_it_is(name, made):
    row = next(r for r in offered() if r["name"] == name)
    assert set(row["obeys"]) == set(made[name].supports) and set(row["after"]) == set(CONTROLS) - set(row["obeys"])
    assert ABOUT[name] and len(made[name].checkpoint_sha256) == 64


@systems
def test_windows_leave_no_seam(name, made, monkeypatch):
    controls = dataclasses.replace(QUIET, emotions={"happy": ((0, 0.0), (3, 1.0))}, seed=3)
    whole = run_system(made[name], heard(5.0), controls)
    monkeypatch.setattr("engine.motion.perform.WINDOW_S", 0.74)
    pieces = run_system(made[name], heard(5.0), controls)
    assert np.array_equal(whole.times, pieces.times)
    # What float32 sums of another order come to, far below a thousandth of a shape.
    assert np.abs(whole.arkit - pieces.arkit).max() < 1e-3 and np.abs(whole.extra - pieces.extra).max() < 1e-3


@systems
@pytest.mark.parametrize("fps", ["12", "23.976", "60"])
def test_lips_meet_at_any_rate(name, fps, head):
    take = perform(sound(), QUIET, fps=fps, motion=name, head=head, speech=heard())
    gap = gaps_mm(head, take)
    for start, end in CLOSURES:
        near = (take.times > start - 0.5 / float(take.fps) - 0.02) & (take.times < end + 0.5 / float(take.fps) + 0.02)
        assert gap[near].min() < 1000 * SEALED_M + 0.25, (fps, start)
    assert np.percentile(gap, 90) > 2, "the mouth opens between them"


@systems
def test_the_same_seed_gives_the_same_take_and_the_take_says_how(name, head):
    felt = dataclasses.replace(QUIET, emotions={"sad": ((0, 1.0),)}, au={"AU02_L": ((0, 0.8),)}, seed=7)
    plain = dataclasses.replace(felt, au={})
    one, two, base = (perform(sound(), c, motion=name, head=head, speech=heard()) for c in (felt, felt, plain))
    assert np.array_equal(one.arkit, two.arkit) and np.array_equal(one.extra, two.extra)
    assert one.meta["system"] == name and set(one.meta["obeyed"]) | set(one.meta["applied_after"]) == set(CONTROLS)
    raised = (one.arkit - base.arkit)[:, ARKIT_INDEX["browOuterUpLeft"]].mean()
    assert raised > 0.25, "a slider moves the face, obeyed by the net or laid over it"


@pytest.fixture(scope="module")
def spoken():
    """The sample voice and what is heard of it."""
    samples, _ = fresh_voice()
    audio = Audio(samples, hashlib.sha256(samples.tobytes()).hexdigest())
    return audio, encode(audio)


@systems
def test_labels_are_legible_while_it_speaks(name, head, spoken):
    reader = load_reader()
    right = 0
    for label in EIGHT:
        felt = dataclasses.replace(QUIET, emotions={label: ((0, 1.0),)})
        take = perform(spoken[0], felt, motion=name, head=head, speech=spoken[1])
        right += read_clip(reader, head, take.arkit, take.extra, 10).ranking(EIGHT)[0] == label
    assert right >= 7, f"{right} of 8 labels"  # emotalkinggaussian reads 7, the others 8


@systems
def test_it_moves_a_flame_head(name):
    head = load_head(flame_like.prepared()[2])
    take = perform(sound(), QUIET, fps=25, motion=name, head=head, speech=heard())
    assert take.authority == "flame" and 0 < take.residual_mm["arkit"] < 5, "the residual is printed"
    points = take_vertices(take, head, np.arange(len(take)))
    gaps = lip_gaps(head, points)
    assert np.isfinite(points).all() and gaps.gap.max() - gaps.gap.min() > 0.004
    start, end = CLOSURES[0]
    near = (take.times > start - 0.03) & (take.times < end + 0.03)
    assert gaps.gap[near].min() < max(0.0, lip_gaps(head, head.template[None].astype(float)).gap[0]) + 0.0012


@systems
def test_the_command_line_takes_its_name(name, tmp_path):
    import soundfile
    from typer.testing import CliRunner

    from engine.cli import app

    tone = 0.1 * np.sin(2 * np.pi * 150 * np.arange(24000) / 16000) * (np.arange(24000) % 4000 < 2600)
    soundfile.write(tmp_path / "v.wav", tone, 16000)
    line = ["speak", str(tmp_path / "v.wav"), "--out", str(tmp_path / "t.npz"), "--motion", name, "--emotion", "happy"]
    ran = CliRunner().invoke(app, [*line, "--json"])
    assert ran.exit_code == 0, ran.output
    assert json.loads(ran.stdout)["meta"]["system"] == name


@systems
def test_a_file_that_is_no_checkpoint_of_it_is_refused(name, tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"no")
    with pytest.raises(BadFile):
        get_system(f"{name}@{tmp_path / 'x.safetensors'}")


def test_every_system_has_a_line_for_people():
    assert set(SYSTEMS) <= set(ABOUT) and len(EMOTIONS) == 14
