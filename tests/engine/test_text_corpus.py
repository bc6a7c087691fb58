"""The corpus of directions: counts, uniqueness, plausible faces, splits, variety; and the measuring sets beside it."""

import json
import re
from collections import Counter

import numpy as np
import pytest

from engine.core.errors import BadFile
from engine.core.names import AUS
from engine.measure.labels import Wanted, score
from engine.train import text_corpus
from engine.train.text_corpus import associations, family_names, lexicon_items, load, targets
from engine.train.text_measure import rows


@pytest.fixture(scope="module")
def corpus():
    return load()


def test_counts(corpus):
    kinds = Counter(e.kind for e in corpus)
    assert kinds["situation"] >= 3800 and kinds["naming"] >= 1000 and kinds["nothing"] >= 700
    assert len(associations()) >= 1500 and len(lexicon_items()) >= 1500
    assert {e.split for e in corpus} == set(text_corpus.SPLITS)


def test_every_entry_has_the_papers_form(corpus):
    texts = [e.text.lower() for e in corpus]
    assert len(set(texts)) == len(texts) and len({e.id for e in corpus}) == len(corpus)
    for e in corpus:
        assert len(e.positive) == len(e.negative) == 3, e.id
        assert e.text not in (*e.positive, *e.negative), e.id
        assert e.kind == "nothing" or set(e.au) <= set(AUS)


def test_faces_are_plausible(corpus):
    for e in corpus:
        on = {au for au, v in e.au.items() if np.max(v) > 0}
        assert e.kind != "nothing" or not on, e.id
        assert not {"AU24", "AU25"} <= on and not {"AU24", "AU26"} <= on, f"{e.id}: lips pressed and parted"
        assert not {"AU05", "AU45"} <= on, f"{e.id}: eyes wide and closed"
        assert "AU26" not in on or "AU25" in on, f"{e.id}: a dropped jaw parts the lips"
        assert e.vector.min() >= 0 and e.vector.max() <= 1
    wanted = {"surprise": "AU01 AU02 AU05 AU25 AU26", "anger": "AU04 AU05 AU07 AU23", "sadness": "AU01 AU04 AU15 AU17",
              "disgust": "AU09 AU10 AU15 AU17", "fear": "AU01 AU02 AU04 AU05 AU07 AU20 AU25 AU26"}  # fmt: skip
    for e in corpus:
        if e.kind == "situation" and e.concept in wanted:
            assert set(wanted[e.concept].split()) <= set(e.au)


# Words that name an emotion or a part of the face; a situation does without them.
NAMING = re.compile(
    r"\b(happy|sad|angry|afraid|scared|surprised|disgusted|furious|joyful|terrified|miserable|embarrassed|ashamed|proud|"
    r"jealous|smil(e|es|ing)|grins?|frowns?|eyebrows?|brows?|eyelids?)\b"
)


def test_situations_name_no_emotion(corpus):
    told = [e.text for e in corpus if e.kind == "situation" and NAMING.search(e.text.lower())]
    assert len(told) <= 0.01 * sum(e.kind == "situation" for e in corpus), told


def test_situations_are_no_templates(corpus):
    """Few four-word runs are shared, and no opening serves for many."""
    texts = [e.text.split() for e in corpus if e.kind == "situation"]
    runs = Counter(tuple(t[i : i + 4]) for t in texts for i in range(len(t) - 3))
    assert sum(n for n in runs.values() if n > 1) / sum(runs.values()) < 0.06
    openings = Counter(tuple(t[:3]) for t in texts)
    assert openings.most_common(1)[0][1] <= 0.01 * len(texts)
    assert len({w for t in texts for w in t}) > 3000


