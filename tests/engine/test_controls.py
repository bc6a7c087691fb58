"""Keys to arrays, labels and valence-arousal to AUs, typed directions to AUs."""

import numpy as np
import pytest

from engine.controls.emotions import affect_au, join, label_au, prototypes
from engine.controls.files import digest, parse_controls, read_controls, to_json, write_controls
from engine.controls.text import recognise
from engine.controls.track import at, envelope, expression_au, sample
from engine.core.control import Controls, Prompt
from engine.core.errors import BadFile, BadInput
from engine.core.names import AU_INDEX, EMOTION_INDEX, EMOTIONS

ONE = {"kind": "controls", "format": 1}


def test_keys_interpolate_and_hold():
    keys = ((1.0, 0.0), (2.0, 1.0))
    assert at(keys, np.array([0.0, 1.5, 9.0])).tolist() == [0.0, 0.5, 1.0]
    assert at((), np.array([0.0])).tolist() == [0.0]


def test_controls_survive_a_file(tmp_path):
    controls = parse_controls(
        ONE | {
            "emotions": {"happy": [[0, 0], [1.5, 1]]}, "intensity": 0.8, "au": {"AU12_L": [[2, 0.3]]},
            "prompts": [{"text": "raise the brows", "start": 1, "end": 2, "activation": {"AU01_L": 0.5}}],
            "layers": {"blink": {"on": False, "seed": 4}, "gaze": True}, "dials": {"mouth": 1.2}, "seed": 7,
        }
    )  # fmt: skip
    write_controls(tmp_path / "c.json", controls)
    again = read_controls(tmp_path / "c.json")
    assert again == controls and digest(again) == digest(controls)
    assert digest(parse_controls(ONE | {"seed": 1})) != digest(parse_controls(ONE))
    assert parse_controls(to_json(Controls())) == Controls()


@pytest.mark.parametrize(
    "entry, names",
    [
        ({"emotions": {"hapy": []}}, "hapy"),
        ({"emotions": {"happy": [[0, 2]]}}, "emotions.happy"),
        ({"emotions": {"happy": [[0]]}}, "emotions.happy"),
        ({"intensity": [[float("nan"), 1]]}, "intensity"),
        ({"valence": [[0, -1.5]]}, "valence"),
        ({"au": {"AU12": []}}, "AU12"),
        ({"prompts": [{"text": "x", "start": 2, "end": 1}]}, "ends"),
        ({"prompts": ["x"]}, "prompts"),
        ({"layers": {"ears": {}}}, "ears"),
        ({"layers": {"blink": {"strength": "much"}}}, "strength"),
        ({"emotion": {}}, "unknown entry"),
        ({"format": 99}, "newer"),
        ({"format": True}, "newer"),
        ({"kind": "shot"}, "no controls file"),
        ({"intensity": "huge"}, "intensity"),
        ({"seed": 1.5}, "seed"),
        ({"layers": {"gaze": {"seed": 0.5}}}, "layers.gaze.seed"),
        ({"prompts": [{"text": "x", "mute": "no"}]}, "mute"),
        ({"prompts": [{"text": "x", "activation": {"AU12": 1}}]}, "AU12"),
        ({"gaze": {"yaw": 3}}, "gaze.yaw"),
    ],
)
def test_bad_controls_name_what_is_wrong(entry, names):
    with pytest.raises(BadInput, match=names):
        parse_controls(ONE | entry)


def test_words_for_intensity_are_numbers():
    got = [parse_controls(ONE | {"intensity": w}).intensity[0][1] for w in ("low", "mild", "medium", "strong", "high")]
    assert got == pytest.approx([1 / 3, 0.5, 2 / 3, 1, 1])


def test_a_bad_controls_file_names_itself(tmp_path):
    (tmp_path / "c.json").write_text("{")
    with pytest.raises(BadFile, match=r"c\.json"):
        read_controls(tmp_path / "c.json")


