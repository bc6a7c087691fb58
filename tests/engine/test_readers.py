"""Public sets in their own layouts, written small, read back; wrong folders are one sentence."""

import pickle
from fractions import Fraction

import numpy as np
import pytest
import soundfile

from engine.core.errors import BadFile, BadInput, SoliloquyError
from engine.studio.readers.base import READERS, label_in, reader, recordings
from engine.studio.readers.summary import summary

VERTICES = 12


def mesh(frames, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, (frames, VERTICES * 3)).astype(np.float32)


def sound(path, seconds):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(int(16000 * seconds)), 16000)


def vocaset(root, names=("FaceTalk_1_TA_sentence01", "FaceTalk_1_TA_sentence02", "FaceTalk_2_TA_sentence01"), fps=60):
    (root / "vertices_npy").mkdir(parents=True)
    for i, name in enumerate(names):
        np.save(root / "vertices_npy" / f"{name}.npy", mesh(fps, i))
        sound(root / "wav" / f"{name}.wav", 1.0)
    subjects = {name.split("_sentence")[0] for name in names}
    (root / "templates.pkl").write_bytes(pickle.dumps({s: np.ones((VERTICES, 3)) for s in subjects}))
    return root


def test_vocaset(tmp_path):
    kind, found = recordings(vocaset(tmp_path))
    assert kind == "vocaset" and [r.subject for r in found] == ["FaceTalk_1_TA"] * 2 + ["FaceTalk_2_TA"]
    assert {r.fps for r in found} == {Fraction(60)} and all(r.emotion == "neutral" and r.audio for r in found)
    motion = found[1].load()
    assert np.array_equal(motion.vertices.reshape(60, -1), mesh(60, 1)) and np.array_equal(
        motion.template, np.ones((12, 3))
    )


def test_halved_copies_get_their_rate_from_the_sound(tmp_path):
    assert recordings(vocaset(tmp_path, fps=30))[1][0].fps == 30


def test_emovoca_names_emotion_and_level_and_shares_sound(tmp_path):
    names = (
        "FaceTalk_1_TA_sentence01_angry_3",
        "FaceTalk_1_TA_sentence01_afraid_1",
        "FaceTalk_1_TA_sentence01_drunk_2",
    )
    vocaset(tmp_path, names)
    for name in names[1:]:
        (tmp_path / "wav" / f"{name}.wav").unlink()
    sound(tmp_path / "wav" / "FaceTalk_1_TA_sentence01.wav", 1.0)
    kind, found = recordings(tmp_path)
    assert kind == "emovoca"
    by_label = {r.emotion: r for r in found}
    assert set(by_label) == {"angry", "fear", "drunk"} and by_label["angry"].intensity == 1.0
    assert (
        by_label["fear"].intensity == pytest.approx(1 / 3)
        and by_label["drunk"].audio.stem == "FaceTalk_1_TA_sentence01"
    )
    assert by_label["fear"].load().template is not None


def params(frames):
    rng = np.random.default_rng(1)
    return {
        "shape": rng.normal(size=300).astype(np.float32), "expr": rng.normal(size=(frames, 100)).astype(np.float32),
        **{f"{n}_pose" if n in ("neck", "jaw") else n: rng.normal(size=(frames, 3)).astype(np.float32)
           for n in ("rotation", "neck", "jaw", "translation")},
        "eyes_pose": rng.normal(size=(frames, 6)).astype(np.float32),
    }  # fmt: skip


