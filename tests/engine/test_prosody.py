"""Pitch against tones of known frequency, stress where it was put, and the layers that answer it."""

import dataclasses

import numpy as np
import pytest

from engine.core.control import Controls, Layer
from engine.core.names import ARTICULATION_INDEX, AU_INDEX
from engine.core.sound import SAMPLE_RATE, Features, Speech
from engine.motion import accents
from engine.motion.layers import make_layers
from engine.speech import prosody
from engine.studio.speech_corpus import espeak
from engine.studio.speech_corpus.build import resample


def harmonic(hz):
    """A voice-like tone of the given frequency at each sample: harmonics falling by 6 dB an octave."""
    phase = 2 * np.pi * np.cumsum(hz) / SAMPLE_RATE
    count = int(min(20, 7000 / hz.max()))
    return (0.2 * sum(np.sin(k * phase) / k for k in range(1, count + 1))).astype(np.float32)


@pytest.mark.parametrize("low, high", [(80, 80), (110, 220), (330, 200), (480, 470)])
def test_pitch_of_gliding_tones(low, high):
    n = 2 * SAMPLE_RATE
    hz = np.geomspace(low, high, n)
    found = prosody.f0(harmonic(hz), 100)[5:-5]
    true = hz[np.arange(100) * 320][5:-5]
    cents = 1200 * np.abs(np.log2(np.maximum(found, 1) / true))
    # a 50 ms window sees the glide move by up to 30 cents; below 10 cents where it does not
    assert (found > 0).all() and np.median(cents) < 10 and cents.max() < 45


def test_pitch_survives_noise_at_15_db():
    hz = np.full(2 * SAMPLE_RATE, 150.0)
    x = harmonic(hz)
    noise = np.random.default_rng(0).normal(size=len(x)) * x.std() * 10 ** (-15 / 20)
    found = prosody.f0((x + noise).astype(np.float32), 100)[5:-5]
    assert np.mean(np.abs(1200 * np.log2(np.maximum(found, 1) / 150)) < 20) > 0.97


