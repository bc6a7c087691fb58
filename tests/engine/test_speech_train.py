"""The recipe on a tiny real corpus: store, crops, losses and gradients, resume, self-training labels."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from engine.core.errors import BadFile, BadInput
from engine.core.files import read_json
from engine.core.phones import class_names
from engine.speech.frontend import FLOOR
from engine.speech.net import EVENTS, load_net
from engine.studio.speech_corpus.build import clips
from engine.studio.speech_corpus.recorded import asterisk, festvox_ru, russian_symbol
from engine.train import speech_augment
from engine.train.curves import draw_log
from engine.train.speech_data import LABELS, UNKNOWN_PHONE, Store, build_store, label_rows
from engine.train.speech_recipe import Plan, Trainer, losses, train_speech
from engine.train.speech_selftrain import UNKNOWN, own_labels

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    build_store(folder, ((clip, None) for clip in clips(0.012, seed=2)), variants=2, seed=1)
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


def test_given_labels_follow_the_speed(tmp_path):
    clip = next(iter(clips(0.001, seed=5)))
    known = label_rows(clip.segments, 2 * -(-len(clip.samples) // 320))
    build_store(tmp_path / "given", [(clip, known)], 2, seed=3)
    build_store(tmp_path / "made", [(clip, None)], 2, seed=3)
    a, b = (np.fromfile(tmp_path / n / "labels.u8", np.uint8).reshape(-1, len(LABELS)) for n in ("given", "made"))
    assert a.shape == b.shape
    assert (a[:, : len(EVENTS)] == b[:, : len(EVENTS)]).mean() > 0.97  # edges move by at most one frame


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


def test_losses_ignore_what_is_unknown(store, tmp_path):
    trainer = Trainer(tmp_path, [store], Plan(minutes=1))
    mel, labels, noise_only = trainer.batch()
    noise_only[:] = False
    trainer.net.eval()
    total, parts = losses(trainer.net, mel, labels, noise_only)
    total.backward()
    grads = [p.grad.abs().sum() for p in trainer.net.parameters() if p.grad is not None]
    assert len(grads) > 30 and all(torch.isfinite(g) for g in grads) and parts["loss"] > 0
    blank = labels.clone()
    blank[..., : len(EVENTS)], blank[..., LABELS.index("phone")] = UNKNOWN, UNKNOWN_PHONE
    blank[..., LABELS.index("weight")] = 0
    nothing, _ = losses(trainer.net, mel, blank, noise_only)
    assert nothing.item() == 0


def test_training_learns_and_resumes(store, tmp_path):
    out = tmp_path / "net.safetensors"
    plan = Plan(minutes=0.12, rate=3e-3)
    first = train_speech(out, tmp_path / "run", plan, [store])
    assert first["steps"] >= 3 and load_net(out)[1]["training"]["steps"] == first["steps"]
    a = Trainer(tmp_path / "run", [store], plan)
    b = Trainer(tmp_path / "run", [store], plan)
    assert a.steps == first["steps"]
    for x, y in zip(a.batch(), b.batch(), strict=True):
        assert torch.equal(x, y), "a resumed run sees the batches that a whole run would have seen"
    early = losses(Trainer(tmp_path / "fresh", [store], plan).net, *a.batch())[1]["loss"]
    late = a.step()["loss"]
    assert late < early
    a_again = a.step()["loss"]
    assert [b.step()["loss"], b.step()["loss"]] == pytest.approx([late, a_again], rel=1e-4), (
        "the optimiser came back too"
    )
    more = train_speech(out, tmp_path / "run", replace(plan, minutes=0.16), [store], report=_Silent())
    assert more["steps"] > first["steps"]


class _Silent:
    def step(self, *_):
        pass

    check = step


def test_own_labels_mark_doubt(store):
    from engine.speech.encode import load_encoder
    from engine.studio.sample import speak_sample

    rows = own_labels(load_encoder().net, speak_sample()[0])
    assert rows.shape[1] == len(LABELS) and set(np.unique(rows[:, : len(EVENTS)])) <= {0, UNKNOWN, 255}
    assert (rows[:, 0] == 255).any() and (rows[:, -1] == UNKNOWN_PHONE).any()


def test_curves(tmp_path):
    draw_log(tmp_path / "a.png", [{"step": i, "loss": 1 / (i + 1)} for i in range(5)], ["loss"], "test")
    from PIL import Image

    assert len(Image.open(tmp_path / "a.png").getcolors(1000)) >= 3
    with pytest.raises(BadInput):
        draw_log(tmp_path / "b.png", [], ["loss"], "test")


def test_recorded_sources_say_how_to_get_them(tmp_path):
    from engine.core.errors import Missing

    assert [russian_symbol(s) for s in ("aa", "ss", "mm", "sch", "pau")] == ["a", "s", "m", "ɕ", "_"]
    with pytest.raises(Missing, match="apt-get install festvox-ru"):
        next(festvox_ru(tmp_path))
    with pytest.raises(Missing, match="apt-get install asterisk"):
        next(asterisk("fr", tmp_path))
    with pytest.raises(BadInput):
        next(asterisk("xx", tmp_path))
