"""Expression over time and over speech: words that modulate, faces that live, moods that colour speech, dials, gaze."""

import dataclasses

import numpy as np
import pytest
from test_motion import CLOSURES, QUIET, gaps_mm, sound, voice

from engine.controls.files import DIALS, parse_controls, to_json
from engine.controls.modulate import gain, modulate, speech_gain
from engine.controls.track import expression_au, sample
from engine.core.control import Controls, Layer, Prompt
from engine.core.errors import BadInput
from engine.core.names import ARKIT_INDEX, ARTICULATION_INDEX, AU_INDEX, AUS, EMOTIONS
from engine.head.library import load_head
from engine.motion.base import get_system
from engine.motion.contacts import SEALED_M
from engine.motion.layers import make_layers
from engine.motion.life import living_au
from engine.motion.manner import coloured
from engine.motion.perform import perform, run_system

STILL = dataclasses.replace(QUIET, layers={**QUIET.layers, "life": Layer(on=False)})


@pytest.fixture(scope="module")
def head():
    return load_head()


def words(activation, strength=1.0, start=0.0, end=10.0, ease=0.0):
    return Prompt("made up", start, end, ease, ease, strength, activation=activation)


def track(controls, times=(0.5,)):
    return sample(controls, np.asarray(times, float))


# --- words on a moving face (eq. 7)


def test_nothing_recognised_changes_nothing():
    silent = track(Controls(emotions={"sad": ((0, 1.0),)}, prompts=(words({}),)))
    assert not silent.prompt_level.any() and np.all(gain(silent) == 1)
    literal = dataclasses.replace(silent, modulation="paper")
    assert np.all(gain(literal) == 1)


def test_paper_mode_is_equation_7():
    controls = Controls(
        emotions={"happy": ((0, 1.0),)}, prompts=(words({"AU12_L": 0.3, "AU12_R": 0.3}),), modulation="paper"
    )
    t = track(controls)
    code = np.random.default_rng(0).random((1, 18, 2)).astype(np.float32) * 0.5
    y = np.zeros((1, 18, 2), np.float32)
    y[:, AU_INDEX["AU12"]] = 1.0  # binary, whatever strength the words have
    alpha, beta = 1.0, 0.5
    expected = code * (1 + alpha * y) - beta * (1 - y) * code
    assert np.allclose(modulate(code, t), expected, atol=1e-6)
    lips, jaw = speech_gain(t)
    assert lips == pytest.approx(0.5) and jaw == pytest.approx(0.5)  # the literal formula dims speech
    assert not modulate(np.zeros_like(code), t).any()  # ... and a neutral face cannot obey


def test_soft_words_floor_spare_speech_and_stay_in_their_region():
    controls = Controls(emotions={"sad": ((0, 1.0),)}, prompts=(words({"AU12_L": 0.8, "AU12_R": 0.8}),))
    base = expression_au(track(dataclasses.replace(controls, prompts=())))[0]
    au = expression_au(track(controls))[0]
    assert au[AU_INDEX["AU12"]] == pytest.approx(0.8), "a neutral AU reaches what was asked"
    assert (au[AU_INDEX["AU15"]] < base[AU_INDEX["AU15"]] - 0.2).all(), "the rest of the mouth gives way"
    assert np.allclose(au[AU_INDEX["AU01"]], base[AU_INDEX["AU01"]]), "the brows were not spoken of"
    assert all(g == pytest.approx(1.0) for g in speech_gain(track(controls))), "speech keeps its lips and jaw"
    named = track(Controls(prompts=(words({"AU26_L": 1.0, "AU26_R": 1.0}),)))
    assert speech_gain(named)[1] > 1.2
    shut = track(Controls(prompts=(words({"AU25_L": -1.0, "AU25_R": -1.0}),)))
    assert 0.3 < speech_gain(shut)[0] < 0.5, "words never silence the mouth"


def test_overlapping_strips_blend_without_a_dip():
    smile = {"AU12_L": 0.7, "AU12_R": 0.7}
    controls = Controls(prompts=(words(smile, start=0, end=2, ease=0.5), words(smile, start=1.5, end=3.5, ease=0.5)))
    level = expression_au(track(controls, np.linspace(0.5, 3.0, 101)))[:, AU_INDEX["AU12"], 0]
    assert level.min() > 0.55 and level.max() <= 0.95


