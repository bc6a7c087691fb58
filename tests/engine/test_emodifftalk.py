"""EmoDiffTalk as a motion system: one grid of windows, noise by row and seed, codes; what the bundled one learned."""

import dataclasses

import numpy as np
import pytest
import torch
from test_emotag import clips, held_out
from test_motion import QUIET, gaps_mm, sound, voice

from engine.core.control import Layer, Prompt
from engine.core.errors import BadFile
from engine.core.names import ARKIT_INDEX, ARTICULATION_INDEX, AU_INDEX, EXTRA_INDEX
from engine.head.action_units import to_shapes
from engine.head.evaluate import vertices
from engine.head.library import load_head
from engine.motion import base, emodifftalk
from engine.motion.direct import JAW, Direct, conversing, late
from engine.motion.emodifftalk import EmoDiffTalk, noise_rows
from engine.motion.nets import au_diffusion as diffusion
from engine.motion.nets import file
from engine.motion.nets.au_diffusion import window_starts
from engine.motion.perform import perform, run_system, sampler
from engine.studio.performances.act import face_of
from engine.studio.performances.articulate import jaw_most, varied
from engine.train import emodifftalk_recipe as recipe
from engine.train.motion_codes import slid, slid_weights
from engine.train.motion_data import of_examples
from engine.train.motion_loop import Plan, VertexLoss
from engine.train.motion_recipe import finish

torch.set_num_threads(1)
SMALL = {"ear": {"width": 16, "pool": 5}, "net": {"width": 24, "layers": 1, "codes": 38, "yields": True}}
HAPPY = dataclasses.replace(QUIET, emotions={"happy": ((0, 0.0), (3, 1.0))})


@pytest.fixture(scope="module")
def head():
    return load_head()


@pytest.fixture(scope="module")
def lessons():
    return recipe.lessons(of_examples(clips(), file.shared_basis()))


@pytest.fixture(scope="module")
def ear(lessons):
    return recipe.fit_ear(lessons, lessons, Plan(12, rate=5e-3, every=6), SMALL["ear"])


@pytest.fixture(scope="module")
def fitted(head, lessons, ear):
    """A small denoiser after a few seconds: (net, log)."""
    plan = Plan(60, rate=5e-3, every=30)
    return recipe.fit(lessons, lessons, head, file.shared_basis(), plan, ear[0], SMALL["net"])


@pytest.fixture(scope="module")
def checkpoint(fitted, ear, head, tmp_path_factory):
    path = tmp_path_factory.mktemp("emodifftalk") / "emodifftalk.safetensors"
    finish(
        path, recipe.Both(ear[0], fitted[0]), SMALL, file.shared_basis(), fitted[1], system="emodifftalk",
        supports=EmoDiffTalk.supports, native_fps=50.0, head=head,
    )  # fmt: skip
    return path


def test_an_older_file_says_what_to_do(head, tmp_path):
    """Older ones had no columns of their own for the voice's codes."""
    path, config = tmp_path / "old.safetensors", {"ear": {"width": 16}, "net": {"width": 24, "layers": 1}}
    size = file.shared_basis().size
    finish(
        path, diffusion.Both.of(size, config), config, file.shared_basis(), [], system="emodifftalk",
        supports=EmoDiffTalk.supports, native_fps=50.0, head=head,
    )  # fmt: skip
    with pytest.raises(BadFile, match="was trained by an older version: train it again"):
        EmoDiffTalk(path)


def test_the_log_measures_what_ships(head, lessons, ear, fitted):
    """Held-out windows are sampled with the noise, the smoothing and the hearing of the running system."""
    basis, measure = file.shared_basis(), VertexLoss(head, file.shared_basis())

    def tensor(values):
        return torch.from_numpy(np.asarray(values, np.float32))

    made = recipe.batch_of(lessons, basis, ear[0], 3, np.random.default_rng(0), tensor, learning=False)
    loud = dataclasses.replace(lessons, pool=dataclasses.replace(lessons.pool, speech=lessons.pool.speech.copy()))
    loud.pool.speech[:, 11:] = 1.0
    again = recipe.batch_of(loud, basis, ear[0], 3, np.random.default_rng(0), tensor, learning=False)
    assert torch.equal(made.codes, again.codes), "the encoder does not hear the features"
    assert not torch.equal(made.speech, again.speech), "the denoiser does"
    none, full = (recipe.held_errors(fitted[0], made, measure, torch.full((basis.size,), v)) for v in (0.0, 1.0))
    assert none["held_lips_mm"] != full["held_lips_mm"] and min(none.values()) > 0


