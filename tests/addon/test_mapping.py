"""Names of production rigs -> channels of the performance. The lists are written after each scheme's public tables."""

import json

import numpy as np
import pytest

from blender_addon.convert import mapping
from blender_addon.convert.mapping import BadPreset, Row, Target, auto_map, plain
from blender_addon.convert.names import ARKIT, EXTRA

SIDES = ("Left", "Right")


def words(text):
    return text.split()


def sided(*names):
    return [n + side for n in names for side in SIDES]


def ict():
    both = {"browInnerUp", "cheekPuff"}
    names = [n for n in ARKIT if n not in both and n != "tongueOut"]
    names = [n.replace("Left", "_L").replace("Right", "_R") if n not in ("mouthLeft", "mouthRight", "jawLeft",
             "jawRight") else n for n in names]  # fmt: skip
    extra = [f"{n}_{s}" for n in ("browInnerUp", "cheekPuff", "cheekRaiser", "PupilDilate") for s in "LR"]
    return ["Basis", *names, *extra]


CHARACTER_CREATOR = words("""
Brow_Raise_Inner_L Brow_Raise_Inner_R Brow_Raise_Outer_L Brow_Raise_Outer_R Brow_Drop_L Brow_Drop_R Brow_Compress_L
Brow_Compress_R Eye_Blink_L Eye_Blink_R Eye_Squint_L Eye_Squint_R Eye_Wide_L Eye_Wide_R Eye_L_Look_L Eye_R_Look_L
Eye_L_Look_R Eye_R_Look_R Eye_L_Look_Up Eye_R_Look_Up Eye_L_Look_Down Eye_R_Look_Down Eyelash_Upper_Up_L Ear_Up_L
Nose_Sneer_L Nose_Sneer_R Nose_Nostril_Raise_L Nose_Crease_L Nose_Tip_Up Cheek_Raise_L Cheek_Raise_R Cheek_Suck_L
Cheek_Suck_R Cheek_Puff_L Cheek_Puff_R Mouth_Smile_L Mouth_Smile_R Mouth_Smile_Sharp_L Mouth_Smile_Sharp_R
Mouth_Frown_L Mouth_Frown_R Mouth_Stretch_L Mouth_Stretch_R Mouth_Dimple_L Mouth_Dimple_R Mouth_Press_L Mouth_Press_R
Mouth_Tighten_L Mouth_Tighten_R Mouth_Blow_L Mouth_Blow_R Mouth_Pucker_Up_L Mouth_Pucker_Up_R Mouth_Pucker_Down_L
Mouth_Pucker_Down_R Mouth_Funnel_Up_L Mouth_Funnel_Up_R Mouth_Funnel_Down_L Mouth_Funnel_Down_R Mouth_Roll_In_Upper_L
Mouth_Roll_In_Upper_R Mouth_Roll_In_Lower_L Mouth_Roll_In_Lower_R Mouth_Roll_Out_Upper_L Mouth_Roll_Out_Upper_R
Mouth_Push_Upper_L Mouth_Pull_Upper_L Mouth_Up Mouth_Down Mouth_L Mouth_R Mouth_Upper_L Mouth_Upper_R Mouth_Lower_L
Mouth_Lower_R Mouth_Shrug_Upper Mouth_Shrug_Lower Mouth_Drop_Upper Mouth_Drop_Lower Mouth_Up_Upper_L Mouth_Up_Upper_R
Mouth_Down_Lower_L Mouth_Down_Lower_R Mouth_Chin_Up Mouth_Close Mouth_Contract Tongue_Out Tongue_Up Tongue_Tip_Up
Jaw_Open Jaw_Forward Jaw_Backward Jaw_L Jaw_R Jaw_Up Jaw_Down Neck_Swallow_Up V_Open V_Explosive V_Dental_Lip
V_Tight_O V_Tight V_Wide V_Affricate V_Lip_Open V_Tongue_up V_Tongue_Raise V_Tongue_Out
""")