@pytest.mark.parametrize("modulation", ["soft", "paper"])
@pytest.mark.parametrize("text", ["a huge smile with all teeth", "drop your jaw", "do not close your mouth", "snarl"])
def test_words_never_keep_lips_from_meeting(head, text, modulation):
    controls = dataclasses.replace(QUIET, prompts=(Prompt(text, 0.0, 10.0),), modulation=modulation)
    take = perform(sound(), controls, fps=50, head=head, speech=voice())
    gap = gaps_mm(head, take)
    for start, end in CLOSURES:
        assert gap[(take.times >= start) & (take.times <= end - 0.01)].max() < 1.0, (text, start)


# --- a face that lives


def living(controls, times):
    return living_au(lambda t: sample(controls, t), times)


@pytest.mark.parametrize("label", [e for e in EMOTIONS if e != "neutral"])
def test_more_intensity_never_shows_less(label):
    times = np.arange(0, 4, 0.02)
    levels = [
        living(Controls(emotions={label: ((0, 0), (0.5, 1), (3, 1), (3.5, 0))}, intensity=((0, i),)), times)
        for i in np.linspace(0, 1, 6)
    ]
    # Labels whose AUs join have concave sums; every AU must still grow with intensity at every moment.
    assert min(np.diff(levels, axis=0).min(axis=(1, 2, 3))) > -2e-3


def test_a_key_means_arrived_and_the_brows_come_first():
    controls = Controls(emotions={"surprised": ((1.0, 0.0), (1.4, 1.0))})
    times = np.arange(0, 3, 0.01)
    au = living(controls, times)
    full = expression_au(sample(controls, np.array([1.4])))[0]
    at_key = au[140]
    assert (at_key >= 0.85 * full - 1e-6).all(), "nothing comes later than its key"
    half = [np.argmax(au[:, AU_INDEX[n]].mean(1) > 0.5 * full[AU_INDEX[n]].mean()) for n in ("AU01", "AU26")]
    assert 4 <= half[1] - half[0] <= 12, "the brows lead the jaw by 40-120 ms"


def test_a_hold_settles_moves_slowly_and_differs_by_seed():
    controls = Controls(emotions={"happy": ((0, 0.0), (0.4, 1.0))})
    times = np.arange(0, 20, 0.02)
    smile = living(controls, times)[:, AU_INDEX["AU12"]].mean(1)
    assert smile[20:30].max() > smile[150:].mean() + 0.04
    assert 0.01 < smile[150:].std() < 0.06 and np.abs(np.diff(smile[150:])).max() < 0.01
    other = living(dataclasses.replace(controls, seed=1), times)[:, AU_INDEX["AU12"]].mean(1)
    assert np.abs(other - smile).max() > 0.01
    still = living(dataclasses.replace(controls, layers={"life": Layer(on=False)}), times)
    assert np.array_equal(still, expression_au(sample(controls, times)))


def test_any_window_gives_the_same_living_face():
    controls = Controls(emotions={"angry": ((0, 0.0), (2.0, 1.0), (2.5, 0.2))}, seed=3)
    times = np.arange(0, 5, 0.02)
    whole = living(controls, times)
    parts = np.concatenate([living(controls, times[a : a + 37]) for a in range(0, len(times), 37)])
    assert np.abs(whole - parts).max() < 1e-5  # the grid's own rounding of seconds


# --- moods that colour speech


def test_moods_change_speech_and_leave_contacts_alone():
    a = voice().articulation
    at = np.arange(len(a)) / 50
    plain, press = coloured(a, sample(Controls(), at))
    assert np.array_equal(plain, a) and np.all(press == 1)
    mood = {name: coloured(a, sample(Controls(emotions={name: ((0, 1.0),)}), at)) for name in ("happy", "sad", "angry")}
    jaw, spread, drop = (ARTICULATION_INDEX[n] for n in ("jaw_open", "spread", "lower_lip_drop"))
    assert mood["sad"][0][:, jaw].mean() < 0.85 * a[:, jaw].mean()
    assert np.abs(np.diff(mood["sad"][0][:, drop])).mean() < 0.75 * np.abs(np.diff(a[:, drop])).mean(), "slower"
    assert mood["happy"][0][:, spread].mean() > 1.15 * a[:, spread].mean()
    assert mood["angry"][0][:, drop].mean() < 0.95 * a[:, drop].mean() and mood["angry"][1].min() > 1.2
    for coloured_, _ in mood.values():
        for contact in ("lip_close", "labiodental", "voice"):
            assert np.array_equal(coloured_[:, ARTICULATION_INDEX[contact]], a[:, ARTICULATION_INDEX[contact]])
    assert not np.isnan(coloured(a, sample(Controls(valence=((0, -1.0),), arousal=((0, 1.0),)), at))[0]).any()


