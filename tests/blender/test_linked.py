"""Runs checks_linked.py inside Blender's Python module; each check is a test of its own."""

import importlib.util

import in_blender
import pytest

pytestmark = [
    pytest.mark.blender,
    pytest.mark.skipif(importlib.util.find_spec("bpy") is None, reason="needs the bpy module (pip install bpy==5.0.1)"),
]


@pytest.fixture(scope="module")
def results():
    return in_blender.run("checks_linked")


@pytest.mark.parametrize("check", in_blender.names("checks_linked"))
def test_linked(results, check):
    assert not results[check], results[check]