def test_both_stages_learn(ear, fitted):
    assert ear[1][-1]["loss"] < ear[1][0]["loss"]
    log = fitted[1]
    assert log[-1]["loss"] < 0.6 * log[0]["loss"] and log[-1]["held_upper_mm"] < log[0]["held_upper_mm"]


@pytest.mark.parametrize("name", recipe.ABLATIONS)
def test_every_ablation_trains(head, lessons, ear, name):
    config = {**recipe.ABLATIONS[name]["net"]}
    net, log = recipe.fit(lessons, lessons, head, file.shared_basis(), Plan(2, every=1), ear[0], config)
    assert np.isfinite(log[-1]["loss"]) and isinstance(net, diffusion.Denoiser) == (name == "codes")


def test_the_deformation_term_sees_points_that_rest(head, lessons):
    basis, goal = file.shared_basis(), lessons.pool.goal
    metric = recipe.resting_metric(head, basis, goal)
    moved = goal.astype(np.float64) - goal.astype(np.float64).mean(0)
    assert np.sqrt(np.square(moved @ metric).sum(1).mean()) < recipe.STILL_MM


def test_sliders_move_a_performance_by_the_rules_that_made_it():
    """Performing other codes and moving the sliders of a performance come to the same face, to single precision."""
    words = [("a", 0.2, 0.5), ("s", 0.5, 0.7), ("u", 0.7, 1.1), ("_", 1.1, 1.35), ("p", 1.35, 1.5), ("a", 1.5, 2.0),
             ("_", 2.0, 4.0)]  # fmt: skip
    times, rng = np.arange(200) / 50, np.random.default_rng(0)
    said = varied(tuple(words), len(times), rng)
    voiced, together = said[:, ARTICULATION_INDEX["voice"]], 52 + EXTRA_INDEX["lipsTogether"]
    assert voiced.min() == 0 and voiced.max() == 1, "silence and speech"
    before = np.zeros((len(said), 18, 2), np.float32)
    before[:, AU_INDEX["AU12"], 0] = 0.4
    before[:, AU_INDEX["AU24"]] = 0.3
    contact = np.stack(
        [late(said[:, ARTICULATION_INDEX["lip_close"]]), said[:, ARTICULATION_INDEX["labiodental"]], voiced], 1
    )

    def performed(codes):
        return face_of(codes.reshape(-1, 18, 2), said, 1.0, tuple(words), times)

    tight = before.copy()
    tight[:, [AU_INDEX["AU23"], AU_INDEX["AU24"]]] = 1.0
    jaw, limit, seen = ARKIT_INDEX["jawOpen"], JAW * jaw_most(words, times), 0.0
    for after in (tight, *(slid(before.reshape(-1, 36), rng) for _ in range(12))):
        after = after.reshape(-1, 36)
        was, wanted = performed(before), performed(after)
        moved = slid_weights(was, before.reshape(-1, 36), after, contact, conversing(voiced), said)
        free = (wanted < 1) & (was < 1) & (wanted > 0) | (wanted == was)  # where nothing was cut off
        free[:, jaw] &= wanted[:, jaw] < limit - 1e-6  # a phone's limit is not stored
        assert free.mean() > 0.9 and np.abs(moved - wanted)[free].max() < 1e-5
        seen = max(seen, float(np.abs(wanted - was).max()))
    assert seen > 0.1
    pressed = slid_weights(
        performed(before), before.reshape(-1, 36), tight.reshape(-1, 36), contact, conversing(voiced), said
    )
    assert pressed[voiced == 1, together].max() < 1e-6 and pressed[voiced == 0, together].max() > 0.5


