"""Visemes and lip closure of brought characters; drivers turned round; driver formulas."""

import numpy as np
import pytest

from blender_addon.convert import closure, driven, visemes
from blender_addon.convert.expressions import NotUnderstood, function_of
from blender_addon.convert.names import ARKIT, EXTRA


def words(text):
    return text.split()


OCULUS = words("""
sil PP FF TH DD kk CH SS nn RR aa E ih oh ou
""")
MICROSOFT = words("""
aa_02 aa_ah_ax_01 ao_03 aw_09 ay_11 d_t_n_19 er_05 ey_eh_uh_04 f_v_18 h_12 k_g_ng_20 l_14 ow_08 oy_10 p_b_m_21 r_13
sh_ch_jh_zh_16 sil_00 s_z_15 th_dh_17 w_uw_07 y_iy_ih_ix_06
""")


@pytest.mark.parametrize(
    "keys, which, count",
    [
        ([f"viseme_{v}" for v in OCULUS[:11]] + ["viseme_E", "viseme_I", "viseme_O", "viseme_U"], "oculus", 15),
        (OCULUS, "oculus", 15),
        ([f"vrc.v_{v.lower()}" for v in OCULUS], "oculus", 15),
        (["Basis", *MICROSOFT], "microsoft", 22),
        ([f"viseme_{i}" for i in range(22)], "microsoft", 22),
        (["!ex-" + m for m in MICROSOFT], "microsoft", 22),
        (list(ARKIT), "", 0),
        (["viseme_PP", "viseme_aa"], "", 0),
    ],
)
def test_viseme_keys_are_found(keys, which, count):
    found, rows = visemes.find(keys)
    assert (found, len(rows)) == (which, count)
    assert len({row.target.name for row in rows}) == count


def test_the_bounded_fit_equals_scipys():
    from scipy.optimize import lsq_linear

    rng = np.random.default_rng(0)
    matrix, wanted = rng.random((20, 15)), rng.random((6, 20)) * 3
    ours = visemes.bounded_least_squares(matrix, wanted)
    stacked = np.vstack([matrix, np.sqrt(visemes.RIDGE) * np.eye(15)])
    for row, b in zip(ours, wanted, strict=True):
        truth = lsq_linear(stacked, np.r_[b, np.zeros(15)], bounds=(0, 1), tol=1e-12).x
        # Coordinate descent stops after SWEEPS rounds: what is left is far below a visible weight.
        assert np.abs(row - truth).max() < 2e-2
        cost = lambda x, b=b: np.sum((stacked @ x - np.r_[b, np.zeros(15)]) ** 2)  # noqa: E731
        assert cost(row) < cost(truth) * (1 + 1e-3) + 1e-6


@pytest.mark.parametrize("which", visemes.SETS)
def test_each_visemes_own_mix_comes_back(which):
    """t, d and th look alike and may share; what is seen of the mouth must be the mix."""
    names, matrix = visemes.mixes(which)
    seen = np.array([not name.startswith("tongue") for name in names])
    for j, (viseme, entry) in enumerate(visemes.tables()[which].items()):
        contact = float(entry.get("bite", False)), float(entry.get("closure", False))
        out = visemes.fit(dict(zip(names, matrix[:, j : j + 1], strict=True)), np.full(1, contact[1]),
                          np.full(1, contact[0]), which)  # fmt: skip
        shown = matrix @ np.concatenate(list(out.values()))
        assert np.abs(shown - matrix[:, j])[seen].max() < 0.06, viseme
        assert np.abs(shown - matrix[:, j]).max() < 0.3, viseme


@pytest.mark.parametrize("which, key", [("oculus", "viseme_PP"), ("microsoft", "ms_viseme_21")])
def test_closures_reach_one_and_the_rest_gives_way(which, key):
    t = np.linspace(0, 1, 51)
    shut = np.clip(1.4 - 6 * np.abs(t - 0.5), 0, 1)
    channels = {"jawOpen": np.full(51, 0.5), "mouthLowerDownLeft": np.full(51, 0.3), "mouthPressLeft": np.full(51, 0.9)}
    out = visemes.fit(channels, shut, np.zeros(51), which)
    assert out[key].max() == 1.0 and np.array_equal(out[key], shut), "pressed lips alone are no closure"
    others = np.array([v for k, v in out.items() if k != key])
    assert others[:, shut == 1].max() == 0 and others[:, shut == 0].max() > 0.5


def test_lips_on_teeth_reach_one():
    out = visemes.fit({"jawOpen": np.full(3, 0.3)}, np.zeros(3), np.array([0.0, 0.5, 1.0]))
    assert out["viseme_FF"].tolist() == [0.0, 0.5, 1.0] and out["viseme_aa"][2] == 0


# Lips


