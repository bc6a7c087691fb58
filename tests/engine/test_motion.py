"""The direct system, its layers and the closure guarantee, on the default head."""

import dataclasses

import numpy as np
import pytest

from engine.core.clock import FrameClock
from engine.core.control import Controls, Layer, Prompt
from engine.core.errors import BadInput, Cancelled
from engine.core.names import ARKIT, ARKIT_INDEX, ARTICULATION, ARTICULATION_INDEX, AU_INDEX, EMOTIONS, EXTRA
from engine.core.progress import Reporter
from engine.core.sound import Audio, Features, Speech
from engine.head.evaluate import vertices
from engine.head.fixes import LIP_SOFT_M
from engine.head.library import load_head
from engine.head.lips import labiodental_gap, lip_gap
from engine.motion.base import get_system
from engine.motion.contacts import SEALED_M, about_to_speak, lip_model, middle_pairs, seal
from engine.motion.direct import mouth
from engine.motion.layers import blink_times, make_layers
from engine.motion.perform import perform, run_system
from engine.motion.resample import runs, to_times

QUIET = Controls(layers={name: Layer(on=False) for name in ("blink", "gaze", "head")})


@pytest.fixture(scope="module")
def head():
    return load_head()


def voice(duration=4.0, closures=((0.50, 0.56), (1.21, 1.27), (2.003, 2.045), (3.0, 3.2)), seed=0):
    """A made-up voice: an open, moving mouth with lip closures at known times (a ramp of 40 ms on both sides)."""
    n = int(np.ceil(duration * 50))
    t = np.arange(n) / 50
    a = np.zeros((n, len(ARTICULATION)), np.float32)
    rng = np.random.default_rng(seed)
    for i in range(a.shape[1]):
        a[:, i] = 0.5 + 0.4 * np.sin(2 * np.pi * (2 + i / 3) * t + rng.random() * 6)
    a[:, ARTICULATION_INDEX["voice"]] = 1.0
    a[:, ARTICULATION_INDEX["lip_close"]] = a[:, ARTICULATION_INDEX["labiodental"]] = 0.0
    for start, end in closures:
        level = np.clip(np.minimum((t - start) / 0.04 + 1, (end - t) / 0.04 + 1), 0, 1)
        a[:, ARTICULATION_INDEX["lip_close"]] = np.maximum(a[:, ARTICULATION_INDEX["lip_close"]], level)
    features = Features("made-up", "none", 50.0, 0.0, np.zeros((n, 64), np.float16))
    return Speech(a, features, duration, {"energy": a[:, 0].copy()})


def sound(duration=4.0):
    return Audio(np.zeros(int(16000 * duration), np.float32), "0" * 64)


def gaps_mm(head, take):
    pose = take.flame.pose.copy()
    pose[:, 6:9] = 0
    return lip_gap(head, vertices(head, take.arkit, take.extra, pose)) * 1000


CLOSURES = ((0.50, 0.56), (1.21, 1.27), (2.003, 2.045), (3.0, 3.2))


@pytest.mark.parametrize("fps", ["12", "23.976", "25", "30", "60"])
def test_lips_meet_in_every_closure_at_any_rate(head, fps):
    take = perform(sound(), QUIET, fps=fps, head=head, speech=voice())
    gap = gaps_mm(head, take)
    for start, end in CLOSURES:
        near = (take.times > start - 0.5 / float(take.fps) - 0.02) & (take.times < end + 0.5 / float(take.fps) + 0.02)
        assert gap[near].min() < 1000 * SEALED_M + 0.25, (
            fps,
            start,
        )  # 0.25: middle third's mean against its worst pair
    # ... and it is a talking mouth, not a shut one.
    assert np.median(gap) > 3


@pytest.mark.parametrize("label", EMOTIONS)
def test_no_emotion_keeps_lips_from_meeting(head, label):
    controls = dataclasses.replace(QUIET, emotions={label: ((0.0, 1.0),)}, valence=((0, 1.0),), arousal=((0, 1.0),))
    take = perform(sound(), controls, fps=50, head=head, speech=voice())
    gap = gaps_mm(head, take)
    assert all(gap[(take.times >= a) & (take.times <= b - 0.01)].max() < 1.0 for a, b in CLOSURES), label


def test_the_seal_is_exact_for_any_mix(head):
    rng = np.random.default_rng(1)
    arkit, extra = (rng.random((64, n)).astype(np.float32) for n in (len(ARKIT), len(EXTRA)))
    shut_arkit, shut_extra = seal(head, arkit, extra, np.ones(64, np.float32))
    points = vertices(head, shut_arkit, shut_extra, None)
    pairs = middle_pairs(head)
    gap = points[:, pairs[:, 0], 1] - points[:, pairs[:, 1], 1]
    # The linear model is met to float32; correctives that part lips at other pairs reach over by a tenth of a mm.
    assert gap.max() <= SEALED_M + 2e-4
    free_arkit, free_extra = seal(head, arkit * 0.3, extra * 0, np.zeros(64, np.float32))
    assert np.abs(free_arkit - arkit * 0.3)[:, [i for n, i in ARKIT_INDEX.items() if n != "mouthClose"]].max() < 1e-6
    assert not free_extra.any()
    assert (shut_arkit >= 0).all() and (shut_arkit <= 1).all()


