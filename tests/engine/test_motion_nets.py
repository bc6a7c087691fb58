"""What motion networks share, and S2GNet: basis, checkpoint file, a loop that resumes, windows without seams."""

import dataclasses

import numpy as np
import pytest
import torch
from test_motion import QUIET, gaps_mm, sound, voice

from engine.core.control import Controls
from engine.core.errors import BadFile, BadInput
from engine.core.names import ARKIT, EMOTIONS, EXTRA
from engine.core.sound import Features
from engine.head.evaluate import vertices
from engine.head.library import load_head
from engine.motion import base
from engine.motion.emotalk3d import EmoTalk3D
from engine.motion.nets import basis as bases
from engine.motion.nets import file
from engine.motion.nets.inputs import interface, label_input
from engine.motion.nets.s2g import EDGE, EmotionExtractor, S2GNet
from engine.motion.perform import perform, run_system
from engine.train import emotalk3d_recipe as recipe
from engine.train.motion_data import Example, basis_of, of_examples
from engine.train.motion_loop import Plan, VertexLoss, rate_at

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def head():
    return load_head()


@pytest.fixture(scope="module")
def faces():
    rng = np.random.default_rng(0)
    return (rng.random((300, len(ARKIT) + len(EXTRA))) * rng.random((300, 1))).astype(np.float64)


@pytest.fixture(scope="module")
def basis(head, faces):
    return bases.fit(head, faces)


def test_the_basis_leaves_out_less_than_it_says(head, faces, basis):
    assert basis.size <= bases.MOST
    fresh = np.random.default_rng(9).random((20, basis.mean.size))
    for weights in (faces[:40], fresh):
        back = basis.weights(basis.coefficients(weights))
        a, b = (vertices(head, w[:, :52], w[:, 52:]) for w in (weights, back))
        assert 1000 * np.linalg.norm(a - b, axis=2).max() < bases.ERROR_MM + 0.01  # float32 vertices


def test_coefficients_measure_millimetres(head, faces, basis):
    two = faces[:2] * 0.02  # faces so slight that no corrective answers: the basis is of the shapes
    difference = np.diff(basis.coefficients(two), axis=0)[0]
    a, b = (vertices(head, w[None, :52], w[None, 52:])[0] for w in two)
    moved = 1000 * np.linalg.norm(a - b, axis=1)
    assert np.linalg.norm(difference) == pytest.approx(np.sqrt((moved**2).mean()), rel=0.01)
    lips = np.asarray(head.masks["lips"]) >= 0.5
    region = difference @ bases.region_metric(head, basis, "lips")
    assert np.linalg.norm(region) == pytest.approx(np.sqrt((moved[lips] ** 2).mean()), rel=0.01)


def test_a_basis_needs_weights(head):
    with pytest.raises(BadInput, match="59"):
        bases.fit(head, np.zeros((5, 7)))


@pytest.mark.parametrize("speed, unrest", [(2.0, 0.0), (4.0, 3.0)])
def test_the_loss_and_its_gradient_are_those_of_vertices(head, basis, speed, unrest):
    loss = VertexLoss(head, basis, speed, unrest)
    rng = torch.Generator().manual_seed(0)
    seen, truth = (torch.randn(1, 4, basis.size, generator=rng, dtype=torch.float64) for _ in range(2))
    loss = loss.double()
    seen.requires_grad_(True)
    value = loss(seen, truth)
    rows = bases.shape_rows(head)
    moved = torch.from_numpy(basis.out.astype(np.float64) @ rows)

    def plain(coefficients):
        mm = (coefficients @ moved).reshape(*coefficients.shape[:2], -1, 3)
        missed = mm - (truth @ moved).reshape(mm.shape)

        def of(part):
            total = part.square().sum(-1).mean()
            for mask, weight in (("lips", 2.0), ("upper_face", 1.0)):
                chosen = torch.from_numpy(np.asarray(head.masks[mask]) >= 0.5)
                total = total + weight * part[:, :, chosen].square().sum(-1).mean()
            return total

        change = missed[:, 1:] - missed[:, :-1]
        return of(missed) + speed * of(change) + unrest * of(change[:, 1:] - change[:, :-1])

    other = seen.detach().clone().requires_grad_(True)
    expected = plain(other)
    value.backward()
    expected.backward()
    assert value.item() == pytest.approx(expected.item(), rel=1e-4)  # the metric is kept in float32
    assert torch.allclose(seen.grad, other.grad, rtol=1e-3, atol=1e-3 * other.grad.abs().max())


def clips(count=6, rows=220, seed=0):
    """Made-up clips in which the face follows the articulation and the emotion by a fixed linear rule."""
    rng = np.random.default_rng(seed)
    rule = np.random.default_rng(42).normal(0, 0.25, (11 + 14, 59)) * (np.random.default_rng(43).random((25, 59)) < 0.2)
    out = []
    for i in range(count):
        t = np.arange(rows)[:, None] / 50
        speech = np.zeros((rows, 75), np.float32)
        speech[:, :11] = 0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(0.5, 3, 11) * t + rng.uniform(0, 6, 11))
        emotion = np.zeros((rows, len(EMOTIONS)), np.float32)
        emotion[:, i % len(EMOTIONS)] = 1.0
        weights = np.clip(np.concatenate([speech[:, :11], emotion], 1) @ rule, 0, 1).astype(np.float32)
        zeros = np.zeros((rows, 36), np.float32)
        out.append(Example(speech, emotion, zeros[:, :2], zeros, zeros, weights, "x", "label"))
    return out


