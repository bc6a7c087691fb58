"""HuBERT and wav2vec 2.0 in the hub's own file format (small, random weights), and adapters fitted to them."""

import dataclasses
import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engine.audio.read import audio_of
from engine.core.errors import BadFile, BadInput, Missing
from engine.speech import adapter as ad
from engine.speech import pretrained
from engine.speech.encode import encode, load_encoder
from engine.speech.hub import folder_of, is_hub_id

ROOT = Path(__file__).resolve().parents[2]
RATE = 16_000
SIZES = {
    "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96,
    "conv_dim": (32,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
}  # fmt: skip


def save_model(folder, kind, norm):
    """A model as the hub keeps it: config.json, model.safetensors, preprocessor_config.json."""
    import torch
    import transformers as tf
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.manual_seed(0)
    config = {"hubert": tf.HubertConfig, "wav2vec2": tf.Wav2Vec2Config}[kind]
    model = {"hubert": tf.HubertModel, "wav2vec2": tf.Wav2Vec2Model}[kind]
    stable = norm == "layer"
    model(config(**SIZES, feat_extract_norm=norm, do_stable_layer_norm=stable)).save_pretrained(folder)
    tf.Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=stable).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    import torch

    torch.set_num_threads(1)
    home = tmp_path_factory.mktemp("models")
    return {
        "hubert": save_model(home / "hubert", "hubert", "group"),
        "wav2vec2": save_model(home / "wav2vec2", "wav2vec2", "layer"),
    }


def voice(seconds, seed=0):
    """Bursts of shaped noise: as long as asked for, never the same."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * RATE)) / RATE
    x = rng.normal(size=len(t)) * (0.5 + 0.5 * np.sin(2 * np.pi * 3.1 * t)) ** 2
    return (0.1 * x).astype(np.float32)


# Rows


@pytest.mark.parametrize("kind", ["hubert", "wav2vec2"])
@pytest.mark.parametrize("samples", [100, 319, 320, 321, 16_000, 33_333])
def test_there_is_a_row_for_every_fiftieth(models, kind, samples):
    model = pretrained.Pretrained(models[kind])
    rows = model.rows(voice(3)[:samples])
    assert rows.shape == (-(-samples // 320), 48) and np.isfinite(rows).all()
    assert model.frames == pretrained.Frames(320, 400) and model.frames.rate_hz == 50
    assert model.frames.t0_s == pytest.approx(0.01247, abs=1e-5)


@pytest.mark.parametrize("second", [0.5, 1.01])
def test_rows_are_centred_on_their_second(models, second):
    """A click moves the convolution's rows that see it; their middle is the click's time (phase 0)."""
    import torch

    model = pretrained.Pretrained(models["wav2vec2"])
    model.normalises = False
    x = np.zeros(2 * RATE, np.float32)
    clicked = x.copy()
    clicked[int(second * RATE)] = 0.5
    outputs = []
    for samples in (x, clicked):
        padded = np.zeros(99 * 320 + 400, np.float32)
        padded[199 : 199 + len(samples)] = samples[: len(padded) - 199]
        with torch.inference_mode():
            outputs.append(model.model.feature_extractor(torch.from_numpy(padded)[None])[0].T.numpy())
    felt = np.flatnonzero(np.abs(outputs[1] - outputs[0]).max(1) > 1e-6)
    assert abs(felt.mean() / 50 - second) <= 0.0125 and 1 <= len(felt) <= 2
    rows = model.rows(clicked) - model.rows(x)  # and the same phase through the whole model
    assert abs(int(np.abs(rows).sum(1).argmax()) / 50 - second) <= 0.021


@pytest.mark.parametrize("kind", ["hubert", "wav2vec2"])
def test_chunks_have_no_seams(models, kind):
    """26 s in chunks of 10 against one run: only attention hears another context. Measured: cosine of rows about their
    mean at least .99999 for both; without the whole recording's group norm HuBERT base falls to .79 in quiet parts."""
    model = pretrained.Pretrained(models[kind])
    x = voice(26.3)
    x[: len(x) // 2] *= 0.1  # one half quiet
    whole, pieces = model.rows(x, chunk_s=100), model.rows(x, chunk_s=10)
    a, b = whole - whole.mean(0), pieces - whole.mean(0)
    cosine = (a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1))
    assert whole.shape == pieces.shape and cosine.min() >= 0.999
    steps = np.abs(np.diff(pieces - whole, axis=0)).max()  # what a seam could add from row to row
    assert steps < 0.02 * np.abs(np.diff(whole, axis=0)).mean() * 5
    assert np.array_equal(whole, model.rows(x, chunk_s=100))  # the model is left as it was


