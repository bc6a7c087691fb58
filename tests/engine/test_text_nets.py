"""Nets, gate and recipes of typed directions: twins, files, decisions, a tiny encoder of each kind, bad input."""

import functools
import json
import random
from collections import Counter

import numpy as np
import pytest
import torch

from engine.assets.registry import resolve
from engine.controls.text import recognise
from engine.controls.text.decide import Gate, face, gate_features
from engine.controls.text.encoder import Encoder, EncoderHead, folder_of
from engine.controls.text.net import SmallNet, grams, load_small, place, small_net, split
from engine.core.errors import BadFile, Missing
from engine.core.names import AU_INDEX
from engine.train import text_encoder, text_small
from engine.train.text_corpus import family_faces, family_names
from engine.train.text_corpus import load as load_corpus
from engine.train.text_encoder import samples, save, widen
from engine.train.text_gate import fit, gate_of, held_out, rewrite
from engine.train.text_measure import labelled, negation, nothing, rows
from engine.train.text_paper import ALPHA, GAMMA, TAU, focal, info_nce
from engine.train.text_small import TorchSmall, batch_of, packed, resumed
from engine.train.text_wordnet import WordNet, exchanged, read_wordnet

torch.set_num_threads(1)


def test_the_small_net_is_small_and_knows_the_families():
    file = resolve("small", "text")
    assert file.stat().st_size <= 2_000_000
    assert small_net().families == family_names()


def test_numpy_and_torch_twins_agree(tmp_path):
    """Same classes and AUs from the checkpoint as from the trained net; 8-bit vectors cost up to .01 of probability."""
    torch.manual_seed(1)
    words = ["dog", "house", "left", "someone", "the"]
    model = TorchSmall(len(words), len(family_names())).eval()
    with torch.no_grad():
        model.vectors.weight[1:] = torch.randn(len(words), model.vectors.weight.shape[1])
        model.weight.weight[1:] = torch.randn(len(words), 1)
    config = {"interface": "text-small-1", "families": list(family_names())}
    save(tmp_path / "net.safetensors", packed(model, words), config, [])
    net = load_small(tmp_path / "net.safetensors")
    for text in ("someone left the dog", "the houses, 12 dogs and a zebra", "zebra"):
        classes, aus = (x[0] for x in model(*batch_of([text], net.index, None)))
        opinion = net(text)
        assert np.allclose(opinion.classes, torch.softmax(classes, 0).detach().numpy(), atol=0.01)
        assert np.allclose(opinion.aus, torch.sigmoid(aus).detach().numpy(), atol=0.01)
    assert net("").classes[-1] == 1 and isinstance(net, SmallNet)


def test_words_are_found_by_their_stem_and_read_by_their_letters():
    assert place("houses", {"house": 0}) == 0 and place("stopping", {"stop": 1}) == 1 and place("x", {}) is None
    assert split("It's 12 o'clock!")[:2] == ["it's", "0"]
    assert grams("house", 4096) == grams("house", 4096) != grams("horse", 4096)


def test_a_wrong_file_is_refused(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"no net")
    with pytest.raises(BadFile, match="no readable net"):
        load_small(tmp_path / "x.safetensors")
    with pytest.raises(Missing, match="soliloquy"):
        folder_of(str(tmp_path))


def test_an_expected_face_is_the_familys_own():
    names = family_names()
    p = np.zeros(len(names))
    p[names.index("fear")] = 1
    has = (family_faces().max(2) > 0)[names.index("fear")].astype(float)
    got = face(p, has, names)
    for au, i in AU_INDEX.items():
        assert got.get(f"{au}_L", 0.0) == pytest.approx(family_faces()[names.index("fear"), i, 0], abs=1e-6)
    p[names.index("fear")], p[-1] = 0, 1
    assert face(p, has, names) == {}


def test_the_gate_fits_and_is_written(tmp_path):
    rng = np.random.default_rng(0)
    asks = np.repeat([1.0, 0.0], 100)
    x = np.stack([asks * 2 - 1 + rng.normal(0, 0.5, 200), rng.random(200), rng.random(200), np.ones(200)], 1)
    w = fit(x, asks)
    assert w[0] > 1 and abs(w[1]) < w[0]
    gate = gate_of(x, asks)
    assert gate["held_out"]["false_accept"] <= 0.04 and gate["held_out"]["recall"] > 0.8
    save(tmp_path / "g.safetensors", {"a": np.zeros(1, np.float32)}, {"interface": "x"}, [])
    rewrite(tmp_path / "g.safetensors", gate={"weights": gate["weights"], "threshold": 0.5})
    from safetensors import safe_open

    with safe_open(str(tmp_path / "g.safetensors"), "np") as f:
        assert json.loads(f.metadata()["config"])["gate"]["threshold"] == 0.5
    sure = np.array([0.6, 0.3, 0.1])
    assert Gate((1, 0, 0, 0))(sure, 1.0) > 0.5 > Gate((1, 0, 0, 0))(sure[::-1] / 1.0, 1.0) - 0.4
    assert gate_features(sure, 0.5)[3] == 1


