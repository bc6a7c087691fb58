"""The measuring net reads silent faces that it never saw, and faces that speak; its figures are the stated ones."""

import dataclasses

import numpy as np
import pytest
import torch

from engine.core.errors import BadFile, BadInput
from engine.core.names import ARKIT, EMOTIONS, EXTRA
from engine.core.sound import Audio
from engine.head.library import load_head
from engine.head.points import face_points
from engine.measure.legibility import (
    EIGHT,
    POINTS,
    Reading,
    accuracy,
    features,
    read_clip,
    va_agreement,
)
from engine.measure.nets.expression import read_net, write_net
from engine.measure.silent import batch, circle, draw, table
from engine.train.legibility import faces, train


@pytest.fixture(scope="module")
def head():
    return load_head()


@pytest.fixture(scope="module")
def reader(head):
    torch.set_num_threads(1)
    return train(head, steps=250, seed=3)[0]


def test_the_table_covers_every_label_and_is_not_the_prototypes():
    from engine.controls.emotions import prototypes

    assert set(table()) - {"about"} == set(EMOTIONS) and np.abs(circle()).max() <= 1
    rng = np.random.default_rng(0)
    for i, label in enumerate(EMOTIONS[1:], 1):
        drawn = np.stack([draw(label, 1.0, rng) for _ in range(12)])
        assert drawn.min() >= 0 and drawn.max() <= 1
        # No draw is a prototype, and not one of the table's variants lies around it throughout.
        assert np.abs(drawn - prototypes()[i]).max(axis=(1, 2)).min() > 0.05, f"{label} is copied from the prototypes"


def test_points_are_spread_and_features_are_relative(head):
    points = face_points(head, POINTS)
    assert len(set(points.tolist())) == POINTS and np.array_equal(points, face_points(head, POINTS))
    gaps = np.linalg.norm(head.template[points][:, None] - head.template[points][None], axis=2) + 9 * np.eye(POINTS)
    assert gaps.min() > 0.003, "no two in one place"
    neutral = features(head, np.zeros((2, len(ARKIT))), np.zeros((2, len(EXTRA))), points)
    assert not neutral.any() and neutral.shape == (2, POINTS * 3)


def test_it_reads_fresh_silent_faces_and_needs_its_labels(head, reader):
    x, label, va = faces(head, reader.points, 14 * 40, np.random.default_rng(77))
    logs, seen = reader(x)
    assert np.allclose(np.exp(logs).sum(1), 1, atol=1e-5)
    right = logs.argmax(1) == label
    assert right.mean() > 0.85  # chance is 0.07
    shuffled = np.random.default_rng(0).permutation(label)
    assert (logs.argmax(1) == shuffled).mean() < 0.2
    figures = va_agreement(va[label > 0], seen[label > 0])
    assert figures["valence_sign"] > 0.85 and figures["valence_rmse"] < 0.35


def test_a_clip_is_read_as_a_whole(head, reader):
    from engine.head.action_units import to_shapes

    au, _, _ = batch(14, np.random.default_rng(5))
    arkit, extra = (np.clip(w, 0, 1) for w in to_shapes(au))
    k = EMOTIONS.index("surprised")
    clip = read_clip(reader, head, np.repeat(arkit[k : k + 1], 20, 0), np.repeat(extra[k : k + 1], 20, 0), skip=3)
    assert clip.probability.sum() == pytest.approx(1) and clip.ranking()[0] == "surprised"
    with pytest.raises(BadInput, match="another head"):
        read_clip(dataclasses.replace(reader, topology_sha256="0" * 64), head, arkit, extra)