SMALL = {"width": 48, "layers": 1}


@pytest.fixture(scope="module")
def pool(head):
    """(clips as a pool, their basis)."""
    basis = basis_of(head, clips())
    return of_examples(clips(), basis), basis


@pytest.fixture(scope="module")
def fitted(head, pool):
    """A small S2GNet after a few seconds of training: (net, log)."""
    return recipe.fit(pool[0], pool[0], head, pool[1], Plan(60, rate=5e-3, every=30), SMALL)


def test_training_learns_and_logs(fitted):
    _, log = fitted
    assert [row["step"] for row in log] == [30, 60]
    assert log[-1]["loss"] < 0.5 * log[0]["loss"] and log[-1]["held_lips_mm"] < log[0]["held_lips_mm"]


def test_a_resumed_run_equals_an_unbroken_one(head, tmp_path, fitted, pool):
    def plan(name):
        return Plan(60, rate=5e-3, every=30, keep=tmp_path / name)

    recipe.fit(pool[0], None, head, pool[1], plan("a.pt"), SMALL)
    state = torch.load(tmp_path / "a.pt", weights_only=True)
    assert state["step"] == 60

    class Stop(Exception):
        pass

    class Reporter:
        def step(self, stage, done, total):
            if done == 40:
                raise Stop

    with pytest.raises(Stop):
        recipe.fit(pool[0], None, head, pool[1], plan("b.pt"), SMALL, Reporter())
    net, log = recipe.fit(pool[0], None, head, pool[1], plan("b.pt"), SMALL)
    assert len(log) == 2
    for name, value in net.state_dict().items():
        assert torch.allclose(value, fitted[0].state_dict()[name], atol=1e-6), name


def test_draws_stay_inside_their_clip(pool):
    made = [
        dataclasses.replace(c, **{f: getattr(c, f)[:n] for f in ("speech", "emotion", "va", "asked", "au", "weights")})
        for c, n in zip(clips(3), (20, 60, 220), strict=True)
    ]
    cut = of_examples(made, pool[1])
    assert list(cut.first) == [0, 20, 80] and cut.people == ("x",)
    seen = set()
    for i in range(20):
        chosen, rows = cut.draw(4, 50, EDGE, np.random.default_rng(i))
        seen |= set(chosen.tolist())
        for clip, numbers in zip(chosen, rows, strict=True):
            within = numbers - cut.first[clip]
            assert within.min() >= 0 and within.max() < cut.length[clip] and len(numbers) == 50 + 2 * EDGE
            assert (np.diff(numbers) <= 1).all() and (np.diff(numbers) >= 0).all()
    assert seen == {0, 1, 2}
    wide = cut.wide(1, EDGE)
    assert len(wide) == 60 + 2 * EDGE and wide[0] == wide[EDGE] == 20 and wide[-1] == 79
    assert np.abs(cut.goal[20:80] - pool[1].coefficients(made[1].weights)).max() < 0.02  # half precision of mm


def test_a_pool_needs_clips(pool):
    with pytest.raises(BadInput, match="studio perform"):
        of_examples([], pool[1])


def test_the_rate_warms_up_and_cools_down():
    plan = Plan(100, rate=1.0)
    rates = [rate_at(s, plan) for s in range(100)]
    assert rates[0] < rates[2] == max(rates) and rates[-1] < 0.03 and all(np.diff(rates[3:]) < 0)


@pytest.fixture(scope="module")
def checkpoint(fitted, pool, head, tmp_path_factory):
    path = tmp_path_factory.mktemp("nets") / "emotalk3d.safetensors"
    recipe.save(path, fitted[0], SMALL, pool[1], head, fitted[1])
    assert path.with_suffix(".png").is_file() and path.with_suffix(".log.json").is_file()
    return path


def heard(duration=4.0):
    speech = voice(duration)
    rows = len(speech.articulation)
    return dataclasses.replace(speech, features=Features("embedded", "x", 50.0, 0.0, np.zeros((rows, 64), np.float16)))


def test_windows_leave_no_seam(checkpoint, monkeypatch):
    controls = dataclasses.replace(QUIET, emotions={"happy": ((0, 0.0), (3, 1.0))})
    whole = run_system(EmoTalk3D(checkpoint), heard(), controls)
    monkeypatch.setattr("engine.motion.perform.WINDOW_S", 0.73)
    pieces = run_system(EmoTalk3D(checkpoint), heard(), controls)
    assert np.array_equal(whole.times, pieces.times) and np.abs(whole.arkit - pieces.arkit).max() < 1e-5


