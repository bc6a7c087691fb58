"""EmoVOCA's chain: mixing by DE-SD, the synthesised set, the generators, and `emovoca` as a motion system."""

import dataclasses

import numpy as np
import pytest
import torch
from test_motion import QUIET, gaps_mm, sound, voice

from engine.core.errors import BadFile, BadInput
from engine.core.names import ARKIT_INDEX, EMOTION_INDEX, EMOTIONS, EXTRA_INDEX
from engine.core.sound import Features
from engine.head.library import load_head
from engine.measure.legibility import load_reader
from engine.motion import base, emovoca
from engine.motion.nets import file
from engine.motion.nets.faceformer import AHEAD, MEMORY, conditions
from engine.motion.nets.spiral import levels_of
from engine.motion.perform import perform, run_system
from engine.studio.performances import unpaired_store
from engine.studio.performances.unpaired_store import Feel, Talk
from engine.studio.speech_corpus import espeak
from engine.train import emovoca_generators as generators
from engine.train import emovoca_mix, emovoca_set, emovoca_table
from engine.train.emovoca_desd import Frames, Surface, fit
from engine.train.emovoca_mix import Mixer, Scales
from engine.train.emovoca_set import Pool
from engine.train.motion_loop import Plan
from engine.train.motion_recipe import finish

torch.set_num_threads(1)
COUNTS = (96, 32, 12)
speaks = pytest.mark.skipif(not espeak.available(), reason="needs espeak-ng (pip install espeakng-loader)")
MOUTH, BROWS = slice(17, 25), slice(41, 46)


@pytest.fixture(scope="module")
def head():
    return load_head()


@pytest.fixture(scope="module")
def basis():
    return file.shared_basis()


def faces(seed, count=240):
    """Talking moves mouth shapes, expressions move brows: (talk, feel) [count, 59] each."""
    rng = np.random.default_rng(seed)
    talk, feel = np.zeros((count, 59), np.float32), np.zeros((count, 59), np.float32)
    talk[:, MOUTH] = rng.random((count, 8)) * rng.random((count, 1))
    feel[:, BROWS] = rng.random((count, 5)) * rng.random((count, 1))
    return talk, feel


@pytest.fixture(scope="module")
def mixer(head):
    net, surface, _ = fit(head, Frames(*faces(0)), Plan(300, rate=3e-3, every=100), counts=COUNTS)
    return Mixer(net, surface)


def unpaired_clips(count=6, rows=120):
    """Talks whose face follows their voice by a fixed rule, and one apex of each label by two people."""
    rng = np.random.default_rng(5)
    talks, feels = [], []
    for i in range(count):
        t = np.arange(rows)[:, None] / 50
        speech = np.zeros((rows, 75), np.float32)
        speech[:, :11] = 0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(0.5, 3, 11) * t + rng.uniform(0, 6, 11))
        weights = np.zeros((rows, 59), np.float32)
        weights[:, MOUTH] = 0.6 * speech[:, :8]
        talks.append(Talk(f"p{i}", weights, speech, speech[:, [1, 2, 10]]))
    for k, label in enumerate(emovoca_mix.OURS):
        for person in range(2):
            apex = np.zeros((60, 59), np.float32)
            apex[:, 41 + (k % 5)] = 0.8
            feels.append(Feel(f"p{person}", label, 1.0, np.ones(60, np.float32), apex))
    return talks, feels


@pytest.fixture(scope="module")
def clips(mixer):
    talks, feels = unpaired_clips()
    mixer.scales = Scales(1.5, 1.5)
    return emovoca_mix.synthesise(mixer, talks, feels, emovoca_mix.OURS, 4)


def test_weights_are_bounded_and_nearest(head):
    surface = Surface(head, levels_of(head, (192, 48)))
    talk, _ = faces(3, 20)
    again = surface.displace(surface.weights(surface.displace(talk)))
    assert (again - surface.displace(talk)).norm(dim=2).max() < 0.1
    wild = surface.displace(talk) * 3 - surface.displace(faces(4, 20)[1])
    back = surface.weights(wild)
    assert back.min() >= 0 and back.max() <= 1
    clipped = (wild.flatten(1) @ surface.back.T).clamp(0, 1).numpy()

    def missed(weights):
        return float((surface.displace(weights) - wild).square().sum())

    assert missed(back) < missed(clipped), "bounds are part of the fit, not a cut afterwards"


