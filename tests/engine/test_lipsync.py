"""The lip-sync measure: true times score full marks, shifted motion fails, counts are exact on made cases."""

import json

import numpy as np
import pytest

from engine.core.errors import BadFile, BadInput
from engine.measure import lipsync as ls
from engine.measure import lipsync_score as sc

# "sil p aa m b iy sil f uw p aa sil": a stop after silence, a cluster m+b, a labiodental, a stop between vowels.
PHONES = [
    ["sil", 0.0, 0.5], ["p", 0.5, 0.7], ["aa", 0.7, 0.9], ["m", 0.9, 0.98], ["b", 0.99, 1.05], ["iy", 1.05, 1.3],
    ["sil", 1.3, 1.6], ["f", 1.6, 1.7], ["uw", 1.7, 1.9], ["p", 1.9, 2.0], ["aa", 2.0, 2.3], ["sil", 2.3, 2.5],
]  # fmt: skip


def manifest(folder, rows):
    path = folder / "manifest.jsonl"
    path.write_text("\n".join(json.dumps(r) for r in rows))
    return path


def clip(phones=PHONES, duration=2.5, file="a.wav"):
    return {"file": file, "duration": duration, "transcript": "", "phones": phones}


@pytest.fixture
def reference(tmp_path):
    return ls.read_manifest(manifest(tmp_path, [clip()]))[0]


def track(spans, opening=None, duration=2.5):
    times = np.arange(int(duration * 200) + 1) / 200
    closed = np.zeros(len(times))
    for a, b in spans:
        closed[(times >= a - 1e-9) & (times < b - 1e-9)] = 1.0
    return ls.Track(times, np.zeros(len(times)) if opening is None else opening, closed)


def test_events_follow_the_rule(reference):
    # p after silence starts 80 ms before its end; m and b, 10 ms apart, are one.
    assert ls.contacts(reference.segments, "closure") == [
        (pytest.approx(0.62), 0.7), (0.9, 1.05), (1.9, 2.0),
    ]  # fmt: skip
    assert ls.contacts(reference.segments, "labiodental") == [(pytest.approx(1.62), 1.7)]


@pytest.mark.parametrize(
    "spans, hits",
    [
        ([(0.62, 0.70), (0.90, 1.05), (1.9, 2.0)], 3),
        ([(0.53, 0.60), (0.81, 0.86), (1.81, 1.86)], 3),  # 90 ms early is still inside the window
        ([(0.48, 0.51), (0.77, 0.85), (1.76, 1.85)], 0),  # begins more than 100 ms early
        ([(0.65, 0.69), (0.93, 0.97), (1.93, 1.97)], 3),  # 30 ms late
        ([(0.68, 0.75), (0.96, 1.05), (1.96, 2.0)], 0),  # 60 ms late
        ([(0.62, 0.64), (0.90, 0.92), (1.9, 1.925)], 0),  # shorter than 30 ms
        ([(0.9, 2.0)], 1),  # one long run is one hit
        ([], 0),
    ],
)
def test_hits(reference, spans, hits):
    got = sc.score_tracks([(reference, track(spans))])
    assert got["events"] == 3 and got["closure"] == pytest.approx(hits / 3, abs=1e-3)


def test_lips_at_rest_in_a_pause_are_no_fault_and_no_excuse(reference):
    # Shut through the first pause and on into the stop: the run counts from the window's start.
    got = sc.score_tracks([(reference, track([(0.0, 0.7), (1.35, 1.5), (2.4, 2.5)]))])
    assert got["closure"] == pytest.approx(1 / 3, abs=1e-3) and got["false_closure"] == 0
    # Shut all the time: false almost everywhere outside the windows.
    always = sc.score_tracks([(reference, track([(0.0, 2.5)]))])
    assert always["false_closure"] > 0.95


def test_false_frames_and_events(reference):
    # 50 ms closed in the middle of uw (1.75-1.80: before p's window at 1.8) and 50 ms in iy outside m+b's window.
    got = sc.score_tracks([(reference, track([(1.73, 1.78), (1.15, 1.20)]))])
    assert got["false_events_per_s"] == pytest.approx(2 / got["speech_s"], abs=0.02)
    assert got["false_on_vowels_per_s"] == got["false_events_per_s"]
    free = 2.5 - 0.3 - 0.2 - 0.5  # speech...
    windows = (0.74 - 0.52) + (1.09 - 0.8) + (2.04 - 1.8)
    speech_in_windows = windows
    assert got["false_closure"] == pytest.approx(0.1 / (free - speech_in_windows), rel=0.06)


def test_true_times_score_full_marks_and_late_ones_fail(reference):
    result = sc.score([reference, reference], ls.true_track)
    good, late = result["score"], result["controls"]["late_100ms"]
    assert good["closure"] == good["labiodental"] == good["rounding"] == 1.0
    assert good["false_closure"] == 0 and good["lag_ms"] == 0 and good["correlation"] > 0.999
    assert late["closure"] == 0 and late["lag_ms"] == 100 and late["correlation"] < good["correlation"] - 0.3
    assert result["bilabials"] == 6 and result["clips"] == 2


@pytest.mark.parametrize("seconds", [-0.06, 0.04, 0.12])
def test_lag_is_found(reference, seconds):
    t = ls.true_track(reference)
    assert sc.score_tracks([(reference, t.late(seconds))])["lag_ms"] == pytest.approx(1000 * seconds, abs=5)


