"""EmoTalk3D's emotion extractor: it learns, runs on voices of any length, and its keys are controls."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from engine.cli import app
from engine.core.errors import BadFile
from engine.core.names import ARTICULATION, EMOTION_INDEX, EMOTIONS
from engine.core.sound import Features, Speech
from engine.motion import voice_emotion
from engine.motion.nets import file
from engine.train import emotalk3d_extractor as recipe
from engine.train.motion_data import Example, of_examples
from engine.train.motion_loop import Plan
from engine.train.motion_recipe import finish

torch.set_num_threads(1)
LABELS = ("happy", "sad", "angry")


def rows(label, count, seed):
    """A voice of that label: one feature column is loud, the rest noise. [count, 75]."""
    out = np.random.default_rng(seed).normal(0, 0.3, (count, 75)).astype(np.float32)
    out[:, 20 + LABELS.index(label)] += 1.5
    return out


def example(label, seed, count=260):
    emotion = np.zeros((count, len(EMOTIONS)), np.float32)
    emotion[:, EMOTION_INDEX[label]] = 1.0
    zero = np.zeros((count, 36), np.float32)
    weights = np.zeros((count, 59), np.float32)
    return Example(rows(label, count, seed), emotion, zero[:, :2], zero, zero, weights, f"p{seed}", "label")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    from engine.head.library import load_head

    basis = file.shared_basis()
    train, held = (of_examples([example(x, i) for i, x in enumerate(LABELS * n)], basis) for n in (4, 2))
    net, log = recipe.fit(train, held, Plan(60, rate=3e-3, every=20), {"width": 16})
    assert log[-1]["held_right"] == 1.0 and log[-1]["held_commonest"] == pytest.approx(1 / 3, abs=0.01)
    path = tmp_path_factory.mktemp("extractor") / "x.safetensors"
    finish(path, net, {"width": 16}, basis, log, system=recipe.NAME, supports=(), native_fps=50.0, head=load_head())
    return path


def speech(*parts):
    values = np.concatenate([rows(label, count, 90 + i) for i, (label, count) in enumerate(parts)])
    n = len(ARTICULATION)
    features = Features("embedded", "x", 50.0, 0.0, values[:, n:].astype(np.float16))
    return Speech(values[:, :n], features, len(values) / 50, {"energy": np.ones(len(values), np.float32)})


def test_a_long_voice_that_changes_its_mood(checkpoint):
    heard = voice_emotion.shares(speech(("happy", 1300), ("sad", 1400)), checkpoint)
    assert heard.shape == (2700, 14) and np.allclose(heard.sum(1), 1, atol=1e-4)
    named = heard.argmax(1)
    assert (named[:1200] == EMOTION_INDEX["happy"]).mean() > 0.95
    assert (named[1400:] == EMOTION_INDEX["sad"]).mean() > 0.95


def test_windows_change_little_where_they_meet(checkpoint):
    heard = voice_emotion.shares(speech(("angry", 2300)), checkpoint)
    step = np.abs(np.diff(heard, axis=0)).max(1)
    seams = np.arange(voice_emotion.HOP, 2300, voice_emotion.HOP)
    assert step[seams - 1].max() < 0.05 + np.percentile(step, 99)


def test_its_keys_are_controls_that_can_be_written_and_read(checkpoint, tmp_path):
    from engine.controls.files import read_controls, write_controls

    found = voice_emotion.extract(speech(("sad", 400)), checkpoint)
    assert set(found.emotions) == {"sad"} and len(found.emotions["sad"]) == 16
    write_controls(tmp_path / "c.json", found)
    assert read_controls(tmp_path / "c.json").emotions == found.emotions


def test_the_command_and_another_checkpoint(checkpoint, tmp_path):
    import soundfile

    tone = 0.1 * np.sin(2 * np.pi * 120 * np.arange(16000) / 16000)
    soundfile.write(tmp_path / "v.wav", tone, 16000)
    line = ["measure", "voice", str(tmp_path / "v.wav"), "--net", str(checkpoint), "--out", str(tmp_path / "c.json")]
    ran = CliRunner().invoke(app, [*line, "--json"])
    assert ran.exit_code == 0, ran.output
    assert json.loads(ran.stdout)["controls"] and (tmp_path / "c.json").is_file()
    other = dataclasses.replace(file.read(checkpoint, recipe.NAME), header={"system": "emotag"})
    file.write(tmp_path / "other", other)
    with pytest.raises(BadFile, match="emotag"):
        voice_emotion.shares(speech(("sad", 40)), tmp_path / "other")