def test_the_linear_lip_model_is_the_head(head):
    rng = np.random.default_rng(2)
    weights = rng.random((5, 59)).astype(np.float32)
    pairs = middle_pairs(head)

    def gap_of(it, given):
        points = vertices(it, given[:, :52], given[:, 52:], None)
        return points[:, pairs[:, 0], 1] - points[:, pairs[:, 1], 1]

    plain = dataclasses.replace(head, corrective_names=())
    assert np.abs(lip_model(head).gap(weights) - gap_of(plain, weights)).max() < 1e-6
    # The head's correctives leave open lips alone, and part lips that would cross.
    close, jaw = ARKIT_INDEX["mouthClose"], ARKIT_INDEX["jawOpen"]
    weights[:, close] = np.minimum(weights[:, close], weights[:, jaw])
    model, shown = lip_model(head).gap(weights), gap_of(head, weights)
    assert np.abs(shown - np.maximum(model, -LIP_SOFT_M)).max() < 2e-4  # neighbours' corrections overlap a little


def test_emotion_changes_the_face_in_proportion(head):
    still = dataclasses.replace(QUIET, emotions={"happy": ((0, 1.0),)}, intensity=((0, 0.0),))
    speech = voice()
    off = perform(sound(), still, head=head, speech=speech)
    half = perform(sound(), dataclasses.replace(still, intensity=((0, 0.5),)), head=head, speech=speech)
    full = perform(sound(), dataclasses.replace(still, intensity=((0, 1.0),)), head=head, speech=speech)
    smile = [t.au[:, AU_INDEX["AU12"]].mean() for t in (off, half, full)]
    assert smile[0] == 0 and smile[0] < smile[1] < smile[2] and smile[2] > 0.8


def test_a_prompt_acts_inside_its_strip_only(head):
    strip = Prompt("raise your eyebrows", 1.0, 2.0, blend_in=0.2, blend_out=0.2)
    take = perform(sound(), dataclasses.replace(QUIET, prompts=(strip,)), head=head, speech=voice())
    brows = take.arkit[:, ARKIT_INDEX["browOuterUpLeft"]]
    inside = (take.times > 1.25) & (take.times < 1.75)
    assert brows[inside].min() > 0.4 and brows[(take.times < 0.95) | (take.times > 2.05)].max() == 0


def test_articulation_to_shapes_in_closed_form():
    row = np.zeros((1, len(ARTICULATION)), np.float32)
    row[0, ARTICULATION_INDEX["jaw_open"]] = 1.0
    open_jaw, _ = mouth(row)
    row[0, ARTICULATION_INDEX["lip_close"]] = 1.0
    closed, _ = mouth(row)
    assert open_jaw[0, ARKIT_INDEX["jawOpen"]] == pytest.approx(0.62)
    assert closed[0, ARKIT_INDEX["mouthClose"]] == pytest.approx(closed[0, ARKIT_INDEX["jawOpen"]])
    assert 0 < closed[0, ARKIT_INDEX["jawOpen"]] < open_jaw[0, ARKIT_INDEX["jawOpen"]]


@pytest.mark.parametrize("fps", [8, 12, 24, 25])
def test_resampling_keeps_every_held_contact(fps):
    motion = run_system(get_system("direct"), voice(), QUIET)
    frames = to_times(motion, FrameClock.of(fps).times(FrameClock.of(fps).count(4.0)))
    native = runs(motion.closure >= 0.95)
    for start, end in native:
        near = np.abs(frames.times - (start + end - 1) / 100) < 0.5 / fps + (end - start) / 100
        assert frames.closure[near].max() >= 0.95
    assert len(native) == len(CLOSURES)


def test_resampling_at_the_native_rate_changes_nothing():
    motion = run_system(get_system("direct"), voice(), QUIET)
    again = to_times(motion, motion.times)
    assert np.array_equal(again.arkit, motion.arkit) and np.array_equal(again.closure, motion.closure)


def test_windows_leave_no_seam(head, monkeypatch):
    whole = run_system(get_system("direct"), voice(), QUIET)
    monkeypatch.setattr("engine.motion.perform.WINDOW_S", 0.73)
    pieces = run_system(get_system("direct"), voice(), QUIET)
    assert np.array_equal(whole.times, pieces.times) and np.array_equal(whole.arkit, pieces.arkit)


def test_layers_are_the_same_at_any_rate_and_differ_by_seed():
    speech = voice(20.0, ())
    at25, at50 = (make_layers(speech, Controls(), np.arange(int(20 * f)) / f) for f in (25, 50))
    assert np.allclose(at25.gaze, at50.gaze[::2], atol=1e-6) and np.allclose(at25.head, at50.head[::2], atol=1e-6)
    other = make_layers(speech, Controls(layers={"gaze": Layer(seed=1)}), np.arange(500) / 25)
    assert not np.allclose(other.gaze, at25.gaze) and np.array_equal(other.blink, at25.blink)
    assert np.degrees(np.abs(at25.head)).max() < 15 and np.degrees(np.abs(at25.gaze)).max() < 20