def test_windows_leave_no_seam_under_emotion(monkeypatch):
    controls = dataclasses.replace(
        QUIET, emotions={"sad": ((0, 0.2), (3, 1.0))}, prompts=(words({"AU12_L": 0.5}, end=2.0),)
    )
    whole = run_system(get_system("direct"), voice(), controls)
    monkeypatch.setattr("engine.motion.perform.WINDOW_S", 0.73)
    pieces = run_system(get_system("direct"), voice(), controls)
    assert np.array_equal(whole.times, pieces.times) and np.abs(whole.arkit - pieces.arkit).max() < 1e-4


# --- dials


def dialled(**dials):
    return dataclasses.replace(STILL, emotions={"happy": ((0, 0.6),)}, dials={k: ((0.0, v),) for k, v in dials.items()})


def test_dials_at_rest_change_nothing(head):
    plain = perform(sound(), dialled(), head=head, speech=voice())
    rest = perform(sound(), dialled(**{n: neutral for n, (_, _, neutral) in DIALS.items()}), head=head, speech=voice())
    assert np.array_equal(plain.arkit, rest.arkit) and np.array_equal(plain.extra, rest.extra)


def test_each_dial_moves_what_it_names(head):
    def take(**dials):
        return perform(sound(), dialled(**dials), fps=50, head=head, speech=voice())

    def col(t, name):
        return t.arkit[:, ARKIT_INDEX[name]]

    plain = take()
    free = ~np.isin(
        np.round(plain.times, 2), [round(s + d, 2) for s, e in CLOSURES for d in np.arange(-0.3, 0.5, 0.01)]
    )
    # The smile opens the jaw by 0.6 * 0.08 * 0.5 itself, which is not the voice's and is not halved.
    half = 0.5 * (col(plain, "jawOpen")[free].mean() + 0.024)
    assert col(take(jaw=0.5), "jawOpen")[free].mean() == pytest.approx(half, rel=0.02)
    wide = take(articulation=1.5)
    assert col(wide, "mouthPucker").mean() > 1.2 * col(plain, "mouthPucker").mean()
    assert np.allclose(col(wide, "cheekSquintLeft"), col(plain, "cheekSquintLeft")), "the voice's dial, not the smile's"
    assert np.allclose(col(take(upper=0.5), "cheekSquintLeft"), 0.5 * col(plain, "cheekSquintLeft"), atol=0.12)
    assert np.allclose(col(take(upper=0.5), "jawOpen"), col(plain, "jawOpen"), atol=1e-5)
    assert col(take(lower=0.3), "mouthSmileLeft").mean() < 0.6 * col(plain, "mouthSmileLeft").mean()
    firm = take(lip_press=2.0)
    held = plain.drive["contact"][:, 0] > 0.95
    assert (col(firm, "mouthPressLeft") - col(plain, "mouthPressLeft"))[held].mean() > 0.15
    rough, smooth = (np.abs(np.diff(col(t, "mouthFunnel"))).sum() for t in (plain, take(smoothing=1.0)))
    assert smooth < 0.6 * rough
    even = take(asymmetry=0.0)
    assert np.allclose(even.au[:, AU_INDEX["AU12"], 0], even.au[:, AU_INDEX["AU12"], 1])


def test_the_mouth_leads_by_frames_and_the_brows_stay(head):
    surprise = dataclasses.replace(STILL, emotions={"surprised": ((1.0, 0.0), (1.5, 1.0))})
    plain = perform(sound(), surprise, fps=25, head=head, speech=voice())
    early = perform(
        sound(), dataclasses.replace(surprise, dials={"mouth_lead": ((0.0, 2.0),)}), fps=25, head=head, speech=voice()
    )
    closed = [np.flatnonzero(gaps_mm(head, t) < 1000 * SEALED_M + 0.25) for t in (plain, early)]
    starts = [c[np.insert(np.diff(c) > 1, 0, True)] for c in closed]
    inside = (starts[0] > 3) & (starts[0] < 95)
    assert set(starts[0][inside] - 2) <= set(starts[1])
    brow = ARKIT_INDEX["browOuterUpLeft"]
    assert np.allclose(plain.arkit[:, brow], early.arkit[:, brow], atol=1e-6)


