"""The add-on's copies of the standard names must never drift from the engine's."""

import pytest

from blender_addon.convert import names as own
from engine.avatar import face_values
from engine.controls import files
from engine.core import names


@pytest.mark.parametrize("name", ["ARKIT", "EXTRA", "AUS", "AU_NAMES", "SIDES", "EMOTIONS", "JOINTS", "PARENTS"])
def test_copies_equal_the_engines(name):
    assert getattr(own, name) == getattr(names, name)


def test_sliders_layers_and_dials_are_those_that_controls_know():
    assert own.AU_SLIDERS == files.AU_SIDES
    assert own.LAYERS == files.LAYERS
    assert own.DIALS == files.DIALS


def test_values_of_a_face_are_those_that_the_engine_reads():
    assert own.FACE_VALUES == face_values.NAMES


def test_every_joint_has_a_bone():
    assert tuple(own.BONES) == own.JOINTS and len(set(own.BONES.values())) == len(own.JOINTS)


@pytest.mark.parametrize(
    "keys, found",
    [
        (["Basis", "jawOpen"], {"jawOpen": "jawOpen"}),
        (["JAWOPEN", "mouthSmile_L", "MouthSmile_R"], 3),
        (["browDown_L", "browMedialDown_L"], {"browDownLeft": "browDown_L", "browMedialDown_L": "browMedialDown_L"}),
        (["jaw_open", "jawOpen"], {"jawOpen": "jawOpen"}),  # the exact name wins
        (["smile", "Basis"], {}),
    ],
)
def test_a_characters_own_spelling_is_found(keys, found):
    result = own.shape_lookup(keys)
    assert len(result) == found if isinstance(found, int) else result == found
