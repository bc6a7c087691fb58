"""Zones of a face: where they lie, that they are smooth and mirrored, and heads that cannot have them."""

import dataclasses

import numpy as np
import pytest

from engine.head import zones
from engine.head.library import load_head

FOLDS = ("forehead_inner", "forehead_outer", "glabella", "crow", "under_eye", "nasolabial", "nose", "chin")


@pytest.fixture(scope="module")
def head():
    return load_head("default")


@pytest.fixture(scope="module")
def found(head):
    return zones.zones(head)


def point(head, name):
    return head.template[head.landmarks[name][0]]


def test_every_column_is_there_in_range_and_on_the_skin(head, found):
    assert tuple(found) == zones.NAMES
    for name, values in found.items():
        assert values.shape == (len(head.template),) and values.dtype == np.float32 and np.isfinite(values).all(), name
    other = head.masks["skin"] < 0.5
    for name in FOLDS:
        assert found[name].min() >= 0 and 0.5 < found[name].max() <= 1, name
        assert not found[name][other].any(), f"{name} is of the skin alone"
    assert zones.as_columns(found).shape == (len(head.template), len(zones.NAMES))


def test_folds_lie_between_their_landmarks(head, found):
    heavy = {name: head.template[found[name] > 0.5] for name in FOLDS}
    brow, eye = point(head, "brow_inner_left"), point(head, "outer_eye_left")
    assert heavy["forehead_inner"][:, 1].min() > brow[1] and heavy["forehead_outer"][:, 1].min() > brow[1]
    assert np.abs(heavy["glabella"][:, 0]).max() < brow[0]
    assert np.abs(heavy["crow"][:, 0]).min() > eye[0] and np.abs(heavy["crow"][:, 1] - eye[1]).max() < 0.03
    assert heavy["under_eye"][:, 1].max() < eye[1], "below the corners of the eye"
    assert heavy["nose"][:, 1].min() > point(head, "nose_tip")[1]
    mouth, fold = point(head, "mouth_left"), heavy["nasolabial"]
    assert 0.8 * mouth[0] < np.abs(fold[:, 0]).mean() < 1.5 * mouth[0], "beside the mouth and the nose"
    assert mouth[1] - 0.01 < fold[:, 1].min() and fold[:, 1].max() < point(head, "lower_lid_left")[1]
    assert (heavy["chin"][:, 1] < point(head, "lip_lower_outer")[1]).all()


def test_both_sides_are_alike(head, found):
    """The head's own halves differ by less than a micrometre, so its zones may differ by rounding alone."""
    from scipy.spatial import cKDTree

    apart, twin = cKDTree(head.template).query(head.template * [-1, 1, 1])
    skin = (head.masks["skin"] > 0.5) & (apart < 1e-6)
    assert skin.sum() > 3000
    for name in FOLDS:
        assert np.abs(found[name] - found[name][twin])[skin].max() < 1e-3, name


def test_lips_border_is_a_signed_distance(head, found):
    distance, mask = found["lip_m"], head.masks["lips"]
    outer = head.masks["skin"] > 0.5
    assert (distance[outer & (mask > 0.5)] > 0).all() and (distance[outer & (mask < 0.5)] <= 0).all()
    edges = np.concatenate([head.triangles[:, [0, 1]], head.triangles[:, [1, 2]]])
    edges = edges[outer[edges].all(1)]
    long = np.linalg.norm(head.template[edges[:, 0]] - head.template[edges[:, 1]], axis=1)
    # A distance cannot change faster than its place; 1 mm is the spacing of the border's points.
    assert (np.abs(distance[edges[:, 0]] - distance[edges[:, 1]]) <= long + 1e-3).all()


def test_eyes_are_in_their_own_frame(head, found):
    place = np.stack([found[name] for name in ("eye_x", "eye_y", "eye_z")], 1)
    balls = np.concatenate([head.parts["eye_left"], head.parts["eye_right"]])
    assert np.abs(np.linalg.norm(place[balls], axis=1) - 1).max() < 0.1
    assert not np.delete(place, balls, axis=0).any()
    names = [m.name for m in head.materials]
    iris = np.unique(head.faces[head.face_material == names.index("iris")])
    assert (place[iris[iris >= 0]][:, 2] > 0.8).all(), "the axis of sight is z"


def test_teeth_have_roots_and_the_mouth_depth(head, found):
    for part in ("teeth_upper", "teeth_lower"):
        assert found["root"][head.parts[part]].min() == 0 and found["root"][head.parts[part]].max() > 0.6
    assert found["deep"][head.landmarks["lip_lower_outer"]][0] == 0
    tongue = head.template[head.parts["tongue"]]
    deep = found["deep"][head.parts["tongue"]]
    assert deep[tongue[:, 2].argmin()] > deep[tongue[:, 2].argmax()] + 0.3


def test_creases_fall_between_brow_and_hairline(head, found):
    """At least three whole numbers of the forehead's coordinate lie where the fold is at least a third strong."""
    strong = found["forehead_inner"] > 0.33
    low, high = found["forehead_u"][strong].min(), found["forehead_u"][strong].max()
    assert np.floor(high) - np.ceil(low) + 1 >= 3


def test_a_head_without_landmarks_has_none(head):
    assert zones.zones(dataclasses.replace(head, landmarks={})) == {}
    fewer = {**head.landmarks, "face68": head.landmarks["face68"][:5]}
    assert zones.zones(dataclasses.replace(head, landmarks=fewer)) == {}


def test_zones_scale_with_the_head(head, found):
    twice = dataclasses.replace(head, template=2 * head.template, shapes=2 * head.shapes)
    made = zones.zones(twice)
    for name in FOLDS:
        assert np.abs(made[name] - found[name]).max() < 1e-3, name
