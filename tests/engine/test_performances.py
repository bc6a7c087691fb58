"""Made-up people perform: pools that never meet, faces that keep their contacts, a store that survives, exports."""

import json
import pickle

import numpy as np
import pytest

from engine.controls.track import sample
from engine.core.control import Controls, Layer
from engine.core.errors import BadFile, BadInput
from engine.core.names import ARKIT_INDEX, EMOTIONS
from engine.core.sound import Features, Speech
from engine.head.evaluate import vertices
from engine.head.library import load_head
from engine.head.lips import lip_gap
from engine.studio.performances import act, articulate, people, script, store, unpaired, vocaset
from engine.studio.performances.people import PEOPLE, SPLITS, person
from engine.studio.speech_corpus import espeak as library

pytestmark = pytest.mark.skipif(not library.available(), reason="needs espeak-ng (pip install espeakng-loader)")


@pytest.fixture(scope="module")
def head():
    return load_head()


@pytest.fixture(scope="module")
def made(head):
    return act.perform(script.write(person("train", 0), 0), head)


def test_pools_share_no_voice_and_no_face():
    voices = {s: {v.split("+")[-1] for _, v in people._voices(s)} for s in SPLITS}
    assert not voices["train"] & voices["test"] and not voices["train"] & voices["valid"]
    assert not voices["valid"] & voices["test"]
    draws = [people.face_of(person(s, n)).random() for s in SPLITS for n in range(PEOPLE[s])]
    assert len(set(draws)) == len(draws)
    texts = {
        s: {line.text for n in range(3) for k in range(5) for line in script.write(person(s, n), k).lines}
        for s in SPLITS
    }
    assert not texts["train"] & texts["test"]
    with pytest.raises(BadInput, match="no person"):
        person("train", PEOPLE["train"])


def test_the_same_number_is_the_same_performance(head, made):
    again = act.perform(script.write(person("train", 0), 0), head)
    assert np.array_equal(again.arkit, made.arkit) and np.array_equal(again.audio, made.audio)
    other = act.perform(script.write(person("train", 0), 0), head, take=1)
    assert np.array_equal(other.audio, made.audio) and 0.002 < np.abs(other.arkit - made.arkit).mean() < 0.05


def test_lips_meet_in_what_is_said_under_any_feeling(head, made):
    gap = 1000 * lip_gap(head, vertices(head, made.arkit, made.extra))
    held = made.contact[:, 0] > 0.95
    assert held.sum() >= 3 and gap[held].max() < 0.6 and np.median(gap[made.contact[:, 2] > 0.5]) > 2
    assert made.contact[:10, 2].max() == 0 and gap[:10].max() < 1.5, "before the first word the mouth rests"


def test_mood_and_mouth_are_entangled_not_added(head, made):
    """A plain mouth plus a silent mood is not the face that speaks in that mood."""
    who, rows = made.script.person, len(made.arkit)
    times = np.arange(rows) / act.RATE_HZ
    still = Controls(layers={"life": Layer(on=False)})
    happy = Controls(emotions={"happy": ((0.0, 1.0),)}, layers=still.layers)
    features = Features("none", "none", 50.0, 0.0, np.zeros((rows, 0), np.float16))
    said = articulate.varied(made.segments, rows, np.random.default_rng(0))

    def face(articulation, keyed):
        speech = Speech(articulation, features, rows / 50)
        return act._face(who, speech, keyed, sample(keyed, times), head)[0]

    both, calm, silent = face(said, happy), face(said, still), face(np.zeros_like(said), happy)
    mouth = [i for name, i in ARKIT_INDEX.items() if name.startswith(("mouth", "jaw"))]
    rest = face(np.zeros_like(said), still)
    missed = np.abs(both - (calm + silent - rest))[:, mouth][made.contact[:, 2] > 0.5]
    moved = np.abs(both - rest)[:, mouth][made.contact[:, 2] > 0.5]
    assert missed.mean() > 0.2 * moved.mean()


