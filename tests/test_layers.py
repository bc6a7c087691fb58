"""One direction of imports, and light doors: the design's arrows as a test (docs/design.md)."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]

# room -> the engine rooms that it may import (itself included).
ALLOWED: dict[str, set[str]] = {}
for _room, _below in {
    "core": "",
    "assets": "core",
    "audio": "core",
    "speech": "core assets audio",
    "controls": "core assets",
    "head": "core assets",
    "motion": "core assets audio speech controls head",
    "avatar": "core assets head",
    "render": "core avatar",
    "studio": "core assets audio speech controls head motion avatar render",
    "measure": "core assets head render",
    "train": "core assets audio speech controls head motion avatar render studio measure",
    "serve": "core assets audio speech controls head motion avatar render studio measure train",
}.items():
    ALLOWED[_room] = {_room, *_below.split()}

FORBIDDEN = {"blender_addon": {"torch", "engine"}, "engine": {"bpy", "mathutils", "blender_addon"}}
CORE_MAY = {"numpy"}
NO_BPY = {"link", "convert"}  # rooms of the add-on that Blender-less tests import


def python_files():
    return sorted(p for top in FORBIDDEN for p in (ROOT / top).rglob("*.py"))


def imports(path):
    """Every imported dotted name of a file, as a tuple of parts, functions included."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (tuple(a.name.split(".")) for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            base += tuple((node.module or "").split(".")) if node.module else ()
            yield from ((*base, a.name) for a in node.names)


def fault(here, name):
    """Why a file at `here` (path parts) must not import `name` (dotted parts), or None."""
    top = here[0]
    if name[0] in FORBIDDEN[top]:
        return f"{top} must not import {'.'.join(name)}"
    if top == "engine" and len(here) > 2:
        room = here[1]
        if room == "core" and name[0] not in sys.stdlib_module_names | CORE_MAY | {"engine"}:
            return f"core is stdlib and numpy only, not {name[0]}"
        if name[0] == "engine" and len(name) > 1 and name[1] in ALLOWED and name[1] not in ALLOWED[room]:
            return f"{room} must not import {name[1]}"
    if top == "blender_addon" and len(here) > 2 and here[1] in NO_BPY and name[0] in {"bpy", "mathutils", "gpu"}:
        return f"blender_addon/{here[1]} must not import {name[0]}"
    return None


@pytest.mark.parametrize("path", python_files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_follow_the_flow(path):
    here = path.relative_to(ROOT).parts
    faults = [f for name in imports(path) if (f := fault(here, name))]
    assert not faults


@pytest.mark.parametrize(
    "here, name",
    [
        (("engine", "head", "x.py"), ("engine", "render", "cpu")),
        (("engine", "core", "x.py"), ("torch",)),
        (("engine", "avatar", "x.py"), ("engine", "motion")),
        (("engine", "cli.py"), ("bpy",)),
        (("blender_addon", "ops", "x.py"), ("torch",)),
        (("blender_addon", "__init__.py"), ("engine", "core")),
        (("blender_addon", "convert", "x.py"), ("bpy",)),
    ],
)
def test_the_layer_test_catches(here, name):
    assert fault(here, name)


def test_the_layer_test_passes_what_is_allowed():
    assert fault(("engine", "motion", "x.py"), ("engine", "head", "lbs")) is None
    assert fault(("blender_addon", "ops", "x.py"), ("bpy",)) is None


@pytest.mark.parametrize("module", ["engine", "engine.cli", "engine.serve"])
def test_importing_loads_nothing_heavy(module):
    code = (
        f"import sys, {module}; heavy = {{'torch', 'numba', 'scipy', 'transformers', 'gsplat', 'trimesh'}};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_every_engine_room_says_its_purpose():
    for room in ALLOWED:
        doc = ast.get_docstring(ast.parse((ROOT / "engine" / room / "__init__.py").read_text(encoding="utf-8")))
        assert doc, f"engine/{room}/__init__.py has no docstring"