def test_vhap_tracks_whole_and_frame_by_frame(tmp_path):
    whole, single = tmp_path / "M003_angry_level_3_001", tmp_path / "03-01-06-02-01-01-12"
    whole.mkdir()
    np.savez(whole / "flame_param.npz", **params(25))
    sound(whole / "audio.wav", 1.0)
    (single / "flame_param").mkdir(parents=True)
    every = params(10)
    for i in range(10):
        frame = {k: v[i : i + 1] if k != "shape" else v for k, v in every.items()}
        np.savez(single / "flame_param" / f"{i:05d}.npz", **frame)
    kind, found = recordings(tmp_path)
    assert kind == "flame" and [r.emotion for r in found] == ["fear", "angry"]
    ravdess, mead = found
    assert ravdess.subject == "actor12" and ravdess.intensity == 1.0 and ravdess.audio is None
    assert mead.subject == "M003" and mead.fps == 25 and len(mead.load()) == 25
    motion = ravdess.load()
    assert np.array_equal(motion.flame["jaw_pose"], every["jaw_pose"]) and np.array_equal(
        motion.flame["shape"], every["shape"]
    )


def emotalk3d(root):
    for feeling in ("neutral", "happy_strong", "contempt_mild"):
        folder = root / "subject01" / feeling / "s03" / "mesh"
        folder.mkdir(parents=True)
        for i in range(15):
            folder.joinpath(f"{i:06d}.obj").write_text(
                "".join(f"v {x} {i} 0.5\n" for x in range(VERTICES)) + "f 1 2 3\n"
            )
        sound(folder.parent / "audio.wav", 0.5)
    return root


def test_emotalk3d_meshes(tmp_path):
    kind, found = recordings(emotalk3d(tmp_path))
    assert kind == "emotalk3d" and {(r.emotion, r.intensity) for r in found} == {
        ("neutral", 1.0), ("happy", 1.0), ("contempt", 0.5)
    }  # fmt: skip
    motion = found[0].load()
    assert motion.vertices.shape == (15, VERTICES, 3) and motion.vertices[4, 3].tolist() == [3, 4, 0.5]
    assert found[0].fps == 30


def test_a_summary_counts(tmp_path):
    out = summary(emotalk3d(tmp_path), check=True)
    assert (
        out["recordings"] == 3 and out["frames"] == 45 and out["emotions"] == {"contempt": 1, "happy": 1, "neutral": 1}
    )


@pytest.mark.parametrize("kind", ["auto", *READERS])
def test_a_wrong_folder_is_one_sentence(tmp_path, kind):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(BadFile) as raised:
        recordings(tmp_path, kind)
    said = str(raised.value)
    assert (
        "\n" not in said
        and ("has not the layout" in said)
        and (reader("flame" if kind == "auto" else kind).LAYOUT in said)
    )
    with pytest.raises(BadFile, match="no folder"):
        recordings(tmp_path / "gone", kind)


def test_damaged_files_are_named(tmp_path):
    vocaset(tmp_path)
    bad = tmp_path / "vertices_npy" / "FaceTalk_1_TA_sentence01.npy"
    np.save(bad, np.full((60, VERTICES * 3), np.nan, np.float32))
    with pytest.raises(BadFile, match="not finite"):
        recordings(tmp_path)[1][0].load()
    np.save(bad, np.zeros((60, 10), np.float32))
    with pytest.raises(BadFile, match="vertices"):
        recordings(tmp_path)[1][0].load()
    np.save(bad, np.zeros((200, VERTICES * 3), np.float32))
    with pytest.raises(BadInput, match="no usual rate"):
        recordings(tmp_path)
    bad.write_bytes(b"junk")
    with pytest.raises(BadFile, match="FaceTalk_1_TA_sentence01"):
        recordings(tmp_path)


def test_a_template_pickle_runs_nothing(tmp_path):
    vocaset(tmp_path)

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    (tmp_path / "templates.pkl").write_bytes(pickle.dumps({"FaceTalk_1_TA": Evil()}))
    with pytest.raises(SoliloquyError):
        recordings(tmp_path)
    assert not (tmp_path / "owned").exists()


def test_labels_in_names():
    assert label_in("M003_angry_level_2_001") == ("angry", pytest.approx(2 / 3))
    assert label_in("happy_strong") == ("happy", 1.0) and label_in("FaceTalk_1_sentence01") == ("", 1.0)
    with pytest.raises(BadInput, match="vocaset"):
        reader("imagenet")
