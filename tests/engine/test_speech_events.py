"""The event decoder: chain posterior against brute force, lengths, calibration, curves."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from engine.speech import events as ev


def bumps(centres, frames=400, width=4.0, height=0.9, floor=0.02):
    t = np.arange(frames)
    p = np.full(frames, floor)
    for c in centres:
        p = np.maximum(p, height * np.exp(-0.5 * ((t - 100 * c) / width) ** 2))
    return p.astype(np.float32)


def test_chain_posterior_equals_the_sum_over_all_paths():
    rule = ev.CLOSURE
    p = np.array([0.1, 0.6, 0.8, 0.3, 0.05, 0.5], np.float32)
    ratio = ((p / (1 - p)) * (1 - rule.prior) / rule.prior) ** rule.trust
    inside, total = np.zeros(len(p)), 0.0
    for path in itertools.product((0, 1), repeat=len(p)):
        # Frame 0's state follows one step of the chain from the prior, as in the recursion.
        weight = 0.0
        for before, share in ((1, rule.prior), (0, 1 - rule.prior)):
            w, state = share, before
            for s, r in zip(path, ratio, strict=True):
                step = (1 - rule.leave, rule.leave) if state else (rule.enter, 1 - rule.enter)
                w *= (step[0] * r) if s else step[1]
                state = s
            weight += w
        inside += weight * np.array(path)
        total += weight
    assert np.abs(ev.chain_posterior(p, rule) - inside / total).max() < 1e-7  # float32 input


def test_each_bump_becomes_one_event_of_usual_length():
    found = ev.decode(bumps([0.5, 1.5, 2.7]), ev.CLOSURE)
    assert len(found) == 3
    for (a, b), centre in zip(found, (0.5, 1.5, 2.7), strict=True):
        assert ev.CLOSURE.shortest - 1e-6 <= b - a <= 1.5 * ev.CLOSURE.longest + 1e-6
        assert a < centre < b + ev.CLOSURE.early, "drawn over the bump, ahead rather than behind"


def test_doubt_is_no_event_and_silence_is_none():
    assert ev.decode(bumps([1.0], height=0.08), ev.CLOSURE) == []
    assert ev.decode(np.zeros(300, np.float32), ev.CLOSURE) == []
    assert ev.decode(np.zeros(1, np.float32), ev.CLOSURE) == []


def test_long_runs_are_kept_only_where_the_net_is_sure():
    sure, unsure = np.full(300, 0.01, np.float32), np.full(300, 0.01, np.float32)
    sure[100:140], unsure[100:140] = 0.9995, 0.35
    ((a, b),) = ev.decode(sure, ev.CLOSURE)
    assert b - a > 0.3
    ((a, b),) = ev.decode(unsure, replace(ev.CLOSURE, threshold=0.2))
    assert b - a <= ev.CLOSURE.longest + 0.011


def test_a_dip_parts_two_events():
    assert len(ev.decode(bumps([1.0, 1.18]), ev.CLOSURE)) == 2


def test_calibration_follows_the_usual_rate_and_trusts_long_clips_more():
    rng = np.random.default_rng(0)
    frames = 6000
    centres = np.arange(0.3, frames / 100 - 0.3, 0.4)
    t = np.arange(frames)
    p = np.full(frames, 0.01)
    for c, height in zip(centres, rng.uniform(0.05, 0.95, len(centres)), strict=True):
        p = np.maximum(p, height * np.exp(-0.5 * ((t - 100 * c) / 4) ** 2))
    rule = ev.CLOSURE
    count = lambda x: len(ev.decode(x, rule))  # noqa: E731
    usual = rule.per_second * 60
    assert count(p) > 1.3 * usual
    assert count(ev.calibrated(p, rule, 60.0)) == pytest.approx(usual, rel=0.25)
    # A shyer net is lifted to the same rate; a second of speech moves hardly, none at all not.
    shy = p / (p + np.exp(2.0) * (1 - p))
    assert count(shy) < count(p)
    assert count(ev.calibrated(shy, rule, 60.0)) == pytest.approx(usual, rel=0.25)
    moved = lambda seconds: float(np.abs(ev.calibrated(p, rule, seconds) - p).max())  # noqa: E731
    assert moved(0.0) == 0.0 and moved(0.5) < 0.5 * moved(60.0)
    assert np.array_equal(ev.calibrated(p, replace(rule, per_second=0.0), 60.0), p)


def test_a_stop_after_a_gap_closes_early_in_the_gap():
    level = np.zeros(300)
    level[80:100] = -6.0  # 200 ms without a sound before the burst at 1.00 s
    silent = ev.silent_gaps(level)
    assert silent[80:100].all() and not silent[:80].any() and not silent[100:].any()
    p = bumps([0.97], 300, 2.0)
    ((a, b),), ((early, end),) = ev.decode(p, ev.CLOSURE), ev.decode(p, ev.CLOSURE, silent)
    assert 0.03 < a - early <= ev.GAP_AHEAD_S + 1e-9 and end > 0.85 + ev.CLOSURE.shortest and end - early > b - a
    assert ev.decode(p, ev.CLOSURE, np.zeros(300, bool)) == ev.decode(p, ev.CLOSURE)


def test_curves_are_whole_and_smooth():
    times = np.arange(0, 3, 0.02)
    x = ev.curve([(1.0, 1.07), (2.0, 2.06)], times, 0.06)
    assert (x[(times >= 1.0) & (times <= 1.07)] == 1).all() and (x[(times >= 2.0) & (times <= 2.06)] == 1).all()
    assert x[(times < 0.93) | ((times > 1.14) & (times < 1.93))].max() == 0
    assert np.abs(np.diff(ev.curve([(1.0, 1.07)], np.arange(0, 3, 0.001), 0.06))).max() < 0.03
    assert ev.curve([], times, 0.06).max() == 0


def test_of_two_rival_contacts_the_likelier_stays():
    p_closure, p_bite = bumps([1.0, 2.0], height=0.9), bumps([1.0], height=0.8)
    shut, bite = ev.rivals([(0.96, 1.02), (1.96, 2.02)], p_closure, [(0.95, 1.03)], p_bite)
    assert shut == [(1.96, 2.02)] and bite == [(0.95, 1.03)]
    shut, bite = ev.rivals([(0.96, 1.02)], p_closure, [(0.95, 1.03)], 0.3 * p_bite)
    assert shut == [(0.96, 1.02)] and bite == []


def test_a_phrase_may_begin_with_lips_together_on_little_evidence():
    p = bumps([], 300)
    p[98:101] = [0.1, 0.3, 0.1]  # the burst alone: too brief for the chain
    assert ev.decode(p, ev.CLOSURE) == []
    ((a, b),) = ev.at_onsets([], p, [101])
    assert a == pytest.approx(1.01 - ev.ONSET_AHEAD_S) and b < 1.01 and b - a >= 0.03
    assert ev.at_onsets([], p, [200]) == []  # nothing heard there
    assert ev.at_onsets([(0.93, 0.99)], p, [101]) == [(0.93, 0.99)]  # already drawn
    (first,) = ev.at_onsets([], bumps([0.0], 300), [0])
    assert first[0] == 0.0 and first[1] > 0