def test_speaking_faces_are_read_through_a_system(head, reader, monkeypatch):
    from fresh_voice import fresh_voice

    import engine.train.emotion_protocol as protocol

    monkeypatch.setattr(protocol, "load_reader", lambda: reader)
    samples, _ = fresh_voice()
    out = protocol.legibility([Audio(samples[:64000], "0" * 64)], head=head)
    assert set(out) >= {"mild", "strong", "valence_arousal"} and out["strong"]["eight"]["clips"] == 8
    # The sample voice: all of the eight and of the six others are read; one of each may be lost.
    assert out["strong"]["eight"]["top1"] >= 7 / 8 and out["strong"]["six_of_14"]["top1"] >= 5 / 6
    with pytest.raises(BadInput, match="voice"):
        protocol.legibility([])


def reading(label, second="neutral"):
    p = np.full(14, 0.01)
    p[EMOTIONS.index(second)], p[EMOTIONS.index(label)] = 0.3, 0.6
    return Reading(p / p.sum(), np.zeros(2))


def test_accuracy_counts_first_and_third_places():
    pairs = [("happy", reading("happy")), ("happy", reading("sad", "happy")), ("neutral", reading("fear", "sad"))]
    out = accuracy(pairs, EIGHT)
    assert out["top1"] == pytest.approx(1 / 3, abs=1e-4) and out["clips"] == 3
    assert out["top3"] == pytest.approx(1.0, abs=1e-4)  # of equals the first by name order is third: neutral
    assert out["labels"]["happy"] == {"top1": 0.5, "taken_for": {"sad": 1}}


def test_sign_agreement_and_error_by_hand():
    wanted = np.array([[0.8, 0.0], [-0.8, 0.5], [0.4, -0.5], [0.4, 0.5]])
    seen = np.array([[0.4, 0.3], [0.8, 0.5], [0.4, -0.1], [0.4, -0.5]])
    out = va_agreement(wanted, seen)
    assert out["valence_sign"] == 0.75 and out["arousal_sign"] == pytest.approx(2 / 3, abs=1e-4)  # zero has no sign
    assert out["valence_rmse"] == pytest.approx(np.sqrt((0.16 + 2.56) / 4), abs=1e-4)
    with pytest.raises(BadInput):
        va_agreement(wanted, seen[:2])


def test_the_net_survives_its_file_and_refuses_others(head, reader, tmp_path):
    write_net(tmp_path / "r.safetensors", reader, {"seed": 3})
    again = read_net(tmp_path / "r.safetensors")
    x, _, _ = faces(head, reader.points, 14, np.random.default_rng(1))
    assert np.array_equal(again(x)[0], reader(x)[0]) and again.topology_sha256 == head.topology_sha256
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    with pytest.raises(BadFile, match="cannot be read"):
        read_net(tmp_path / "bad.safetensors")
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(1, np.float32)}, tmp_path / "other.safetensors", {"kind": "speech"})
    with pytest.raises(BadFile, match="no net"):
        read_net(tmp_path / "other.safetensors")


def test_the_reader_that_ships_is_of_this_head_and_reads(head):
    from engine.measure.legibility import load_reader

    shipped = load_reader()
    assert shipped.topology_sha256 == head.topology_sha256
    x, label, _ = faces(head, shipped.points, 14 * 20, np.random.default_rng(4))
    assert (shipped(x)[0].argmax(1) == label).mean() > 0.95


def test_a_takes_emotion_is_measured_by_the_command(head, tmp_path):
    import dataclasses as d
    import json

    from test_motion import QUIET, sound, voice
    from typer.testing import CliRunner

    from engine.cli import app
    from engine.core.takefile import write_take
    from engine.motion.perform import perform

    felt = d.replace(QUIET, emotions={"surprised": ((0, 1.0),)})
    write_take(tmp_path / "t.npz", perform(sound(), felt, head=head, speech=voice()))
    ran = CliRunner().invoke(app, ["measure", "emotion", str(tmp_path / "t.npz"), "--json"])
    assert ran.exit_code == 0, ran.output
    out = json.loads(ran.stdout)
    assert out["ranking"][0] == "surprised" and out["arousal"] > 0.3
    assert sum(out["probabilities"].values()) == pytest.approx(1, abs=1e-3)
