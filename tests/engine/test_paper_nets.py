"""The papers' motion networks: what their equations promise, ablations, and windows that agree with wholes."""

import math

import pytest
import torch

from engine.core.names import EMOTIONS
from engine.motion.nets import au_diffusion as diffusion
from engine.motion.nets import faceformer, grmn

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


# --- EmoTaG


def heard(rows=40, batch=2):
    shares = torch.softmax(torch.randn(batch, rows, len(EMOTIONS)), -1)
    return torch.randn(batch, rows, 75), torch.rand(batch, rows, 36), shares, torch.randn(batch, 8)


def test_motion_is_base_plus_gated_residual():
    out = grmn.GRMN(10, 8, width=32).eval()(*heard())
    assert torch.allclose(out.motion, out.base + out.gate * out.residual)
    assert out.gate.min() > 0 and out.gate.max() < 1 and out.latent.shape[-1] == len(EMOTIONS)


@pytest.mark.parametrize("switch", ["use_identity", "use_residual", "use_gate"])
def test_ablations_take_out_what_they_name(switch):
    net = grmn.GRMN(10, 8, width=32, **{switch: False}).eval()
    speech, au, emotion, identity = heard()
    out = net(speech, au, emotion, identity)
    if switch == "use_identity":
        assert torch.equal(out.motion, net(speech, au, emotion, -identity).motion)
    elif switch == "use_residual":
        assert not out.residual.any() and torch.equal(out.motion, out.base)
    else:
        assert torch.equal(out.gate, torch.ones_like(out.gate))


def test_identity_styles_and_only_style_is_adapted():
    net = grmn.GRMN(10, 8, width=32).eval()
    speech, au, emotion, identity = heard()
    assert not torch.allclose(net(speech, au, emotion, identity).base, net(speech, au, emotion, -identity).base)
    own = {id(p) for p in net.style_parameters()}
    assert own and all(("style" in name) == (id(p) in own) for name, p in net.named_parameters())


def test_offsets_inside_the_mouth_follow_the_same_equation():
    torch.manual_seed(3)
    net = grmn.GRMN(10, 8, width=32, inside=6).eval()
    out = net(*heard())
    assert out.base.shape[-1] == 10 and out.inside is not None and out.inside.shape == (2, 40, 6)
    assert torch.allclose(out.motion, out.base + out.gate * out.residual)
    net.use_residual = False
    assert not torch.allclose(out.inside, net(*heard()).inside), "the residual branch moves them too"
    assert grmn.GRMN(10, 8, width=32).eval()(*heard()).inside is None


def test_a_window_with_its_margin_agrees_with_the_whole():
    net = grmn.GRMN(6, 8, width=32).eval()
    speech, au, emotion, identity = heard(rows=2 * grmn.EDGE + 60, batch=1)
    whole = net(speech, au, emotion, identity).motion
    cut = slice(20, 20 + 2 * grmn.EDGE + 10)
    part = net(speech[:, cut], au[:, cut], emotion[:, cut], identity).motion
    inner = slice(grmn.EDGE, grmn.EDGE + 10)
    assert torch.allclose(part[:, inner], whole[:, cut][:, inner], atol=1e-4)


def test_guidance_is_the_papers_divergence_and_score():
    latent = torch.randn(1, 3, 14)
    wanted = torch.softmax(torch.randn(1, 3, 14), -1)
    gate = torch.rand(1, 3, 1)
    branches = grmn.Branches(torch.zeros(1, 3, 2), torch.zeros(1, 3, 2), gate, latent)
    kl, score = grmn.guidance(branches, wanted)
    plain = torch.nn.functional.kl_div(latent.log_softmax(-1), wanted, reduction="none").sum(-1).mean()
    assert kl.item() == pytest.approx(plain.item(), rel=1e-5)
    assert score.item() == pytest.approx((gate[..., 0] - (1 - wanted[..., 0])).abs().mean().item(), rel=1e-6)
    kl_same, _ = grmn.guidance(grmn.Branches(gate, gate, gate, wanted.log()), wanted)
    assert kl_same.item() == pytest.approx(0, abs=1e-6)


