"""The recorded and altered voices of the speech corpus: what is fetched, what is held out, what a change keeps."""

import json
from pathlib import Path

import numpy as np
import pytest

from engine.core import phones
from engine.core.errors import BadFile, BadInput, Missing
from engine.core.sound import SAMPLE_RATE
from engine.speech.net_phones import FINE, NASALS, UNKNOWN, fine_labels, fine_parts
from engine.studio.sample import speak_sample
from engine.studio.speech_corpus import augment, codecs, fetch
from engine.studio.speech_corpus.recorded import asterisk, festvox_ru, held_out, prompts, russian_symbol
from engine.studio.speech_corpus.volunteers import fillets, stamps
from engine.train import voices

SPEECH_DEV = Path(__file__).resolve().parents[3] / "shared" / "data" / "speech_dev"


@pytest.fixture(scope="module")
def voice():
    return speak_sample()[0][: 3 * SAMPLE_RATE]


def test_recorded_sources_say_how_to_get_them(tmp_path):
    assert [russian_symbol(s) for s in ("aa", "ss", "mm", "sch", "pau")] == ["a", "s", "m", "ɕ", "_"]
    with pytest.raises(Missing, match="apt-get install festvox-ru"):
        next(festvox_ru(tmp_path))
    with pytest.raises(Missing, match="apt-get install asterisk"):
        next(asterisk("fr", tmp_path))
    with pytest.raises(Missing, match="apt-get install asterisk"):
        next(prompts(tmp_path))
    with pytest.raises(BadInput):
        next(asterisk("xx", tmp_path))


def test_a_package_of_another_content_is_refused(tmp_path):
    package = fetch.packages()[0]
    wrong = tmp_path / "a.deb"
    wrong.write_bytes(b"not the package")
    with pytest.raises(BadFile, match="sha256"):
        fetch.check(wrong, package)
    assert all(len(p.sha256) == 64 for p in fetch.packages())


def test_an_unpacked_package_is_found(tmp_path):
    inside = fetch.package("asterisk-core-sounds-fr-g722").folder
    (tmp_path / inside).mkdir(parents=True)
    assert fetch.recordings("asterisk-core-sounds-fr-g722", tmp_path) == tmp_path / inside


@pytest.mark.data
def test_the_development_measure_is_held_out():
    if not SPEECH_DEV.is_dir():
        pytest.skip("the development recordings are not beside the project")
    lines = (SPEECH_DEV / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    assert {Path(json.loads(line)["file"]).stem for line in lines} == held_out()


def test_no_held_out_prompt_is_read(tmp_path, monkeypatch):
    import av

    folder = tmp_path / "en_US_f_Allison"
    folder.mkdir()
    samples = (8000 * np.sin(np.arange(32000) * 0.1)).astype(np.int16)
    for name in ("vm-intro", "vm-another"):
        assert (name in held_out()) == (name == "vm-intro")
        with av.open(str(folder / f"{name}.g722"), "w", format="g722") as container:
            stream = container.add_stream("g722", rate=16000, layout="mono")
            frame = av.AudioFrame.from_ndarray(samples[None], "s16", "mono")
            frame.sample_rate = 16000
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    assert [clip.name for clip in prompts(tmp_path)] == ["en/vm-another"]


def test_volunteers_bring_their_words(tmp_path, voice):
    import soundfile

    folder = tmp_path / "stamps" / "animals"
    folder.mkdir(parents=True)
    for name in ("cat_desc_es", "cat_desc_fr", "dog_desc_es"):
        soundfile.write(folder / f"{name}.ogg", np.repeat(voice[:, None], 2, 1), SAMPLE_RATE, format="OGG")
    (folder / "cat.txt").write_text("A cat.\nes.utf8=Un gato.\nfr.utf8=Un chat.\n", encoding="utf-8")
    found = {clip.name: (clip.voice, clip.language, clip.text) for clip in stamps(tmp_path / "stamps")}
    assert found == {
        "stamp/es/cat_desc_es": ("stamps_es", "es", "Un gato."),
        "stamp/fr/cat_desc_fr": ("stamps_fr", "fr", "Un chat."),
    }
    with pytest.raises(Missing, match="apt-get install tuxpaint"):
        next(stamps(tmp_path / "none"))
    with pytest.raises(Missing, match="apt-get install fillets"):
        next(fillets(tmp_path / "none"))


def test_words_of_prompts_name_no_held_out_one():
    texts = json.loads((Path(voices.__file__).parent / "voices.json").read_text(encoding="utf-8"))
    assert len(held_out()) == 60 and not held_out() & set(texts["english_woman"])


def test_fine_phones_cover_the_table():
    table = json.loads((Path(phones.__file__).parent / "phones.json").read_text(encoding="utf-8"))
    symbols = [s for row in table["classes"].values() for s in row["symbols"].split()]
    assert all(i != UNKNOWN for s in symbols for i, _ in fine_parts(s))
    assert len(set(FINE)) == len(FINE) < UNKNOWN and {FINE[i] for i in NASALS} == {"n", "ɲ", "ŋ"}
    assert fine_parts("tʃ") == ((FINE.index("t"), 0.5), (FINE.index("ʃ"), 0.5))
    assert fine_parts("☃") == ((UNKNOWN, 1.0),)
    labels = fine_labels([("n", 0.1, 0.2), ("aɪ", 0.2, 0.3)], 40)
    assert [FINE[i] for i in labels[[5, 12, 22, 28, 35]]] == ["_", "n", "a", "ɪ", "_"]


@pytest.mark.parametrize("name", codecs.NAMES)
def test_a_codec_keeps_time(voice, name):
    out = codecs.through(voice, name)
    assert len(out) == len(voice)
    shifts = [float(np.dot(voice[800:-800], np.roll(out, -k)[800:-800])) for k in (-80, 0, 80)]  # 5 ms either way
    assert max(range(3), key=shifts.__getitem__) == 1
    assert np.corrcoef(voice, out)[0, 1] > 0.8
    with pytest.raises(BadInput, match="no codec"):
        codecs.through(voice, "wax")


def test_altered_voices_keep_length_and_time(voice):
    rng = np.random.default_rng(0)
    level = lambda x: np.sqrt(np.convolve(x**2, np.ones(800) / 800, "same"))[::160]  # noqa: E731
    for change in (augment.vocal_tract, augment.whisper, augment.microphone, augment.room):
        out = change(voice, rng)
        assert len(out) == len(voice) and np.isfinite(out).all()
        assert np.corrcoef(level(voice), level(out))[0, 1] > 0.6, change.__name__
    rebuilt = augment._overlap(augment._frames(voice), len(voice))
    assert np.abs(rebuilt - voice).max() < 1e-5


def test_a_whisper_has_no_pitch(voice):
    def periodicity(x):
        frames = np.lib.stride_tricks.sliding_window_view(x, 640)[::320]
        frames = frames[frames.std(1) > 0.1 * x.std()] - 0
        spectrum = np.abs(np.fft.rfft(frames, 2048, axis=1)) ** 2
        auto = np.fft.irfft(spectrum, axis=1)
        return np.median(auto[:, 40:320].max(1) / auto[:, 0])

    assert periodicity(augment.whisper(voice, np.random.default_rng(1))) < 0.7 * periodicity(voice)