def test_calibration_keeps_talk_and_feeling_as_large_as_they_were(head, mixer):
    talk, feel = faces(1)
    lips, upper = emovoca_mix.lips_and_upper(head, mixer.surface.vertices)
    mixer.scales = Scales()
    plain = emovoca_mix.kept(mixer, talk, feel, lips, upper)
    mixer.scales = emovoca_mix.calibrate(mixer, talk, feel, lips, upper)
    # Each feature fills half of the joined one, so about twice of it is needed.
    assert 1.5 < mixer.scales.talk < 2.5 and 1.5 < mixer.scales.feel < 2.5
    better = emovoca_mix.kept(mixer, talk, feel, lips, upper)
    assert better["lve_talk_mm"] < 0.75 * plain["lve_talk_mm"]
    assert better["uve_feel_mm"] < 1.05 * plain["uve_feel_mm"], "the grid holds mu = 1"


def test_a_mix_says_what_the_talk_says_and_feels_what_is_felt(mixer):
    talk, feel = faces(2, 40)
    tongue, bite = 52 + EXTRA_INDEX["tongueTipUp"], 52 + EXTRA_INDEX["lowerLipToTeeth"]
    talk[:, tongue], talk[:, bite] = 0.7, np.linspace(0, 1, 40)
    mixer.scales = Scales(1.5, 1.5)
    both = mixer.mix(talk, feel)
    none = mixer.mix(talk, feel, 0.0)
    assert np.corrcoef(both[:, MOUTH].sum(1), talk[:, MOUTH].sum(1))[0, 1] > 0.7
    assert np.corrcoef(both[:, BROWS].sum(1), feel[:, BROWS].sum(1))[0, 1] > 0.7
    assert none[:, BROWS].mean() < 0.5 * both[:, BROWS].mean()
    assert np.all(both[:, tongue] == np.float32(0.7)), "no skin shows a tongue"
    assert np.array_equal(both[:, bite], talk[:, bite]), "a lip on the teeth is the talk's, whatever is felt"


def test_the_set_holds_what_it_was_told_to_mix(clips, tmp_path):
    assert len(clips) == 24 and {c.kind for c in clips} == set(emovoca_mix.KINDS)
    for clip in clips:
        assert len(clip.speech) == 2 * len(clip) == len(clip.contact)
        if clip.kind == "plain":
            assert not clip.strength.any() and not clip.emotion.any()
        elif clip.kind == "held":
            assert len(set(clip.strength)) == 1 and np.all(clip.emotion.max(1) == 1)
        felt = clip.strength > 0
        assert np.allclose(clip.emotion[felt].sum(1), 1, atol=1e-6) and not clip.emotion[~felt].any()
    emovoca_set.write(tmp_path / "set.npz", clips, {"labels": []})
    back, facts = emovoca_set.read(tmp_path / "set.npz")
    assert facts["labels"] == [] and [c.kind for c in back] == [c.kind for c in clips]
    assert np.abs(back[3].weights - clips[3].weights).max() < 1e-3 and len(back[3].speech) == len(clips[3].speech)
    with pytest.raises(BadFile):
        emovoca_set.read(tmp_path / "none.npz")


def test_conditions_are_one_hot_at_the_papers_levels_and_nothing_at_none():
    emotion = np.zeros((5, len(EMOTIONS)), np.float32)
    emotion[:, EMOTION_INDEX["happy"]] = 0.4
    label, level = conditions(emotion, np.array([0, 1 / 6, 1 / 3, 0.5, 1.0]))
    assert not label[0].any() and not level[0].any()
    assert np.allclose(level[1:], [[0.5, 0, 0], [1, 0, 0], [0.5, 0.5, 0], [0, 0, 1]], atol=1e-6)
    assert np.allclose(label[1:, EMOTION_INDEX["happy"]], [0.5, 1, 1, 1]) and np.allclose(label.sum(1), level.sum(1))


def test_crops_follow_their_clip(clips):
    pool = Pool(clips, lambda weights: weights[:, MOUTH.start : MOUTH.start + 7])
    batch = pool.draw(16, 20, np.random.default_rng(0))
    assert batch.speech.shape == (16, 40 + 2 * AHEAD, 75) and batch.goal.shape == (16, 20, 7)
    whole = pool.whole(2)
    assert np.array_equal(whole.speech[0, AHEAD:-AHEAD], clips[2].speech) and not whole.before.any()
    follows = [i for i in range(16) if batch.before[i].any()]
    assert follows, "crops inside a clip know the frame before"
    with pytest.raises(BadInput):
        Pool([], lambda weights: weights)


