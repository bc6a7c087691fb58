"""Scalp hair, brows and lashes of the default head: where they grow, and what they keep clear of."""

import dataclasses
import time

import numpy as np
import pytest
from head_tools import weights_of

from engine.core.errors import BadInput
from engine.core.names import ARKIT, AUS, EXTRA
from engine.head import action_units, identity
from engine.head.evaluate import joints_of, vertices
from engine.head.eyeballs import BULGE
from engine.head.hair.grow import CROP, grow
from engine.head.hair.library import hair_of
from engine.head.hair.strands import frames
from engine.head.hairline import ears, scalp
from engine.head.lashes import POINTS, UPPER_COUNT
from engine.head.library import load_head
from engine.head.lids import EYE_RADIUS
from engine.head.transfer.surface import Surface

MM = 1000


@pytest.fixture(scope="module")
def head():
    return load_head()


@pytest.fixture(scope="module")
def hair(head):
    return hair_of(head)


def skin_triangles(head):
    return head.triangles[np.isin(head.triangles, head.parts["skin"]).all(1)]


def skin_of(head, points):
    """The skin as a surface."""
    return Surface(points, skin_triangles(head))


def height(surface, points):
    """Signed distance [n] over the surface, metres: negative inside."""
    triangle, bary, distance = surface.nearest(points)
    place = surface.interpolate(surface.points, triangle, bary)
    normal = surface.interpolate(surface.normals, triangle, bary)
    return np.sign(((points - place) * normal).sum(1)) * distance


def grown_on(head, **values):
    """(the head as another person, its hair)."""
    one = np.array([values.get(name, 0.0) for name in identity.NAMES])
    template = vertices(head, *weights_of(), identity=one)[0]
    other = dataclasses.replace(head, template=template.astype(np.float32))
    return other, hair_of(other)


def test_the_same_seed_grows_the_same_hair(head, hair):
    again, other = grow(head), grow(head, dataclasses.replace(CROP, seed=CROP.seed + 1))
    for field in ("triangle", "bary", "offsets", "radius", "tint"):
        assert np.array_equal(getattr(hair, field), getattr(again, field)), field
        assert not np.array_equal(getattr(hair, field), getattr(other, field)), field
    assert len(hair) == CROP.strands and hair.offsets.shape[1] == CROP.points


def test_it_grows_in_under_two_seconds(head):
    start = time.process_time()  # other work on the machine must not count
    grow(head)
    assert time.process_time() - start < 2


def test_roots_stand_on_the_scalp_and_nowhere_else(head, hair):
    assert np.isin(head.triangles[hair.triangle], head.parts["skin"]).all()
    assert hair.bary.min() >= 0 and np.abs(hair.bary.sum(1) - 1).max() < 1e-5
    root = hair.points(head.triangles, head.template)[:, 0]
    eyes = joints_of(head)[3:5].mean(0)
    assert (scalp(root, eyes) > 0).all() and (scalp(root, eyes) > 0.5).mean() > 0.9
    assert (ears(root, eyes) < 1).all() and (ears(root, eyes) > 0.5).mean() < 0.002
    # Roots keep off the face: none below the brows in front of the ears.
    assert not ((root[:, 2] > eyes[2] - 0.03) & (root[:, 1] < eyes[1] + 0.03)).any()


def test_no_strand_is_inside_the_head(head, hair):
    points = hair.points(head.triangles, head.template)[:, 1:].reshape(-1, 3).astype(float)
    assert height(skin_of(head, head.template), points).min() > 0
    inside = head.template.mean(0)[None] * [1, 0, 1] + [0, 0.06, 0]
    assert height(skin_of(head, head.template), inside.astype(float)).max() < -0.02, "the measure sees what is inside"


