"""A capture job without a window: poses a character, renders it from calibrated cameras with Cycles, writes the passes.

    python blender_addon/capture.py FOLDER [--frames A-B] [--threads N]        (a Python with the bpy module)
    blender -b --python-exit-code 1 -P blender_addon/capture.py -- FOLDER ...

`soliloquy studio capture` writes FOLDER/capture.json and starts this. Pictures that are there are kept, so the same
line goes on where it stopped, and machines that share the plan may take ranges of it. What is written for a picture,
the picture last: geometry/NAME.npz, images/NAME.png; for a pose: meshes/POSE.npz.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

PACKAGE = "soliloquy_capture"  # its own name, so that an enabled extension of another version stays out of the way
MARK = "soliloquy-capture "  # lines for the program that started this begin so


class BadCapture(RuntimeError):
    """One sentence for a person."""


def main(arguments: list[str]) -> int:
    """Render what is missing; the exit code."""
    options = _options(arguments)
    addon = _load_addon()
    addon.register()
    problems = (BadCapture, OSError, RuntimeError, sys.modules[f"{PACKAGE}.scene"].SceneProblem)
    try:
        if options.measure:
            _measure(Path(options.folder), options.measure, options.mesh)
        else:
            _run(Path(options.folder), options.frames, options.threads)
        return 0
    except problems as problem:
        _say(kind="error", text=" ".join(str(problem).split()))
        return 1
    finally:
        addon.unregister()


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="capture.py", description="Render a planned capture.")
    parser.add_argument("folder", help="a folder with capture.json")
    parser.add_argument("--frames", default="", help="A-B: only these pictures of the plan, counted from 1")
    parser.add_argument("--threads", type=int, default=0, help="threads of Cycles (0: all)")
    parser.add_argument("--measure", default="", help="a .blend: only write where its character's head is")
    parser.add_argument("--mesh", default="", help="with --measure: the character's mesh")
    return parser.parse_args(arguments)


def _measure(folder: Path, scene: str, mesh: str) -> None:
    """Write stage/points.npy, [n, 3] in the engine's axes: what cameras of this character must see."""
    import numpy as np

    character: Any = sys.modules[f"{PACKAGE}.scene.capture_character"]
    meshes = character.load({"scene": scene, "mesh": mesh}, folder)
    (folder / "stage").mkdir(parents=True, exist_ok=True)
    with _replacing(folder / "stage" / "points.npy") as part:
        np.save(part, character.head_points(meshes))


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
    for name in ("scene", "scene.capture_stage", "scene.capture_character"):
        importlib.import_module(f"{PACKAGE}.{name}")
    return module


def _say(**message: Any) -> None:
    print(MARK + json.dumps(message), flush=True)


def _run(folder: Path, frames: str, threads: int) -> None:
    import numpy as np

    stage: Any = sys.modules[f"{PACKAGE}.scene.capture_stage"]
    character: Any = sys.modules[f"{PACKAGE}.scene.capture_character"]
    axes: Any = sys.modules[f"{PACKAGE}.convert.axes"]
    job = _job(folder)
    todo = _missing(job, folder, frames)
    _say(kind="found", total=len(job["shots"]), todo=len(todo))
    if not todo:
        return
    import bpy

    meshes = character.load(job, folder)
    if not job["subsurface"]:
        character.without_subsurface()
    scene = bpy.context.scene
    character.pose_all(scene, job, folder, meshes)
    scene.frame_set(stage.FIRST_FRAME)
    rest = stage.world_vertices(meshes)
    if job["light"]:
        box = np.asarray(job["box"], np.float32) if job.get("box") else rest
        stage.light(scene, axes.to_blender(box))
    stage.settings(scene, int(job["size"]), threads or int(job.get("threads", 0)), float(job["noise"]))
    with tempfile.TemporaryDirectory(dir=folder, prefix=f".passes-{os.getpid()}-") as scratch:
        stage.passes(scene, Path(scratch))
        _render(folder, job, todo, meshes, stage, Path(scratch), rest)


def _job(folder: Path) -> dict[str, Any]:
    try:
        job = json.loads((folder / "capture.json").read_text(encoding="utf-8"))
        if job["kind"] != "capture" or int(job["format"]) > 1:
            raise KeyError("kind")
        for shot in job["shots"]:
            job["cameras"][shot["view"]], job["poses"][shot["pose"]], shot["name"], shot["samples"]
    except FileNotFoundError:
        raise BadCapture(f"{folder} holds no capture.json: plan the capture first") from None
    except (KeyError, TypeError, ValueError, IndexError, OSError) as error:
        raise BadCapture(f"{folder / 'capture.json'} is no plan of a capture ({error!r})") from None
    return job


def _missing(job: dict[str, Any], folder: Path, frames: str) -> list[tuple[int, dict[str, Any]]]:
    """(number, shot) of pictures that are not there, of the range asked for."""
    first, last = 1, len(job["shots"])
    if frames:
        try:
            first, last = (int(part) for part in frames.split("-"))
        except ValueError:
            raise BadCapture(f"'{frames}' is no range: write --frames A-B, counted from 1") from None
        if not 1 <= first <= last <= len(job["shots"]):
            raise BadCapture(f"--frames {frames} is outside the plan's 1-{len(job['shots'])}")
    return [
        (i, shot)
        for i, shot in enumerate(job["shots"][first - 1 : last], first)
        if not (folder / "images" / f"{shot['name']}.png").exists()
    ]


def _render(
    folder: Path, job: dict[str, Any], todo: list[tuple[int, dict[str, Any]]], meshes: list[Any], stage: Any,
    scratch: Path, rest: Any,
) -> None:  # fmt: skip
    """Render the shots. Memory does not grow with their number: one picture is held at a time."""
    import bpy

    scene = bpy.context.scene
    lens = stage.camera(scene)
    for name in ("images", "geometry", "meshes"):
        (folder / name).mkdir(exist_ok=True)
    for done, (number, shot) in enumerate(todo):
        begin = time.monotonic()
        target = folder / "images" / f"{shot['name']}.png"
        if target.exists():  # another machine was here meanwhile
            continue
        stage.folds(meshes, shot.get("split") != "smooth")
        scene.frame_set(stage.FIRST_FRAME + int(shot["pose"]))
        stage.aim(lens, job["cameras"][shot["view"]])
        _write_mesh(folder / "meshes" / f"{int(shot['pose']):05d}.npz", stage.world_vertices(meshes), rest)
        scene.cycles.samples, scene.cycles.seed = int(shot["samples"]), int(shot.get("like") or number)
        part = scratch / "picture.png"
        scene.render.filepath = str(part)
        bpy.ops.render.render(write_still=True)
        _write_npz(folder / "geometry" / f"{shot['name']}.npz", stage.geometry(scratch))
        os.replace(part, target)
        _say(kind="done", number=number, done=done + 1, todo=len(todo), seconds=round(time.monotonic() - begin, 2))


def _write_mesh(path: Path, points: Any, rest: Any) -> None:
    """Offsets from the first pose's mesh as float16, and how far that is from the mesh."""
    import numpy as np

    if path.exists():
        return
    half = (points - rest).astype(np.float16)
    error = np.abs(rest + half - points).max()
    _write_npz(path, {"offsets": half, "error_m": np.float32(error)})
    canonical = path.parent / "canonical.npz"
    if not canonical.exists():
        _write_npz(canonical, {"vertices": rest})


def _write_npz(path: Path, arrays: dict[str, Any]) -> None:
    import numpy as np

    with _replacing(path) as part:
        np.savez_compressed(part, **arrays)


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed onto it if the block succeeds, removed if it fails."""
    part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


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