def test_a_long_sound_is_heard_to_its_end(models):
    model = pretrained.Pretrained(models["wav2vec2"])
    stages = []
    from engine.core.progress import Reporter

    rows = model.rows(voice(31.0), Reporter(lambda s, d, t: stages.append(d)), chunk_s=8)
    assert len(rows) == 1550 and np.abs(rows[-50:]).max() > 0 and len(stages) > 4


def test_a_cancel_is_heard_between_chunks(models):
    from engine.core.errors import Cancelled
    from engine.core.progress import Reporter

    with pytest.raises(Cancelled):
        pretrained.Pretrained(models["wav2vec2"]).rows(voice(20), Reporter(cancelled=lambda: True), chunk_s=6)


def test_bfloat16_is_measured_not_assumed(models):
    from engine.train.adapter import SAME_COSINE, try_bfloat16

    model = pretrained.Pretrained(models["wav2vec2"])
    found = try_bfloat16(model)
    assert 0.99 < found["cosine"] <= 1.0 and model.bfloat16 == found["use"]
    assert found["use"] <= (found["cosine"] >= SAME_COSINE)


# Folders


def changed(folder, tmp_path, **files):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    for name, text in files.items():
        file = copy / name.replace("__", ".")
        file.unlink() if text is None else file.write_text(text)
    return copy


@pytest.mark.parametrize(
    "files, word",
    [
        ({"config__json": None}, "no config.json"),
        ({"config__json": "{"}, "not readable"),
        ({"config__json": '{"model_type": "bert"}'}, "holds a 'bert' model"),
        ({"config__json": "[]"}, "speech encoders are"),
        ({"model__safetensors": None}, "no weights"),
        ({"model__safetensors": "nonsense"}, "no speech model that can be loaded"),
        ({"preprocessor_config__json": '{"sampling_rate": 8000}'}, "asks for 8000 Hz"),
        ({"preprocessor_config__json": "{"}, "not readable"),
    ],
)
def test_bad_folders_are_one_sentence(models, tmp_path, files, word):
    with pytest.raises(BadFile, match=word) as caught:
        pretrained.Pretrained(changed(models["hubert"], tmp_path, **files))
    assert "\n" not in str(caught.value)


def test_layers_beyond_the_model_are_refused(models):
    assert pretrained.Pretrained(models["hubert"]).layer == 2  # three quarters of 3
    with pytest.raises(BadFile, match="no layer 9"):
        pretrained.Pretrained(models["hubert"], 9)


def test_a_model_without_adapter_says_what_to_run(models, tmp_path, monkeypatch):
    monkeypatch.setenv("SOLILOQUY_HOME", str(tmp_path))
    with pytest.raises(Missing, match="soliloquy train adapter --encoder"):
        load_encoder(str(models["hubert"]))


@pytest.fixture
def no_network(monkeypatch):
    """Any attempt to open a connection fails the test."""

    def refuse(*_):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_nothing_is_fetched_unless_asked(tmp_path, monkeypatch, no_network):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(Missing, match=r"not on this computer.*--download"):
        load_encoder("someone/no-such-speech-model")
    with pytest.raises(BadFile, match="no such speech encoder"):
        load_encoder("/nowhere/at/all")


def test_a_local_folder_needs_no_network(models, no_network):
    assert pretrained.Pretrained(models["wav2vec2"]).rows(voice(0.5)).shape == (25, 48)


def test_hub_names():
    assert is_hub_id("facebook/hubert-base-ls960") and not is_hub_id("a/b/c") and not is_hub_id("nets/x.safetensors")
    assert folder_of("/") == Path("/")


# Adapters


@pytest.fixture(scope="module")
def fitted(models, tmp_path_factory):
    """Both models fitted on a little synthesised speech, as `train adapter` does it."""
    import os

    from engine.train.adapter import adapter

    home = tmp_path_factory.mktemp("home")
    before = os.environ.get("SOLILOQUY_HOME")
    os.environ["SOLILOQUY_HOME"] = str(home)
    try:
        yield home, {kind: adapter(encoder=str(folder), minutes=1.6, steps=120) for kind, folder in models.items()}
    finally:
        os.environ.pop("SOLILOQUY_HOME") if before is None else os.environ.__setitem__("SOLILOQUY_HOME", before)


def test_even_random_features_beat_chance_on_held_out_speech(fitted):
    """Measured (1.6 minutes, 120 steps): phones .2-.3 against .13-.15, closure area .65-.8 against .5."""
    for figures in fitted[1].values():
        assert figures["phones"] > figures["phones_chance"] + 0.01
        assert figures["closure"] > 0.6 and figures["features"] > 0.15 and figures["channels"] > 0.15


