"""EmoTalkingGaussian's training: sync nets, curated speech, stages and resuming; and the system on a voice."""

import dataclasses
import time

import numpy as np
import pytest
import torch
from test_emotag import clips
from test_emotalkinggaussian import SMALL, given
from test_motion import QUIET, sound, voice

from engine.core.control import Controls
from engine.core.errors import BadFile, BadInput
from engine.head.library import load_head
from engine.motion import base
from engine.motion import emotalkinggaussian as system
from engine.motion.emotalkinggaussian import EmoTalkingGaussian
from engine.motion.nets import file
from engine.motion.nets.basis import region_metric
from engine.motion.nets.face_branches import EDGE, of_config
from engine.motion.perform import perform, run_system
from engine.studio.speech_corpus import espeak
from engine.train import curated_speech, motion_recipe, syncnet
from engine.train import emotalkinggaussian_recipe as recipe
from engine.train.motion_data import of_examples
from engine.train.motion_loop import Plan, VertexLoss, train

torch.set_num_threads(1)
speaks = pytest.mark.skipif(not espeak.available(), reason="needs espeak-ng (pip install espeakng-loader)")


@pytest.fixture(scope="module")
def head():
    return load_head()


@pytest.fixture(scope="module")
def basis():
    return file.shared_basis()


@pytest.fixture(scope="module")
def pool():
    return of_examples(clips(each=2, rows=200), file.shared_basis())


@pytest.fixture(scope="module")
def extra():
    """Curated speech of the tests: noise in the form of interface v1."""
    return tuple(np.random.default_rng(i).random((60 + 20 * i, 75)).astype(np.float32) for i in range(3))


# --- sync nets


@pytest.fixture(scope="module")
def hearing(head, basis):
    """(a net that hears sync, clips that it was not trained on)."""
    lips = region_metric(head, basis, "lips")
    spoken = [dataclasses.replace(clip, contact=np.ones((len(clip), 3), np.float32)) for clip in clips(each=4)]
    fitted = of_examples([c for c in spoken if c.person == "train03"], basis)
    others = of_examples([c for c in spoken if c.person == "train11"], basis)
    return syncnet.fit(fitted, basis, lips, Plan(150, rate=3e-3, every=50)), others


def test_a_sync_net_hears_when_lips_are_late(hearing):
    net, others = hearing
    rows = slice(60, 260)
    speech, goal, voiced = (getattr(others, n)[rows].astype(np.float32) for n in ("speech", "goal", "contact"))
    found = {late: syncnet.scores(net, speech, np.roll(goal, late, 0), voiced[:, 2]) for late in (-8, 0, 8)}
    assert abs(found[0]["offset"]) <= 2 and abs(found[8]["offset"] - 8) <= 2 and abs(found[-8]["offset"] + 8) <= 2
    assert found[0]["confidence"] > 0.15
    still = syncnet.scores(net, speech, np.repeat(goal.mean(0, keepdims=True), len(goal), 0), voiced[:, 2])
    assert still["error"] > found[0]["error"] + 0.1 and still["confidence"] < 0.5 * found[0]["confidence"]
    assert syncnet.scores(net, speech, goal, 0 * voiced[:, 2]) == {}, "nobody speaks: nothing to judge"
    assert syncnet.scores(net, speech[:5], goal[:5], voiced[:5, 2]) == {}


def test_the_sync_loss_is_eq_9(hearing):
    """Against windows cut one by one; its gradient reaches the coefficients, not the net."""
    net, others = hearing
    speech = torch.from_numpy(others.speech[60:84].astype(np.float32)).reshape(2, 12, 75)
    seen = torch.from_numpy(others.goal[60:84].astype(np.float32)).reshape(2, 12, -1).requires_grad_()
    value = syncnet.sync_loss(net, speech, seen)
    apart = []
    for clip in range(2):
        for s in (0, 2):
            a = net.hear(speech[clip : clip + 1, s : s + 10])
            b = net.see(seen[clip : clip + 1, s : s + 10])
            apart.append((a - b).square().sum())
    expected = torch.stack(apart).mean()
    assert torch.allclose(value, expected, rtol=1e-5)
    slope = torch.autograd.grad(value, seen, retain_graph=True)[0]
    assert torch.allclose(slope, torch.autograd.grad(expected, seen)[0], rtol=1e-4, atol=1e-7) and slope.abs().any()
    assert not any(p.requires_grad for p in net.parameters())
    late = syncnet.sync_loss(net, speech, torch.roll(seen, 6, 1)).item()
    assert late > value.item(), "late lips cost more"


def test_negatives_are_other_moments(pool):
    spoken = dataclasses.replace(pool, contact=np.ones_like(pool.contact))
    made = syncnet.pairs(spoken, 6, np.random.default_rng(0))
    assert made.speech.shape == (6, 10, 75) and made.goal.shape == (6, 1 + syncnet.NEGATIVES, 10, pool.goal.shape[1])
    for one in made.goal:
        assert all(np.abs(one[0] - other).max() > 0 for other in one[1:])


# --- curated speech