def test_codes_move_what_the_heads_table_says_before_anything_is_learned():
    basis, spread = file.shared_basis(), np.full(file.shared_basis().size, 0.5)
    code = np.zeros((1, 38), np.float32)
    code[0, 2 * AU_INDEX["AU12"]] = 1.0  # the left smile
    answer = recipe.answer_of(basis, spread)
    moved = basis.weights((answer @ code[0] * spread)[None]) - basis.mean
    wanted, _ = to_shapes(code[:, :36].reshape(1, 18, 2))
    assert np.abs(moved[:, :52] - wanted).max() < 0.02 and moved[0, ARKIT_INDEX["mouthSmileLeft"]] > 0.5
    jaw = 2 * AU_INDEX["AU26"]
    assert np.allclose(answer[:, 37], answer[:, jaw] + answer[:, jaw + 1]), "a heard jaw moves both sides"


def test_what_is_heard_may_weaken_what_the_codes_move():
    torch.manual_seed(0)
    net = diffusion.build(6, {"width": 16, "layers": 1, "codes": 38, "yields": True}).eval()
    torch.nn.init.normal_(net.answer.weight)
    au, speech = torch.rand(1, diffusion.WINDOW, 38), torch.randn(1, diffusion.WINDOW + 2 * diffusion.MARGIN, 75)
    assert torch.equal(net.given(au, speech)[1], net.answer(au)), "not before it is learned"
    torch.nn.init.constant_(net.weaken.bias, -20.0)
    assert net.given(au, speech)[1].abs().max() < 1e-6


def test_the_encoders_pooling_is_a_mean_of_neighbours():
    torch.manual_seed(0)
    plain, pooled = (diffusion.SpeechToAU(16, pool).eval() for pool in (1, 5))
    pooled.load_state_dict(plain.state_dict())
    with torch.inference_mode():
        a, b = (net(torch.randn(2, 40, 75, generator=torch.Generator().manual_seed(1))) for net in (plain, pooled))
    padded = torch.cat([a[:, :1]] * 2 + [a] + [a[:, -1:]] * 2, 1)
    wanted = torch.stack([padded[:, i : i + 40] for i in range(5)]).mean(0)
    assert a.shape == b.shape and (b - wanted).abs().max() < 1e-6


def test_motion_is_weighed_by_the_frame_not_by_the_row():
    """The loss of a line is that of its slope at 25 frames a second: (2 x 0.1)² x 0.5, nothing bends."""
    line = 0.1 * torch.arange(20.0)[None, :, None]
    lips = torch.zeros(1, 1)
    loss = diffusion.geometry_loss(line, torch.zeros_like(line), lips)
    assert float(loss) == pytest.approx(float(line.square().mean()) + 0.5 * 0.2**2, rel=1e-5)


def test_noise_does_not_hang_on_the_cut():
    whole = noise_rows(7, -40, 300, 5)
    assert np.array_equal(whole[100:140], noise_rows(7, 60, 100, 5))
    assert not np.array_equal(whole[100:140], noise_rows(8, 60, 100, 5))
    assert whole.std() == pytest.approx(1, abs=0.1)


def test_smoothing_keeps_what_is_slow_and_calms_a_tremor():
    reach = emodifftalk.STILLED_REACH
    line = np.stack([np.full(40, 0.3), 0.01 * np.arange(40)], 1).astype(np.float32)
    assert np.abs(emodifftalk.stilled(line) - line[reach:-reach]).max() < 1e-6
    tremor = np.where(np.arange(40) % 2, 1.0, -1.0)[:, None].astype(np.float32)
    assert np.abs(emodifftalk.stilled(tremor)).max() < 0.1


def test_any_cut_gives_the_same_motion(checkpoint, monkeypatch):
    system = EmoDiffTalk(checkpoint)
    whole = run_system(system, voice(7.0), HAPPY)
    monkeypatch.setattr("engine.motion.perform.WINDOW_S", 0.73)
    pieces = run_system(EmoDiffTalk(checkpoint), voice(7.0), HAPPY)
    assert np.array_equal(whole.times, pieces.times)
    assert np.abs(whole.arkit - pieces.arkit).max() < 1e-5  # float32 sums in another order
    keyed = sampler(voice(7.0), HAPPY)
    middle, _ = system.run(system.prepare(voice(7.0)), keyed, 2.5, 4.1)
    assert np.abs(whole.arkit[125:205] - middle.arkit).max() < 1e-5