# --- EmoDiffTalk


def test_codes_are_the_papers_17_and_the_loss_is_its_own():
    codes = diffusion.SpeechToAU(32).eval()(torch.randn(1, 30, 75))
    assert codes.shape == (1, 30, 17) and codes.min() > 0 and codes.max() < 1
    flat = torch.full((1, 5, 17), 0.5)
    assert diffusion.audio_loss(flat, flat + 0.1).item() == pytest.approx(0.1, rel=1e-5)
    stair = torch.zeros(1, 2, 17)
    stair[:, 1] = 1.0
    # A step from one row to the next is FRAME_ROWS steps a frame of 25 a second.
    by_frame = diffusion.FRAME_ROWS**2
    assert diffusion.audio_loss(stair, stair).item() == pytest.approx(0.1 * by_frame, rel=1e-5)


def test_noise_goes_from_none_to_all():
    clean, noise = torch.randn(2, 20, 4), torch.randn(2, 20, 4)
    assert torch.allclose(diffusion.add_noise(clean, torch.zeros(2), noise), clean, atol=1e-6)
    assert torch.allclose(diffusion.add_noise(clean, torch.ones(2), noise), noise, atol=1e-3)
    share = diffusion.signal_share(torch.linspace(0, 1, 9))
    assert torch.all(share[1:] < share[:-1])


def a_window(batch=1, size=4):
    """(au, speech, noise) of a window."""
    rows = diffusion.WINDOW
    return (
        torch.rand(batch, rows, 36), torch.randn(batch, rows + 2 * diffusion.MARGIN, 75), torch.randn(batch, rows, size)
    )  # fmt: skip


def test_sampling_ends_at_what_a_perfect_denoiser_knows_and_repeats():
    truth = torch.randn(1, diffusion.WINDOW, 4)

    class Perfect(diffusion.Denoiser):
        def clean(self, noisy, given, step):
            return truth

    au, speech, noise = a_window()
    assert torch.allclose(diffusion.sample(Perfect(4, width=32, layers=1).eval(), au, speech, noise), truth, atol=1e-5)
    real = diffusion.Denoiser(4, width=32, layers=1).eval()
    one, two = (diffusion.sample(real, au, speech, noise) for _ in range(2))
    assert torch.equal(one, two)
    assert not torch.allclose(one, diffusion.sample(real, au, speech, torch.randn_like(noise)))


def test_the_denoiser_sees_codes_speech_and_the_step():
    net = diffusion.Denoiser(4, width=32, layers=1).eval()
    au, speech, noisy = a_window()
    args = [noisy, au, speech, torch.tensor([0.5])]
    plain = net(*args)
    for i in range(len(args)):
        changed = list(args)
        changed[i] = args[i] * 0.5
        assert not torch.allclose(net(*changed), plain, atol=1e-6), i
    deaf = diffusion.Denoiser(4, width=32, layers=1, use_codes=False).eval()
    assert torch.equal(deaf(*args), deaf(noisy, au * 0.5, speech, args[3])), "without Codes4P no code is heard"
    seen = diffusion.Recurrent(4, width=16).eval()(au, speech)
    assert seen.shape == noisy.shape


@pytest.mark.parametrize("first,last", [(0, 1), (0, 130), (57, 61), (60, 120), (99, 1000)])
def test_windows_on_the_grid_share_every_row(first, last):
    starts = diffusion.window_starts(first, last)
    assert all((start + diffusion.OVERLAP) % diffusion.HOP == 0 for start in starts)
    ones = torch.ones(len(starts), diffusion.WINDOW, 1)
    assert torch.allclose(diffusion.blend(ones, starts, first, last), torch.ones(last - first, 1), atol=1e-6)