def test_speech_by_a_fitted_model_is_interface_v1(fitted, models):
    audio = audio_of(voice(2.3))
    speech = encode(audio, str(models["hubert"]))
    assert speech.articulation.shape == (115, 11) and speech.features.values.shape == (115, 64)
    f = speech.features
    assert f.encoder_id.startswith("hubert-") and "+adapter-" in f.encoder_id
    assert (f.layer, f.rate_hz, f.t0_s, f.norm) == ("2", 50.0, 0.0, "tanh") and np.abs(f.values).max() <= 1
    heard = load_encoder(str(models["hubert"]))(audio)
    assert np.allclose(heard.phones.sum(1), 1, atol=1e-4) and heard.events["closure"].shape == (230,)


def test_the_header_says_how_to_hear(fitted):
    file = Path(fitted[1]["wav2vec2"]["adapter"])
    assert file.parent == fitted[0] / "adapters"
    _, header = ad.load_adapter(file)
    assert header["native_rate_hz"] == 50 and header["native_t0_s"] == pytest.approx(0.01247, abs=1e-5)
    assert header["layer"] == 2 and header["encoder"] == file.stem and header["dtype"] in {"float32", "bfloat16"}
    assert header["held_out"]["phones"] == fitted[1]["wav2vec2"]["phones"]


def test_an_adapter_of_another_model_is_refused(fitted, models, tmp_path):
    beside = changed(models["hubert"], tmp_path)
    shutil.copy(fitted[1]["wav2vec2"]["adapter"], beside / pretrained.ADAPTER)
    with pytest.raises(BadFile, match="was fitted to wav2vec2"):
        load_encoder(str(beside))


def test_the_command_line_speaks_with_a_fitted_model(fitted, models, tmp_path):
    import soundfile

    soundfile.write(tmp_path / "v.wav", voice(1.0), RATE)
    run = subprocess.run(
        [sys.executable, "-m", "engine", "speak", str(tmp_path / "v.wav"), "--out", str(tmp_path / "t.npz"),
         "--speech", str(models["wav2vec2"]), "--json"],
        cwd=ROOT, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["meta"]["speech"]["encoder"].startswith("wav2vec2-")


def test_too_little_speech_and_no_model_are_refused(models, tmp_path):
    from engine.train.adapter import adapter

    with pytest.raises(BadInput, match="--encoder FOLDER"):
        adapter()
    with pytest.raises(BadInput, match="too few"):
        adapter(tmp_path / "a.safetensors", encoder=str(models["hubert"]), minutes=0.2, steps=2)
    assert not (tmp_path / "a.safetensors").exists()


def test_adapters_come_back_as_written_and_long_sounds_run_in_blocks(tmp_path, monkeypatch):
    import torch

    torch.manual_seed(1)
    net = ad.AdapterNet(ad.AdapterConfig(inputs=12, width=16)).eval()
    ad.save_adapter(tmp_path / "a.safetensors", net, {"encoder": "x-1", "layer": 2})
    again, header = ad.load_adapter(tmp_path / "a.safetensors")
    assert header["encoder"] == "x-1" and header["layer"] == 2
    rows = np.random.default_rng(0).normal(size=(400, 12)).astype(np.float32)
    a, b = net.probabilities(rows), again.probabilities(rows)
    assert np.abs(a.phones - b.phones).max() < 2e-3  # float16 weights
    monkeypatch.setattr(ad, "BLOCK_ROWS", 90)
    c = again.probabilities(rows)
    assert (
        np.abs(b.features - c.features).max() < 1e-5 and np.abs(b.events["closure"] - c.events["closure"]).max() < 1e-5
    )


@pytest.mark.parametrize(
    "header, word",
    [
        ({"kind": "speech"}, "not a speech adapter"),
        ({"format": "99"}, "newer Soliloquy"),
        ({"config": "{}"}, "damaged"),
        ({"config": json.dumps(dataclasses.asdict(ad.AdapterConfig(inputs=5)))}, "damaged"),
        ({"phones": '["a"]'}, "fit it again"),
    ],
)
def test_damaged_adapters_are_one_sentence(tmp_path, header, word):
    from safetensors import safe_open
    from safetensors.torch import save_file

    net = ad.AdapterNet(ad.AdapterConfig(inputs=12, width=16))
    ad.save_adapter(tmp_path / "a.safetensors", net, {"encoder": "x", "layer": 1})
    with safe_open(str(tmp_path / "a.safetensors"), "pt") as f:
        meta, tensors = f.metadata(), {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118
    save_file(tensors, tmp_path / "b.safetensors", metadata={**meta, **header})
    with pytest.raises(BadFile, match=word):
        ad.load_adapter(tmp_path / "b.safetensors")
    (tmp_path / "c.safetensors").write_bytes(b"no")
    with pytest.raises(BadFile, match="not a safetensors"):
        ad.load_adapter(tmp_path / "c.safetensors")
