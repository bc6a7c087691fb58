"""Sound files in: every format and rate, and everything that can be wrong with one."""

import itertools

import numpy as np
import pytest
import soundfile

from engine.audio.read import Resampler, audio_of, levelled, read_audio, write_wav
from engine.core.errors import BadFile, BadInput, Cancelled
from engine.core.progress import Reporter


def tone(rate, seconds=1.0, hz=440.0):
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000, 96000])
@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_any_rate_becomes_16k(tmp_path, rate, suffix):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, tone(rate), rate)
    audio = read_audio(path)
    assert audio.samples.dtype == np.float32 and abs(audio.duration - 1.0) < 1e-3
    middle = audio.samples[2000:-2000]
    # A 440 Hz tone stays one: its amplitude and phase at 16 kHz are known in closed form. 16-bit files: 2e-4.
    assert np.abs(middle - tone(16000)[2000 : 2000 + len(middle)]).max() < 2e-3


@pytest.mark.parametrize("suffix", ["mp3", "ogg"])
def test_lossy_formats(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, tone(44100, 2.0), 44100)
    audio = read_audio(path)
    assert abs(audio.duration - 2.0) < 0.1
    assert abs(np.abs(audio.samples[4000:-4000]).max() - 0.5) < 0.05


def test_channels_are_averaged(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.stack([tone(16000), -tone(16000), 3 * tone(16000) / 2], 1), 16000)
    samples = read_audio(tmp_path / "a.wav").samples
    assert np.abs(samples - tone(16000) / 2).max() < 1e-3


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_blocks_equal_the_whole(rate):
    from scipy.signal import resample_poly

    x = np.random.default_rng(0).normal(size=rate * 3 + 17).astype(np.float32)
    divisor = np.gcd(rate, 16000)
    whole = resample_poly(x, 16000 // divisor, rate // divisor)
    r = Resampler(rate)
    cuts = [0, 1, 500, rate, rate + 3, 2 * rate, len(x)]
    parts = [r.push(x[a:b]) for a, b in itertools.pairwise(cuts)]
    got = np.concatenate([*parts, r.finish()])
    assert len(got) == len(whole) and np.abs(got - whole).max() < 1e-5  # float32 sums in another order


def test_not_a_number_becomes_silence_with_a_warning(tmp_path):
    x = tone(16000)
    x[100:110], x[200] = np.nan, np.inf
    soundfile.write(tmp_path / "a.wav", x, 16000, subtype="FLOAT")
    said = []
    audio = read_audio(tmp_path / "a.wav", Reporter(warn=said.append))
    assert np.isfinite(audio.samples).all() and (audio.samples[100:110] == 0).all()
    assert len(said) == 1 and "11 samples" in said[0]


def test_integer_scaled_floats_are_brought_down(tmp_path):
    soundfile.write(tmp_path / "a.wav", 20000 * tone(16000), 16000, subtype="FLOAT")
    assert np.abs(read_audio(tmp_path / "a.wav").samples).max() <= 1.0


def test_short_and_silent_clips_are_fine(tmp_path):
    soundfile.write(tmp_path / "short.wav", tone(16000, 0.05), 16000)
    assert read_audio(tmp_path / "short.wav").duration == pytest.approx(0.05)
    soundfile.write(tmp_path / "silent.wav", np.zeros(16000), 16000)
    assert not read_audio(tmp_path / "silent.wav").samples.any()


def test_bad_files_say_what_is_wrong(tmp_path):
    (tmp_path / "text.wav").write_text("this is a letter, not a sound\n" * 20)
    (tmp_path / "empty.wav").write_bytes(b"")
    soundfile.write(tmp_path / "none.wav", np.zeros(0), 16000)
    soundfile.write(tmp_path / "cut.flac", tone(16000), 16000)
    (tmp_path / "cut.flac").write_bytes((tmp_path / "cut.flac").read_bytes()[:20])
    for name, words in {
        "text.wav": "not a sound file", "empty.wav": "is empty", "none.wav": "no sound", "absent.wav": "no such file",
        "cut.flac": "not a sound file", ".": "folder",
    }.items():  # fmt: skip
        with pytest.raises(BadFile, match=words) as caught:
            read_audio(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_more_than_four_hours_is_refused_before_it_is_read(tmp_path):
    # 14,500 s at 8 kHz, 8 bit: written sparsely, refused by its header.
    path = tmp_path / "long.wav"
    with soundfile.SoundFile(path, "w", 8000, 1, subtype="PCM_U8") as f:
        block = np.zeros(8000 * 100, np.float32)
        for _ in range(145):
            f.write(block)
    with pytest.raises(BadFile, match="4 hours"):
        read_audio(path)


def test_a_long_read_is_reported_and_can_be_cancelled(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(16000 * 100, np.float32), 16000)
    seen = []
    read_audio(tmp_path / "a.wav", Reporter(lambda *a: seen.append(a)))
    assert len(seen) >= 4 and seen[-1][1] < seen[-1][2]
    with pytest.raises(Cancelled):
        read_audio(tmp_path / "a.wav", Reporter(cancelled=lambda: True))


def test_written_wav_reads_back(tmp_path):
    write_wav(tmp_path / "a.wav", 1.5 * tone(16000))
    back = read_audio(tmp_path / "a.wav").samples
    assert np.abs(back - np.clip(1.5 * tone(16000), -1, 1)).max() < 1e-4  # 16 bit: 1.5e-5 and libsndfile's scaling


def test_samples_in_memory():
    audio = audio_of(np.stack([tone(48000)] * 2, 1), 48000)
    assert abs(audio.duration - 1) < 1e-3 and len(audio.sha256) == 64
    with pytest.raises(BadInput):
        audio_of(np.zeros(0))
    with pytest.raises(BadInput):
        audio_of(tone(16000), 0)


def test_levelling_lifts_speech_but_not_hiss():
    assert np.sqrt(np.mean(levelled(0.01 * tone(16000)) ** 2)) == pytest.approx(0.08, rel=0.02)
    hiss = 1e-4 * np.random.default_rng(0).normal(size=16000).astype(np.float32)
    assert np.array_equal(levelled(hiss), hiss)
    assert len(levelled(tone(16000, 0.01))) == 160
