"""The quadrupled mesh: four triangles for one, the same surface, displacements carried linearly."""

import numpy as np
import pytest

from engine.core.errors import BadInput
from engine.head.evaluate import vertices
from engine.head.library import load_head
from engine.head.subdivide import quadruple


def areas(points, triangles):
    a, b, c = (points[triangles[:, i]].astype(np.float64) for i in range(3))
    return np.cross(b - a, c - a) / 2


def test_two_triangles_by_hand():
    fine = quadruple(np.array([[0, 1, 2], [2, 1, 3]]), 4)
    assert fine.triangles.shape == (8, 3) and len(fine.edges) == 5, "the shared edge has one middle"
    points = np.array([[0, 0, 0], [2, 0, 0], [0, 2, 0], [2, 2, 0]], float)
    all_points = fine.carry(points)
    assert np.allclose(all_points[4:].sum(0), [1 + 0 + 1 + 2 + 1, 0 + 1 + 1 + 1 + 2, 0])
    part = areas(all_points, fine.triangles)
    assert np.allclose(part[:, 2], 0.5), "equal quarters, turned the same way"


def test_the_heads_surface_and_its_motion_are_the_same_on_the_fine_mesh():
    head = load_head()
    fine = quadruple(head.triangles, len(head.template))
    assert len(fine.triangles) == 4 * len(head.triangles)
    rng = np.random.default_rng(0)
    moved = vertices(head, (rng.random((2, 52)) * 0.5).astype(np.float32))
    coarse = areas(moved[0], head.triangles)
    quarters = areas(fine.carry(moved)[0], fine.triangles).reshape(-1, 4, 3)
    assert np.abs(quarters - coarse[:, None] / 4).max() < 1e-9  # square metres; float32 middles of 0.2 m
    displaced = fine.carry(moved - head.template)
    assert np.abs(fine.carry(head.template) + displaced[1] - fine.carry(moved)[1]).max() < 1e-7


def test_what_does_not_fit_is_refused():
    with pytest.raises(BadInput, match="below 3"):
        quadruple(np.array([[0, 1, 3]]), 3)
    with pytest.raises(BadInput, match=r"\[..., 4, c\]"):
        quadruple(np.array([[0, 1, 3]]), 4).carry(np.zeros((5, 3)))
