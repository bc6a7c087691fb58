"""Runs checks_appearance.py inside Blender's Python module; each check is a test of its own."""

import importlib.util

import in_blender
import pytest

pytestmark = [
    pytest.mark.blender,
    pytest.mark.skipif(importlib.util.find_spec("bpy") is None, reason="needs the bpy module (pip install bpy==5.0.1)"),
]


@pytest.fixture(scope="module")
def results():
    return in_blender.run("checks_appearance", limit=480)  # torch and four nets are loaded


@pytest.mark.parametrize("check", in_blender.names("checks_appearance"))
def test_appearance(results, check):
    assert not results[check], results[check]