def test_a_mesh_gap_is_scored_like_a_channel(reference):
    truth = ls.true_track(reference)
    times = np.arange(0, 2.5, 1 / 60)
    shut = np.interp(times, truth.times, truth.closed)
    gap = 12.0 * np.interp(times, truth.times, truth.opening) * (1 - shut)
    mesh = ls.Track(times, gap, ls.closed_of_gap(gap), in_mm=True)
    got = sc.score_tracks([(reference, mesh)])
    assert got["closure"] == 1.0 and 6 < got["open_mm"] < 20
    assert sc.score_tracks([(reference, truth)])["open_mm"] is None


def test_closed_of_gap_crosses_at_the_limit():
    assert ls.closed_of_gap(np.array([0.0, 1.0, 2.0])).tolist() == [1.0, 0.5, 0.0]
    assert ls.closed_of_channel(np.array([0.9]))[0] == pytest.approx(0.5)


def test_wilson_bound_is_the_textbook_value():
    assert sc.wilson_low(8, 10) == pytest.approx(0.4902, abs=1e-4)  # Wilson 1927: 8 of 10 at 95 %
    assert sc.wilson_low(0, 0) == 0.0 and sc.wilson_low(10, 10) < 1.0


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "no clips"),
        ("{not json}", "line 1"),
        (json.dumps({"file": "a.wav"}), "line 1"),
        (json.dumps(clip([["p", 0.5, 0.2]])), "out of order"),
        (json.dumps(clip([["p", 0.5, 0.6], ["a", 0.1, 0.2]])), "out of order"),
        (json.dumps(clip([["p", "x", 0.2]])), "line 1"),
        (json.dumps([1, 2]), "line 1"),
    ],
)
def test_bad_manifests(tmp_path, text, words):
    path = tmp_path / "manifest.jsonl"
    path.write_text(text)
    with pytest.raises(BadFile, match=words):
        ls.read_manifest(path)


def test_missing_manifest_and_bad_tracks(tmp_path):
    with pytest.raises(BadFile, match="no such manifest"):
        ls.read_manifest(tmp_path)
    with pytest.raises(BadInput, match="one length"):
        ls.Track(np.zeros(3), np.zeros(2), np.zeros(3))
    with pytest.raises(BadInput, match="no clips"):
        sc.score([], ls.true_track)


def test_a_shifted_track_fails_both_ways(reference):
    controls = sc.score([reference, reference], ls.true_track)["controls"]
    assert controls["late_100ms"]["closure"] == 0 and controls["late_100ms"]["lag_ms"] == 100
    assert controls["early_100ms"]["lag_ms"] == -100 and controls["early_100ms"]["correlation"] < 0.7


def test_wilson_interval_holds_the_share_and_narrows():
    low, high = sc.wilson(80, 100)
    assert low == pytest.approx(0.7112, abs=1e-3) and high == pytest.approx(0.8666, abs=1e-3)  # Wilson 1927
    assert sc.wilson(0, 0) == (0.0, 1.0) and sc.wilson(800, 1000)[0] > low


def test_speakers_are_scored_apart_and_pooled(tmp_path):
    rows = [clip(), clip(file="b.wav")]
    rows[0]["speaker"], rows[1]["speaker"] = "ann", "bob"
    references = ls.read_manifest(manifest(tmp_path, rows))
    late = references[1].file
    result = sc.score(references, lambda r: ls.true_track(r).late(0.1 if r.file == late else 0.0))
    assert result["speakers"]["ann"]["closure"] == 1.0 and result["speakers"]["bob"]["closure"] == 0.0
    assert result["score"]["closure"] == pytest.approx(0.5) and result["score"]["events"] == 6
    assert result["score"]["closure_low95"] < 0.5 < result["score"]["closure_high95"]


def test_jitter_is_what_the_held_vowel_shakes(reference):
    truth = ls.true_track(reference)
    times = np.arange(0, 2.5, 1 / 60)
    opening = np.interp(times, truth.times, truth.opening)
    calm = ls.Track(times, opening, np.zeros(len(times)))
    shaken = ls.Track(times, opening + 0.05 * (-1.0) ** np.arange(len(times)), np.zeros(len(times)))
    a, b = (sc.score_tracks([(reference, t)]) for t in (calm, shaken))
    assert a["jitter"] == pytest.approx(a["jitter_reference"], rel=0.05)
    assert b["jitter"] > 3 * b["jitter_reference"]


def test_checked_labels_move_events_and_pardon_doubted_ones(reference):
    import dataclasses

    (_, b, c) = ls.contacts(reference.segments, "closure")
    # The first was thrown out: no hit is due, and lips that shut there are no fault either.
    checked = dataclasses.replace(reference, checked=(b, c), doubted=((0.62, 0.70),))
    got = sc.score_tracks([(checked, track([(0.62, 0.70), (0.90, 1.05), (1.9, 2.0)]))])
    assert got["events"] == 2 and got["closure"] == 1.0 and got["false_events_per_s"] == 0
    moved = dataclasses.replace(reference, checked=((b[0] + 0.2, b[1] + 0.2),))
    assert sc.score_tracks([(moved, track([(1.10, 1.2)]))])["closure"] == 1.0


def test_verdicts_are_of_known_kinds_and_at_least_150():
    from engine.measure import lipsync_checked

    rows = [row for files in lipsync_checked.verdicts().values() for found in files.values() for row in found]
    assert len(rows) >= 150 and {verdict for _, verdict, _ in rows} <= set(lipsync_checked.VERDICTS)
    assert all(abs(shift) <= 0.1 for _, verdict, shift in rows if verdict == "shifted")


def test_a_clip_that_nobody_checked_has_no_verdicts(reference):
    from engine.measure.lipsync_checked import with_checks

    assert with_checks(reference) is None