@pytest.mark.parametrize("fps", [12, 24, 25, 60])
def test_each_blink_shuts_the_lids_on_some_frame(fps):
    speech = voice(20.0, ())
    shut = make_layers(speech, Controls(), np.arange(20 * fps) / fps).blink[:, 0] >= 1
    count = len(blink_times(speech, Controls()))
    assert 3 <= count <= 12 and len(runs(shut)) == count


def test_layers_switch_off_and_scale():
    speech, times = voice(), np.arange(100) / 25
    off = make_layers(speech, QUIET, times)
    assert not off.blink.any() and not off.gaze.any() and not off.head.any()
    half = make_layers(speech, Controls(layers={"head": Layer(strength=0.5)}), times)
    assert np.allclose(half.head, 0.5 * make_layers(speech, Controls(), times).head, atol=1e-7)


def test_a_keyed_gaze_overrules_the_layer(head):
    alone = {"head": Layer(on=False)}  # with it the head takes its share (test_expression.py)
    controls = Controls(gaze={"yaw": ((0, 0.3),), "influence": ((0, 1.0),)}, layers=alone)
    take = perform(sound(), controls, head=head, speech=voice())
    assert take.flame.pose[:, 10] == pytest.approx(0.3) and take.flame.pose[:, 13] == pytest.approx(0.3)
    assert take.arkit[:, ARKIT_INDEX["eyeLookOutLeft"]] == pytest.approx(np.degrees(0.3) / 30)
    assert take.arkit[:, ARKIT_INDEX["eyeLookInRight"]] == pytest.approx(np.degrees(0.3) / 30)


def test_the_same_seed_gives_the_same_take(head):
    a, b = (perform(sound(), Controls(seed=5), head=head, speech=voice()) for _ in range(2))
    assert np.array_equal(a.arkit, b.arkit) and np.array_equal(a.flame.pose, b.flame.pose) and a.meta == b.meta
    c = perform(sound(), Controls(seed=6), head=head, speech=voice())
    assert not np.array_equal(a.flame.pose, c.flame.pose)


def test_the_flame_form_is_close_to_the_truth(head):
    take = perform(sound(), QUIET, head=head, speech=voice())
    # In FLAME's order the jaw turns what the other shapes moved; in ARKit's it does not. So the forms differ by at most
    # the jaw's angle times that movement, plus 0.2 mm between the angles at which the jaw corrective is exact.
    other = take.arkit.copy()
    other[:, ARKIT_INDEX["jawOpen"]] = 0
    moved = np.linalg.norm(vertices(head, other, take.extra, None) - head.template, axis=2).max(1)
    bound = 1000 * (moved * take.arkit[:, ARKIT_INDEX["jawOpen"]] * head.jaw_open_rad).max() + 0.2
    assert take.authority == "arkit" and 0 < take.residual_mm["flame"] < bound


def test_unknown_systems_and_cancel(head):
    with pytest.raises(BadInput, match="direct"):
        perform(sound(), QUIET, motion="telepathy", head=head, speech=voice())
    with pytest.raises(Cancelled):
        perform(sound(), QUIET, head=head, speech=voice(), report=Reporter(cancelled=lambda: True))


def test_silence_is_said_and_the_mouth_stays_shut(head):
    speech = voice()
    silent = dataclasses.replace(speech, articulation=np.zeros_like(speech.articulation))
    said = []
    take = perform(sound(), QUIET, head=head, speech=silent, report=Reporter(warn=said.append))
    assert "no voice" in said[0] and gaps_mm(head, take).max() < 1.0


@pytest.mark.parametrize("label", ["neutral", "happy", "sad", "fear", "surprised", "disgusted", "angry"])
def test_the_lower_lip_touches_the_teeth_in_f_and_v(head, label):
    speech = voice(closures=())
    speech.articulation[60:66, ARTICULATION_INDEX["labiodental"]] = 1.0
    controls = dataclasses.replace(QUIET, emotions={label: ((0.0, 1.0),)})
    take = perform(sound(), controls, fps=50, head=head, speech=speech)
    pose = take.flame.pose.copy()
    pose[:, 6:9] = 0
    bite = labiodental_gap(head, vertices(head, take.arkit, take.extra, pose)) * 1000
    assert bite[60:66].max() < 2.0 and np.median(np.delete(bite, range(58, 68))) > 5, label


def test_lips_stay_parted_until_a_phrase_has_died_away_and_then_meet():
    times = np.arange(0, 3, 1 / 60)
    parted = about_to_speak(times, ((times >= 1) & (times < 2)).astype(float))
    at = lambda second: float(np.interp(second, times, parted))  # noqa: E731
    assert at(2.15) > 0.95, "the last n of a phrase is not an m"
    assert at(2.35) == 0 and at(0.75) == 0, "in silence the lips rest"
    assert at(0.95) > 0.95, "they part before the first sound"
