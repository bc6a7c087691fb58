"""EmoTaG as a motion system: windows, controls, teacher, adaptation; and what the bundled network has learned."""

import dataclasses

import numpy as np
import pytest
import torch
from test_motion import QUIET, gaps_mm, sound, voice

from engine.core.control import Controls, Prompt
from engine.core.errors import BadInput
from engine.core.names import ARKIT_INDEX, ARTICULATION_INDEX, AUS, EMOTIONS
from engine.head.library import load_head
from engine.motion import base
from engine.motion.after import apply_rest
from engine.motion.emotag import IDENTITY, EmoTaG, identity_of
from engine.motion.nets import file
from engine.motion.nets.codes import opening, spread, unsaid
from engine.motion.nets.grmn import GRMN
from engine.motion.perform import perform, run_system, sampler
from engine.studio.performances.people import person
from engine.train import emotag_adapt as adaptation
from engine.train import emotag_recipe as recipe
from engine.train import emotag_teacher as teachers
from engine.train.motion_codes import asked_of, clips_of, person_of, worn
from engine.train.motion_data import Example, of_examples
from engine.train.motion_loop import Plan, VertexLoss

torch.set_num_threads(1)
SMALL = {"width": 24}
HAPPY = dataclasses.replace(QUIET, emotions={"happy": ((0, 0.0), (3, 1.0))})


@pytest.fixture(scope="module")
def head():
    return load_head()


def clips(names=("train03", "train11"), each=3, rows=260):
    """Made-up clips: a face that follows articulation and asked AUs by a fixed rule, each person with its habits."""
    rng = np.random.default_rng(5)
    out = []
    for name in names:
        who = person_of(name)
        for i in range(each):
            t = np.arange(rows)[:, None] / 50
            speech = np.zeros((rows, 75), np.float32)
            speech[:, :11] = 0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(0.5, 3, 11) * t + rng.uniform(0, 6, 11))
            speech[:60, :11] = 0.0
            asked = np.zeros((rows, len(AUS), 2), np.float32)
            label = 1 + i % 3
            asked[60:, 3 * label : 3 * label + 2] = 0.7
            acted = np.clip(asked * who.au_gain + who.rest * (1 - asked), 0, 1).reshape(rows, -1)
            emotion = np.zeros((rows, len(EMOTIONS)), np.float32)
            emotion[:60, 0], emotion[60:, label] = 1.0, 1.0
            weights = np.zeros((rows, 59), np.float32)
            weights[:, ARKIT_INDEX["jawOpen"]] = who.mouth["jaw"] * 0.5 * speech[:, ARTICULATION_INDEX["jaw_open"]]
            weights[:, :18] = np.maximum(weights[:, :18], 0.6 * acted[:, ::2])
            out.append(
                Example(speech, emotion, np.zeros((rows, 2)), asked.reshape(rows, -1), acted, weights, name, "label")
            )
    return out


@pytest.fixture(scope="module")
def pool():
    return of_examples(clips(), file.shared_basis())


@pytest.fixture(scope="module")
def lessons(pool):
    """(what the network learns from, units of identities)."""
    unit = recipe.units(pool)
    return recipe.lessons(pool, teachers.fit(pool, pool, steps=120), unit), unit


@pytest.fixture(scope="module")
def fitted(head, lessons):
    """A small network after a few seconds: (net, log)."""
    plan = Plan(60, rate=5e-3, every=30)
    return recipe.fit(lessons[0], lessons[0], head, file.shared_basis(), plan, SMALL)


@pytest.fixture(scope="module")
def checkpoint(fitted, head, lessons, tmp_path_factory):
    path = tmp_path_factory.mktemp("emotag") / "emotag.safetensors"
    made = recipe.Ready(head, file.shared_basis(), lessons[1], lessons[0], lessons[0])
    recipe.save(path, fitted[0], {**recipe.CONFIG, **SMALL}, made, fitted[1])
    return path


def test_training_learns_and_draws_its_curves(fitted, checkpoint):
    _, log = fitted
    assert log[-1]["loss"] < 0.5 * log[0]["loss"] and log[-1]["held_lips_mm"] < log[0]["held_lips_mm"]
    assert checkpoint.with_suffix(".png").stat().st_size > 1000


@pytest.mark.parametrize("name", recipe.ABLATIONS)
def test_every_ablation_trains(head, lessons, name):
    config = {**recipe.CONFIG, **recipe.GUIDANCE, **SMALL, **recipe.ABLATIONS[name]}
    net, log = recipe.fit(lessons[0], None, head, file.shared_basis(), Plan(2, every=1), config)
    assert isinstance(net, GRMN) and np.isfinite(log[-1]["loss"])