@pytest.mark.parametrize("name, value", [("gender", -1.0), ("gender", 1.0), ("asian", -1.0), ("age", 1.0)])
def test_other_people_wear_it_too(head, hair, name, value):
    other, theirs = grown_on(head, **{name: value})
    assert np.array_equal(theirs.triangle, hair.triangle)
    points = theirs.points(other.triangles, other.template).astype(float)
    # Where the skin folds (behind the ear) the nearest place is not the one a point was moved out of: hence a share.
    above = height(skin_of(other, other.template), points[:, 1:].reshape(-1, 3))
    assert (above > 0).mean() > 0.9995 and above.min() > -0.001
    lengths = [np.linalg.norm(np.diff(p, axis=1), axis=2).sum(1) for p in (points, hair.offsets)]
    assert np.abs(lengths[0] - lengths[1]).max() < 0.012 and np.abs(lengths[0] - lengths[1]).mean() < 0.0005


def test_lengths_and_widths_are_those_of_a_short_crop(head, hair):
    points = hair.points(head.triangles, head.template)
    length = np.linalg.norm(np.diff(points, axis=1), axis=2).sum(1)
    assert length.min() > 0.002 and length.max() < 0.08 and 0.008 < np.median(length) < 0.03
    eyes = joints_of(head)[3:5].mean(0)
    top, low = points[:, 0, 1] > eyes[1] + 0.085, points[:, 0, 1] < eyes[1]
    assert np.median(length[top]) > 3 * np.median(length[low])
    assert 0.00004 < hair.radius[:, :4].mean() < 0.0002
    assert (hair.radius[:, -1] < 0.4 * hair.radius[:, 1]).all(), "hairs taper"
    assert 0.7 < hair.tint.mean() < 1.3 and hair.tint.std() > 0.1


def test_both_sides_grow_alike_but_not_the_same(head, hair):
    root = hair.points(head.triangles, head.template)[:, 0].astype(float)
    left = root[:, 0] > 0
    assert abs(left.mean() - 0.5) < 0.02
    for low, high in ((-0.05, 0.02), (0.02, 0.07), (0.07, 0.12), (0.12, 0.15)):
        band = (root[:, 1] > low) & (root[:, 1] < high)
        assert abs(left[band].mean() - 0.5) < 0.05, (low, high)
    mirrored = root[left] * [-1, 1, 1]
    from scipy.spatial import cKDTree

    assert np.median(cKDTree(root[~left]).query(mirrored)[0]) > 0.0003, "no strand has a twin on the other side"


def test_strands_ride_on_their_triangles(head, hair):
    """Rigid motion of the head moves every point rigidly; the twin is plain matrix algebra."""
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    moved = head.template @ turn.T + [0.1, -0.2, 0.3]
    wanted = hair.points(head.triangles, head.template) @ turn.T + [0.1, -0.2, 0.3]
    assert np.abs(hair.points(head.triangles, moved) - wanted).max() < 2e-6  # float32 coordinates
    axes = frames(head.template[head.triangles[:50]].astype(float))
    assert np.allclose(axes @ axes.transpose(0, 2, 1), np.eye(3), atol=1e-6) and (np.linalg.det(axes) > 0.999).all()


def test_hair_is_for_the_default_head_only(head, hair):
    bare = dataclasses.replace(head, face_material=np.zeros_like(head.face_material))
    with pytest.raises(BadInput, match="no scalp"):
        grow(bare)
    with pytest.raises(BadInput, match="another head"):
        hair.points(head.triangles[:100], head.template)
    faces = head.faces.copy()
    faces[0] = faces[1]
    assert hair_of(dataclasses.replace(head, faces=faces)) is None


def poses():
    """Every shape and every action unit at full."""
    for name in (*ARKIT, *EXTRA):
        yield name, weights_of(**{name: 1.0})
    for k, unit in enumerate(AUS):
        au = np.zeros((1, len(AUS), 2), np.float32)
        au[:, k] = 1
        yield unit, action_units.to_shapes(au)


