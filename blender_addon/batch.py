"""A whole shot without a window: head, voice, keyed emotions, directions, performance, files.

    blender -b --python-exit-code 1 -P blender_addon/batch.py -- shot.json [--voice FILE] [--out FOLDER]
    python blender_addon/batch.py shot.json            (a Python with the bpy module)

It calls the operators that a person clicks. Exit code 1 and one sentence if anything is wrong.
The shot file is described in convert/shots.py.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

PACKAGE = "soliloquy_batch"  # its own name, so that an enabled extension of another version stays out of the way


def main(arguments: list[str]) -> int:
    """Run one shot; the exit code."""
    options = _options(arguments)
    addon = _load_addon()
    shots = sys.modules[f"{PACKAGE}.convert.shots"]
    problems: tuple[type[Exception], ...] = (shots.BadShot, RuntimeError, *sys.modules[f"{PACKAGE}.ops.tasks"].PROBLEMS)
    addon.register()
    try:
        shot = shots.read(options.shot, voice=options.voice, out=options.out)
        _run(shot)
        return 0
    except problems as problem:
        print(f"soliloquy: {_sentence(problem)}", file=sys.stderr)
        return 1
    finally:
        addon.unregister()


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="batch.py", description="Run a Soliloquy shot headless.")
    parser.add_argument("shot", help="the shot's JSON file")
    parser.add_argument("--voice", help="a sound file instead of the shot's")
    parser.add_argument("--out", help="folder for the shot's files instead of the shot's own")
    return parser.parse_args(arguments)


def _load_addon() -> ModuleType:
    """This folder as a package, whatever it is called and wherever it lies."""
    if PACKAGE in sys.modules:
        return sys.modules[PACKAGE]
    folder = Path(__file__).resolve().parent
    spec = importlib.util.spec_from_file_location(
        PACKAGE, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = module
    spec.loader.exec_module(module)
    importlib.import_module(f"{PACKAGE}.convert.shots")
    importlib.import_module(f"{PACKAGE}.ops.tasks")
    return module


def _run(shot: Any) -> None:
    """Every step of the shot, each named with its seconds."""
    import bpy

    runner = importlib.import_module(f"{PACKAGE}.ops.shot_runner")
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    bpy.context.preferences.filepaths.save_version = 0  # no demo.blend1 beside the demo
    begin = time.monotonic()
    for label in runner.run(bpy.context, shot):
        print(f"soliloquy: {label} ({time.monotonic() - begin:.1f} s)", flush=True)
        begin = time.monotonic()


def _sentence(problem: Exception) -> str:
    """An operator's report reaches Python as 'Error: sentence', sometimes over several lines."""
    lines = [line.strip().removeprefix("Error: ") for line in str(problem).splitlines()]
    return next((line for line in lines if line), type(problem).__name__)


def _arguments() -> list[str]:
    """What follows `--` under Blender, or everything under Python."""
    return sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else sys.argv[1:]


if __name__ == "__main__":
    try:
        code = main(_arguments())
    except SystemExit as end:  # argparse
        code = int(end.code or 0)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # some Blender wheels hang or crash in their own exit handlers