def test_codes_are_what_was_asked_without_the_persons_habits(pool):
    wanted = np.concatenate([clip.asked for clip in clips()])
    assert np.abs(asked_of(pool).astype(np.float32) - wanted).max() < 0.01  # half precision of acted AUs
    assert np.abs(pool.au.astype(np.float32) - wanted).max() > 0.03, "the people of this test have habits"
    with pytest.raises(BadInput, match="train00"):
        person_of("somebody")


def test_the_teacher_tells_labels_and_stays_soft(pool):
    teacher = teachers.fit(pool, pool, steps=300)
    told = teacher(pool.goal.astype(np.float32))
    truth = pool.emotion.astype(np.float32).argmax(1)
    assert np.allclose(told.sum(1), 1, atol=1e-5) and (told.argmax(1) == truth).mean() > 0.9


def test_a_temperature_calibrates_a_net_that_is_too_sure():
    rng = np.random.default_rng(0)
    labels = rng.integers(14, size=4000)
    seen = np.where(rng.random(4000) < 0.7, labels, rng.integers(14, size=4000))  # right in 72 of 100
    sure = torch.eye(14)[torch.from_numpy(seen)] * 12.0  # e^12: as good as certain
    found = teachers.calibrated(torch.nn.Identity(), sure, torch.eye(14)[torch.from_numpy(labels)], torch.ones(()))
    confident = (sure / found).softmax(-1).max(1).values.mean().item()
    assert found > 2.5 and confident < 0.9


def test_identity_holds_resting_face_and_habits_of_the_mouth():
    made = clips(("train03",), 1)[0]
    who, code = person("train", 3), identity_of(made.weights, made.speech)
    assert code.shape == (IDENTITY,)
    jaw = code[IDENTITY - 6]  # the first of the mouth's habits
    assert jaw == pytest.approx(0.5 * who.mouth["jaw"], rel=0.1)
    lifted = made.weights.copy()
    lifted[:, ARKIT_INDEX["browInnerUp"]] += 0.2
    assert np.abs(identity_of(lifted, made.speech) - code).max() == pytest.approx(0.2, abs=0.02)


def test_worn_speech_keeps_its_articulation():
    speech = np.random.default_rng(0).random((40, 10, 75)).astype(np.float16)
    out = worn(speech, np.random.default_rng(1))
    assert np.array_equal(out[..., :11], speech[..., :11].astype(np.float32))
    deaf = ~out[..., 11:].any((1, 2))
    assert 0 < deaf.sum() < 20 and not np.array_equal(out[~deaf][..., 11:], speech[~deaf][..., 11:])


def test_windows_leave_no_seam(checkpoint, monkeypatch):
    whole = run_system(EmoTaG(checkpoint), voice(), HAPPY)
    monkeypatch.setattr("engine.motion.perform.WINDOW_S", 0.73)
    pieces = run_system(EmoTaG(checkpoint), voice(), HAPPY)
    assert np.array_equal(whole.times, pieces.times)
    assert np.abs(whole.arkit - pieces.arkit).max() < 1e-5  # float32 sums in another order


def test_it_performs_at_any_rate_and_says_what_it_obeys(checkpoint, head, monkeypatch):
    monkeypatch.setitem(base.SYSTEMS, "emotag", lambda: EmoTaG(checkpoint))
    takes = [perform(sound(), HAPPY, fps=f, motion="emotag", head=head, speech=voice()) for f in (23.976, 23.976, 60)]
    assert takes[0].meta["applied_after"] == ["au", "prompt"] and np.array_equal(takes[0].arkit, takes[1].arkit)
    assert len(takes[2]) == 240 and gaps_mm(head, takes[2]).min() < 0.6, "contacts are the engine's"


def test_words_that_close_the_mouth_take_the_voices_opening():
    times = np.arange(100) / 50
    shut = dataclasses.replace(QUIET, prompts=(Prompt("x", 0, 2, 0, 0, activation={"AU26_L": -1.0, "AU26_R": -1.0}),))
    weights = np.full((100, 59), 0.5, np.float32)
    face = np.zeros((100, 18, 2), np.float32)
    out = unsaid(weights, sampler(voice(2.0), shut)(times), face)
    jaw = ARKIT_INDEX["jawOpen"]
    assert out[50, jaw] < 0.25 and np.array_equal(np.delete(out, jaw, 1), np.delete(weights, jaw, 1))
    assert unsaid(weights, sampler(voice(2.0), QUIET)(times), face) is weights


def test_codes_of_17_and_the_opening_of_a_face():
    both = spread(np.arange(17, dtype=np.float32)[None])
    assert not both[0, AUS.index("AU20")].any() and np.array_equal(both[0, :, 0], both[0, :, 1])
    weights, said = np.zeros((1, 59), np.float32), np.zeros((1, 11), np.float32)
    weights[0, ARKIT_INDEX["jawOpen"]] = 0.3
    lips, jaw = opening(weights, said)
    assert jaw[0] == pytest.approx(0.3) and lips[0, 0] == pytest.approx(0.6)
    said[0, ARTICULATION_INDEX["lip_close"]] = 1.0
    assert not opening(weights, said)[0].any()