def test_people_differ_and_scripts_cover_what_drives_faces():
    gains = np.stack([person("train", n).au_gain for n in range(8)])
    assert gains.std(0).mean() > 0.05
    kinds = {script.write(person("train", n), k).kind for n in range(6) for k in range(12)}
    assert kinds == set(script.KINDS)


def test_a_set_is_kept_resumed_and_read(head, tmp_path, monkeypatch):
    monkeypatch.setattr(people, "PEOPLE", {"train": 2, "valid": 1, "test": 1})
    monkeypatch.setattr(store, "clips_each", lambda hours, split: 1)
    out = store.make(tmp_path, 0.02, head)
    assert out["clips"] == 4 and out["people"] == 4 and 0 < out["hours"] < 0.05
    stamp = (tmp_path / "train00.npz").stat().st_mtime_ns
    (tmp_path / "train01.npz").unlink()
    assert store.make(tmp_path, 0.02, head) == out and (tmp_path / "train00.npz").stat().st_mtime_ns == stamp
    clips = list(store.read_split(tmp_path, "train"))
    assert [c.person for c in clips] == ["train00", "train01"]
    first = clips[0]
    assert {n: v.shape[1] for n, v in first.rows.items()} == store.COLUMNS and len(first) > 50
    exact = act.perform(script.write(person("train", 0), 0), head)
    rows = min(len(first), len(exact.arkit))  # espeak's phases move with what it said before (act.say)
    assert abs(len(first) - len(exact.arkit)) <= 1
    assert np.abs(first.rows["arkit"][:rows] - exact.arkit[:rows]).mean() < 2e-3
    assert first.rows["articulation"][first.rows["contact"][:, 2] > 0.5].mean() > 0.05, "the encoder heard the voice"


def test_sets_that_are_not_there_or_damaged_are_said(tmp_path, head):
    with pytest.raises(BadFile, match="studio perform"):
        list(store.read_split(tmp_path, "train"))
    (tmp_path / "train00.npz").write_bytes(b"x")
    with pytest.raises(BadFile):
        list(store.read_split(tmp_path, "train"))
    with pytest.raises(BadInput, match="hours"):
        store.make(tmp_path, 0.0, head)


def test_unpaired_sets(head):
    talk = unpaired.talking(person("train", 0), 0, head)
    assert not talk.au.any() or talk.au.max() < 0.1, "no feeling, only what this face always shows"
    assert talk.arkit[:, ARKIT_INDEX["jawOpen"]].max() > 0.1
    for label in EMOTIONS[1:4]:
        face = unpaired.expression(person("train", 2), label, 1.0)
        assert face.level[0] == 0 and face.level.max() == 1 and face.level[-1] < 0.1
        assert face.arkit[0].max() < 0.02 and face.arkit.max() > 0.3
        weak = unpaired.expression(person("train", 2), label, 1 / 3)
        assert weak.arkit.max() < 0.6 * face.arkit.max()


def test_vocaset_layout(head, tmp_path):
    out = vocaset.export(tmp_path, 0.05, head)
    splits = json.loads((tmp_path / "splits.json").read_text())
    names = [n for s in splits.values() for n in s]
    assert out["clips"] == len(names) >= 1 and set(splits) == {"train", "val", "test"}
    mesh = np.load(tmp_path / "vertices_npy" / f"{names[0]}.npy")
    assert mesh.shape[1] == 3 * len(head.template) and mesh.dtype == np.float32
    import soundfile

    sound, rate = soundfile.read(tmp_path / "wav" / f"{names[0]}.wav")
    assert rate == 16000 and abs(len(sound) / rate - len(mesh) / 30) < 0.05
    templates = pickle.loads((tmp_path / "templates.pkl").read_bytes())  # our own file
    assert np.array_equal(next(iter(templates.values())), head.template)
    with pytest.raises(BadInput, match="at most 20"):
        vocaset.export(tmp_path, 30, head)
