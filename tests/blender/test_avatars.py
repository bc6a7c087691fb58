"""Runs checks_avatars.py with the real engine, a made-up FLAME head and a made-up avatar on it."""

import importlib.util
import sys
from pathlib import Path

import in_blender
import numpy as np
import pytest

pytestmark = [
    pytest.mark.blender,
    pytest.mark.skipif(importlib.util.find_spec("bpy") is None, reason="needs the bpy module (pip install bpy==5.0.1)"),
]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "engine"))
    import flame_like

    from engine.avatar.files import write_table
    from engine.avatar.gaussian_avatars import BINDING, PARAMETERS, POINTS

    folder, rng = tmp_path_factory.mktemp("avatar"), np.random.default_rng(0)
    n = 40
    write_table(
        folder / POINTS, rng.normal(0, 0.3, (n, 3)), rng.normal(size=(n, 4)), rng.normal(-1, 0.2, (n, 3)),
        rng.uniform(0.2, 0.9, n), rng.normal(0, 0.2, (n, 16, 3)),
        {BINDING: rng.integers(0, 9976, n).astype(np.float32)},
    )  # fmt: skip
    np.savez(folder / PARAMETERS, shape=0.3 * rng.normal(size=20), static_offset=np.zeros((1, 5143, 3)))
    return in_blender.run("checks_avatars", flame_like.prepared()[2], folder)


@pytest.mark.parametrize("check", in_blender.names("checks_avatars"))
def test_avatars(results, check):
    assert not results[check], results[check]