CONFIG = {"width": 32, "heads": 2, "layers": 1}


@pytest.fixture(scope="module")
def trained(clips, head, basis):
    pool = Pool(clips, basis.coefficients)
    return generators.fit_faceformer(pool, pool, head, basis, Plan(60, rate=6e-3, every=20), CONFIG)


def test_the_generator_learns_to_run_freely(trained):
    _, log = trained
    assert log[-1]["loss"] < 0.5 * log[0]["loss"] and log[-1]["held_lips_mm"] < log[0]["held_lips_mm"]


def test_passes_over_its_own_answers_come_to_free_running(trained, clips, basis):
    net = trained[0].eval()
    whole = Pool(clips, basis.coefficients).whole(0)
    speech, label, level, goal, before = generators._tensors(whole)
    with torch.no_grad():
        free, _ = net.roll(speech, label, level)
        told, given, far = net.told(speech, label, level), torch.cat([before, goal[:, :-1]], 1), []
        for _ in range(goal.shape[1]):
            seen = net.decode(given, told)
            given = torch.cat([before, seen[:, :-1]], 1)
            far.append(float((seen - free).abs().max()))
    assert far[-1] < 1e-3 and far[generators.PASSES] < far[0]


def test_landmarks_then_the_face(clips, head, monkeypatch):
    levels = levels_of(head, COUNTS)
    s2d, surface, dense_log = generators.fit_s2d(clips, head, Plan(120, rate=4e-3, every=40), levels)
    s2l, log = generators.fit_s2l(clips, head, Plan(60, rate=6e-3, every=20))
    assert dense_log[-1]["loss"] < 0.7 * dense_log[0]["loss"] and log[-1]["loss"] < 0.8 * log[0]["loss"]
    seen = generators.TwoSteps(s2l, s2d, surface)(Pool(clips, lambda w: w).whole(1))
    assert seen.shape == clips[1].weights.shape and 0 <= seen.min() <= seen.max() <= 1
    row = emovoca_table.generator_row(lambda clip: clip.weights, clips[:2], head)
    assert row["lve_mm"] == row["uve_mm"] == 0


def test_the_table_of_joins_has_the_papers_columns(head, mixer, monkeypatch):
    talks, feels = unpaired_clips(3)
    monkeypatch.setattr(unpaired_store, "talks", lambda *_: talks)
    monkeypatch.setattr(unpaired_store, "feels", lambda *_: feels)
    chosen = emovoca_table.pairs(None, talks=2)
    assert len(chosen.talks) == 2 and len(chosen.apexes) == 13
    mixer.scales = Scales(1.5, 1.5)
    reader = load_reader()
    row = emovoca_table.join_row(mixer, chosen, reader, head)
    assert {"low", "medium", "high", "lve_talk_mm", "uve_feel_mm"} <= set(row) and 0 <= row["low"] <= 1
    assert 0 <= emovoca_table.silent_legible(chosen, reader, head) <= 1


@speaks
def test_a_twin_differs_by_the_feeling_alone(head):
    twin = next(emovoca_table.twins(1, head))
    assert len(twin.plain) == len(twin.made.arkit) == len(twin.level) and twin.level.max() > 0.1
    brows = np.abs(twin.made.arkit[:, 41:46]).mean(), np.abs(twin.plain[:, 41:46]).mean()
    assert brows[0] > brows[1]
    jaw = ARKIT_INDEX["jawOpen"]
    assert np.corrcoef(twin.made.arkit[:, jaw], twin.plain[:, jaw])[0, 1] > 0.8


@pytest.fixture(scope="module")
def checkpoint(trained, head, basis, tmp_path_factory):
    path = tmp_path_factory.mktemp("emovoca") / "emovoca.safetensors"
    finish(
        path, trained[0], CONFIG, basis, trained[1], system="emovoca", supports=emovoca.EmoVOCA.supports,
        native_fps=25.0, head=head,
    )  # fmt: skip
    return path


def heard(duration=4.0):
    speech = voice(duration)
    rows = len(speech.articulation)
    return dataclasses.replace(speech, features=Features("embedded", "x", 50.0, 0.0, np.zeros((rows, 64), np.float16)))


