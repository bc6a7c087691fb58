"""EmoVOCA's one line from sets to checkpoint, the checkpoint that ships, and sets that do not fit."""

import dataclasses

import numpy as np
import pytest
import torch
from test_emovoca import speaks, unpaired_clips
from test_motion import QUIET

from engine.core.errors import BadFile, BadInput
from engine.core.names import EMOTION_INDEX
from engine.head.library import load_head
from engine.measure.legibility import load_reader, read_clip
from engine.motion import emovoca
from engine.motion.nets import file
from engine.motion.perform import run_system
from engine.speech.encode import encode
from engine.studio.performances import act, people, script, unpaired_store
from engine.train import emovoca_mix, motion_table
from engine.train.emovoca_recipe import recipe

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def head():
    return load_head()


def test_the_recipe_runs_every_stage_and_resumes(head, tmp_path, monkeypatch):
    talks, feels = unpaired_clips(4, 110)
    made = []

    def make(folder, split, *_args):
        made.append(split)

    monkeypatch.setattr(unpaired_store, "make", make)
    monkeypatch.setattr(unpaired_store, "talks", lambda *_: talks)
    monkeypatch.setattr(unpaired_store, "feels", lambda *_: feels)
    out = tmp_path / "emovoca.safetensors"
    result = recipe(out, tmp_path, steps="10", desd_steps="20", set="v1")
    assert made == ["train", "valid", "test"] and result["step"] == 10 and out.is_file()
    stamp = (tmp_path / "mixed_v1_train.npz").stat().st_mtime_ns
    assert not list(tmp_path.glob("generator_*")), "the state goes when the checkpoint is there"
    assert recipe(out, tmp_path, steps="10", desd_steps="20", set="v1")["step"] == 10
    assert (tmp_path / "mixed_v1_train.npz").stat().st_mtime_ns == stamp, "what is there is kept"
    facts = file.read(out, "emovoca").header
    assert facts["labels"] == list(emovoca_mix.V1) and facts["mu_talk"] > 0
    assert emovoca.EmoVOCA(out).native_fps == 25.0
    options = {"steps": "10", "desd_steps": "20", "set": "v1"}
    for other, said in (
        ({"desd_steps": "30"}, "desd_steps=20, not 30"), ({"talks": "5"}, "talks=12, not 5"),
        ({"seed": 1}, "seed=0, not 1"),
        ({"set": "v2", "desd_steps": "30"}, r"desd\.pt: is the state of another training \(steps differ"),
    ):  # fmt: skip
        with pytest.raises(BadFile, match=said):
            recipe(out, tmp_path, **options | other)
    assert (tmp_path / "mixed_v1_train.npz").stat().st_mtime_ns == stamp
    scales = (tmp_path / "scales.json").read_text()
    (tmp_path / "desd.pt").unlink()
    recipe(out, tmp_path, **options | {"set": "v2", "desd_steps": "30"})
    assert (tmp_path / "scales.json").read_text() != scales, "calibrated anew with another DE-SD"
    with pytest.raises(BadInput, match="v1, v2, ours"):
        recipe(out, tmp_path, set="v9")
    with pytest.raises(BadInput, match="ablation"):
        recipe(out, tmp_path, ablate="nothing")


@speaks
def test_the_shipped_checkpoint_hears_and_feels(head):
    """The bars of docs/emovoca.md on two held-out performances, which the network never saw."""
    rows = motion_table.rows_of("emovoca", head)
    row = motion_table.table(rows, motion_table.held_out(2, head), head)["emovoca"]
    assert row["over_no_audio"] <= 0.5 and row["over_other_clip"] <= 0.5 and row["over_wrong_label"] <= 0.5
    assert row["lve_mm"] < 2.5 and row["uve_mm"] < 1.5


@speaks
def test_the_shipped_network_changes_label_and_strength_within_a_sentence(head):
    """Figure 6 on the network that ships: a net that knows silent faces reads the first label, then the second; what
    rises is read as more and more of it."""
    heard = encode(act.voice_of(act.perform(script.write(people.person("test", 1), 0), head)))
    end, reader, system = heard.duration, load_reader(), emovoca.EmoVOCA()

    def read(controls, start, stop):
        face = run_system(system, heard, dataclasses.replace(QUIET, **controls))
        rows = slice(round(50 * start * end), round(50 * stop * end))
        return read_clip(reader, head, face.arkit[rows], face.extra[rows])

    turning = {"emotions": {
        "happy": ((0.0, 1.0), (0.45 * end, 1.0), (0.55 * end, 0.0)),
        "sad": ((0.0, 0.0), (0.45 * end, 0.0), (0.55 * end, 1.0)),
    }}  # fmt: skip
    assert read(turning, 0.1, 0.4).ranking()[0] == "happy" and read(turning, 0.65, 0.95).ranking()[0] == "sad"
    rising = {"emotions": {"happy": ((0.0, 1.0),)}, "intensity": ((0.0, 0.0), (end, 1.0))}
    happy = EMOTION_INDEX["happy"]
    levels = [read(rising, a, a + 0.25).probability[happy] for a in (0.05, 0.4, 0.75)]
    assert levels[0] < levels[1] < levels[2] and levels[2] > 0.5, levels


def test_another_number_of_talking_clips_is_refused(head, tmp_path):
    clips = [{"person": "x", "rows": 2}] * (2 * people.PEOPLE["valid"])
    parts = {name: [np.zeros((2, n))] * len(clips) for name, n in (("weights", 59), ("speech", 75), ("contact", 3))}
    unpaired_store._write(tmp_path / "talk_valid.npz", clips, parts)
    feel = [{"person": "x", "label": "happy", "intensity": 1.0, "rows": 2}]
    unpaired_store._write(
        tmp_path / "feel_valid.npz", feel, {"weights": [np.zeros((2, 59))], "level": [np.ones((2, 1))]}
    )
    unpaired_store.make(tmp_path, "valid", head, 2)
    with pytest.raises(BadFile, match="holds 2 talking clips of each person, not 3: give talks=2"):
        unpaired_store.make(tmp_path, "valid", head, 3)


def test_sets_that_are_not_there_are_said(tmp_path):
    with pytest.raises(BadFile, match="train emovoca"):
        unpaired_store.talks(tmp_path, "train")
