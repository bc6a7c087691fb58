"""The bundled avatar without its hair: the trained face, the recipe's scalp, and the nets that fit both."""

import numpy as np
import pytest

from engine.avatar.appearance.anchors import anchors_of
from engine.avatar.library import load_avatar
from engine.head.hair.library import hair_of
from engine.head.library import load_head


@pytest.fixture(scope="module")
def head():
    return load_head("default")


def test_the_face_stays_trained_and_nets_fit(head):
    trained, made = load_avatar("default", head), load_avatar("default-cropped", head)
    roots = np.unique(hair_of(head).triangle)
    mouth = trained.layers.index("inside_mouth")
    assert np.array_equal(trained.sh[trained.layer == mouth], made.sh[made.layer == mouth])
    assert np.array_equal(np.unique(trained.triangle), np.unique(made.triangle))
    assert np.array_equal(anchors_of(trained, head).vertices, anchors_of(made, head).vertices)
    assert len(made.channels) == len(trained.channels)
    for a, b in zip(trained.channels, made.channels, strict=True):
        stays = ~np.isin(trained.triangle[a.rows], roots)
        kept = np.isin(made.triangle[b.rows], roots)
        assert np.array_equal(a.colour[stays], b.colour[~kept])
        assert np.array_equal(trained.triangle[a.rows][stays], made.triangle[b.rows][~kept])


def test_no_strand_stands_off_the_scalp(head):
    made = load_avatar("default-cropped", head)
    on = np.isin(made.triangle, hair_of(head).triangle)
    assert on.sum() > 5000 and np.quantile(np.abs(made.local_means[on, 1]), 0.99) < 0.5