def test_windows_of_curated_speech_are_held_at_ends(extra):
    made = curated_speech.windows(list(extra), 20, 12, EDGE, np.random.default_rng(0))
    assert made.shape == (20, 12 + 2 * EDGE, 75)
    starts = {part[0].tobytes() for part in extra}
    assert any(row[0].tobytes() in starts and row[1].tobytes() in starts for row in made), "the first row is held"


@speaks
def test_curated_sentences_cover_english():
    """Ten texts; every class of lip shape and nearly every English phone is in them."""
    said = set()
    for text in curated_speech.SENTENCES:
        said |= {symbol.strip("ˈˌː") for symbol, _, _ in espeak.speak(text, "en-us")[2]}
    assert len(curated_speech.SENTENCES) == 10
    assert {"p", "b", "m", "f", "v", "w", "θ", "ð", "s", "z", "ʃ", "dʒ", "tʃ", "ŋ", "ɹ", "l", "k", "t"} <= said
    rows = curated_speech.curated(1)
    assert len(rows) == 10 and all(row.shape[1] == 75 and row[:, 10].max() > 0.5 for row in rows)


# --- training


@pytest.fixture(scope="module")
def fitted(head, basis, pool, extra):
    """(tutor after all stages, log, what each stage changed)."""
    plan = Plan(60, rate=6e-3, every=15, tables=4.0)
    data = recipe.lessons(pool, extra)
    (sync, judge), _ = recipe.sync_nets(data, head, basis, plan)
    torch.manual_seed(0)
    net = of_config(head, basis, SMALL)
    loss = VertexLoss(head, basis, recipe.SPEED, recipe.UNREST)
    tutor = recipe.Tutor(net, loss, basis, data, recipe.lessons(pool), sync, judge)
    changed, before = {}, {}

    class Watch:
        stage = ""

        def step(self, stage, done, total):
            if done == 0:
                snap = {name: value.clone() for name, value in net.state_dict().items()}
                changed[len(changed)] = {name for name in snap if before and not torch.equal(snap[name], before[name])}
                before.clear()
                before.update(snap)

    log, _ = recipe.fit_branches(tutor, plan, Watch())
    last = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    return tutor, log, [*list(changed.values())[1:], last]


def test_stages_train_their_branch_alone(fitted):
    tutor, _, changed = fitted
    mouth, face, emotion, last = ({name.partition(".table")[0] for name in part} for part in changed)
    assert mouth and all(".mouth." in f".{name}." for name in mouth)
    assert face and all(any(p in f".{name}." for p in (".face.", ".speech.", ".units.")) for name in face)
    assert emotion and all(any(p in f".{name}." for p in (".emotion.", ".affect.")) for name in emotion)
    assert {name.rpartition(".")[0] for name in last} == {f"nets.{n}.last" for n in ("mouth", "face", "emotion")}
    assert all(p.requires_grad for p in tutor.net.parameters())


def test_training_learns(fitted):
    tutor, log, _ = fitted
    steps = [row["step"] for row in log]
    assert steps == sorted(set(steps)) and log[0]["stage"] == "mouth" and log[-1]["stage"] == "last"
    stage = {name: [row for row in log if row["stage"] == name] for name in ("mouth", "face", "emotion", "last")}
    assert stage["mouth"][-1]["loss"] < stage["mouth"][0]["loss"]
    assert stage["face"][-1]["held_lips_mm"] < 0.8 * stage["face"][0]["held_lips_mm"]
    assert (log[-1]["residual_mm"] >= 0 and "sync_c" in log[-1]) or log[-1]["stage"] == "last"
    assert set(tutor.floor()) <= {"error", "confidence", "offset"}


@pytest.mark.parametrize("name", recipe.ABLATIONS)
def test_every_ablation_trains(head, basis, pool, extra, name, monkeypatch):
    config = {**SMALL, "sync": 1.0, **recipe.ABLATIONS[name]}
    weight = config.pop("sync")
    net = of_config(head, basis, config)
    heard = []
    monkeypatch.setattr(recipe, "sync_loss", lambda *given: heard.append(1) or given[2].sum() * 0)
    loss = VertexLoss(head, basis, recipe.SPEED, recipe.UNREST)
    tutor = recipe.Tutor(net, loss, basis, recipe.lessons(pool, extra), None, object(), None, weight)
    log, plans = recipe.fit_branches(tutor, Plan(4, every=2, tables=4.0))
    assert np.isfinite(log[-1]["loss"]) and bool(heard) == (name != "sync")
    assert len(plans) == (3 if name in ("combined", "emotion") else 4)


def test_tables_learn_at_their_own_rate():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.other = (torch.nn.Parameter(torch.zeros(3)) for _ in range(2))

    net = Net()
    train(net, lambda step: (net.table + net.other).sum(), Plan(1, rate=1e-3, decay=0.0, tables=10.0))
    assert torch.allclose(net.table, 10 * net.other) and net.other.abs().min() > 0
    assert "tables" not in Plan(1).key and Plan(1, tables=3.0).key["tables"] == 3.0


