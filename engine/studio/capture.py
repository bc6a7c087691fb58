"""Launches captures: lays the plan and the head in a folder, runs Blender beside this process, lists what is there.

The folder follows GaussianAvatars (Qian et al. 2024) as VHAP writes it: transforms_{train,val,test}.json with
intrinsics and OpenGL camera-to-world matrices, images/, fg_masks/, flame_param/. Ours adds meshes/ (offsets of the
evaluated mesh), geometry/ (depth and normal) and poses.npz (shapes, units, emotions).
"""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.core.anatomy import Head
from engine.core.errors import BadFile, BadInput, Missing
from engine.core.files import read_json, replacing, write_json
from engine.core.names import ARKIT, EXTRA, JOINTS
from engine.core.progress import SILENT, Reporter
from engine.studio import capture_plan
from engine.studio.capture_plan import Plan
from engine.studio.poses import Pose, stacked

SCRIPT = Path(__file__).resolve().parents[2] / "blender_addon" / "capture.py"
MARK = "soliloquy-capture "
PLAN = "capture.json"
TIMED = 3  # pictures after which the rest is estimated
_SPLIT_FILES = {split: f"transforms_{split}.json" for split in capture_plan.SPLITS}


def prepare(
    folder: Path, plan: Plan, size: int, head_answer: Mapping[str, Any] | None = None, scene: Path | None = None,
    mesh: str = "", noise: float = 0.0, light: bool = True, keep_scene: bool = False,
    subsurface: bool = True, points: np.ndarray | None = None,
) -> None:  # fmt: skip
    """Write the plan, the poses and what Blender needs to build the head. Raises BadInput if another plan lies there.

    head_answer: the `head` job's answer (serve.jobs.head) for a capture of the engine's own head; scene: a .blend
    instead, with the name of its `mesh` where several could be meant; points [n, 3]: what the cameras see (the lamps
    stand about it).
    """
    if (head_answer is None) == (scene is None):
        raise BadInput("a capture is either of the engine's head or of a character in a .blend file")
    folder.mkdir(parents=True, exist_ok=True)
    head = None if head_answer is None else {k: head_answer[k] for k in ("name", "topology_sha256")}
    job = capture_plan.to_json(plan) | {
        "size": size, "scene": None if scene is None else str(scene.resolve()), "mesh": mesh, "noise": noise,
        "light": light, "keep_scene": keep_scene, "subsurface": subsurface, "head": head,
        "box": None if points is None else [np.min(points, 0).tolist(), np.max(points, 0).tolist()],
    }  # fmt: skip
    before = folder / PLAN
    if before.exists():
        if not _same(read_json(before), json.loads(json.dumps(job))):
            raise BadInput(f"{folder} holds another capture: go on without options (--resume), or take another folder")
        return
    with replacing(folder / "poses.npz") as part:
        np.savez(part, **stacked(plan.poses))  # type: ignore[arg-type]
    if head_answer is not None:
        stage = folder / "stage"
        stage.mkdir(exist_ok=True)
        for name, array in head_answer["arrays"].items():
            with replacing(stage / f"{name}.npy") as part:
                np.save(part, np.asarray(array))
        write_json(stage / "head.json", {k: v for k, v in head_answer.items() if k != "arrays"})
    _write_parameters(folder, plan.poses)
    write_json(before, job)


def _same(old: Any, new: dict[str, Any]) -> bool:
    """Whether a run into a folder whose plan is `old` makes the pictures that `new` asks for. What an older Soliloquy
    did not write into a plan counts as equal."""
    essence = _essence(old)
    if essence is None or essence != _essence(new):
        return False
    if any(key in old and old[key] != new[key] for key in ("mesh", "noise", "light", "keep_scene")):
        return False
    if old.get("box") is None or new["box"] is None:
        return "box" not in old or old["box"] is new["box"]
    try:  # metres; the same mesh evaluated on another machine may differ in its last digits
        return bool(np.allclose(old["box"], new["box"], rtol=0, atol=1e-4))
    except (TypeError, ValueError):
        return False


def _essence(job: Any) -> Any:
    """Of what must not change between two runs into one folder: what every plan has."""
    try:
        cameras = [[round(float(c[k]), 4) for k in ("fl_x", "cx", "cy")] + [c["split"]] for c in job["cameras"]]
        shots = [[s["name"], s["split"], s["samples"]] for s in job["shots"]]
        return [job["size"], job["poses"], cameras, shots, job["scene"], job["head"], job["subsurface"]]
    except (KeyError, TypeError, ValueError):
        return None