UNIFIED_COMMON = [
    *sided("EyeClosed", "EyeLookUp", "EyeLookDown", "EyeLookIn", "EyeLookOut", "EyeSquint", "EyeWide", "EyeDilation",
           "NoseSneer", "CheekSquint", "CheekPuff", "CheekSuck", "BrowInnerUp", "BrowOuterUp", "MouthFrown",
           "MouthStretch", "MouthDimple", "MouthPress", "MouthTightener", "MouthUpperUp", "MouthLowerDown"),
    "JawOpen", "JawLeft", "JawRight", "JawForward", "JawClench", "MouthClosed", "MouthRaiserUpper", "MouthRaiserLower",
    "TongueOut", "TongueUp", "TongueDown",
]  # fmt: skip
UNIFIED_BASE = [
    *UNIFIED_COMMON,
    *sided("BrowPinch", "BrowLowerer", "MouthCornerPull", "MouthCornerSlant", "MouthUpper", "MouthLower",
           *(f"Lip{what}{part}" for what in ("Suck", "Funnel", "Pucker") for part in ("Upper", "Lower"))),
]  # fmt: skip
UNIFIED_BLENDED = [
    *UNIFIED_COMMON, *sided("BrowDown", "MouthSmile"), "MouthLeft", "MouthRight",
    "LipFunnel", "LipPucker", "LipSuckUpper", "LipSuckLower",
]  # fmt: skip

SCHEMES = {
    "apple": list(ARKIT),
    "upper case": [n.upper() for n in ARKIT],
    "snake case": ["".join(f"_{c.lower()}" if c.isupper() else c for c in n) for n in ARKIT],
    "ict": ict(),
    "mpfb": ["$md-ca-ma", *("!ex-" + n for n in ARKIT)],
    "vrm perfect sync": ["Fcl_ALL_Joy", "A", "I", "U", *(n[0].upper() + n[1:] for n in ARKIT)],
    "maya": ["blendShape1." + n for n in ARKIT],
    "game export": ["Face_Mesh__" + n for n in ARKIT],
    "ready player me": [*ARKIT, "mouthOpen", "mouthSmile", "eyesClosed", "eyesLookUp", "eyesLookDown", "viseme_PP"],
    "character creator": CHARACTER_CREATOR,
    "unified base": UNIFIED_BASE,
    "unified blended": UNIFIED_BLENDED,
    "meta sample": [f"A{i:02d}_" + n for i, n in enumerate(n[0].upper() + n[1:] for n in ARKIT)],
    "blender sides": [n.replace("Left", ".L").replace("Right", ".R") if n not in ("mouthLeft", "mouthRight", "jawLeft",
                      "jawRight") else n for n in ARKIT],
}  # fmt: skip


@pytest.mark.parametrize("scheme", SCHEMES)
def test_at_least_50_of_52_on_every_scheme(scheme):
    found = auto_map(SCHEMES[scheme])
    assert found.count >= 50, found.missing


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_target_is_a_key_of_the_character_and_sides_are_kept(scheme):
    keys = SCHEMES[scheme]
    for row in auto_map(keys).rows:
        assert row.target.name in keys
        last = plain(row.target.name)
        for side, other in (("left", "right"), ("right", "left")):
            if row.source.lower().endswith(side) and not row.source.startswith(("eyeLook", "mouth", "jaw")):
                assert not last.endswith(other), row


def test_looks_go_to_the_right_eye_where_names_say_a_direction():
    where = {row.source: row.target.name for row in auto_map(CHARACTER_CREATOR).rows}
    assert where["eyeLookInLeft"] == "Eye_L_Look_R" and where["eyeLookOutLeft"] == "Eye_L_Look_L"
    assert where["eyeLookInRight"] == "Eye_R_Look_L" and where["mouthLeft"] == "Mouth_L"