@pytest.mark.parametrize("dial", ["jaw", "articulation", "smoothing", "lip_press"])
def test_lips_still_meet_at_the_ends_of_the_dials(head, dial):
    for value in DIALS[dial][:2]:
        take = perform(sound(), dialled(**{dial: value}), fps=50, head=head, speech=voice())
        gap = gaps_mm(head, take)
        for start, end in CLOSURES:
            near = (take.times > start - 0.03) & (take.times < end + 0.03)
            assert gap[near].min() < 1000 * SEALED_M + 0.25, (dial, value, start)


def test_dials_are_keys_and_old_names_are_read():
    one = {"kind": "controls", "format": 1}
    read = parse_controls(
        one | {"dials": {"mouth": 1.2, "mouth_lead": [[0, -4], [2, 4]]}, "blinks": [[1.0, 1], [2.0, 0.5]]}
    )
    assert read.dials == {"articulation": ((0.0, 1.2),), "mouth_lead": ((0.0, -4.0), (2.0, 4.0))}
    assert read.blinks == ((1.0, 1.0), (2.0, 0.5)) and parse_controls(to_json(read)) == read
    assert parse_controls(one | {"blinks": []}).blinks == () and parse_controls(one).blinks is None
    for bad, word in (
        ({"dials": {"smoothing": 1.5}}, "smoothing"),
        ({"modulation": "loud"}, "modulation"),
        ({"blinks": [[1, 2]]}, "blinks"),
    ):
        with pytest.raises(BadInput, match=word):
            parse_controls(one | bad)


# --- blinks and gaze


def test_blinks_can_be_moved_added_and_deleted(head):
    speech = voice(8.0, ())
    times = np.arange(400) / 50
    listed = make_layers(speech, Controls(blinks=((1.0, 1.0), (3.0, 0.5))), times).blink
    assert listed[50].min() == 1.0 and listed[150].min() == pytest.approx(0.5) and not listed[200:].any()
    assert not make_layers(speech, Controls(blinks=()), times).blink.any()
    take = perform(sound(8.0), Controls(), head=head, speech=speech)
    assert len(take.meta["blinks"]) >= 1
    again = perform(sound(8.0), Controls(blinks=tuple(map(tuple, take.meta["blinks"]))), head=head, speech=speech)
    lid = ARKIT_INDEX["eyeBlinkLeft"]
    assert np.allclose(again.arkit[:, lid], take.arkit[:, lid], atol=0.02), (
        "the drawn blinks as a list are the same face"
    )


def test_eyes_lead_and_the_head_follows_keeping_the_gaze():
    controls = Controls(
        gaze={"yaw": ((1.0, 0.0), (1.04, 0.5)), "influence": ((0, 1.0),)},
        layers={n: Layer(on=n == "head") for n in ("blink", "gaze", "head", "life")},
    )
    speech = voice(4.0, ())
    speech.articulation[:] = 0
    times = np.arange(200) / 50
    layers = make_layers(speech, controls, times)
    follow = layers.head[:, 1] - make_layers(speech, dataclasses.replace(controls, gaze={}), times).head[:, 1]
    assert abs(follow[:50]).max() < 1e-6 and abs(follow[54]) < 0.02, "the head starts after the eyes"
    assert layers.gaze[53, 0] > 0.45 and 0.15 < follow[-1] < 0.3
    assert np.allclose(layers.gaze[60:, 0] + follow[60:], 0.5, atol=1e-5), "eyes turn back by what the head turns"
    assert np.abs(np.diff(follow, 2)).max() < 0.01, "no jerk"
    glance = dataclasses.replace(controls, gaze={"yaw": ((1.0, 0.0), (1.02, 0.05)), "influence": ((0, 1.0),)})
    small = (
        make_layers(speech, glance, times).head[:, 1]
        - make_layers(speech, dataclasses.replace(controls, gaze={}), times).head[:, 1]
    )
    assert abs(small).max() < 0.005, "a small shift is the eyes' alone"


def test_every_au_has_a_region_and_a_lead():
    from engine.controls.modulate import REGIONS
    from engine.motion.life import LEAD_S

    for groups in (REGIONS, tuple(LEAD_S.values())):
        assert sorted(au for group in groups for au in group) == sorted(AUS)