def test_the_seed_makes_the_take(checkpoint, head, monkeypatch):
    monkeypatch.setitem(base.SYSTEMS, "emodifftalk", lambda: EmoDiffTalk(checkpoint))
    one, again, other = (
        perform(
            sound(), dataclasses.replace(HAPPY, seed=s), fps=23.976, motion="emodifftalk", head=head, speech=voice()
        )
        for s in (1, 1, 2)
    )
    assert np.array_equal(one.arkit, again.arkit) and not np.array_equal(one.arkit, other.arkit)
    assert one.meta["applied_after"] == [] and gaps_mm(head, one).min() < 0.6, "contacts are the engine's"


def test_words_modulate_the_voices_codes(checkpoint):
    system, heard = EmoDiffTalk(checkpoint), voice()
    rows, starts = system.prepare(heard)[1], window_starts(0, 200)
    denied = Prompt("x", 0, 4, 0, 0, activation={"AU26_L": -1.0, "AU26_R": -1.0})
    controls = (QUIET, dataclasses.replace(QUIET, prompts=(denied,)))
    plain, worded = (system.codes(rows, sampler(heard, c), starts)[1] for c in controls)
    lips, jaw = 36, 37  # of the voice's own
    assert worded[20:, jaw].max() < 0.3 * plain[20:, jaw].max() and plain[:, lips].min() > 0
    assert not plain[:, :36].any(), "what the encoder hears of feelings is off"
    feeling = EmoDiffTalk(checkpoint, feelings=1.0).codes(rows, sampler(heard, QUIET), starts)[1]
    felt = feeling[:, :36].reshape(-1, 18, 2)
    assert felt[:, AU_INDEX["AU12"]].min() > 0 and not felt[:, AU_INDEX["AU26"]].any()


# --- the bundled network


@pytest.fixture(scope="module")
def bundled():
    return EmoDiffTalk()


@pytest.fixture(scope="module")
def several():
    """Held-out clips: [(performance, speech)]."""
    return held_out("label", 6)


@pytest.fixture(scope="module")
def spoken(several):
    """One of them."""
    return several[0]


def test_the_bundled_network_moves_as_held_out_people_do(bundled, head, spoken):
    from engine.train.motion_table import errors, sealed, still

    made, heard = spoken
    truth = (made.arkit, made.extra)
    rest = np.repeat(bundled.basis.mean[None], len(made.arkit), 0)
    mean = errors(truth, (rest[:, :52], rest[:, 52:]), head)
    seen = errors(truth, sealed(head, run_system(bundled, heard, still(made.keyed))), head)
    assert seen["lve_mm"] < 0.7 * mean["lve_mm"] and seen["uve_mm"] < 0.6 * mean["uve_mm"]


def test_the_bundled_network_obeys_labels_and_sliders(bundled, spoken):
    def shown(controls, *names):
        return run_system(bundled, spoken[1], controls).arkit[50:, [ARKIT_INDEX[name] for name in names]].mean()

    happy = dataclasses.replace(QUIET, emotions={"happy": ((0, 1.0),)})
    assert shown(happy, "mouthSmileLeft", "mouthSmileRight") > 0.25 + shown(QUIET, "mouthSmileLeft", "mouthSmileRight")
    brow = dataclasses.replace(QUIET, au={"AU02_L": ((0, 0.8),)})
    assert shown(brow, "browOuterUpLeft") > 0.4 and shown(brow, "browOuterUpRight") < 0.2


def face_mm(head, motion):
    return vertices(head, motion.arkit, motion.extra) * 1000