def targets(keys, source):
    return [(row.target.name, row.gain) for row in auto_map(keys).rows if row.source == source]


def test_one_to_many_and_many_to_one():
    assert targets(ict(), "browInnerUp") == [("browInnerUp_L", 1.0), ("browInnerUp_R", 1.0)]
    assert [name for name, _ in targets(UNIFIED_BASE, "browDownLeft")] == ["BrowLowererLeft", "BrowPinchLeft"]
    assert len(targets(CHARACTER_CREATOR, "mouthFunnel")) == 4
    whole = ["jawOpen", "eyesClosed", "mouthSmile"]
    assert targets(whole, "mouthSmileLeft") == targets(whole, "mouthSmileRight") == [("mouthSmile", 0.5)]
    assert targets(whole, "eyeBlinkLeft") == [("eyesClosed", 0.5)]


def test_an_exact_name_wins_and_own_sides_win_over_a_whole():
    assert targets(["JAWOPEN", "jaw_open", "jawOpen"], "jawOpen") == [("jawOpen", 1.0)]
    assert targets([*ARKIT, "mouthSmile"], "mouthSmileLeft") == [("mouthSmileLeft", 1.0)]


def test_extra_channels_fall_back_to_the_nearest_shape():
    assert ("browDownLeft", 0.45) in targets(list(ARKIT), "browMedialDown_L")
    assert targets([*ARKIT, *EXTRA], "browMedialDown_L") == [("browMedialDown_L", 1.0)]
    assert dict(targets(list(ARKIT), "lowerLipToTeeth"))["mouthRollLower"] > 0
    assert targets(["Basis"], "lowerLipToTeeth") == []


@pytest.mark.parametrize("keys", [[], ["Basis"], ["Fat", "Muscular", "Breathe_L", "elbow.R", ""], ["L", "R", "_", "."]])
def test_other_keys_are_left_alone(keys):
    assert auto_map(keys).rows == ()


def test_contributions_add_up_and_rows_can_be_off():
    rows = [
        Row("mouthSmileLeft", Target("KEY", "smile"), 0.5),
        Row("mouthSmileRight", Target("KEY", "smile"), 0.5, 0.1),
        Row("jawOpen", Target("KEY", "smile"), on=False),
        Row("jawOpen", Target("BONE", "jaw", "rig", "ROT_X"), -0.4),
        Row("neck", Target("BONE", "head", "rig", mapping.TURN)),
        Row("unknown", Target("KEY", "x")),
    ]
    t = np.array([0.0, 1.0])
    out = mapping.apply(rows, {"mouthSmileLeft": t, "mouthSmileRight": t, "jawOpen": t, "neck": t})
    assert set(out) == {rows[0].target, rows[3].target}
    assert np.allclose(out[rows[0].target], [0.1, 1.1]) and np.allclose(out[rows[3].target], [0.0, -0.4])


def test_bones_are_found_by_well_known_names():
    for bones in (["spine", "head", "eye.L", "eye.R"], ["CC_Base_Head", "CC_Base_L_Eye", "CC_Base_R_Eye"],
                  ["mixamorig:Head", "LeftEye", "RightEye"]):  # fmt: skip
        rows = mapping.joint_rows(bones, "rig")
        assert [row.source for row in rows] == ["neck", "eye_left", "eye_right"], rows
        assert all(row.target.object == "rig" and row.target.channel == mapping.TURN for row in rows)
    assert mapping.joint_rows(["hand.L", "forehead"], "rig") == []