def test_it_performs_at_any_rate_and_obeys_the_rest_afterwards(checkpoint, head, monkeypatch):
    monkeypatch.setitem(base.SYSTEMS, "emotalk3d", lambda: EmoTalk3D(checkpoint))
    controls = dataclasses.replace(QUIET, au={"AU02_L": ((0, 0.8),)})
    plain, raised = (
        perform(sound(), c, fps=23.976, motion="emotalk3d", head=head, speech=heard()) for c in (QUIET, controls)
    )
    assert plain.meta["obeyed"] == ["intensity", "labels"] and plain.meta["applied_after"] == ["au", "prompt", "va"]
    assert (raised.arkit - plain.arkit)[:, ARKIT.index("browOuterUpLeft")].mean() > 0.3
    again = perform(sound(), QUIET, fps=23.976, motion="emotalk3d", head=head, speech=heard())
    assert np.array_equal(again.arkit, plain.arkit)
    assert gaps_mm(head, plain).min() < 0.6, "contacts are the engine's, whatever the network thinks"


def test_a_blurred_mouth_yields_to_contacts():
    from engine.core.names import ARKIT_INDEX, EXTRA_INDEX
    from engine.motion.direct import BITE_JAW, BITE_UPPER, LOWER_LIP, OPENING
    from engine.motion.nets.inputs import meeting

    weights = np.random.default_rng(2).random((4, 59)).astype(np.float32)
    closure, bite = np.array([0.0, 1.0, 0.0, 0.5]), np.array([0.0, 0.0, 1.0, 0.0])
    out = meeting(weights, closure, bite)
    assert np.array_equal(out[0], weights[0]), "nothing is held: nothing changes"
    jaw, close, teeth = ARKIT_INDEX["jawOpen"], ARKIT_INDEX["mouthClose"], 52 + EXTRA_INDEX["lowerLipToTeeth"]
    assert out[1, close] >= out[1, jaw] and not out[1, [ARKIT_INDEX[n] for n in OPENING]].any()
    assert out[2, teeth] == 1 and out[2, jaw] == pytest.approx(BITE_JAW)
    assert not out[2, [ARKIT_INDEX[n] for n in (*OPENING, *LOWER_LIP) if n not in ("mouthClose", *BITE_UPPER)]].any()
    assert np.allclose(out[2, [ARKIT_INDEX[n] for n in BITE_UPPER]], list(BITE_UPPER.values()))
    half = [ARKIT_INDEX[n] for n in OPENING]
    assert np.allclose(out[3, half], 0.5 * weights[3, half])
    brows = [i for n, i in ARKIT_INDEX.items() if n.startswith("brow")]
    assert np.array_equal(out[:, brows], weights[:, brows])


def test_labels_become_shares_that_sum_to_one():
    from engine.controls.track import sample

    rows = label_input(
        sample(Controls(emotions={"sad": ((0, 0.7),), "angry": ((0, 0.3),)}, intensity=((0, 0.5),)), np.zeros(1))
    )
    assert rows.sum() == pytest.approx(1) and rows[0, EMOTIONS.index("sad")] == pytest.approx(0.35)
    assert rows[0, EMOTIONS.index("neutral")] == pytest.approx(0.5)


def test_another_encoder_is_refused_in_a_sentence():
    speech = heard()
    other = Features("hubert", "x", 50.0, 0.0, np.zeros((len(speech.articulation), 32), np.float16))
    with pytest.raises(BadInput, match="train adapter"):
        interface(dataclasses.replace(speech, features=other))


def test_checkpoints_are_checked(checkpoint, tmp_path):
    again = file.read(checkpoint, "emotalk3d")
    assert again.header["interface"] == "v1" and len(again.sha256) == 64
    with pytest.raises(BadFile, match="not of 'emotag'"):
        file.read(checkpoint, "emotag")
    (tmp_path / "x.safetensors").write_bytes(b"no")
    with pytest.raises(BadFile, match="no checkpoint"):
        file.read(tmp_path / "x.safetensors", "emotalk3d")


def test_the_emotion_can_be_left_out_and_extracted():
    net = S2GNet(10, width=16, layers=1, use_emotion=False).eval()
    speech = torch.randn(1, 20 + 2 * EDGE, 75)
    two = [net(speech, torch.eye(14)[i].expand(1, 20, 14))[0] for i in (1, 5)]
    assert torch.equal(*two), "the ablation without emotion hears none"
    shares = EmotionExtractor(16).eval()(torch.randn(2, 61, 75))
    assert shares.shape == (2, 61, 14) and torch.allclose(shares.sum(-1), torch.ones(2, 61), atol=1e-5)


def test_it_hears_by_articulation_unless_told_to_hear_all(checkpoint):
    speech = heard()
    loud = dataclasses.replace(speech.features, values=np.ones_like(speech.features.values))
    plain, all_of_it = (EmoTalk3D(checkpoint, **k) for k in ({}, {"features": 1.0}))
    one, two = (run_system(plain, s, QUIET) for s in (speech, dataclasses.replace(speech, features=loud)))
    assert np.array_equal(one.arkit, two.arkit)
    three = run_system(all_of_it, dataclasses.replace(speech, features=loud), QUIET)
    assert np.abs(three.arkit - two.arkit).max() > 0.01