def mouth(count=41, teeth=True):
    """(rest [v, 3], offsets by source) of a made-up face in Blender's axes, metres: skin with a slit, teeth behind."""
    x, z = np.meshgrid(
        np.linspace(-0.06, 0.06, count), np.r_[np.linspace(0.03, 0.0004, 20), np.linspace(-0.0004, -0.06, 40)]
    )
    y = -0.10 + 6 * x**2
    skin = np.stack([x, y, z], -1).reshape(-1, 3)
    back = np.array([[0.0, 0.12, z] for z in (-0.05, 0.0, 0.05)])
    parts = [skin, back]
    if teeth:
        row = np.linspace(-0.02, 0.02, 15)
        parts += [np.stack([row, np.full(15, -0.08), np.full(15, h)], 1) for h in (0.0003, -0.0003)]
    rest = np.concatenate(parts)
    below = (rest[:, 2] < 0) & (rest[:, 1] < 0)
    inside = np.abs(rest[:, 0]) < 0.025
    jaw = np.zeros_like(rest)
    jaw[below] = [0, 0.008, -0.03]
    jaw[below & ~inside & (rest[:, 2] > -0.002)] *= 0.1
    close = np.zeros_like(rest)
    lip = below & inside & (rest[:, 2] > -0.012) & (rest[:, 1] < -0.085)
    close[lip] = [0, 0, 0.03]
    up = np.zeros_like(rest)
    up[(rest[:, 2] > 0) & (rest[:, 2] < 0.01) & inside & (rest[:, 1] < -0.085)] = [0, 0, 0.008]
    return rest, {"jawOpen": jaw, "mouthClose": close, "mouthUpperUpLeft": up}


@pytest.mark.parametrize("turn", [0, 1, 2])
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_lips_are_found_in_front_of_the_teeth_whatever_axes_and_units(turn, scale):
    rest, offsets = mouth()
    rest, jaw = scale * np.roll(rest, turn, 1), scale * np.roll(offsets["jawOpen"], turn, 1)
    pairs, axis, sign = closure.find_lip_pairs(rest, jaw)
    assert axis == (2 + turn) % 3 and sign == 1 and len(pairs) >= 6
    assert (rest[pairs[:, 0], axis] > 0).all() and (rest[pairs[:, 1], axis] < 0).all()
    depth = rest[pairs][..., (1 + turn) % 3] / scale
    assert depth.max() < -0.09, "the teeth at -0.08 are closer together, but lie behind"


def test_an_open_mouth_or_a_jaw_without_key_gives_no_lips():
    rest, offsets = mouth(teeth=False)
    apart = rest.copy()
    apart[:, 2] += np.where(rest[:, 2] < 0, -0.02, 0.0)
    assert closure.find_lip_pairs(apart, offsets["jawOpen"]) is None
    assert closure.find_lip_pairs(rest, np.zeros_like(rest)) is None
    assert closure.find_lip_pairs(rest, np.ones_like(rest)) is None, "a key that moves everything"


def performance(count=200, seed=3):
    """Channels with held closures in which this face's lips would stay apart."""
    rng = np.random.default_rng(seed)
    channels = {name: rng.random(count) * 0.4 for name in ("jawOpen", "mouthUpperUpLeft")}
    channels["mouthClose"] = 0.5 * channels["jawOpen"]
    shut = np.zeros(count)
    shut[20:30] = shut[100:106] = 1.0
    return channels, shut


def test_held_lips_meet_and_free_lips_are_left_alone():
    rest, offsets = mouth()
    found = closure.find_lip_pairs(rest, offsets["jawOpen"])
    model = closure.lip_model(*found, offsets)
    channels, shut = performance()
    before = {name: value.copy() for name, value in channels.items()}
    out = closure.seal(channels, shut, model)
    assert model.gap(channels)[shut == 1].max() > 0.1, "the made-up performance must need the correction"
    assert model.gap(out)[shut == 1].max() <= closure.SEALED + 1e-9
    assert np.median(model.gap(out)[shut == 1], 1).min() >= -closure.PASS - 1e-9
    for name in channels:
        assert np.array_equal(channels[name], before[name]), "the input is not changed"
        assert np.allclose(out[name][shut == 0], before[name][shut == 0])


def test_talking_lips_part_between_contacts():
    rest, offsets = mouth()
    offsets["mouthLowerDownLeft"] = -0.3 * offsets["mouthClose"]
    model = closure.lip_model(*closure.find_lip_pairs(rest, offsets["jawOpen"]), offsets)
    count = 10
    channels = {name: np.zeros(count) for name in model.slope}
    voice = np.r_[np.ones(5), np.zeros(5)]
    out = closure.seal(channels, np.zeros(count), model, voice)
    gap = model.gap(out).mean(1)
    assert gap[:5].min() >= closure.PARTED - 1e-9 and gap[5:].max() == 0