def test_brows_lie_on_the_skin_in_every_expression(head):
    rows = np.concatenate([head.parts["brow_left"], head.parts["brow_right"]])
    triangles = skin_triangles(head)
    low, high = head.template[rows].min(0) - 0.015, head.template[rows].max(0) + 0.015
    middle = head.template[triangles].mean(1)
    triangles = triangles[((middle > low) & (middle < high)).all(1)]
    for name, weights in poses():
        points = vertices(head, *weights)[0].astype(float)
        above = MM * height(Surface(points, triangles), points[rows[::3]])  # 7 points a hair: every place comes up
        assert above.max() < 0.8 and above.min() > -0.4, (name, above.min(), above.max())


def test_brow_hairs_are_as_long_and_fine_as_real_ones(head):
    hairs = head.template[head.parts["brow_left"]].reshape(-1, 7, 3).astype(float)
    spine = np.concatenate([0.5 * (hairs[:, :6:2] + hairs[:, 1:6:2]), hairs[:, 6:]], 1)
    length = MM * np.linalg.norm(np.diff(spine, axis=1), axis=2).sum(1)
    assert 250 < len(hairs) < 500 and length.min() > 2.5 and length.max() < 11 and 5 < np.median(length) < 9
    width = MM * np.linalg.norm(hairs[:, 0] - hairs[:, 1], axis=1)
    assert width.min() > 0.05 and width.max() < 0.25
    # Inner hairs grow up, those of the tail out and down.
    way = spine[:, -1] - spine[:, 0]
    angle = np.degrees(np.arctan2(way[:, 1], way[:, 0]))
    order = np.argsort(spine[:, 0, 0])
    assert np.median(angle[order[:40]]) > 35 and np.median(angle[order[-40:]]) < -10


def test_lashes_never_touch_the_eyeball(head):
    """Alone, and where shapes of the lids add up."""
    mixed = [
        {"eyeBlinkLeft": 1.0, "eyeSquintLeft": 1.0}, {"eyeBlinkLeft": 1.0, "cheekSquintLeft": 1.0},
        {"eyeBlinkLeft": 0.5}, {"eyeBlinkLeft": 1.0, "eyeLookDownLeft": 1.0, "browDownLeft": 1.0},
        {"eyeWideLeft": 1.0, "eyeLookUpLeft": 1.0},
    ]  # fmt: skip
    lash = head.parts["lashes_left"].reshape(-1, POINTS)[:, 3:]  # the ring at the root sits in the lid
    eye = joints_of(head)[3]
    for name, weights in [*poses(), *((str(mix), weights_of(**mix)) for mix in mixed)]:
        points = vertices(head, *weights)[0][lash]
        assert np.linalg.norm(points - eye, axis=2).min() > EYE_RADIUS * (1 + BULGE), name


def test_lashes_are_long_fine_and_curl(head):
    lash = head.template[head.parts["lashes_left"]].reshape(-1, POINTS, 3).astype(float)
    spine = np.concatenate([lash[:, :-1].reshape(len(lash), -1, 3, 3).mean(2), lash[:, -1:]], 1)
    length = MM * np.linalg.norm(np.diff(spine, axis=1), axis=2).sum(1)
    upper, lower = length[:UPPER_COUNT], length[UPPER_COUNT:]
    assert 7.0 < np.median(upper) < 9.5 and upper.max() < 11 and 4.0 < np.median(lower) < 6 and lower.max() < 7
    thick = MM * np.linalg.norm(lash[:, 0] - lash[:, 1], axis=1)
    assert thick.max() < 0.16
    start, end = spine[:, 1] - spine[:, 0], spine[:, -1] - spine[:, -2]
    rise = np.degrees(np.arctan2(end[:, 1], end[:, 2]) - np.arctan2(start[:, 1], start[:, 2]))[:UPPER_COUNT]
    assert np.median(rise) > 20, "upper lashes curl up"
    open_z, shut = spine[:UPPER_COUNT, -1, 1], vertices(head, *weights_of(eyeBlinkLeft=1.0))[0]
    tips = shut[head.parts["lashes_left"]].reshape(-1, POINTS, 3)[:UPPER_COUNT, -1, 1]
    assert (open_z - tips).mean() > 0.008, "they come down with the lid"