def _write_parameters(folder: Path, poses: Sequence[Pose]) -> None:
    """flame_param/POSE.npz with VHAP's fields; on a head of ours `expr` is its expression basis: shapes by name."""
    for i, pose in enumerate([None, *poses]):
        joints = np.zeros(3 * len(JOINTS), np.float32) if pose is None else pose.joints
        weights = np.zeros(len(ARKIT) + len(EXTRA), np.float32)
        if pose is not None:
            weights = np.concatenate([pose.arkit, pose.extra]).astype(np.float32)
        fields = {
            "translation": joints[None, :3] * 0 if pose is None else pose.translation[None],
            "rotation": joints[None, 0:3], "neck_pose": joints[None, 3:6], "jaw_pose": joints[None, 6:9],
            "eyes_pose": joints[None, 9:15], "expr": weights[None], "shape": np.zeros(0, np.float32),
        }  # fmt: skip
        if pose is not None:
            fields |= {"au": pose.au[None], "emotion": pose.emotion[None]}
        name = "canonical_flame_param.npz" if pose is None else f"flame_param/{i - 1:05d}.npz"
        with replacing(folder / name) as part:
            np.savez(part, **fields, expr_names=np.array([*ARKIT, *EXTRA]))  # type: ignore[arg-type]


def run(
    folder: Path, frames: str = "", threads: int = 0, blender: str = "", report: Reporter = SILENT,
    say: Any = None,
) -> dict[str, Any]:  # fmt: skip
    """Render what is missing and list the set; {"pictures", "made", "seconds_each", ...}. A cancel keeps what is done.

    blender: a Blender program instead of the bpy module. say: called with a sentence (the estimate after three
    pictures). Raises Missing where Blender cannot be started, BadInput with Blender's own sentence.
    """
    if not (folder / PLAN).is_file():
        raise BadFile(folder, f"holds no {PLAN}; plan the capture first")
    words = [*(["--frames", frames] if frames else []), *(["--threads", str(threads)] if threads else [])]
    seconds: list[float] = []
    with contextlib.closing(_messages(folder, _command(folder, blender, words), report)) as messages:
        for message in messages:
            if message.get("kind") == "error":
                raise BadInput(f"the capture stopped: {message['text']}")
            if message.get("kind") != "done":
                continue
            seconds.append(float(message["seconds"]))
            report.step("pictures", message["done"], message["todo"])
            if len(seconds) == TIMED and say is not None:
                each = float(np.median(seconds))
                left = each * (message["todo"] - message["done"]) / 3600
                say(f"{each:.1f} s a picture over the first {TIMED}: about {left:.1f} h for the rest")
    return index(folder) | {
        "made": len(seconds),
        "seconds_each": round(float(np.median(seconds)), 2) if seconds else None,
    }


def measure(folder: Path, scene: Path, mesh: str = "", blender: str = "", report: Reporter = SILENT) -> np.ndarray:
    """[n, 3] where the head of a .blend's character is, engine axes; raises as `run` does."""
    if not scene.is_file():
        raise BadFile(scene, "no such .blend file")
    words = ["--measure", str(scene.resolve()), *(["--mesh", mesh] if mesh else [])]
    with contextlib.closing(_messages(folder, _command(folder, blender, words), report)) as messages:
        for message in messages:
            if message.get("kind") == "error":
                raise BadInput(f"{scene.name}: {message['text']}")
    return np.load(folder / "stage" / "points.npy", allow_pickle=False)


def _command(folder: Path, blender: str, words: Sequence[str]) -> list[str]:
    program = [blender, "-b", "--python-exit-code", "1", "-P", str(SCRIPT), "--"]
    return [*(program if blender else [sys.executable, str(SCRIPT)]), str(folder), *words]


