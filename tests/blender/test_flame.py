"""Runs checks_flame.py with the real engine and a made-up FLAME head; each check is a test of its own."""

import importlib.util
import sys
from pathlib import Path

import in_blender
import pytest

pytestmark = [
    pytest.mark.blender,
    pytest.mark.skipif(importlib.util.find_spec("bpy") is None, reason="needs the bpy module (pip install bpy==5.0.1)"),
]


@pytest.fixture(scope="module")
def results():
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "engine"))
    import flame_like

    return in_blender.run("checks_flame", flame_like.prepared()[2])


@pytest.mark.parametrize("check", in_blender.names("checks_flame"))
def test_flame(results, check):
    assert not results[check], results[check]