def test_seams_are_as_smooth_as_what_lies_between(bundled, head, several):
    """Speed and its change at the ends of windows against elsewhere, beside `direct`, which has no windows. Over
    several clips: the dozen ends of one may all fall on quick syllables (ratios of 1.5 and 1.9 in the truth itself)."""
    voices, ratios = [heard for _, heard in several], []
    for system in (bundled, Direct()):
        for order in (1, 2):
            at_ends, between = [], []
            for heard in voices:
                points = face_mm(head, run_system(system, heard, HAPPY))[:, np.asarray(head.masks["lips"]) >= 0.5]
                moved = np.linalg.norm(np.diff(points, order, axis=0), axis=2).mean(1)
                offset = (np.arange(len(moved)) + diffusion.OVERLAP) % diffusion.HOP
                ends = [0, 1, diffusion.HOP - 1, *range(diffusion.OVERLAP - 1, diffusion.OVERLAP + 2)]
                at_ends.append(moved[np.isin(offset, ends)])
                between.append(moved[~np.isin(offset, ends)])
            ratios.append(np.concatenate(at_ends).mean() / np.concatenate(between).mean())
    # A jump of a fifth of the usual step at each seam would show as 1.2.
    assert ratios[0] < 1.2 * ratios[2] and ratios[1] < 1.2 * ratios[3]


def test_where_windows_begin_hardly_matters(bundled, head, several):
    """Each clip in two cuts, one with its first row held for half a HOP more: the same inputs on another grid. What
    both share cancels, so that a seam of one clip shows as a step of their difference."""
    lips, half = np.asarray(head.masks["lips"]) >= 0.5, diffusion.HOP // 2
    felt = dataclasses.replace(HAPPY, emotions={"happy": ((0, 1.0),)}, layers={**HAPPY.layers, "life": Layer(on=False)})
    for _, heard in several:
        keyed, rows = sampler(heard, felt), bundled.prepare(heard)[1]
        later = np.concatenate([np.repeat(rows[:1], half, 0), rows])
        count = len(rows)
        with torch.inference_mode():
            one, _ = bundled.weights(rows, keyed, 0, count, None)
            two, _ = bundled.weights(later, lambda at, k=keyed: k(at - half / 50), half, half + count, None)
        gap = [vertices(head, made[:, :52], made[:, 52:])[:, lips] * 1000 for made in (one, two)]
        apart = gap[0] - gap[1]
        steps = np.linalg.norm(np.diff(apart, axis=0), axis=2).mean(1)
        # Twice the most that six clips showed when the bounds were set: .25 mm apart in a clip's mean, steps of .30 mm
        # a row where lips themselves make steps of up to 2.3 mm.
        assert np.linalg.norm(apart, axis=2).mean() < 0.5 and steps.max() < 0.6


def test_lips_begun_with_all_of_the_noise_are_further_from_the_truth(bundled, head, several):
    """Why the sampler does not begin with x_T ~ N(0, I): 8 % more error of the lips when the bound was set."""
    from engine.train.motion_table import errors, sealed, still

    printed = EmoDiffTalk()
    printed.varied = np.ones_like(printed.varied)
    missed = []
    for system in (bundled, printed):
        faces = [sealed(head, run_system(system, heard, still(made.keyed))) for made, heard in several]
        found = [errors((m.arkit, m.extra), f, head)["lve_mm"] for (m, _), f in zip(several, faces, strict=True)]
        missed.append(np.mean(found))
    assert missed[1] > 1.02 * missed[0]


def test_another_seed_changes_the_upper_face_more_than_the_lips(bundled, head, spoken):
    felt = dataclasses.replace(QUIET, emotions={"angry": ((0, 1.0),)})
    one, two = (face_mm(head, run_system(bundled, spoken[1], dataclasses.replace(felt, seed=s))) for s in (1, 2))
    moved = np.linalg.norm(one - two, axis=2)
    lips, upper = (moved[:, np.asarray(head.masks[name]) >= 0.5] for name in ("lips", "upper_face"))
    assert upper.max(1).mean() > lips.max(1).mean() and upper.max(1).mean() > 0.1


def test_the_seed_draws_of_each_component_what_it_may(bundled):
    starts = window_starts(0, 60_000)
    noise = np.concatenate([bundled.noise(seed, starts).numpy() for seed in range(60)])
    power = np.square(noise).mean((0, 1))
    # Half of a component's power is one draw a seed: of 60 draws' power the standard deviation is a tenth of it.
    assert (np.abs(power - bundled.varied) < 0.4 * bundled.varied + 1e-3).all()
    assert bundled.varied.min() < 0.1 and bundled.varied.max() > 0.5