def labels(**weights):
    row = np.zeros((1, len(EMOTIONS)), np.float32)
    for name, value in weights.items():
        row[0, EMOTION_INDEX[name]] = value
    return row


def test_every_label_but_neutral_is_a_face_of_its_own():
    faces = prototypes().reshape(len(EMOTIONS), -1)
    assert not faces[EMOTION_INDEX["neutral"]].any()
    apart = np.linalg.norm(faces[:, None] - faces[None], axis=2) + 9 * np.eye(len(EMOTIONS))
    assert apart.min() > 0.6  # the nearest two labels differ by more than half of a full AU on each side


@pytest.mark.parametrize("name", EMOTIONS)
def test_labels_are_monotone_in_weight_and_intensity(name):
    steps = np.linspace(0, 1, 9)
    by_weight = np.concatenate([label_au(labels(**{name: s}), np.ones(1)) for s in steps])
    by_intensity = np.concatenate([label_au(labels(**{name: 1.0}), np.array([s])) for s in steps])
    assert (np.diff(by_weight, axis=0) >= -1e-7).all() and np.allclose(by_weight, by_intensity, atol=1e-6)


def test_a_mix_keeps_the_marks_of_both_labels():
    mix = label_au(labels(sad=0.7, angry=0.3), np.ones(1))[0].mean(1)
    average = 0.7 * prototypes()[EMOTION_INDEX["sad"]].mean(1) + 0.3 * prototypes()[EMOTION_INDEX["angry"]].mean(1)
    assert mix[AU_INDEX["AU15"]] > 0.5 and mix[AU_INDEX["AU23"]] > 0.15  # the mouth of one, the tension of the other
    # Where both labels act the mix is close to their sum, not below it.
    assert mix[AU_INDEX["AU04"]] == pytest.approx(1 - (1 - 0.7 * 0.55) * (1 - 0.3 * 0.98), abs=1e-3)
    assert (mix <= average + 1e-6).all() and mix.max() < 1


def test_valence_arousal_is_neutral_at_rest_and_smooth_around():
    assert not affect_au(np.zeros((1, 2))).any()
    angle = np.linspace(0, 2 * np.pi, 361)
    walk = affect_au(0.8 * np.stack([np.cos(angle), np.sin(angle)], 1))
    # A degree is 1/45 of the way to the next place: a full AU over it is 0.022 a degree, and kappa 6 steepens that.
    assert np.abs(np.diff(walk, axis=0)).max() < 0.035
    assert np.allclose(walk[0], walk[-1], atol=1e-6)
    relaxed = affect_au(np.array([[0.6, -0.5]]))[0].mean(1)
    assert relaxed[AU_INDEX["AU12"]] > 0.15  # at ease ...
    # ... and no sneer; the tails of the blend leave a thousandth at most
    assert relaxed[[AU_INDEX[n] for n in ("AU04", "AU09", "AU10", "AU14")]].max() < 1e-3


def test_valence_arousal_is_smooth_over_the_whole_square():
    """Halving the step halves the change along straight walks through the origin, across the circle and its rim: no
    jump; and quarters the change of the slope inside the unit circle: no kink."""
    for start, end in (((-1, 0.1), (1, 0.1)), ((0, -1), (0, 1)), ((-1, -1), (1, 1)), ((0.3, -1), (-0.2, 1))):
        change, bend = [], []
        for n in (400, 800):
            walk = np.linspace(start, end, n + 1)
            au = affect_au(walk)
            inside = (walk * walk).sum(1)[1:-1] < 0.9
            change.append(np.abs(np.diff(au, axis=0)).max())
            bend.append(np.abs(np.diff(au, 2, axis=0))[inside].max())
        assert change[1] < 0.55 * change[0] and bend[1] < 0.35 * bend[0], (start, end)


def test_joining_is_commutative_and_bounded():
    rng = np.random.default_rng(0)
    a, b = rng.random((3, 18, 2)), rng.random((3, 18, 2))
    assert np.allclose(join(a, b), join(b, a)) and join(a, b).max() <= 1 and (join(a, b) >= np.maximum(a, b)).all()