class Stop(Exception):
    pass


class StopsAt:
    """Ends the run at the nth step of all stages."""

    def __init__(self, at):
        self.left = at

    def step(self, stage, done, total):
        self.left -= stage == "training"
        if self.left < 0:
            raise Stop


@pytest.fixture
def line(monkeypatch, head, basis, pool, extra):
    """The recipe's one line on a few small clips."""
    data = motion_recipe.Data(head, basis, pool, pool)
    monkeypatch.setattr(recipe, "gather", lambda *_: data)
    monkeypatch.setattr(recipe, "curated", lambda **_: list(extra))
    monkeypatch.setattr(recipe, "CONFIG", SMALL)
    return recipe.recipe


def test_the_same_line_resumes_in_any_stage(line, tmp_path):
    """Stopped in the emotion's stage and run again: the very network of a run that nobody stopped."""
    line(tmp_path / "whole.safetensors", tmp_path, steps="12")
    with pytest.raises(Stop):
        line(tmp_path / "net.safetensors", tmp_path, steps="12", report=StopsAt(2 * 4 + 5 + 12 + 5))
    assert not (tmp_path / "net.safetensors").exists() and (tmp_path / "net.emotion.pt").is_file()
    with pytest.raises(BadFile, match="another training"):
        line(tmp_path / "net.safetensors", tmp_path, steps="14")
    made = line(tmp_path / "net.safetensors", tmp_path, steps="12")
    assert made["stage"] == "last" and not list(tmp_path.glob("*.pt")), "states are gone when it is done"
    one, two = (file.read(tmp_path / f"{name}.safetensors", system.NAME) for name in ("whole", "net"))
    assert one.tensors.keys() == two.tensors.keys()
    assert all(np.array_equal(value, two.tensors[name]) for name, value in one.tensors.items())
    assert (tmp_path / "net.png").stat().st_size > 1000 and one.header["supports"] == ["intensity", "labels", "va"]
    with pytest.raises(BadInput, match="combined, emotion, sync"):
        line(tmp_path / "x.safetensors", tmp_path, ablate="gate")


# --- the system


@pytest.fixture(scope="module")
def checkpoint(fitted, head, basis, tmp_path_factory):
    path = tmp_path_factory.mktemp("branches") / "emotalkinggaussian.safetensors"
    tutor, log, _ = fitted
    motion_recipe.finish(
        path, tutor.net, SMALL, basis, log, system=system.NAME, supports=EmoTalkingGaussian.supports, head=head,
        native_fps=50.0,
    )  # fmt: skip
    return path


def test_windows_leave_no_seam_and_any_rate_will_do(checkpoint, head, monkeypatch):
    felt = Controls(valence=((0, 0.7),), arousal=((0, -0.2), (3, 0.6)), layers=QUIET.layers, seed=4)
    whole = run_system(EmoTalkingGaussian(checkpoint), voice(), felt)
    monkeypatch.setattr("engine.motion.perform.WINDOW_S", 0.73)
    pieces = run_system(EmoTalkingGaussian(checkpoint), voice(), felt)
    assert np.array_equal(whole.times, pieces.times)
    assert np.abs(whole.arkit - pieces.arkit).max() < 1e-5  # float32 sums in another order
    monkeypatch.setitem(base.SYSTEMS, system.NAME, lambda: EmoTalkingGaussian(checkpoint))
    takes = [perform(sound(), felt, fps=f, motion=system.NAME, head=head, speech=voice()) for f in (23.976, 23.976, 60)]
    assert np.array_equal(takes[0].arkit, takes[1].arkit) and len(takes[2]) == 240
    assert takes[0].meta["obeyed"] == ["intensity", "labels", "va"] and takes[0].meta["applied_after"] == [
        "au",
        "prompt",
    ]


def test_sliders_are_left_to_what_comes_after(checkpoint):
    brow = dataclasses.replace(QUIET, au={"AU02_L": ((0, 0.8),)})
    one, two = (run_system(EmoTalkingGaussian(checkpoint), voice(2.0), c) for c in (QUIET, brow))
    assert np.array_equal(one.arkit, two.arkit)


def test_it_is_faster_than_needed(head, basis):
    """20 s in less than a second of processor time with the network as it ships (measured 0.2 to 0.3)."""
    net = of_config(head, basis, recipe.CONFIG).eval()
    speech, units, affect = given(1, 48)
    with torch.inference_mode():
        net(speech, units, affect)
        before = time.process_time()
        for _ in range(21):
            net(speech, units, affect)
    assert time.process_time() - before < 1.0


@pytest.mark.parametrize("config", [{"face": "many"}, {"hidden": -1}, {"depth": 3}, {"face": 100_000}])
def test_a_checkpoint_of_another_network_is_said(checkpoint, tmp_path, config):
    whole = file.read(checkpoint, system.NAME)
    file.write(tmp_path / "x", file.Checkpoint(whole.tensors, whole.basis, whole.header | {"config": config}))
    with pytest.raises((BadFile, BadInput)):
        EmoTalkingGaussian(tmp_path / "x")
