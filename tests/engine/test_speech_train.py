"""The recipe on a tiny real corpus: store, crops, losses and gradients, resume, self-training labels."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from fresh_voice import fresh_voice

from engine.core.errors import BadFile, BadInput, Missing
from engine.core.files import read_json
from engine.core.phones import class_names
from engine.core.progress import Reporter
from engine.speech.frontend import FLOOR, log_mel, normalise_running
from engine.speech.net import EVENTS, NetConfig, load_net
from engine.studio.sample import LINES, speak_sample
from engine.studio.speech_corpus import interference
from engine.studio.speech_corpus.build import Clip, clips
from engine.train import speech_augment, speech_chain
from engine.train.curves import draw_log
from engine.train.speech_data import LABELS, UNKNOWN, UNKNOWN_PHONE, Store, build_store, label_rows, read_index
from engine.train.speech_recipe import Plan, Trainer, losses, train_speech
from engine.train.speech_selftrain import aligned_labels, own_labels, relabel

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    build_store(folder, clips(0.012, seed=2), variants=2, seed=1)
    return folder


def test_store_holds_every_variant(store):
    s = Store([store])
    assert sum(s.hours().values()) == pytest.approx(0.024, rel=0.35)
    index = read_json(store / "index.json")
    assert len(index["rows"]) % 2 == 0 and tuple(index["columns"]) == LABELS
    prior = s.prior(np.random.default_rng(0), 20)
    assert prior.shape == (64,) and abs(prior.mean()) < 1e-3 and prior[:20].mean() > prior[-10:].mean()


def test_crops_align_labels_with_sound_and_pad_with_silence(store):
    s = Store([store])
    rng = np.random.default_rng(0)
    voice, phone = LABELS.index("voice"), LABELS.index("phone")
    inside, outside = [], []
    for _ in range(40):
        mel, labels = s.crop(400, next(iter(s.clips)), rng)
        assert mel.shape == (400, 64) and labels.shape == (400, len(LABELS))
        level = mel.max(1)
        inside += level[labels[:, voice] == 255].tolist()
        outside += level[
            (labels[:, phone] == class_names().index("pause")) & (mel[:, 0] == np.float32(np.log(FLOOR)))
        ].tolist()
    assert np.median(inside) > np.log(FLOOR) + 6 and max(outside) < np.log(FLOOR) + 1


def test_a_store_of_another_version_is_refused(tmp_path):
    (tmp_path / "index.json").write_text('{"kind": "speech store", "format": 1, "rows": []}')
    with pytest.raises(BadFile, match="run the recipe again"):
        Store([tmp_path])


def test_a_voice_can_be_left_out(store):
    s = Store([store])
    voice = read_index(store)[0].voice
    fewer = Store([store], without=[voice])
    assert voice in s.voices and voice not in fewer.voices
    assert sum(fewer.hours().values()) < sum(s.hours().values())
    with pytest.raises(BadInput, match="no clip of a voice"):
        Store([store], without=sorted(s.voices))


def test_labels_of_a_recording_follow_its_variants(tmp_path):
    clip = next(iter(clips(0.001, seed=5)))
    build_store(tmp_path / "made", [clip], 2, seed=3, plain=True)
    blank = Clip(clip.source, clip.voice, clip.language, clip.samples, (), "it")
    build_store(tmp_path / "blank", [blank], 2, seed=3, plain=True)
    rows = read_index(tmp_path / "blank")
    assert [r.of for r in rows] == [0, 0, 0] and rows[0].scale == 1.0 and rows[1].scale != rows[2].scale
    read = lambda folder: np.fromfile(folder / "labels.u8", np.uint8).reshape(-1, len(LABELS))  # noqa: E731
    assert (read(tmp_path / "blank")[:, : len(EVENTS)] == UNKNOWN).all()
    known = {"it": label_rows(clip.segments, rows[0].frames)}
    net = Trainer(tmp_path / "run", [tmp_path / "made"], Plan()).net
    relabel(tmp_path / "blank", tmp_path / "labels", net, known)
    a, b = read(tmp_path / "labels"), read(tmp_path / "made")
    assert a.shape == b.shape
    assert (a[:, : len(EVENTS)] == b[:, : len(EVENTS)]).mean() > 0.97  # edges move by at most one frame
    relabel(tmp_path / "blank", tmp_path / "none", net, known, without=(clip.voice,))
    assert not read(tmp_path / "none").any()


def test_augmentation_is_seeded_and_keeps_silence_apart():
    mel = torch.full((8, 400, 64), float(np.log(FLOOR)))
    mel[:, 100:300] = -4 + torch.randn(8, 200, 64)
    make = lambda seed: speech_augment.augment(mel, torch.Generator().manual_seed(seed))  # noqa: E731
    (a, gone), (b, _) = make(0), make(0)
    assert torch.equal(a, b) and not torch.equal(a, make(1)[0]) and torch.isfinite(a).all()
    kept = a[~gone]
    assert (kept[:, 120:280].mean((1, 2)) > kept[:, :80].mean((1, 2)) + 0.5).all()
    same = speech_augment.warp(mel, torch.ones(8))
    assert (same - mel).abs().max() < 0.05  # the top band is read 0.001 of a band below itself
    music = torch.full_like(mel, -torch.inf)
    music[0] = -6.0
    mixed = speech_augment.augment(mel, torch.Generator().manual_seed(0), music)[0]
    assert torch.isfinite(mixed).all() and not torch.equal(mixed[0], a[0]) and torch.equal(mixed[1:], a[1:])


def test_tempo_stretches_time_alone():
    mel = np.repeat(np.arange(200, dtype=np.float32)[:, None], 64, 1)
    labels = np.arange(200, dtype=np.uint8)[:, None]
    out, moved = speech_augment.tempo(mel, labels, 100)
    assert out.shape == (100, 64) and np.allclose(out[:, 0], np.linspace(0, 199, 100), atol=1e-3)
    assert (np.abs(moved[:, 0] - out[:, 0]) <= 0.5 + 1e-3).all()


def test_the_running_mean_hears_no_future_and_has_a_twin():
    rng = np.random.default_rng(0)
    mel = rng.normal(-6, 3, (300, 64)).astype(np.float32)
    prior = rng.normal(0, 1, 64).astype(np.float32)
    whole, half = normalise_running(mel, prior), normalise_running(mel[:150], prior)
    assert np.array_equal(whole[:150], half)
    twin = speech_augment.normalise_running(torch.from_numpy(mel)[None], torch.from_numpy(prior))[0].numpy()
    assert np.abs(twin - whole).max() < 1e-3  # float32 sums of 300 frames


def test_other_sounds_are_audible_and_named():
    made = {clip.source: clip.samples for clip in interference.pieces(0.1, seed=1)}
    assert set(made) == {"music", "clatter", "babble"}
    for samples in made.values():
        assert np.isfinite(samples).all() and np.abs(samples).max() == pytest.approx(0.5, rel=1e-3)


def test_losses_ignore_what_is_unknown(store, tmp_path):
    trainer = Trainer(tmp_path, [store], Plan())
    mel, labels, noise_only = trainer.batch()
    noise_only[:] = False
    trainer.net.eval()
    total, parts = losses(trainer.net, mel, labels, noise_only)
    total.backward()
    grads = [p.grad.abs().sum() for p in trainer.net.parameters() if p.grad is not None]
    assert len(grads) > 30 and all(torch.isfinite(g) for g in grads) and parts["loss"] > 0
    blank = labels.clone()
    blank[..., : len(EVENTS)], blank[..., LABELS.index("phone") :] = UNKNOWN, UNKNOWN_PHONE
    blank[..., LABELS.index("weight")] = 0
    nothing, _ = losses(trainer.net, mel, blank, noise_only)
    assert nothing.item() == 0


def test_training_learns_by_a_stated_amount(store, tmp_path):
    plan = Plan(steps=20, rate=1.5e-2)  # the first 100 steps warm up: 3e-3 at the end
    out = tmp_path / "net.safetensors"
    result = train_speech(out, tmp_path / "run", plan, [store])
    assert result["steps"] == 20 and load_net(out)[1]["training"]["steps"] == 20
    held = Trainer(tmp_path / "fresh", [store], replace(plan, seed=9))
    batch = held.batch()
    first = losses(held.net, *batch)[1]["loss"]
    trained = Trainer(tmp_path / "run", [store], plan)
    last = losses(trained.net, *batch)[1]["loss"]  # batch norm by the batch: its averages need hundreds of steps
    assert last < 0.8 * first, f"20 steps took the loss from {first:.2f} to {last:.2f} only"


def test_a_resumed_run_ends_with_the_weights_of_a_whole_one(store, tmp_path):
    plan = Plan(steps=6)
    train_speech(tmp_path / "whole.safetensors", tmp_path / "whole", plan, [store])
    broken = Trainer(tmp_path / "broken", [store], plan)
    (tmp_path / "broken").mkdir()
    for _ in range(3):
        broken.step()
    broken.save(tmp_path / "half.safetensors")
    train_speech(tmp_path / "broken.safetensors", tmp_path / "broken", plan, [store])
    a, b = (load_net(tmp_path / f"{n}.safetensors")[0].state_dict() for n in ("whole", "broken"))
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_the_causal_net_hears_no_further_than_it_says(store, tmp_path):
    net = Trainer(tmp_path, [store], Plan(causal=True)).net.eval()
    assert net.config.causal and net.config.look_ahead_s <= 0.1
    mel = torch.randn(1, 400, 64)
    other = mel.clone()
    other[:, 200:] += 1.0
    with torch.inference_mode():
        a, b = net(mel), net(other)
    # Frame 200 is second 2.0. What an output row hears of the mels ends half a window of the spectrum before its reach.
    reach = net.config.look_ahead_s - 0.0125
    for x, y, rate in zip(a, b, (100, 50, 50), strict=True):
        first = int((x != y).any(-1)[0].nonzero()[0])
        assert 2.0 - first / rate <= reach + 1e-9
    assert not NetConfig().causal and NetConfig().look_ahead_s > 0.5


def test_own_labels_mark_doubt(store):
    from engine.speech.encode import load_encoder

    rows = own_labels(load_encoder().net, log_mel(speak_sample()[0]))
    assert rows.shape[1] == len(LABELS) and set(np.unique(rows[:, : len(EVENTS)])) <= {0, UNKNOWN, 255}
    assert (rows[:, 0] == 255).any() and (rows[:, -1] == UNKNOWN_PHONE).any()


def test_a_known_text_is_placed_by_the_net(tmp_path):
    from engine.speech.encode import load_encoder

    samples, marks = fresh_voice()
    net, mel = load_encoder().net, log_mel(samples)
    true = label_rows(tuple(marks), len(mel))[:, 0] == 255
    told = aligned_labels(net, mel, "en", " ".join(line[0] for line in LINES))
    assert told.shape == (len(mel), len(LABELS)) and (told[:, -1] != UNKNOWN_PHONE).mean() > 0.8
    assert (told[:, 0] == 255)[true].mean() > 0.5
    assert np.array_equal(aligned_labels(net, mel, "en", ""), own_labels(net, mel))
    other = aligned_labels(net, mel, "en", "an entirely different story about seven green yachts in a lake")
    assert (other[:, -1] != UNKNOWN_PHONE).mean() < 0.7, "words that do not fit are left to the net's own doubt"


def test_curves(tmp_path):
    draw_log(tmp_path / "a.png", [{"step": i, "loss": 1 / (i + 1)} for i in range(5)], ["loss"], "test")
    from PIL import Image

    assert len(Image.open(tmp_path / "a.png").getcolors(1000)) >= 3
    with pytest.raises(BadInput):
        draw_log(tmp_path / "b.png", [], ["loss"], "test")


def test_a_chain_in_small_trains_each_stage_once(store, tmp_path, monkeypatch):
    stages = (speech_chain.Stage("base", "", 2, 1e-3), speech_chain.Stage("next", "base", 2, 1e-3, ("june",)))
    monkeypatch.setattr(speech_chain, "_BY_NAME", {s.name: s for s in stages})
    clip = next(iter(clips(0.001, seed=5)))
    named = [Clip("prompts_fr", voice, "fr", clip.samples, (), f"fr/{voice}") for voice in ("june", "carlo")]
    build_store(tmp_path / "prompts", named, 1, 0, plain=True)
    made = speech_chain.Corpus((store,), None, (tmp_path / "prompts",), store, {})
    checkpoint = speech_chain.train_stage("next", tmp_path, 0, made)
    training = load_net(checkpoint)[1]["training"]
    assert training["without"] == ["june"] and "prompts_fr" in training["hours"]
    before = checkpoint.stat().st_mtime_ns
    assert speech_chain.train_stage("next", tmp_path, 0, made) == checkpoint
    assert checkpoint.stat().st_mtime_ns == before


def test_the_corpus_without_recordings_says_what_is_missing(tmp_path, monkeypatch):
    def nowhere(name, root):
        raise Missing(f"{name} is not here")

    monkeypatch.setattr(speech_chain, "fetch", lambda root, report: ["festvox-ru"])
    monkeypatch.setattr(speech_chain, "recordings", nowhere)
    monkeypatch.setattr(speech_chain, "BESIDE_MINUTES", 0.1)
    warnings = []
    made = speech_chain.corpus(tmp_path, hours=0.008, report=Reporter(warn=warnings.append))
    assert len(made.synthesised) == speech_chain.SHARDS and not made.unlabelled and made.russian is None
    assert any("festvox-ru" in w for w in warnings)
    assert read_json(tmp_path / "corpus.json")["known"] == 0 and Store([made.beside]).voices