def test_without_lips_mouth_close_follows_the_jaw():
    channels, shut = performance()
    out = closure.seal(channels, shut, None)
    held = shut == 1
    assert np.array_equal(out["mouthClose"][held], channels["jawOpen"][held])
    assert out["mouthUpperUpLeft"][held].max() == 0
    del channels["mouthClose"]
    assert closure.seal(channels, shut, None)["jawOpen"][held].max() == 0, "no mouthClose: the jaw shuts"


def test_contact_of_weights_alone():
    channels = {"jawOpen": np.array([0.4, 0.4, 0.0]), "mouthClose": np.array([0.4, 0.1, 0.0]),
                "lowerLipToTeeth": np.array([0.0, 0.7, 2.0])}  # fmt: skip
    shut, bite = closure.contact(channels)
    assert np.allclose(shut, [1.0, 0.25, 0.0]) and np.allclose(bite, [0.0, 0.7, 1.0])


# Drivers


@pytest.mark.parametrize(
    "text, x, value",
    [
        ("var", 0.3, 0.3),
        ("var * 2 - 0.1", 0.3, 0.5),
        ("max(0, -var) / 0.05", -0.02, 0.4),
        ("clamp(var, 0, .5)", 2.0, 0.5),
        ("1 if var > 0.5 else var ** 2", 0.4, 0.16),
        ("math.sin(radians(90)) * var", 0.7, 0.7),
        ("(var > 0.1 and var < 0.4) * var", 0.2, 0.2),
        ("0.1 < var < 0.4", 0.2, 1.0),
        ("1 / var", 0.0, 0.0),
    ],
)
def test_driver_formulas_are_arithmetic(text, x, value):
    assert function_of(text, "var")(x) == pytest.approx(value)


@pytest.mark.parametrize(
    "text",
    ["frame / 10", "var.real", "__import__('os').system('x')", "self.location.x", "noise.random()", "[v for v in (1,)]",
     "var +", "lambda: 1", "'a' * 9", "var ** 9999", "open('x')", "x" * 600, "min(var, key=abs)"],
)  # fmt: skip
def test_anything_else_is_refused(text):
    with pytest.raises(NotUnderstood):
        function_of(text, "var")


@pytest.mark.parametrize(
    "function, rest",
    [
        (lambda x: x, 0.0),
        (lambda x: min(max(x * 10, 0), 1), 0.0),  # 0.1 m of a controller
        (lambda x: min(max(-x / 0.03, 0), 1), 0.0),  # downwards
        (lambda x: min(max((x - 1) * 4, 0), 1), 1.0),  # scale
        (lambda x: x * x if x > 0 else 0, 0.0),
        (lambda x: min(max(np.degrees(x) / 25, 0), 1), 0.0),
    ],
)
def test_drivers_are_turned_round(function, rest):
    back = driven.turn_round(function, rest)
    wanted = np.linspace(0, 1, 23)
    shown = np.array([function(x) for x in back(wanted)])
    assert np.abs(shown - wanted).max() < (1e-9 if back.straight else 0.005)
    assert back(np.zeros(1))[0] == rest


def test_a_straight_driver_is_known_as_such():
    assert driven.turn_round(lambda x: 3 * x, 0.0).straight
    assert not driven.turn_round(lambda x: x**3, 0.0).straight


@pytest.mark.parametrize("function", [lambda x: 0.0, lambda x: 0.3 * (int(x * 1000) % 2), lambda x: -x * x])
def test_drivers_without_a_way_back_are_refused(function):
    assert driven.turn_round(function, 0.0) is None


def test_one_controller_for_smile_and_frown():
    t = np.array([0.0, 0.5, 1.0])
    up, down = driven.turn_round(lambda x: max(x, 0) * 10, 0.0), driven.turn_round(lambda x: max(-x, 0) * 10, 0.0)
    both = [(up.direction, up(t)), (down.direction, down(t * 0))]
    assert np.allclose(driven.combine(0.0, both), t / 10)
    assert np.allclose(driven.combine(0.0, [(up.direction, up(t)), (down.direction, down(t))]), 0)
    assert np.allclose(driven.combine(0.0, [(1, t), (1, t * 0.5)]), t * 0.75), "two sliders of one side share it"


def test_every_channel_of_the_mixes_exists():
    for which in visemes.SETS:
        names, matrix = visemes.mixes(which)
        assert set(names) <= set(ARKIT + EXTRA) and matrix.max() <= 1 and matrix.min() >= 0
        used = {n for e in visemes.tables()[which].values() for n in e["mix"]}
        assert all(n in names or f"{n}Left" in names for n in used), used
