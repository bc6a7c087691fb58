"""The shipped encoder: front end, chunks without seams, silence, odd inputs, checkpoints, and a real voice."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.assets import registry
from engine.audio.read import audio_of, read_audio
from engine.core.errors import BadFile, BadInput, Cancelled
from engine.core.names import ARTICULATION, ARTICULATION_INDEX
from engine.core.progress import Reporter
from engine.core.spans import runs as runs_of
from engine.measure import lipsync, lipsync_score
from engine.speech import frontend, prosody
from engine.speech.embedded import quiet_edge, run_chunked
from engine.speech.encode import encode, load_encoder, open_gate
from engine.speech.net import ArticulationNet, NetConfig, load_net, save_net
from engine.studio.sample import make_sample, speak_sample
from engine.train import speech_augment

torch.set_num_threads(1)
DEV = Path(__file__).resolve().parents[3] / "shared" / "data" / "speech_dev"
RATE = 16000
COLUMN = ARTICULATION_INDEX


@pytest.fixture(scope="module")
def sample():
    return speak_sample()


@pytest.fixture(scope="module")
def heard(sample):
    return encode(audio_of(sample[0]))


def noise(seconds, level, seed=0):
    return (level * np.random.default_rng(seed).normal(size=int(seconds * RATE))).astype(np.float32)


def track(speech):
    return lipsync.track_of_articulation(
        speech.times, {name: speech.articulation[:, i] for name, i in COLUMN.items()}
    )  # fmt: skip


# Front end


def test_a_click_and_a_tone_land_where_they_should():
    x = np.zeros(RATE, np.float32)
    x[8000] = 1.0
    assert frontend.loudness(frontend.log_mel(x)).argmax() == 50
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE).astype(np.float32)
    band = frontend.log_mel(tone)[50].argmax()
    # Centre of that band in closed form: 1000 Hz is 1000 mel by construction of the scale (within half a band).
    edges = 700 * (10 ** (np.linspace(*(2595 * np.log10(1 + np.array([60.0, 7600.0]) / 700)), 66) / 2595) - 1)
    assert abs(edges[band + 1] - 1000) < 50
    assert (frontend.mel_matrix() >= 0).all() and np.abs(frontend.mel_matrix().sum(0) - 1).max() < 1e-5


@pytest.mark.parametrize("samples, rows", [(1, 1), (320, 1), (321, 2), (800, 3), (16000, 50), (16001, 51)])
def test_rows_cover_the_clip(samples, rows):
    assert frontend.rows_of(samples) == rows and len(frontend.log_mel(np.zeros(samples, np.float32))) == 2 * rows


def test_normalisation_ignores_level_and_colour_and_has_a_batched_twin():
    rng = np.random.default_rng(0)
    mel = (rng.normal(size=(600, 64)) * 2 - 6).astype(np.float32)
    prior = rng.normal(size=64).astype(np.float32)
    a = frontend.normalise(mel, prior)
    # Level goes out exactly; colour as far as the recording outweighs the prior.
    assert np.abs(frontend.normalise(mel + 3.0, prior) - a).max() < 1e-4
    twin = speech_augment.normalise(torch.from_numpy(mel)[None], torch.from_numpy(prior))[0].numpy()
    # The twin gates on the sum over bands, not the mean: the same frames. 1e-3: percentile interpolation in f32.
    assert np.abs(twin - a).max() < 1e-3


# Net


def test_chunks_have_no_seams(sample):
    net = load_encoder().net
    mel = frontend.normalise(frontend.log_mel(np.tile(sample[0], 3)), np.zeros(64, np.float32))
    whole = run_chunked(net, mel, chunk=10**6)
    for chunk in (100, 333):
        for a, b in zip(run_chunked(net, mel, chunk=chunk), whole, strict=True):
            # The same sums in another order: the convolution library blocks by length. Worst seen 3e-6.
            assert a.shape == b.shape and np.abs(a - b).max(initial=0.0) < 2e-5  # a head that the net lacks is empty


def test_net_shapes_and_gradient_reach():
    net = ArticulationNet(NetConfig(width=16, dilations=(1, 2)))
    mel = torch.randn(2, 40, 64, requires_grad=True)
    events, channels, features = net.eval()(mel)
    assert events.shape == (2, 40, 4) and channels.shape == (2, 20, 8) and features.shape == (2, 20, 64)
    channels[0, 10].sum().backward()
    reached = mel.grad[0].abs().sum(1).nonzero()[:, 0]
    assert reached.min() >= 20 - 2 * net.config.reach_s * 50 and reached.max() <= 20 + 2 * net.config.reach_s * 50
    assert float(mel.grad[1].abs().sum()) == 0


def test_checkpoints_round_trip_and_refuse(tmp_path):
    net = ArticulationNet(NetConfig(width=16, dilations=(1, 2), prior=tuple(np.linspace(-1, 1, 64))))
    save_net(tmp_path / "a.safetensors", net, {"thresholds": {"closure": 0.4}})
    back, extra = load_net(tmp_path / "a.safetensors")
    assert extra == {"thresholds": {"closure": 0.4}} and back.config == net.config
    x = torch.randn(1, 40, 64)
    with torch.no_grad():
        # float16 weights: a relative 5e-4 each.
        assert (back(x)[0] - net.eval()(x)[0]).abs().max() < 0.02
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "kind.safetensors", metadata={"kind": "motion", "format": "1"})
    save_file({"a": torch.zeros(1)}, tmp_path / "new.safetensors", metadata={"kind": "speech", "format": "99"})
    config = json.dumps({"width": 16, "dilations": [1, 2]})
    header = {"kind": "speech", "format": "1", "config": config}
    save_file({"a": torch.zeros(1)}, tmp_path / "weights.safetensors", metadata=header)
    (tmp_path / "junk.safetensors").write_bytes(b"no header at all")
    for name, words in {
        "kind": "not a speech net", "new": "newer Soliloquy", "weights": "damaged", "junk": "not a safetensors",
        "absent": "no such file",
    }.items():  # fmt: skip
        with pytest.raises(BadFile, match=words):
            load_net(tmp_path / f"{name}.safetensors")


def test_unknown_encoders_say_so(tmp_path):
    with pytest.raises(BadInput, match="no speech called"):
        load_encoder("hubert-of-nowhere")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(BadInput, match="no speech encoder"):
        load_encoder(str(tmp_path / "a.txt"))


def test_the_shipped_checkpoint_is_small_and_registered():
    entry = registry.find("default", "speech")
    path = registry.resolve("default", "speech")
    assert path.stat().st_size < 5_000_000 and entry.interface == "v1" and entry.licence


# Speech


def test_speech_of_the_sample(sample, heard):
    samples, segments = sample
    rows = frontend.rows_of(len(samples))
    assert heard.articulation.shape == (rows, 11) and heard.articulation.dtype == np.float32
    assert heard.articulation.min() >= 0 and heard.articulation.max() <= 1
    assert heard.features.values.shape == (rows, 64) and heard.features.values.dtype == np.float16
    assert heard.features.rate_hz == 50 and heard.features.t0_s == 0 and np.abs(heard.features.values).max() <= 1
    assert heard.prosody["energy"].shape == heard.prosody["f0_hz"].shape == (rows,)
    reference = lipsync.Reference(Path("sample.wav"), len(samples) / RATE, "", tuple(segments))
    got = lipsync_score.score_tracks([(reference, track(heard))])
    # Speech like the training's: a floor that a broken net or a shifted clock does not reach.
    assert got["events"] >= 8 and got["closure"] >= 0.75 and abs(got["lag_ms"]) <= 20 and got["correlation"] > 0.7


def test_closures_are_whole_and_smooth(heard):
    lips = heard.articulation[:, COLUMN["lip_close"]]
    runs = runs_of(lips >= 0.999)
    assert len(runs) >= 5 and all(b - a >= 2 for a, b in runs)
    assert np.abs(np.diff(heard.articulation[:, COLUMN["jaw_open"]])).max() < 0.35


def test_pauses_shut_the_mouth_and_keep_it_still(sample):
    samples = np.concatenate([sample[0], noise(3.0, 2e-4), sample[0]])
    a = encode(audio_of(samples)).articulation
    n = len(sample[0]) // 320
    quiet = a[n + 20 : n + 130]
    assert quiet.max() == 0.0, ARTICULATION[int(quiet.max(0).argmax())]
    assert a[n + 150 :, 0].max() > 0.4


@pytest.mark.parametrize("level", [0.0, 1e-5, 1e-3])
def test_no_voice_no_motion(level):
    speech = encode(audio_of(noise(3.0, level) if level else np.zeros(3 * RATE, np.float32)))
    assert speech.articulation.max() < 0.05 and speech.prosody["f0_hz"].max() == 0


def test_level_and_format_do_not_matter(sample, heard, tmp_path):
    quiet = encode(audio_of(0.03 * sample[0]))
    loud = encode(audio_of(np.clip(6 * sample[0], -1, 1)))  # clipped
    for other, worst in ((quiet, 0.02), (loud, 0.2)):
        jaw = np.abs(other.articulation - heard.articulation)[:, COLUMN["jaw_open"]]
        assert jaw.mean() < worst
    make_sample(tmp_path / "s.wav")
    again = encode(read_audio(tmp_path / "s.wav"))
    assert np.abs(again.articulation - heard.articulation).mean() < 0.01


@pytest.mark.parametrize("n", [1, 160, 800, 1601])
def test_tiny_clips(n):
    speech = encode(audio_of(noise(1.0, 0.1)[:n]))
    assert speech.articulation.shape == (max(1, -(-n // 320)), 11)


def test_progress_and_cancel(sample):
    seen = []
    encode(audio_of(np.tile(sample[0], 3)), report=Reporter(lambda *a: seen.append(a)))
    assert {"spectrum", "listening", "pitch"} <= {stage for stage, _, _ in seen}
    assert sum(stage == "listening" for stage, _, _ in seen) >= 3
    with pytest.raises(Cancelled):
        encode(audio_of(sample[0]), report=Reporter(cancelled=lambda: True))


def test_gate_opens_ahead_and_bridges_short_pauses():
    voice = np.zeros(400)
    voice[100:150], voice[160:200], voice[300:302] = 1, 1, 1
    gate = open_gate(voice)
    assert gate[:44].max() == 0 and gate[48] > 0 and gate[50:100].min() == 1
    assert gate[110:].max() == 0, "a click of 20 ms is no speech"


def test_edges_are_below_the_speech():
    mel = np.full((100, 64), -5.0, np.float32)
    assert quiet_edge(mel).max() <= -12 + 1e-6 and quiet_edge(mel).shape == (50, 64)


# Prosody


@pytest.mark.parametrize("hz", [80.0, 120.0, 220.0, 400.0])
def test_pitch_of_a_pulse_train(hz):
    t = np.arange(RATE) / RATE
    x = sum(np.sin(2 * np.pi * hz * k * t) / k for k in range(1, 12)).astype(np.float32) * 0.2
    f0 = prosody.f0(x, 50)[5:-5]
    assert (f0 > 0).all() and np.abs(f0 / hz - 1).max() < 0.02


def test_noise_has_no_pitch_and_energy_follows_level():
    assert (prosody.f0(noise(1.0, 0.1), 50) > 0).mean() < 0.1
    x = np.concatenate([noise(1.0, 0.1), noise(1.0, 0.01)])
    e = prosody.energy(frontend.log_mel(x))
    assert e[10:40].mean() > 0.9 and e[60:90].mean() == pytest.approx(e[10:40].mean() - 0.5, abs=0.05)  # 20 of 40 dB
    assert prosody.energy(frontend.log_mel(np.zeros(RATE, np.float32))).max() == 0


# A real voice


@pytest.mark.data
@pytest.mark.skipif(not DEV.exists(), reason="../shared/data/speech_dev is not here")
def test_the_shipped_encoder_meets_the_bar_on_a_real_voice_and_late_output_fails_it():
    references = lipsync.read_manifest(DEV)
    result = lipsync_score.score(references, lambda r: track(encode(read_audio(r.file))))
    got = result["score"]
    print(json.dumps(result, indent=1))

    def meets(s):
        return (
            s["closure"] >= 0.72 and s["false_closure"] <= 0.05 and s["correlation"] >= 0.65 and abs(s["lag_ms"]) <= 20
        )

    assert meets(got), got
    assert not meets(result["controls"]["late_100ms"]) and result["controls"]["late_100ms"]["closure"] < 0.5
    assert not meets(result["controls"]["other_clip"]) and result["controls"]["other_clip"]["closure"] < 0.5


def test_pitch_blocks_have_no_seams(monkeypatch):
    t = np.arange(16000 * 40) / RATE
    x = np.sin(2 * np.pi * (120 * t + 2 * t * t)).astype(np.float32) + noise(40, 0.01)
    blocks = prosody.f0(x, 2000)
    monkeypatch.setattr(prosody, "_BLOCK", 10**6)
    assert np.array_equal(blocks, prosody.f0(x, 2000))