def test_a_gates_sentences_are_read_by_no_net_and_no_measure():
    held, read_ = held_out(), {e.text for e in load_corpus(without=("topic",))}
    assert len(held["asks"]) > 300 and len(held["nothing"]) > 200
    texts = {*held["asks"], *held["nothing"]}
    assert len(texts) == len(held["asks"]) + len(held["nothing"]) and not texts & read_
    assert not texts & {r["text"] for kind in ("situations", "nothing") for s in SITTINGS for r in rows(kind, s)}


def tiny(folder, clip=False):
    """A random encoder with a tokenizer of its own, as transformers saves it."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "<eos>", "a", "dog", "smile", "house", "left"]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", eos_token="<eos>", model_max_length=16
    )
    fast.save_pretrained(folder)
    shape = {"vocab_size": len(words), "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
             "intermediate_size": 32, "max_position_embeddings": 16}  # fmt: skip
    torch.manual_seed(0)
    model = CLIPTextModel(CLIPTextConfig(**shape, eos_token_id=2)) if clip else BertModel(BertConfig(**shape))
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("clip", [False, True], ids=["bert", "clip"])
def test_an_encoder_from_a_folder_and_a_head_on_it(tmp_path, clip):
    encoder = Encoder(tiny(tmp_path / "model", clip))
    texts = ["a dog", "left house smile a dog", "smile"]
    x = encoder.features(texts)
    assert x.shape == (3, 16) and np.allclose(np.linalg.norm(x, axis=1), 1, atol=1e-5)
    assert np.allclose(x[1], encoder.features(texts[1:2])[0], atol=1e-5)  # padding changes nothing
    k = len(family_names())
    rng = np.random.default_rng(0)
    arrays = {"family.weight": rng.normal(size=(k, 16)), "family.bias": np.zeros(k), "au.weight": np.zeros((18, 16)),
              "au.bias": np.zeros(18)}  # fmt: skip
    config = {"interface": "text-encoder-1", "dim": 16, "gain": 8.0, "families": list(family_names())}
    save(tmp_path / "head.safetensors", {n: a.astype(np.float16) for n, a in arrays.items()}, config, [])
    head = EncoderHead(tmp_path / "head.safetensors", tmp_path / "model")
    classes, aus = head.predict(texts)
    assert classes.shape == (3, k) and np.allclose(classes.sum(1), 1, atol=1e-4) and np.allclose(aus, 0.5)
    assert recognise("someone left fish in the office fridge", "encoder", head).text
    assert recognise("a dog", "paper", head).source == "paper"
    save(tmp_path / "wide.safetensors", {"au.bias": np.zeros(18, np.float16)}, config | {"dim": 99}, [])
    with pytest.raises(BadFile, match="99"):
        EncoderHead(tmp_path / "wide.safetensors", tmp_path / "model")


def test_a_small_net_goes_on_from_its_checkpoint(tmp_path):
    """New words get vectors; what it thought of known words stays (8-bit vectors are read back exactly)."""
    names = list(family_names())
    config = {"interface": "text-encoder-1", "dim": 16, "gain": 8.0, "families": names}
    head = {"au.weight": np.zeros((18, 16), np.float16), "au.bias": np.zeros(18, np.float16)}
    save(tmp_path / "head.safetensors", head, config, [])
    teacher = EncoderHead(tmp_path / "head.safetensors", tiny(tmp_path / "model"))
    model, words = resumed(resolve("small", "text"), ["kumquats wept at the zzyzx"], teacher)
    assert set(words) > set(small_net().index) and "zzyzx" in words
    index, text = {w: i for i, w in enumerate(words)}, "the killer hides under her bed"
    classes = torch.softmax(model.eval()(*batch_of([text], index, None))[0][0], 0).detach().numpy()
    assert np.allclose(classes, small_net()(text).classes, atol=1e-5)


def test_the_recipes_learn_and_go_on(tmp_path, monkeypatch):
    """Both on every 25th line of the corpus. Going on for no epoch gives back the checkpoint; the teacher's opinions
    are read from the cache the second time, when there is no teacher to ask."""
    few = load_corpus()[::25]
    for recipe in (text_encoder, text_small):
        monkeypatch.setattr(recipe, "load", lambda without=(): few)
    folder = tiny(tmp_path / "model")
    arrays, config, history = text_encoder.train(Encoder(folder), 2, log=lambda *_, **__: None)
    assert history[1]["loss"] < 0.95 * history[0]["loss"] and config["entries"] == len(few)
    again, *_ = text_encoder.train(Encoder(folder), 0, seed=1, start=arrays)
    other, *_ = text_encoder.train(Encoder(folder), 0, seed=1)
    assert again.keys() == arrays.keys() and all(np.array_equal(again[k], arrays[k]) for k in arrays)
    assert not np.array_equal(other["family.weight"], arrays["family.weight"])
    save(tmp_path / "head.safetensors", {k: v for k, v in arrays.items() if "." in k}, config, [])
    teacher, cache = EncoderHead(tmp_path / "head.safetensors", folder), tmp_path / "opinions.npz"
    net = WordNet((), (), {"dog": ("cat",)}, Counter(), frozenset())
    _, config, history = text_small.train(
        teacher, net, 2, cache=cache, start_from=resolve("small", "text"), examples=0, log=lambda *_, **__: None
    )
    assert history[1]["loss"] < history[0]["loss"] and config["sentences"] > 1000
    fresh, kept = (
        text_small.opinions(t, ["a dog", "smile"], ["dog"], c, False) for t, c in ((teacher, None), (None, cache))
    )
    assert len(kept[0]) == config["sentences"] == len(kept[2]) and fresh[0] == ["a dog", "smile"]
    for _, _, p, q, start in (fresh, kept):
        assert np.allclose(p.sum(1), 1, atol=1e-5) and q.shape == (len(p), 18) and start.size == 0


def test_low_rank_changes_of_the_recipe_are_those_of_the_runtime(tmp_path):
    """A changed layer in training and W + 2 b a at run time give the same features (float16 arrays: 1e-2)."""
    trained = Encoder(tiny(tmp_path / "model"))
    layers = widen(trained.model, 4)
    assert layers
    torch.manual_seed(0)
    for layer in layers.values():
        layer.b.data = torch.randn_like(layer.b) * 3.0
    plain = Encoder(tmp_path / "model")
    before = plain.features(["a dog left"])
    half = lambda x: x.detach().numpy().astype(np.float16)  # noqa: E731
    plain.change({n: (half(v.a), half(v.b)) for n, v in layers.items()})
    after, want = plain.features(["a dog left"]), trained.features(["a dog left"])
    assert np.abs(after - want).max() < 1e-2 < 0.1 < np.abs(after - before).max()
    with pytest.raises(BadFile, match="another"):
        plain.change({"nowhere": (np.zeros((1, 2)), np.zeros((2, 1)))})


def test_samples_cover_corpus_lexicon_and_associations():
    from engine.train.text_corpus import load

    rows = samples(load(("nothing",)), random.Random(0))
    assert len(rows) > 1000 and all(c.shape == (len(family_names()),) and a.shape == (18,) for _, c, a in rows[:50])


def test_the_papers_losses_by_hand():
    logits, y = torch.tensor([[0.0, 2.0]]), torch.tensor([[1.0, 0.0]])
    p = torch.sigmoid(logits)[0]
    want = -ALPHA * (1 - p[0]) ** GAMMA * torch.log(p[0]) - (1 - ALPHA) * p[1] ** GAMMA * torch.log(1 - p[1])
    assert focal(logits, y).item() == pytest.approx(want.item(), rel=1e-5)
    a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    loss = info_nce(a, a, b[:, None])
    assert loss.item() == pytest.approx(np.log1p(np.exp(-1 / TAU)), abs=1e-6)
    assert info_nce(a, b, a[:, None]) > loss


WORDNET = {
    "noun": '00000001 03 n 01 animal 0 002 ~ 00000002 n 0000 ~ 00000003 n 0000 | a living thing; "the animal ate"\n'
    '00000002 03 n 01 dog 0 001 @ 00000001 n 0000 | barks; "a dog ran"\n'
    '00000003 03 n 01 cat 0 001 @ 00000001 n 0000 | meows\n',
    "verb": "", "adj": "", "adv": "",
}  # fmt: skip


def test_wordnets_sisters(tmp_path, monkeypatch):
    for kind, text in WORDNET.items():
        (tmp_path / f"data.{kind}").write_text(text + "".join('x | "cat dog"\n' for _ in range(0)))
    net = read_wordnet(tmp_path)
    assert net.examples == ("the animal ate", "a dog ran") and net.glosses[1] == "barks"
    assert net.sisters == {}  # rare words serve no one
    net = WordNet((), (), {"dog": ("cat",)}, net.common, net.lemmas)
    assert (
        exchanged("a dog ran", net, random.Random(0)) == "a cat ran" and exchanged("hm", net, random.Random(0)) is None
    )
    with pytest.raises(Missing, match="wordnet-base"):
        read_wordnet(tmp_path / "none")


# The bars of docs/text.md; the resampled intervals there say how far chance goes.
read = functools.cache(recognise)
SITTINGS = (None, "fresh")  # the first two together, and the third


@pytest.mark.parametrize("sitting", SITTINGS)
def test_naming_and_negation_reach_their_bars(sitting):
    assert labelled("naming", read, sitting)["macro_f1"] >= 0.90
    out = negation(read, sitting)
    assert out["denied_off"] >= 0.95 and out["wanted_on"] >= 0.90


@pytest.mark.parametrize("sitting", SITTINGS)
def test_situations_and_the_gate_reach_their_bars(sitting):
    assert labelled("situations", read, sitting)["micro_f1"] >= 0.45
    assert nothing(read, sitting)["false_accept"] <= 0.05


def test_a_situation_says_the_words_that_counted():
    answer = recognise("the killer hides under her bed with a knife")
    assert answer.source == "net" and {"AU01", "AU05"} <= set(answer.aus)
    assert all(words for words in answer.because.values()) and "fear" in answer.note