CHANGING = dataclasses.replace(
    QUIET, emotions={"happy": ((0, 1.0), (1.5, 1.0), (2, 0.0)), "angry": ((1.5, 0.0), (2, 1.0))}
)


def test_windows_leave_no_seam(checkpoint, monkeypatch):
    whole = run_system(emovoca.EmoVOCA(checkpoint), heard(), CHANGING)
    for window in (0.73, 0.05):
        monkeypatch.setattr("engine.motion.perform.WINDOW_S", window)
        pieces = run_system(emovoca.EmoVOCA(checkpoint), heard(), CHANGING)
        assert np.array_equal(whole.times, pieces.times) and np.abs(whole.arkit - pieces.arkit).max() < 1e-4


def test_a_window_can_be_run_again_and_begun_in_the_middle(checkpoint):
    from engine.motion.perform import sampler

    system, speech = emovoca.EmoVOCA(checkpoint), heard()
    cache, keyed = system.prepare(speech), sampler(speech, CHANGING)
    whole, _ = system.run(cache, keyed, 0.0, 4.0)
    _, state = system.run(cache, keyed, 0.0, 3.0)
    once, _ = system.run(cache, keyed, 3.0, 4.0, state)
    again, _ = system.run(cache, keyed, 3.0, 4.0, state)
    assert np.array_equal(once.arkit, again.arkit) and np.abs(once.arkit - whole.arkit[150:]).max() < 1e-4
    middle, _ = system.run(cache, keyed, 3.0, 4.0)
    assert np.abs(middle.arkit - whole.arkit[150:]).max() < 0.05, f"a run-up of {MEMORY} frames finds the way"


def test_label_and_intensity_change_over_time(checkpoint):
    """Figure 6: at each moment the face is that of the label and the level at that moment."""
    system, speech = emovoca.EmoVOCA(checkpoint), heard()
    steady = {
        label: run_system(system, speech, dataclasses.replace(QUIET, emotions={label: ((0, 1.0),)}))
        for label in ("happy", "angry")
    }
    moving = run_system(system, speech, CHANGING)
    early, late = slice(20, 70), slice(150, 190)

    def apart(a, b, rows):
        return float(np.abs(a.arkit[rows] - b.arkit[rows]).mean())

    assert apart(moving, steady["happy"], early) < 1e-5
    assert apart(moving, steady["angry"], late) < 0.3 * apart(moving, steady["happy"], late)
    levels = dataclasses.replace(QUIET, emotions={"happy": ((0, 1.0),)}, intensity=((0, 0.0), (4, 1.0)))
    rising = run_system(system, speech, levels)
    plain = run_system(system, speech, QUIET)
    assert apart(rising, plain, slice(0, 20)) < 0.35 * apart(rising, plain, slice(170, 200))


def test_it_performs_at_any_rate_and_the_same_again(checkpoint, head, monkeypatch):
    monkeypatch.setitem(base.SYSTEMS, "emovoca", lambda: emovoca.EmoVOCA(checkpoint))
    takes = {
        fps: perform(sound(), CHANGING, fps=fps, motion="emovoca", head=head, speech=heard())
        for fps in ("23.976", 25, 60)
    }
    assert takes[25].meta["obeyed"] == ["intensity", "labels"] and takes[25].meta["native_fps"] == 25.0
    again = perform(sound(), CHANGING, fps=60, motion="emovoca", head=head, speech=heard())
    assert np.array_equal(again.arkit, takes[60].arkit)
    for take in takes.values():
        assert gaps_mm(head, take).min() < 0.6, "contacts are the engine's, whatever the network thinks"


def test_frames_are_joined_smoothly_and_lines_stay_lines():
    frames = np.random.default_rng(0).random((40, 3))
    fine = emovoca.between(frames, np.arange(2, 37, 0.01))
    assert np.abs(emovoca.between(frames, np.arange(40.0)) - frames).max() < 0.5
    assert fine.min() >= frames.min() and fine.max() <= frames.max(), "no overshoot"
    # Acceleration is continuous: from one hundredth of a frame to the next it changes by little of its range.
    bend = np.diff(fine, 2, axis=0) / 1e-4
    assert np.abs(np.diff(bend, axis=0)).max() < 0.03 * np.ptp(bend)
    line = np.arange(9.0, dtype=np.float32)[:, None]
    assert np.allclose(emovoca.between(line, np.array([2.5, 3.25])), [[2.5], [3.25]], atol=1e-6)
