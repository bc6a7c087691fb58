"""Test voices from packages, and pocketsphinx beside the measure."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from engine.core.errors import BadFile, BadInput, Missing
from engine.measure import lipsync, sphinx
from engine.train import voices

DEV = Path(__file__).resolve().parents[3] / "shared" / "data" / "speech_dev"
needs_sphinx = pytest.mark.skipif(not sphinx.available(), reason="pocketsphinx, an optional extra, is not installed")


def test_words_are_what_is_said():
    assert sphinx.words_of("It's 5 o'clock; press “pound”.") == ["it's", "o'clock", "press", "pound"]


def test_without_pocketsphinx_one_sentence_says_what_to_do(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    assert not sphinx.available()
    with pytest.raises(Missing, match="pip install pocketsphinx"):
        sphinx.free_phones(np.zeros(1600, np.float32))


@needs_sphinx
def test_a_text_without_words_cannot_be_aligned():
    with pytest.raises(BadInput, match="no words"):
        sphinx.align(np.zeros(16000, np.float32), "123 ...")


@needs_sphinx
@pytest.mark.data
@pytest.mark.skipif(not DEV.is_dir(), reason="the recorded development voices are not beside the project")
def test_alignment_finds_the_manifest_again_and_free_phones_are_worse():
    from engine.audio.read import read_audio
    from engine.measure.lipsync_score import score_tracks

    clip = lipsync.read_manifest(DEV)[3]
    samples = read_audio(clip.file).samples
    found = sphinx.align(samples, clip.transcript)
    assert found is not None
    starts = {round(a, 2) for _, a, _ in found}
    labelled = [a for _, a, _ in clip.segments]
    # The labels were made by the same model in another program's hands; a frame is 10 ms.
    assert np.mean([min(abs(a - s) for s in starts) <= 0.02 for a in labelled]) > 0.9
    heard = sphinx.free_phones(samples)
    assert heard[-1][2] <= clip.duration + 0.05 and all(b > a for _, a, b in heard)
    free = lipsync.Reference(clip.file, clip.duration, "", tuple(heard))
    figures = score_tracks([(clip, lipsync.true_track(free))])
    assert 0 < figures["closure"] <= 1 and figures["correlation"] > 0.4


def test_packages_name_their_files_and_digests():
    for name, package in voices.PACKAGES.items():
        assert package.manager in ("deb", "pip") and len(package.sha256) == 64, name
        assert package.pattern.split("_")[0].split("-")[0] == name.split("-")[0]


def test_a_package_that_cannot_be_fetched_says_how(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise FileNotFoundError("apt-get")

    monkeypatch.setattr(subprocess, "run", refuse)
    with pytest.raises(Missing, match="apt-get download alsa-utils"):
        voices.fetched("alsa-utils", tmp_path)


def test_another_version_of_a_package_is_refused(tmp_path):
    (tmp_path / "alsa-utils_9.9_amd64.deb").write_bytes(b"not it")
    with pytest.raises(BadFile, match="another version"):
        voices.fetched("alsa-utils", tmp_path)


def test_an_unpacked_package_is_used_as_it_is(tmp_path):
    inside = tmp_path / "alsa-utils" / "usr"
    inside.mkdir(parents=True)
    assert voices.fetched("alsa-utils", tmp_path) == tmp_path / "alsa-utils"


def test_a_speaker_becomes_a_manifest_that_the_measure_reads(tmp_path, monkeypatch):
    tone = np.sin(np.arange(16000) / 20).astype(np.float32)
    made = voices.Recording("one", 0.3 * tone, "ma", (("m", 0.1, 0.3), ("a", 0.3, 0.8)))
    monkeypatch.setitem(voices.SPEAKERS, "alsa", lambda folder: iter([made]))
    result = voices.build(tmp_path, tmp_path, ("alsa",))
    assert result == {"alsa": {"clips": 1, "p_b_m": 1, "seconds": 1.0}}
    (clip,) = lipsync.read_manifest(tmp_path / "alsa")
    assert clip.segments == (("m", 0.1, 0.3), ("a", 0.3, 0.8)) and clip.file.exists() and clip.speaker == "alsa"
    with pytest.raises(BadInput, match="no test speaker"):
        voices.build(tmp_path, tmp_path, ("nobody",))