def _messages(folder: Path, command: list[str], report: Reporter) -> Generator[dict[str, Any], None, None]:
    """What the Blender process says; ends it when the person asked to stop. Raises Missing, BadInput."""
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace")
    except OSError as error:
        raise Missing(f"Blender does not start ({error}); give a program with --blender") from None
    tail: list[str] = []

    def drain() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            tail.append(line)
            del tail[:-20]

    lines: list[str] = []
    done = threading.Event()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.extend([line[len(MARK) :]] if line.startswith(MARK) else [])
        done.set()

    readers = [threading.Thread(target=target, daemon=True) for target in (drain, read)]
    for reader in readers:
        reader.start()
    try:
        while True:
            over = done.is_set()
            while lines:
                yield json.loads(lines.pop(0))
            if over:
                break
            report.check()
            time.sleep(0.05)
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            code = process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        for left in folder.glob(f".passes-{process.pid}-*"):  # an ended Blender clears nothing away
            shutil.rmtree(left, ignore_errors=True)
    if code:
        last = next((line.strip() for line in reversed(tail) if line.strip()), f"exit code {code}")
        if "No module named 'bpy'" in last:
            raise Missing("captures need the bpy module ('python install.py' brings it) or --blender PROGRAM")
        raise BadInput(f"Blender ended while it rendered: {last}")


def index(folder: Path) -> dict[str, Any]:
    """Write the masks and transforms_{train,val,test}.json of the pictures that are there; how many of each."""
    job = read_json(folder / PLAN)
    (folder / "fg_masks").mkdir(exist_ok=True)
    rows: dict[str, list[dict[str, Any]]] = {split: [] for split in _SPLIT_FILES}
    for shot in job["shots"]:
        name = shot["name"]
        picture = folder / "images" / f"{name}.png"
        if not picture.exists():
            continue
        _write_mask(picture, folder / "fg_masks" / f"{name}.png")
        rows[shot["split"]].append(_row(job, shot))
    for split, frames in rows.items():
        write_json(folder / _SPLIT_FILES[split], _transforms(frames))
    return {"pictures": sum(map(len, rows.values())), "planned": len(job["shots"])} | {
        k: len(v) for k, v in rows.items()
    }


def _write_mask(picture: Path, target: Path) -> None:
    """The picture's alpha, unless a mask at least as new is there."""
    from PIL import Image

    if target.exists() and target.stat().st_mtime_ns >= picture.stat().st_mtime_ns:
        return
    with Image.open(picture) as image, replacing(target) as part:
        image.convert("RGBA").getchannel("A").save(part)


def _row(job: Mapping[str, Any], shot: Mapping[str, Any]) -> dict[str, Any]:
    """A frame of transforms.json."""
    camera, pose, name = job["cameras"][shot["view"]], int(shot["pose"]), shot["name"]
    return {
        "timestep_index": pose, "timestep_index_original": pose, "timestep_id": job["poses"][pose],
        "camera_index": int(shot["view"]), "camera_id": f"{int(shot['view']):02d}", **_lens(camera),
        "transform_matrix": camera["transform_matrix"], "azimuth": camera["azimuth"], "elevation": camera["elevation"],
        "file_path": f"images/{name}.png", "fg_mask_path": f"fg_masks/{name}.png",
        "flame_param_path": f"flame_param/{pose:05d}.npz", "mesh_path": f"meshes/{pose:05d}.npz",
        "geometry_path": f"geometry/{name}.npz",
    }  # fmt: skip


def _lens(camera: Mapping[str, Any]) -> dict[str, Any]:
    w, h = camera["width"], camera["height"]
    return {
        "cx": camera["cx"], "cy": camera["cy"], "fl_x": camera["fl_x"], "fl_y": camera["fl_y"], "h": h, "w": w,
        "camera_angle_x": 2 * math.atan(w / (2 * camera["fl_x"])),
        "camera_angle_y": 2 * math.atan(h / (2 * camera["fl_y"])),
    }  # fmt: skip


def _transforms(frames: list[dict[str, Any]]) -> dict[str, Any]:
    """A transforms.json; the shared intrinsics are the first frame's, as VHAP writes them for other readers."""
    keys = ("cx", "cy", "fl_x", "fl_y", "h", "w", "camera_angle_x", "camera_angle_y")
    shared = {key: frames[0][key] for key in keys} if frames else {}
    return {
        "frames": frames, **shared, "timestep_indices": sorted({f["timestep_index"] for f in frames}),
        "camera_indices": sorted({f["camera_index"] for f in frames}),
    }  # fmt: skip


def head_points(head: Head) -> np.ndarray:
    """[n, 3] what must stay in the pictures of a head: its vertices and its hair."""
    from engine.head.hair.library import hair_of

    hair = hair_of(head)
    if hair is None:
        return head.template
    return np.concatenate([head.template, hair.points(head.triangles, head.template).reshape(-1, 3)])