# --- adapting to a person


def test_adapting_trains_adain_alone_and_comes_nearer(checkpoint, head, lessons):
    net, kept, unit = adaptation.load_net(checkpoint)
    held, basis = lessons[0], kept.basis
    seen, rest = adaptation.first_seconds(held, clips_of(held.pool, "train11"), 5.0)
    assert len(seen.speech) == 250 and len(rest) == 2
    before = {name: value.clone() for name, value in net.state_dict().items()}
    loss, goal = VertexLoss(head, basis), basis.coefficients(seen.weights)
    errors = [recipe.held_errors(net, held, loss, rest)["held_lips_mm"]]
    adaptation.adapt(net, seen, unit, goal, loss, steps=60)
    errors.append(recipe.held_errors(net, held, loss, rest)["held_lips_mm"])
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"audio_style.style.2.bias", "face_style.style.2.bias", "person"}
    assert errors[1] < errors[0]


def test_an_adapted_network_is_a_checkpoint_of_its_own(checkpoint, head, tmp_path):
    from engine.core.takefile import write_take

    take = perform(sound(6.0), HAPPY, fps=30, head=head, speech=voice(6.0))
    write_take(tmp_path / "me.npz", take)
    write_sound(tmp_path / "me.wav", 6.0)
    out = tmp_path / "mine.safetensors"
    wish = {"take": str(tmp_path / "me.npz"), "sound": str(tmp_path / "me.wav"), "net": str(checkpoint)}
    told = adaptation.recipe(out, **wish)
    assert told["adapted_to"] == "me" and told["seconds"] == 5.0 and told["lips_mm"] != told["lips_mm_before"]
    assert file.read(out, "emotag").header["adapted_to"] == "me"
    plain, mine = (run_system(EmoTaG(path), voice(), HAPPY) for path in (checkpoint, out))
    assert np.abs(plain.arkit - mine.arkit).max() > 1e-3
    with pytest.raises(BadInput, match="whom"):
        adaptation.recipe(out, net=str(checkpoint))


def write_sound(path, seconds):
    import soundfile

    """A noise that comes and goes."""
    wave = np.random.default_rng(0).normal(0, 0.05, int(16000 * seconds)) * (
        np.arange(int(16000 * seconds)) % 8000 < 5000
    )
    soundfile.write(path, wave.astype(np.float32), 16000)


# --- the bundled network


@pytest.fixture(scope="module")
def bundled():
    return EmoTaG()


def held_out(kind, count=1):
    """Test people's clips of a kind with the voice as heard: [(performance, speech)]."""
    from engine.speech.encode import encode
    from engine.studio.performances import act, script

    found = []
    for number in range(40):
        written = script.write(person("test", number % 8), number)
        if written.kind == kind and len(found) < count:
            made = act.perform(written, load_head())
            found.append((made, encode(act.voice_of(made))))
    return found


def test_the_bundled_network_moves_as_held_out_people_do(bundled, head):
    from engine.train.motion_table import errors, sealed, still

    for made, heard in held_out("label", 2):
        truth, keyed = (made.arkit, made.extra), still(made.keyed)
        rest = np.repeat(bundled.basis.mean[None], len(made.arkit), 0)
        mean = errors(truth, (rest[:, :52], rest[:, 52:]), head)
        seen = errors(truth, sealed(head, run_system(bundled, heard, keyed)), head)
        assert seen["lve_mm"] < 0.7 * mean["lve_mm"] and seen["uve_mm"] < 0.6 * mean["uve_mm"]


def test_the_bundled_network_obeys_labels_and_valence(bundled):
    _, heard = held_out("label")[0]

    def shown(controls, *names):
        motion = run_system(bundled, heard, controls)
        return motion.arkit[50:, [ARKIT_INDEX[name] for name in names]].mean()

    happy = dataclasses.replace(QUIET, emotions={"happy": ((0, 1.0),)})
    assert shown(happy, "mouthSmileLeft", "mouthSmileRight") > 0.25 + shown(QUIET, "mouthSmileLeft", "mouthSmileRight")
    pleasant = Controls(valence=((0, 0.8),), arousal=((0, 0.2),), layers=QUIET.layers)
    assert shown(pleasant, "mouthSmileLeft") > 0.1 + shown(QUIET, "mouthSmileLeft")
    brow = dataclasses.replace(QUIET, au={"AU02_L": ((0, 0.8),)})
    native = run_system(bundled, heard, brow)
    assert np.array_equal(native.arkit, run_system(bundled, heard, QUIET).arkit), "sliders are for what comes after"
    after = apply_rest(native, sampler(heard, brow), bundled.supports).arkit - native.arkit
    assert after[50:, ARKIT_INDEX["browOuterUpLeft"]].mean() > 0.5