def test_a_higher_synthesised_voice_measures_higher():
    medians = []
    for pitch in (25, 50, 75):
        samples, rate, _ = espeak.speak("Nobody knows the trouble that we have seen today.", "en-us", 160, pitch)
        x = resample(samples, rate)
        f0 = prosody.f0(x, len(x) // 320)
        medians.append(np.median(f0[f0 > 0]))
    assert medians[0] < 0.85 * medians[1] < 0.8 * medians[2]


def made(stressed=(4, 9, 15), seconds=12.0, octave=0.35):
    """Energy, pitch and voice of 20 even syllables a little apart from each other; some louder and higher."""
    rows = int(50 * seconds)
    t = np.arange(rows) / 50
    energy, pitch, voice = np.zeros(rows), np.full(rows, 0.0), np.zeros(rows)
    rng = np.random.default_rng(1)
    for k in range(20):
        middle = 1.0 + 0.5 * k
        strong = k in stressed
        shape = np.exp(-0.5 * ((t - middle) / 0.07) ** 2)
        energy = np.maximum(energy, (0.9 if strong else 0.6 + 0.03 * rng.random()) * shape)
        near = np.abs(t - middle) < 0.13
        pitch[near] = 120 * 2 ** (octave if strong else 0.02 * rng.normal())
        voice[np.abs(t - middle) < 0.26] = 1
    return energy.astype(np.float32), pitch.astype(np.float32), voice.astype(np.float32)


def speech_of(energy, pitch, voice):
    articulation = np.zeros((len(energy), 11), np.float32)
    articulation[:, ARTICULATION_INDEX["voice"]] = voice
    articulation[:, 0] = 0.5 * energy
    features = Features("test", "none", 50.0, 0.0, np.zeros((len(energy), 64), np.float16))
    return Speech(articulation, features, len(energy) / 50, {"energy": energy, "f0_hz": pitch})


def test_stress_is_found_where_it_is():
    found = prosody.stresses(*made())
    assert np.allclose(found.times, [3.0, 5.5, 8.5], atol=0.03) and (found.rise > 1).all()
    assert ((found.strength > 0.5) & (found.strength <= 1)).all()
    assert len(prosody.syllables(*[made()[i] for i in (0, 2)])) == 20


def test_stress_is_relative_to_the_speaker():
    energy, pitch, voice = made()
    other = prosody.stresses(0.6 * energy, 1.7 * pitch, voice)
    assert np.allclose(other.times, prosody.stresses(energy, pitch, voice).times)


def test_monotone_silence_and_short_clips_give_nothing_or_little():
    energy, pitch, voice = made(stressed=())
    assert len(prosody.stresses(0 * energy, 0 * pitch, 0 * voice).times) == 0
    assert np.abs(prosody.arousal(0 * energy, 0 * pitch, 0 * voice)).max() == 0
    long, short = prosody.arousal(*made()), prosody.arousal(*(x[:100] for x in made()))
    assert np.abs(short).max() < 0.5 * np.abs(long).max()
    assert prosody.stresses(*(np.zeros(0, np.float32),) * 3).times.size == 0


def test_arousal_follows_loud_and_high_phrases():
    energy, pitch, voice = made(stressed=(12, 13, 14, 15, 16), octave=0.5)
    level = prosody.arousal(energy, pitch, voice)
    t = np.arange(len(level)) / 50
    assert level[(t > 7) & (t < 9)].mean() > 0.3 > 0 > level[(t > 1.5) & (t < 5)].mean()
    assert np.abs(level).max() < 1 and np.abs(level[-20:]).max() < 0.1


def test_summary_in_numbers():
    facts = prosody.summary(*made())
    assert facts["f0_median_hz"] == pytest.approx(120, abs=3) and facts["stresses"] == 3
    assert facts["syllables_per_s"] == pytest.approx(20 / facts["speech_s"], abs=0.1) and facts["pauses"] == 0
    quiet = prosody.summary(*(0 * x for x in made()))
    assert quiet["f0_median_hz"] is None and quiet["syllables_per_s"] is None


def test_pauses_lie_between_speech():
    voice = np.concatenate(
        [np.zeros(30), np.ones(50), np.zeros(25), np.ones(50), np.zeros(6), np.ones(20), np.zeros(40)]
    )
    assert prosody.pauses(voice) == [(1.6, 2.1)]


# Layers


def layers_at(controls, fps=50, speech=None):
    speech = speech or speech_of(*made(stressed=tuple(range(0, 20, 3))))
    times = np.arange(int(12 * fps)) / fps
    return times, accents.brow_raises(speech, controls, times), accents.nods(speech, controls, times)


def test_accents_lie_on_stresses_and_switch_off():
    speech = speech_of(*made(stressed=tuple(range(0, 20, 3))))
    stress = prosody.stresses(*accents._voice(speech))
    times, brow, nod = layers_at(Controls())
    assert 0.1 < brow.max() <= 1 and 0.01 < nod.max() <= accents.NOD_RAD
    for curve, early, late in ((brow, 0.2, 0.5), (nod, 0.2, 0.35)):
        for second in times[curve > 0.3 * curve.max()]:
            gap = stress.times - second
            assert gap[np.abs(gap).argmin()] < early + 0.01 and (second - stress.times).max() > -early
            assert ((stress.times - second < early + 0.01) & (second - stress.times < late + 0.01)).any()
    off = Controls(layers={"brow": Layer(on=False), "nod": Layer(on=False), "accent": Layer(on=False)})
    _, brow, nod = layers_at(off)
    assert not brow.any() and not nod.any() and (accents.swing(speech, off, times) == 1).all()


def test_accents_are_the_same_at_any_rate_scale_and_differ_by_seed():
    _, brow, nod = layers_at(Controls())
    _, slow, slow_nod = layers_at(Controls(), 25)
    assert np.allclose(brow[::2], slow, atol=1e-9) and np.allclose(nod[::2], slow_nod, atol=1e-9)
    _, _, half = layers_at(Controls(layers={"nod": Layer(strength=0.5)}))
    assert np.allclose(half, 0.5 * nod)
    others = [layers_at(Controls(layers={"nod": Layer(seed=s)}))[2] for s in range(1, 6)]
    assert any(not np.array_equal(nod, other) for other in others)
    assert np.array_equal(nod, layers_at(Controls())[2])


def test_nods_are_part_of_the_head_and_go_with_it():
    speech = speech_of(*made(stressed=tuple(range(0, 20, 3))))
    times = np.arange(300) / 25
    still = make_layers(speech, Controls(layers={"nod": Layer(on=False)}), times).head
    nodding = make_layers(speech, Controls(), times).head
    assert np.allclose(nodding[:, 0] - still[:, 0], accents.nods(speech, Controls(), times), atol=1e-6)
    assert np.array_equal(nodding[:, 1:], still[:, 1:])
    assert not make_layers(speech, Controls(layers={"head": Layer(on=False)}), times).head.any()


def test_accents_change_a_copy_of_the_controls_and_respect_held_brows():
    from engine.controls.track import sample

    speech = speech_of(*made(stressed=tuple(range(0, 20, 3))))
    held = Controls(emotions={"happy": ((0.0, 1.0),)}, intensity=((0.0, 0.5),), au={"AU01_L": ((0.0, -1.0),)})
    for controls, raised in ((dataclasses.replace(held, au={}), True), (held, False)):
        track = sample(controls, speech.times)
        after = accents.Accented(speech, controls)(track)
        lift = after.au_offset[:, AU_INDEX["AU02"], 1] - track.au_offset[:, AU_INDEX["AU02"], 1]
        assert (lift.max() > 0.03) == raised and (lift >= 0).all()
        assert np.abs(after.intensity / track.intensity - 1).max() <= accents.SWING
        assert np.ptp(after.intensity) > 0.01 and np.ptp(track.intensity) == 0


def test_a_little_of_the_accents_changes_a_little():
    """The room that a fully keyed face gives up for them follows the layer's strength."""
    from engine.controls.track import sample

    speech = speech_of(*made(stressed=tuple(range(0, 20, 3))))
    shown = []
    for strength in (0.01, 1.0):
        controls = Controls(emotions={"sad": ((0.0, 1.0),)}, layers={"accent": Layer(strength=strength)})
        track = sample(controls, speech.times)
        shown.append(np.abs(accents.Accented(speech, controls)(track).intensity - track.intensity).max())
    assert 0 < shown[0] < 0.01 and shown[1] > 0.05


def test_speech_without_prosody_has_no_accents():
    speech = dataclasses.replace(speech_of(*made()), prosody={})
    _, brow, nod = layers_at(Controls(), speech=speech)
    assert not brow.any() and not nod.any()
