"""The nets that ship: interface v1 as frozen, what their files say, and a causal net that hears no future."""

import numpy as np
import pytest
import torch

from engine.assets import registry
from engine.audio.read import audio_of
from engine.core.files import sha256_of
from engine.core.names import ARTICULATION
from engine.core.phones import CHANNELS, class_names
from engine.speech.embedded import Embedded
from engine.speech.encode import encode, load_encoder
from engine.speech.net import FORMAT, INTERFACE, ArticulationNet, NetConfig, save_net
from engine.speech.net_phones import FINE
from engine.studio.sample import speak_sample

torch.set_num_threads(1)
SHIPPED = ("default", "causal")
MEGABYTES = 6e6


@pytest.fixture(scope="module")
def voice():
    return speak_sample()[0]


def header(path):
    from safetensors import safe_open

    with safe_open(str(path), "pt") as f:
        return f.metadata()


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_net_is_what_the_registry_says(name):
    entry = registry.find(name, "speech")
    path = registry.resolve(name, "speech")
    said = header(path)
    assert (entry.sha256, entry.bytes) == (sha256_of(path), path.stat().st_size) and entry.bytes < MEGABYTES
    assert (said["interface"], float(said["rate_hz"]), float(said["t0_s"])) == (INTERFACE, 50.0, 0.0)
    assert (entry.interface, entry.rate_hz, entry.t0_s) == (INTERFACE, 50.0, 0.0)
    assert int(said["format"]) == FORMAT and entry.licence and entry.recipe
    config = load_encoder(name).net.config
    assert config.features == 64 and config.fine and config.causal == (name == "causal")
    assert (config.look_ahead_s <= 0.1) == config.causal


def test_interface_v1_is_frozen():
    assert ARTICULATION[:11] == (
        "jaw_open", "lip_close", "labiodental", "round", "funnel", "spread", "upper_lip_raise", "lower_lip_drop",
        "tongue_tip", "tongue_back", "voice",
    )  # fmt: skip
    assert INTERFACE == "v1" and len(CHANNELS) == 8


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_net_hears_the_sample(name, voice):
    speech = encode(audio_of(voice), name)
    assert speech.articulation.shape == (-(-len(voice) // 320), 11) and speech.features.values.shape[1] == 64
    shut = speech.articulation[:, ARTICULATION.index("lip_close")]
    assert 0.03 < (shut > 0.9).mean() < 0.35 and speech.articulation[:, 0].max() > 0.5
    assert not encode(audio_of(np.zeros(16000, np.float32)), name).articulation.any()


@pytest.fixture(scope="module")
def causal():
    torch.manual_seed(0)
    net = ArticulationNet(NetConfig(ahead=(1, 1, 0, 0, 0, 0, 0, 0), fine=True)).eval()
    return Embedded(net, "test", {})


def test_a_causal_net_hears_no_future(causal, voice):
    """What it says of a recording's first two seconds does not change when more is recorded."""
    whole = causal(audio_of(voice[:48000]))
    first = causal(audio_of(voice[:32000]))
    sure = int((2.0 - causal.net.config.look_ahead_s) * 50)
    for name, p in first.events.items():
        assert np.abs(p[: 2 * sure] - whole.events[name][: 2 * sure]).max() < 1e-5
    assert np.abs(first.channels[:sure] - whole.channels[:sure]).max() < 1e-4  # lip shapes are blurred by 40 ms
    assert np.abs(first.channels - whole.channels[: len(first.channels)]).max() > 1e-4, "the last rows do hear more"


def test_posteriors_are_shares_of_one(voice):
    from engine.speech.embedded import run_chunked
    from engine.speech.frontend import log_mel, normalise

    net = ArticulationNet(NetConfig(fine=True)).eval()
    raw = run_chunked(net, normalise(log_mel(voice), np.zeros(64, np.float32)), chunk=100)
    assert raw.fine.shape == (len(raw.channels), len(FINE)) and raw.phones.shape[1] == len(class_names())
    assert np.allclose(raw.fine.sum(1), 1, atol=1e-4) and np.allclose(raw.phones.sum(1), 1, atol=1e-4)
    plain = ArticulationNet(NetConfig()).eval()
    assert run_chunked(plain, normalise(log_mel(voice), np.zeros(64, np.float32))).fine.shape[1] == 0


def test_a_checkpoint_states_its_interface(tmp_path):
    save_net(tmp_path / "a.safetensors", ArticulationNet(NetConfig(fine=True)), {})
    assert header(tmp_path / "a.safetensors")["interface"] == INTERFACE