def test_presets_come_back_as_they_were(tmp_path):
    rows = (Row("jawOpen", Target("BONE", "jaw", "rig", "ROT_X"), 0.3, -0.1, False), Row("aa", Target("KEY", "å.001")))
    path = tmp_path / "deep" / "My rig.json"
    mapping.save(path, rows, "My rig")
    assert mapping.load(path) == rows
    assert [p.name for p in path.parent.iterdir()] == ["My rig.json"]


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda d: d.update(kind="shot"), "no saved mapping"),
        (lambda d: d.update(format=99), "newer version"),
        (lambda d: d["rows"].append({"source": "jawOpen"}), "row 2"),
        (lambda d: d["rows"][0]["target"].update(kind="MAGIC"), "row 1"),
        (lambda d: d["rows"][0].update(gain="much"), "row 1"),
        (lambda d: d["rows"][0].update(gain=float("inf")), "no number"),
    ],
)
def test_bad_presets_are_refused_with_a_sentence(tmp_path, change, words):
    data = mapping.to_json([Row("jawOpen", Target("KEY", "x"))], "x")
    change(data)
    path = tmp_path / "odd.json"
    path.write_text(json.dumps(data))
    with pytest.raises(BadPreset, match=words):
        mapping.load(path)


def test_a_file_that_is_no_json_is_refused(tmp_path):
    (tmp_path / "x.json").write_text("{")
    for name in ("x.json", "none.json"):
        with pytest.raises(BadPreset, match="cannot be read"):
            mapping.load(tmp_path / name)


def test_the_tables_name_only_known_channels():
    table = mapping.tables()
    for name in table["aliases"]:
        assert name in ARKIT + EXTRA or (name.endswith("*") and name[:-1] + "Left" in ARKIT), name
    for name, stand_ins in table["fallbacks"].items():
        assert name in EXTRA and set(stand_ins) <= set(ARKIT)


def weights(**given):
    out = np.zeros(len(ARKIT + EXTRA))
    for name, value in given.items():
        out[(ARKIT + EXTRA).index(name)] = value
    return out


def test_the_way_back_gives_the_weights_that_were_sent():
    """Keys of one source each, with gain and offset, come back exactly."""
    rows = tuple(mapping.Row(n, mapping.Target("KEY", f"k{i}"), 0.5 + 0.02 * i, 0.1) for i, n in enumerate(ARKIT))
    rng = np.random.default_rng(0)
    sent = rng.random(len(ARKIT))
    values = {
        t: float(v[0]) for t, v in mapping.apply(rows, {n: [w] for n, w in zip(ARKIT, sent, strict=True)}).items()
    }
    back = mapping.unmapped(rows, values)
    assert np.abs(back[:52] - sent).max() < 1e-6 and np.isnan(back[52:]).all(), "extra channels are not served"


def test_the_way_back_of_shared_keys():
    """One key for both sides is both; an extra channel that leans on a key of ARKit's is none."""
    both, brow = mapping.Target("KEY", "blink"), mapping.Target("KEY", "brow")
    rows = (
        mapping.Row("eyeBlinkLeft", both, 0.5), mapping.Row("eyeBlinkRight", both, 0.5),
        mapping.Row("browDownLeft", brow), mapping.Row("browMedialDown_L", brow, 0.5),
        mapping.Row("jawOpen", mapping.Target("KEY", "jaw"), on=False),
        mapping.Row("neck", mapping.Target("BONE", "neck", "Rig", mapping.TURN)),
    )  # fmt: skip
    back = mapping.unmapped(rows, {both: 0.8, brow: 0.4, mapping.Target("KEY", "jaw"): 1.0})
    served = {"browDownLeft": 0.4, "eyeBlinkLeft": 0.8, "eyeBlinkRight": 0.8}
    assert {(ARKIT + EXTRA)[i] for i in np.flatnonzero(~np.isnan(back))} == set(served)
    assert np.allclose(np.nan_to_num(back), weights(**served), atol=1e-6)
    assert np.isnan(mapping.unmapped(rows, {})).all() and np.isnan(mapping.unmapped((), {both: 1.0})).all()


def test_the_way_back_with_a_gain_of_nothing():
    row = mapping.Row("jawOpen", mapping.Target("KEY", "jaw"), 0.0)
    assert mapping.unmapped((row,), {row.target: 0.7})[ARKIT.index("jawOpen")] == 0
