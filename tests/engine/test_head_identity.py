"""Other people on the default head's topology: they still talk, blink and look as they should."""

import numpy as np
import pytest
from head_tools import weights_of

from engine.core.errors import BadInput
from engine.core.names import JOINTS
from engine.core.units import MM
from engine.head import crossing, evaluate, identity, lips
from engine.head.library import load_head, split_identity

RNG = np.random.default_rng(4)


def someone(rng):
    """Random parameters within two thirds of their ranges; ethnic shares of a sum of at most 1."""
    who = {name: round(float(rng.uniform(low, high)) * 2 / 3, 3) for name, (low, high) in identity.RANGES.items()}
    total = sum(who[name] for name in identity.ETHNICITIES)
    return {n: v / max(1.0, total) if n in identity.ETHNICITIES else v for n, v in who.items()}


PEOPLE = [someone(RNG) for _ in range(3)] + [
    {"weight": 1.0},
    {"gender": 1.0, "age": 1.0},
    {"asian": 1.0, "gender": -1.0},
]


@pytest.fixture(scope="module")
def default():
    return load_head("default")


@pytest.fixture(scope="module", params=range(len(PEOPLE)))
def person(request):
    return load_head("default", PEOPLE[request.param])


def face_of(head, pose=None, **mix):
    return evaluate.vertices(head, *weights_of(**mix), pose)


def test_a_person_shares_everything_but_the_face(default, person):
    assert person.topology_sha256 == default.topology_sha256 and person.shape_names == default.shape_names
    assert person.corrective_names == default.corrective_names
    for name, rows in default.landmarks.items():
        assert np.array_equal(rows, person.landmarks[name]) or name == "incisors_upper", name
    moved = np.linalg.norm(person.template - default.template, axis=1)
    assert moved.max() * MM > 4 and np.isfinite(person.template).all()
    assert np.abs(person.albedo - default.albedo).max() < 0.01  # the tongue's shading goes by its length


def test_a_person_closes_lips_and_lids(person):
    assert lips.lip_gap(person, person.template[None])[0] * MM < 0.6
    for jaw in (0.3, 0.8):
        closed = lips.lip_gaps(person, face_of(person, jawOpen=jaw, mouthClose=jaw))
        assert -0.8 < closed.gap[0] * MM < 0.6 and closed.overlap[0] * MM < 1.3
    opened = lips.lip_gaps(person, face_of(person, jawOpen=1))
    assert opened.gap[0] * MM > 20
    assert lips.labiodental_gap(person, face_of(person, jawOpen=0.06, lowerLipToTeeth=1))[0] * MM < 2.5
    for side in ("left", "right"):
        for mix in ({"eyeBlink": 1}, {"eyeBlink": 1, "eyeWide": 1}, {"eyeBlink": 1, "eyeSquint": 1, "cheekSquint": 1}):
            gaps = crossing.lid_gaps(person, face_of(person, **mix), side) * MM
            assert gaps.max() < 0.3 and gaps.min() > -0.5, mix
        assert crossing.lid_depth(person, person.template, side) * MM < 0.6


@pytest.mark.parametrize("mix", [{"mouthSmile": 1}, {"mouthPucker": 1}, {"mouthRollUpper": 1, "mouthRollLower": 1},
                                 {"mouthPress": 1, "mouthFrown": 1}, {"jawOpen": 0.6, "mouthLeft": 1}])  # fmt: skip
def test_a_persons_lips_stay_out_of_each_other_and_the_teeth(person, mix):
    found = crossing.mouth_crossing(person, face_of(person, **mix)[0])
    assert found["lips"] * MM < 3.5 and found["teeth"] * MM < 3.0  # both lips rolled in: the thickest ones, 3.1


def test_a_persons_eyes_teeth_and_joints_go_along(default, person):
    joints = evaluate.joints_of(person)
    for eye in ("eye_left", "eye_right"):
        ball = person.template[person.parts[eye]]
        centre = 0.5 * (ball.min(0) + ball.max(0))
        assert np.abs(joints[JOINTS.index(eye)][:2] - centre[:2]).max() * MM < 0.5
    inner = person.template[person.lip_pairs[len(person.lip_pairs) // 2]]
    teeth = person.template[person.landmarks["incisors_upper"]]
    assert (teeth[:, 2] < inner[:, 2].min()).all() and 1 < (inner[0, 1] - teeth[:, 1].min()) * MM < 5
    assert 0.25 < person.jaw_open_rad < 0.6


def test_weight_changes_the_face_not_only_the_neck(default):
    heavy, thin = load_head("default", {"weight": 1.0}), load_head("default", {"weight": -1.0})
    for name, least in (("jaw", 3.0), ("cheek", 3.0)):
        marks = {"jaw": [3, 4, 12, 13], "cheek": [2, 14]}[name]
        rows = default.landmarks["face68"][marks]
        assert np.linalg.norm(heavy.template[rows] - thin.template[rows], axis=1).mean() * MM > least, name


def test_names_say_identities_too(default):
    assert split_identity("default:gender=1,age=0.25") == ("default", {"gender": 1.0, "age": 0.25})
    for plain in ("default", "C:\\heads\\a=b.npz", "/x/y:z=1/head.npz", "mine"):
        assert split_identity(plain) == (plain, {})
    assert load_head("default:weight=1.0") is load_head("default", {"weight": 1})
    assert load_head("default:age=0") is default
    assert identity.parse(identity.text_of({"age": 0.5, "gender": -1})) == {"gender": -1.0, "age": 0.5}


@pytest.mark.parametrize(
    "who, says",
    [({"gender": 2}, "from -1 to 1"), ({"height": 1}, "no identity parameter"), ({"age": "old"}, "a number"),
     ({"age": float("nan")}, "from 0 to 1")],
)  # fmt: skip
def test_bad_parameters_are_one_sentence(who, says):
    with pytest.raises(BadInput, match=says):
        load_head("default", who)
    with pytest.raises(BadInput, match="not an identity parameter"):
        load_head("default:gender=tall")


def test_only_the_default_head_has_parameters(tmp_path, default):
    from engine.head.files import save_head

    save_head(tmp_path / "mine.npz", default)
    with pytest.raises(BadInput, match="only the default head"):
        load_head(tmp_path / "mine.npz", {"age": 1})
