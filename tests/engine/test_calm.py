"""The mouth does not tremble in held vowels, and is as quick as before where it moves."""

import numpy as np

from engine.core.names import ARTICULATION, ARTICULATION_INDEX
from engine.motion.calm import CALMED, SIGMA, calm

JAW = ARTICULATION_INDEX["jaw_open"]


def track(values):
    rows = np.zeros((len(values), len(ARTICULATION)), np.float32)
    rows[:] = np.asarray(values, np.float32)[:, None]
    return rows


def test_a_trembling_hold_becomes_still():
    rng = np.random.default_rng(3)
    seen = track(0.5 + 0.02 * rng.standard_normal(400))
    out = calm(seen)
    unrest = [np.sqrt(np.mean(np.diff(x[10:-10, JAW], 2) ** 2)) for x in (seen, out)]
    # Second differences through a Gaussian of 1.2 rows: the ratio is the root of the kernel's own second differences'
    # energy over that of a single one's (6), .17; noise this slow keeps nearly all of the smoothing.
    kernel = np.exp(-0.5 * (np.arange(-6, 7) / SIGMA) ** 2)
    bound = np.sqrt((np.diff(np.pad(kernel / kernel.sum(), 2), 2) ** 2).sum() / 6.0)
    assert unrest[1] < 1.5 * bound * unrest[0] < 0.4 * unrest[0]
    assert abs(out[:, JAW].mean() - seen[:, JAW].mean()) < 1e-3


def test_a_fast_opening_keeps_its_height_and_place():
    t = np.arange(100)
    peak = np.exp(-0.5 * ((t - 50) / 3.0) ** 2)  # a vowel of 140 ms
    out = calm(track(peak))[:, JAW]
    assert abs(int(out.argmax()) - 50) <= 1  # the very top is slow, so it is a little rounded
    smoothed = 3.0 / np.hypot(3.0, SIGMA)  # height that plain smoothing would leave
    assert out.max() >= smoothed - 1e-6
    rising = slice(44, 48)
    assert np.abs(out[rising] - peak[rising]).max() < 0.05


def test_contacts_and_constants_are_left_alone():
    rng = np.random.default_rng(4)
    seen = rng.random((60, len(ARTICULATION))).astype(np.float32)
    out = calm(seen)
    others = [i for name, i in ARTICULATION_INDEX.items() if name not in CALMED]
    np.testing.assert_array_equal(out[:, others], seen[:, others])
    np.testing.assert_allclose(calm(track(np.full(30, 0.4))), 0.4, rtol=1e-6)
    assert out.min() >= 0.0 and out.max() <= 1.0
    assert calm(seen[:1]) is not None and len(calm(seen[:0])) == 0


def test_traces_of_rounding_go_and_round_lips_stay():
    from engine.motion.calm import decided

    said = np.zeros((5, 11), np.float32)
    column = ARTICULATION_INDEX["round"]
    said[:, column] = [0.0, 0.05, 0.2, 0.42, 0.9]
    out = decided(said)[:, column]
    assert out[1] == 0 and out[2] < 0.1 and np.array_equal(out[3:], said[3:, column]) and (np.diff(out) >= 0).all()


def test_surprise_does_not_gape_at_an_s_nor_in_the_gap_between_two_words():
    from engine.core.names import ARKIT, ARKIT_INDEX, EXTRA
    from engine.motion.direct import blend, conversing

    voice = np.ones(200, np.float32)
    voice[100:110] = 0.0  # 0.2 s
    talking = conversing(voice)
    said = np.zeros((200, 11), np.float32)
    said[:, ARTICULATION_INDEX["voice"]] = voice
    said[:50, ARTICULATION_INDEX["jaw_open"]] = 0.06  # s
    said[50:, ARTICULATION_INDEX["jaw_open"]] = 0.5
    amazed = np.zeros((200, len(ARKIT) + len(EXTRA)), np.float32)
    jaw = ARKIT_INDEX["jawOpen"]
    amazed[:, jaw] = 0.4
    shown = blend(np.zeros_like(amazed), amazed, said, talking)[:, jaw]
    assert shown[:50].max() < 0.02 and shown[60:].min() > 0.3, "its vowels are astonished"
    assert talking.min() > 0.99 and np.abs(np.diff(conversing(np.repeat([0.0, 1.0], 60)))).max() < 0.2
