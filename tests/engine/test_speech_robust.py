"""Disturbances do what they say, the gate shuts out what is no voice, and a shaken recording still moves the lips."""

import numpy as np
import pytest

from engine.audio.read import audio_of
from engine.core.names import ARTICULATION_INDEX
from engine.core.phones import class_names
from engine.measure import disturb
from engine.speech import decode
from engine.speech.encode import encode
from engine.studio.sample import speak_sample
from engine.train import robust

RATE = disturb.RATE


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def voice():
    return speak_sample()[0].astype(np.float32)


def level(x):
    return 10 * np.log10(np.mean(np.square(x)) + 1e-20)


@pytest.mark.parametrize("name", sorted(disturb.CHANGES))
def test_a_change_keeps_length_and_numbers(voice, name):
    changed = disturb.CHANGES[name](voice)
    assert changed.shape == voice.shape and changed.dtype == np.float32 and np.isfinite(changed).all()
    assert name == "as recorded" or np.abs(changed - voice).max() > 1e-3


def test_noise_and_music_have_the_stated_level(voice):
    loud = disturb._loud_rms(voice)
    for changed, db in ((disturb.noisy(voice, 15), -15), (disturb.over_music(voice, -10), -10)):
        assert 20 * np.log10(disturb._rms(changed - voice) / loud) == pytest.approx(db, abs=0.1)


def test_telephone_has_nothing_above_its_band(voice):
    spectrum = np.abs(np.fft.rfft(disturb.telephone(voice))) ** 2
    hz = np.fft.rfftfreq(len(voice), 1 / RATE)
    assert spectrum[hz > 4300].sum() < 1e-3 * spectrum.sum()


@pytest.mark.parametrize("factor", [0.7, 1.4])
def test_a_stretched_tone_keeps_its_pitch(factor):
    tone = np.sin(2 * np.pi * 200 * np.arange(RATE) / RATE).astype(np.float32)
    out = disturb.stretched(tone, factor)
    assert len(out) == int(RATE * factor)
    middle = out[2000:-2000]
    peak = np.abs(np.fft.rfft(middle * np.hanning(len(middle)))).argmax() * RATE / len(middle)
    assert peak == pytest.approx(200, abs=4)


def test_a_whisper_has_no_pitch_but_the_words(voice):
    from engine.speech import prosody

    said, whispered = encode(audio_of(voice)), encode(audio_of(disturb.whispered(voice)))
    assert (prosody.f0(voice, len(said.articulation)) > 0).mean() > 0.4
    assert (prosody.f0(disturb.whispered(voice), len(said.articulation)) > 0).mean() < 0.1
    jaw = ARTICULATION_INDEX["jaw_open"]
    assert np.corrcoef(said.articulation[:, jaw], whispered.articulation[:, jaw])[0, 1] > 0.5


def test_mp3_comes_back_in_time(voice):
    back = disturb.coded(voice, 64_000)
    lags = range(-200, 201, 10)
    best = max(lags, key=lambda k: float(np.roll(back, k) @ voice))
    assert abs(best) <= 20


def test_nobody_speaks_and_the_mouth_rests():
    # Not one frame: silence, tone and hiss by level, music, breath and clicks because no phones can be made of them.
    for name, figures in robust.voiceless(30.0).items():
        assert figures == {"moving": 0.0, "peak": 0.0, "closures_per_minute": 0.0}, name


def test_the_gate_keeps_a_voice_in_music_and_shuts_where_it_ends(voice):
    bed = disturb.music(6.0, seed=3)
    sound = np.concatenate([bed, disturb.over_music(voice, -10), bed])
    a = encode(audio_of(sound)).articulation
    jaw, voiced = a[:, ARTICULATION_INDEX["jaw_open"]], a[:, ARTICULATION_INDEX["voice"]]
    first, last = 6 * 50, 6 * 50 + len(voice) * 50 // RATE
    assert voiced[first:last].mean() > 0.6 and jaw[first:last].max() > 0.3
    assert voiced[: first - 50].mean() < 0.15 and voiced[last + 50 :].mean() < 0.15


def phones_of(probability, rows, vowel="open"):
    """Class probabilities whose likeliest class is a vowel with this probability."""
    out = np.full((rows, len(class_names())), (1 - probability) / (len(class_names()) - 1))
    out[:, class_names().index(vowel)] = probability
    return out


@pytest.mark.parametrize(
    "seconds, probability, kept",
    [(4.0, 0.8, True), (4.0, 0.56, True), (10.0, 0.38, False), (1.0, 0.38, True), (4.0, 0.3, False)],
)
def test_a_stretch_is_believed_by_its_phones(seconds, probability, kept):
    voice = np.zeros(int(seconds * 100) + 100)
    voice[50:-50] = 1.0
    left = decode.believed(voice, phones_of(probability, len(voice) // 2))
    assert (left[50:-50] == float(kept)).all()


def test_without_phones_everything_is_believed_and_a_click_never():
    voice = np.zeros(200)
    voice[80:100] = 0.7
    assert (decode.believed(voice, None) == voice).all()
    assert not decode.believed(voice, phones_of(0.9, 100)).any()  # 0.2 s of which the detector is not sure
    assert not decode.believed(np.zeros(0), phones_of(0.9, 0)).any()


def test_fine_phones_count_as_their_classes():
    fine = np.zeros((3, len(decode.FINE)))
    fine[:, decode.FINE.index("m")] = fine[:, decode.FINE.index("b")] = 0.5
    classes = decode.class_probabilities(fine)
    assert classes.shape == (3, len(class_names())) and np.allclose(classes.sum(1), 1)


def test_calm_stills_flicker_and_keeps_edges():
    rng = np.random.default_rng(0)
    steps = np.repeat([0.1, 0.8, 0.2, 0.7], 25)[:, None] * np.ones(8)
    shaken = np.clip(steps + 0.03 * rng.normal(size=steps.shape), 0, 1)
    out = decode.calm(shaken)
    jaw = 0
    inside = np.concatenate([np.arange(k + 5, k + 20) for k in (0, 25, 50, 75)])
    assert np.diff(out[:, jaw], 2)[inside - 1].std() < 0.2 * np.diff(shaken[:, jaw], 2)[inside - 1].std()
    assert out[26, jaw] - out[23, jaw] > 0.85 * 0.7  # an edge takes no longer than before
    assert np.array_equal(out[:, 1:3], shaken[:, 1:3])  # round and funnel come slow from the net


def test_tempo_moves_labels_and_pieces_join():
    from pathlib import Path

    from engine.measure.lipsync import Reference

    clip = Reference(Path("a.wav"), 2.0, "", (("p", 0.5, 0.6), ("a", 0.6, 1.0)))
    slow = robust.at_tempo(clip, 2.0)
    assert slow.duration == 4.0 and slow.segments[0] == ("p", 1.0, 1.2)