def test_strips_ease_and_mute():
    strip = Prompt("smile", 1.0, 3.0, blend_in=0.5, blend_out=0.5, strength=0.8)
    level = envelope(strip, np.array([0.9, 1.0, 1.25, 2.0, 2.75, 3.0, 3.1]))
    assert level == pytest.approx([0, 0, 0.4, 0.8, 0.4, 0, 0], abs=1e-6)
    short = envelope(Prompt("smile", 0, 0.2, blend_in=0.3, blend_out=0.3), np.array([0.1]))
    assert short == pytest.approx([1.0])
    assert not envelope(Prompt("smile", 0, 1, mute=True), np.array([0.5])).any()


def test_words_raise_deny_and_sliders_have_the_last_word():
    times = np.array([0.5])
    controls = Controls(
        emotions={"happy": ((0, 1.0),)},
        prompts=(Prompt("no smile, just raised brows", 0, 1, blend_in=0, blend_out=0),),
        au={"AU01_L": ((0, -1.0),)},
    )
    au = expression_au(sample(controls, times))[0]
    assert au[AU_INDEX["AU12"]].max() < 1e-6 and au[AU_INDEX["AU02"]].min() > 0.7
    assert au[AU_INDEX["AU01"], 0] == 0 and au[AU_INDEX["AU01"], 1] > 0.7


@pytest.mark.parametrize(
    "text, on, off",
    [
        ("a big smile", "AU12", "AU04"),
        ("furrow the brows and press the lips together", "AU04 AU24", "AU12"),
        ("no smile, just raised brows", "AU01 AU02", "AU12 AU06"),
        ("not only happy but surprised", "AU12 AU02", "AU15"),
        ("she cannot stop laughing", "AU12 AU06", "AU15"),
        ("don't smile and don't frown", "", "AU12 AU04 AU15"),
        ("mouth corners pulled down", "AU15", "AU12 AU26"),
        ("eyes wide open, jaw dropped", "AU05 AU26", "AU45"),
        ("close your eyes", "AU45", "AU05"),
        ("terrified", "AU01 AU05 AU20", "AU12"),
        ("wrinkle your nose in disgust", "AU09", "AU12"),
        ("lips tightened", "AU23", "AU25"),
        ("stop frowning and smile", "AU12 AU06", "AU04 AU15"),
        ("stop smiling and look sad", "AU15 AU01", "AU12"),
        ("no smile and raise the brows", "AU01 AU02", "AU12"),
        ("do not blink and open your mouth", "AU25 AU26", "AU45"),
        ("no frown and no smile", "", "AU04 AU12"),
        ("neither a frown nor a smile", "", "AU04 AU12"),
    ],
)
def test_directions(text, on, off):
    aus = recognise(text).aus
    assert set(on.split()) <= set(aus) and not set(off.split()) & set(aus)


def test_sides_degrees_and_reasons():
    left = recognise("raise your left eyebrow slightly")
    assert set(left.activation) == {"AU01_L", "AU02_L"}
    assert left.activation["AU02_L"] < 0.5 * recognise("raise your left eyebrow").activation["AU02_L"] + 0.1
    assert "eyebrow" in left.because["AU02"]
    assert "AU45_R" in recognise("wink with the right eye").activation
    assert recognise("a smile").activation["AU12_L"] < recognise("a huge, very big smile").activation["AU12_L"]


@pytest.mark.parametrize("text", ["", "the cat sat on the mat", "Das ist ein Satz", "12345", "🙂", "a" * 1000])
def test_what_is_not_understood_is_said(text):
    answer = recognise(text)
    assert not answer.recognised and not answer.aus and not any(answer.to_json()["probabilities"].values())


def test_overlong_directions_are_refused():
    with pytest.raises(BadInput, match="1000"):
        recognise("smile " * 400)
