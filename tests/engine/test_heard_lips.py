"""How plainly `direct` draws what a net heard: lips round and bite, and a mood stays legible; brows move once."""

from pathlib import Path

import numpy as np
import pytest

from engine.core.control import Controls, Layer
from engine.core.names import ARKIT_INDEX, ARTICULATION_INDEX, EMOTION_INDEX, EMOTIONS
from engine.head.evaluate import vertices
from engine.head.library import load_head
from engine.motion.direct import HEARD, PERFORMED, blend_share, mouth
from engine.motion.perform import perform

VOICES = Path(__file__).resolve().parents[3] / "shared" / "data" / "speech_dev"
STILL = {name: Layer(on=False) for name in ("blink", "gaze", "head")}
recorded = pytest.mark.skipif(not VOICES.is_dir(), reason="the recorded development voices are not beside the project")


@pytest.fixture(scope="module")
def head():
    return load_head()


@pytest.fixture(scope="module")
def longest():
    """The two longest development voices, heard."""
    from engine.audio.read import read_audio
    from engine.measure.lipsync import read_manifest
    from engine.speech.encode import encode

    clips = sorted(read_manifest(VOICES), key=lambda clip: -clip.duration)[:2]
    return [(audio, encode(audio)) for audio in (read_audio(clip.file) for clip in clips)]


def said(**levels):
    out = np.zeros((1, len(ARTICULATION_INDEX)), np.float32)
    for name, level in {"voice": 1.0, "jaw_open": 0.3, **levels}.items():
        out[:, ARTICULATION_INDEX[name]] = level
    return out


def test_a_heard_u_is_round_and_a_heard_f_shows_its_bite(head):
    left, right = head.lip_pairs[0, 0], head.lip_pairs[-1, 0]
    width = lambda lips, **levels: float(  # noqa: E731
        np.linalg.norm((v := vertices(head, *mouth(said(**levels), lips=lips))[0])[left] - v[right])
    )
    for lips, least in ((PERFORMED, 0.008), (HEARD, 0.007)):
        assert width(lips) - width(lips, round=1.0) > least
        assert width(lips) - width(lips, round=0.5) > 0.6 * least, "a short u is seen as one"
    upper = ARKIT_INDEX["mouthUpperUpLeft"]
    heard, performed = (mouth(said(labiodental=1.0), lips=lips)[0][0, upper] for lips in (HEARD, PERFORMED))
    assert 0.05 < heard < performed
    assert mouth(said(round=0.7))[0] == pytest.approx(mouth(said(round=0.7), lips=PERFORMED)[0]), (
        "the performances' own"
    )
    assert np.array_equal(*(mouth(said(lower_lip_drop=0.5), lips=lips)[0] for lips in (HEARD, PERFORMED)))


def test_a_smile_yields_to_round_lips_and_not_to_a_trace_of_them():
    smile = ARKIT_INDEX["mouthSmileLeft"]
    none, one = np.zeros(3), np.ones(3)
    level = np.array([0.0, 0.3, 1.0])
    heard, performed = (
        blend_share(none, none, one, rounding=level, lips=lips)[:, smile] for lips in (HEARD, PERFORMED)
    )
    assert heard[0] == performed[0] and heard[2] == pytest.approx(performed[2]) and heard[2] < 0.2
    assert performed[1] < heard[1] < heard[0] and heard[1] > 0.8 * heard[0]


@pytest.mark.data
@recorded
def test_every_label_is_read_on_recorded_voices(head, longest):
    from engine.measure.legibility import load_reader, read_clip

    reader, wrong = load_reader(), []
    for audio, heard in longest:
        for label in EMOTIONS:
            keyed = Controls(layers=STILL, emotions={label: ((0.0, 1.0),)})
            take = perform(audio, keyed, fps=25, head=head, speech=heard)
            seen = read_clip(reader, head, take.arkit, take.extra, skip=10)
            if seen.ranking()[0] != label:
                wrong.append((label, seen.ranking()[0], float(seen.probability[EMOTION_INDEX[label]])))
    assert not wrong


@pytest.mark.data
@pytest.mark.slow
@recorded
@pytest.mark.parametrize("motion", ["emotag", "emotalk3d", "emovoca"])
@pytest.mark.parametrize("label", ["neutral", "happy"])
def test_what_a_network_learned_of_brows_does_not_double_their_accents(head, longest, motion, label):
    """The networks' performances have accents of the brows, and after.py lays those of the voice over them."""
    brow = int(np.argmax(np.abs(head.shapes[head.shape_index["browInnerUp"], :, 1])))
    audio, heard = longest[0]

    def lift(system, on):
        keyed = Controls(layers={**STILL, "brow": Layer(on=on)}, emotions={label: ((0.0, 1.0),)})
        take = perform(audio, keyed, fps=25, motion=system, head=head, speech=heard)
        return vertices(head, take.arkit, take.extra)[10:, brow, 1]

    rules = lift("direct", True)
    accents = rules - lift("direct", False)
    own = lift(motion, False)
    reach = lambda values: float(np.ptp(np.percentile(values, [5, 95])))  # noqa: E731
    assert reach(accents) > 0.001  # metres
    assert abs(np.polyfit(accents, own, 1)[0]) < 0.3  # what it moves by itself does not follow the same stresses
    assert reach(lift(motion, True)) < 1.4 * reach(rules)