def test_measuring_sets_are_kept_apart(corpus):
    ours = {t.lower() for e in corpus for t in (e.text, *e.positive, *e.negative)}
    sizes = {}
    for name in ("naming", "situations", "negation", "nothing"):
        texts = [r["text"].lower() for r in rows(name)]
        sizes[name] = len(texts)
        assert len(set(texts)) == len(texts)
        if name in ("situations", "nothing"):
            assert not ours & set(texts)
    assert (
        sizes["naming"] >= 300 and sizes["situations"] >= 300 and sizes["negation"] >= 100 and sizes["nothing"] >= 200
    )


# Words that say nothing about what happens; what is left of a line is what two hands would have to share.
EMPTY = """a about after again all an and any are as at back be been before but by can can't could did didn't do does
doesn't don't down for from had has have he her here him his i i'd i'll i'm i've if in into is isn't it it's its just
more my no not now of off on one only onto or our out over own she so some still than that the their them then there
they this to too two up us very was we were what when where who will with won't would you your"""
EMPTY_WORDS = frozenset(EMPTY.split())


def content(text):
    return {w for w in re.findall(r"[a-z]+(?:'[a-z]+)?", text.lower()) if w not in EMPTY_WORDS}


def test_the_fresh_sitting_is_no_echo_of_the_corpus(corpus):
    """No situation or plain sentence of the fresh set shares more than 60 % of its content words with a line of the
    corpus; naming prompts and negations must share theirs, for there are only so many words for a brow."""
    lines = [content(e.text) for e in corpus if e.kind != "naming"]
    for name in ("situations", "nothing"):
        for row in rows(name, "fresh"):
            words = content(row["text"])
            shared = max(len(words & line) for line in lines)
            assert shared < 2 or shared <= 0.6 * len(words), row["text"]
    sizes = {name: len(rows(name, "fresh")) for name in ("situations", "naming", "nothing", "negation")}
    assert sizes["situations"] >= 150 and sizes["naming"] >= 40 and sizes["nothing"] >= 40 and sizes["negation"] >= 30
    texts = [r["text"] for name in sizes for r in rows(name, "fresh")]
    assert len(set(texts)) == len(texts) and not set(texts) & {r["text"] for n in sizes for r in rows(n)}


def test_splits_keep_topics_together(corpus):
    held = {e.topic for e in corpus if e.split == "topic" and e.kind == "situation"}
    assert held and not held & {e.topic for e in corpus if e.split == "train" and e.kind == "situation"}
    assert all(e.split != "topic" for e in load(without=("topic",)))


def test_targets(corpus):
    classes, aus = targets(corpus)
    assert classes.shape == (len(corpus), len(family_names())) and aus.shape == (len(corpus), 18)
    assert set(np.round(classes.sum(1), 5)) <= {0.0, 1.0} and set(np.unique(aus)) == {0.0, 1.0}


def test_held_out_words_are_not_taught_by_the_lexicon():
    held = " ".join(e.text for e in load(("naming",)) if e.split == "words").split()
    left = {w for w, _ in lexicon_items(("words",))}
    assert not left & set(held) and {w for w, _ in lexicon_items()} & set(held)


def test_a_damaged_corpus_names_its_line(tmp_path, monkeypatch):
    (tmp_path / "x.jsonl").write_text(json.dumps({"id": "x"}) + "\n")
    monkeypatch.setattr(text_corpus, "FOLDER", tmp_path)
    with pytest.raises(BadFile, match="line 1"):
        load()


def test_figures_by_hand():
    wanted = [Wanted((frozenset({"AU12"}),), frozenset({"AU06"})), Wanted((frozenset({"AU01"}), frozenset({"AU02"})))]
    out = score([{"AU12", "AU06", "AU25"}, {"AU02"}], wanted)
    assert out["per_au"]["AU12"]["f1"] == 1 and "AU06" not in out["per_au"]  # optional: neither for nor against
    assert out["per_au"]["AU25"]["precision"] == 0 and out["macro_f1"] == 1
    assert out["micro_f1"] == pytest.approx(2 * 2 / (2 * 2 + 1), abs=1e-3)
    assert out["all_zero"] == {"macro_f1": 0.0, "accuracy": pytest.approx(34 / 36, abs=1e-3)}