def test_noise_has_unit_spread_a_steady_part_and_no_shiver():
    rows = 100 + 2 * diffusion.SMOOTH_REACH
    noise = diffusion.steady(torch.randn(400, rows, 2), torch.randn(400, 1, 2))
    assert noise.shape == (400, 100, 2) and noise.std().item() == pytest.approx(1, abs=0.03)
    # The smooth part leaves 1 / sqrt(rows / its width of about 11 rows) of itself in the mean of a window.
    assert noise.mean(1).var().item() == pytest.approx(diffusion.STEADY + 0.5 * 11 / 100, abs=0.08)
    assert noise.diff(dim=1).std() < 0.25, "white noise would be at 1"


def test_geometry_loss_weighs_as_equation_29():
    lips = torch.zeros(3, 1)
    lips[0] = 2.0
    truth = torch.zeros(1, 4, 3)
    seen = truth.clone()
    seen[..., 1] = 0.5  # constant error: no speed, no lips
    assert diffusion.geometry_loss(seen, truth, lips).item() == pytest.approx(0.25)
    seen = truth.clone()
    seen[..., 0] = 0.5
    assert diffusion.geometry_loss(seen, truth, lips).item() == pytest.approx(0.25 + 0.8 * 1.0)
    seen = truth.clone()
    seen[0, 2, 1] = 1.0
    vertex, speed, change = 1 / 4, (1 + 1) / 3, (1 + 4) / 2  # 0 0 1 0 -> 0 1 -1 -> 1 -2
    by_frame = diffusion.FRAME_ROWS**2  # squared speed by the frame of 25 a second; twice that for its change
    wanted = vertex + 0.5 * (by_frame * speed + by_frame**2 * change)
    assert diffusion.geometry_loss(seen, truth, lips).item() == pytest.approx(wanted, rel=1e-5)


# --- EmoVOCA's generator


def frames(t=30):
    shares = torch.softmax(torch.randn(1, t, len(EMOTIONS)), -1)
    return torch.randn(1, 2 * t + 2 * faceformer.AHEAD, 75), shares, torch.rand(1, t, 3)


def test_free_running_is_teacher_forcing_on_its_own_frames():
    net = faceformer.EFaceFormer(5, width=32).eval()
    told = frames()
    with torch.no_grad():
        rolled, _ = net.roll(*told)
        before = torch.cat([torch.zeros(1, 1, 5), rolled[:, :-1]], 1)
        assert torch.allclose(net(before, *told), rolled, atol=1e-4)


def test_a_voice_in_pieces_is_the_voice_whole():
    net = faceformer.EFaceFormer(5, width=32).eval()
    t = faceformer.MEMORY + 20
    speech, emotion, intensity = frames(t)
    whole, _ = net.roll(speech, emotion, intensity)
    memory, parts = None, []
    for a, b in ((0, 13), (13, 40), (40, t)):
        rows = speech[:, 2 * a : 2 * b + 2 * faceformer.AHEAD]
        part, memory = net.roll(rows, emotion[:, a:b], intensity[:, a:b], memory)
        parts.append(part)
    assert torch.allclose(torch.cat(parts, 1), whole, atol=1e-4)


def test_the_mask_is_causal_biased_and_forgets():
    layer = faceformer.Layer(16, 4)
    bias = layer.bias(80, 80)
    assert bias[0, 10, 11] == -math.inf and bias[0, 10, 10] == 0
    assert bias[0, 79, 79 - faceformer.MEMORY] == -math.inf and bias[0, 79, 80 - faceformer.MEMORY] > -math.inf
    assert bias[0, 40, 40 - faceformer.PERIOD] < bias[0, 40, 39] == 0
    assert torch.equal(layer.bias(1, 30)[:, 0], layer.bias(30, 30)[:, -1]), "one frame sees what it sees among all"


def test_label_and_intensity_change_the_face():
    net = faceformer.EFaceFormer(5, width=32).eval()
    speech, emotion, intensity = frames()
    plain, _ = net.roll(speech, emotion, intensity)
    assert not torch.allclose(net.roll(speech, emotion.flip(-1), intensity)[0], plain, atol=1e-5)
    assert not torch.allclose(net.roll(speech, emotion, 1 - intensity)[0], plain, atol=1e-5)
