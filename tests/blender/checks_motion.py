"""Checks of the choice of motion system inside Blender, with the stage engine (the real process and protocol)."""

import json
import tempfile
from pathlib import Path

import bpy
from in_blender import main
from stage import fresh, stage_engine, write_voice

import blender_addon

blender_addon.register()

from blender_addon.link import shared  # noqa: E402
from blender_addon.ops import motion  # noqa: E402
from blender_addon.scene import find  # noqa: E402
from blender_addon.ui.motion import SOLILOQUY_MT_motion, SOLILOQUY_PT_engine  # noqa: E402

FOLDER = tempfile.mkdtemp(prefix="soliloquy-motion-")
VOICE = write_voice(Path(FOLDER, "voice.wav"))


class Layout:
    """Takes down what a panel or menu puts on the screen (Blender draws none without a window)."""

    def __init__(self, said=None):
        self.said = [] if said is None else said

    def label(self, text="", icon="NONE"):
        self.said.append(text)

    def operator(self, idname, text="", icon="NONE"):
        self.said.append((idname, text, icon))
        return type("Properties", (), {})()

    def menu(self, idname, text=""):
        self.said.append((idname, text))

    def prop(self, data, name, **_):
        assert name in data.bl_rna.properties, name
        self.said.append(name)

    def part(self, **_):
        return Layout(self.said)

    row = column = split = part


def drawn(cls):
    layout = Layout()
    cls.draw(type("Self", (), {"layout": layout})(), bpy.context)
    return layout.said


def words(cls):
    return " ".join(x for x in drawn(cls) if isinstance(x, str))


def check_nothing_is_known_before_the_engine_speaks():
    fresh()
    shared.stop()
    assert motion.systems() == [] and shared.current() is None
    assert any(x[0] == "soliloquy.list_motion" for x in drawn(SOLILOQUY_MT_motion))
    assert "not said yet" in words(SOLILOQUY_PT_engine), "no engine is started by drawing"
    assert shared.current() is None


def check_the_engine_lists_its_systems():
    fresh()
    stage_engine()
    assert bpy.ops.soliloquy.list_motion() == {"FINISHED"}
    names = [s.name for s in motion.systems()]
    assert names[0] == "direct"
    rows = [x for x in drawn(SOLILOQUY_MT_motion) if x[0] == "soliloquy.choose_motion"]
    assert next((text, icon) for _, text, icon in rows) == ("direct", "RADIOBUT_ON") and len(rows) == len(names)
    said = words(SOLILOQUY_PT_engine)
    assert "obeys every control" in said and "afterwards" not in said and "speech" in said
    shared.stop()
    assert [s.name for s in motion.systems()] == names, "what was said stays known when the engine ends"


def check_what_a_system_does_not_obey_is_shown():
    scene = fresh()
    stage_engine()
    bpy.ops.soliloquy.list_motion()
    learned = next((s for s in motion.systems() if s.after), None)
    if learned is None:
        return  # an installation without trained systems
    assert bpy.ops.soliloquy.choose_motion(name=learned.name) == {"FINISHED"}
    assert scene.soliloquy.motion == learned.name
    said = words(SOLILOQUY_PT_engine)
    assert "afterwards" in said and "Obeys emotions" in said


def check_a_name_that_the_engine_lacks_is_refused():
    scene = fresh()
    stage_engine()
    bpy.ops.soliloquy.list_motion()
    try:
        bpy.ops.soliloquy.choose_motion(name="nobody")
    except RuntimeError as error:
        assert "nobody" in str(error)
    else:
        raise AssertionError("a system that is not there was chosen")
    assert scene.soliloquy.motion == "direct"
    scene.soliloquy.motion = "nobody"  # a file from a newer installation
    assert "no such system" in words(SOLILOQUY_PT_engine)


def check_the_choice_reaches_the_engine():
    scene = fresh()
    stage_engine()
    bpy.ops.soliloquy.list_motion()
    bpy.ops.soliloquy.add_head()
    bpy.ops.soliloquy.load_voice(filepath=str(VOICE))
    name = motion.systems()[-1].name
    bpy.ops.soliloquy.choose_motion(name=name)
    assert bpy.ops.soliloquy.generate() == {"FINISHED"}
    take = bpy.path.abspath(find.active_control(bpy.context)["take"])
    assert json.loads(Path(f"{take}.request.json").read_text())["motion"] == name
    assert scene.soliloquy.motion == name


main(globals())
