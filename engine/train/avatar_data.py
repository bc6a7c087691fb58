"""Captures as training reads them: GaussianAvatars' folders as VHAP writes them, and ours, by the same way.

transforms_{train,val,test}.json   frames: intrinsics, OpenGL camera-to-world, paths of picture, mask, parameters
images/, fg_masks/                 display values; straight alpha in the picture, or a mask beside an opaque one
flame_param/POSE.npz               FLAME parameters (VHAP), or shape weights of our heads (`expr_names`)
meshes/POSE.npz, geometry/NAME.npz ours: offsets of the evaluated mesh; depth and normals
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from engine.core.anatomy import Head
from engine.core.errors import BadFile, BadInput
from engine.core.files import read_json
from engine.core.splats import Camera
from engine.train.avatar_poses import Posed, Poses, load

Array = np.ndarray

# rest: the neutral face from test views; smooth: test faces without folds of the skin.
SPLITS = ("train", "val", "test", "rest", "smooth")
MARGIN = 8  # pixels kept round what is seen
CACHE_BYTES = 2 << 30
DEPTH_STEP_M = 1e-4  # blender_addon/scene/capture_stage.py
MASKED = 0.5  # of alpha: what counts as seen when a picture's frame is looked for


@dataclass(frozen=True)
class View:
    """A picture of the set: where it was taken, of which pose. azimuth, elevation: degrees, as in cameras.orbit."""

    name: str
    split: str
    pose: int
    camera: Camera
    picture: Path
    mask: Path | None
    geometry: Path | None
    azimuth: float
    elevation: float


@dataclass(frozen=True)
class Picture:
    """rgba [h, w, 4] uint8, premultiplied display values, of the camera's cut-out; depth_steps [h, w] uint16 and
    normal_steps [h, w, 3] int8 as files hold them, or None."""

    camera: Camera
    rgba: Array
    depth_steps: Array | None
    normal_steps: Array | None

    @property
    def values(self) -> Array:
        """[h, w, 4] float32 in [0, 1]."""
        return self.rgba.astype(np.float32) / 255

    @property
    def depth(self) -> Array | None:
        """[h, w] float32 metres along the view axis, 0: unknown."""
        return None if self.depth_steps is None else self.depth_steps.astype(np.float32) * np.float32(DEPTH_STEP_M)

    @property
    def normal(self) -> Array | None:
        """[h, w, 3] float32 of the world."""
        return None if self.normal_steps is None else self.normal_steps.astype(np.float32) / 127

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        return sum(a.nbytes for a in (self.rgba, self.depth_steps, self.normal_steps) if a is not None)


@dataclass
class Capture:
    """A set of pictures of one head; pictures are read when asked for and kept while they fit in CACHE_BYTES, poses
    likewise (avatar_poses.Poses)."""

    folder: Path
    head: Head
    views: dict[str, list[View]]
    poses: Mapping[int, Posed]
    _kept: OrderedDict[tuple[str, int], Picture] = field(default_factory=OrderedDict)
    _bytes: int = 0

    def picture(self, view: View, shrink: int = 1) -> Picture:
        """A view's picture cut to what is seen, `shrink` times smaller (a whole number). Raises BadFile."""
        key = (str(view.picture), shrink)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        made = _read_picture(view, shrink)
        self._kept[key] = made
        self._bytes += made.nbytes
        while self._bytes > CACHE_BYTES and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return made


def read_capture(folder: str | Path, head: Head) -> Capture:
    """A capture of this head. Raises BadFile for what is missing or damaged, BadInput for a capture of another head."""
    folder = Path(folder)
    if not folder.is_dir():
        raise BadFile(folder, "no such folder; make a capture with 'soliloquy studio capture'")
    _check_head(folder, head)
    views: dict[str, list[View]] = {}
    sources: dict[int, dict[str, Any]] = {}
    for split in SPLITS:
        path = folder / f"transforms_{split}.json"
        if not path.is_file() and split != "train":
            views[split] = []
            continue
        raw = read_json(path)
        try:
            frames = raw["frames"]
            views[split] = [_view(folder, split, {**raw, **frame}) for frame in frames]
            for frame in frames:
                sources.setdefault(int(frame["timestep_index"]), frame)
        except (KeyError, TypeError, ValueError, BadInput) as error:
            raise BadFile(path, f"is no list of camera views ({error!r})") from None
    if not views["train"]:
        raise BadFile(folder, "holds no training pictures yet; let the capture run first")
    return Capture(folder, head, views, Poses(folder, head, sources))


def _check_head(folder: Path, head: Head) -> None:
    plan = folder / "capture.json"
    if not plan.is_file():
        return
    made = read_json(plan).get("head") or {}
    if made and made.get("topology_sha256") != head.topology_sha256:
        raise BadInput(f"the capture in {folder} is of the head '{made.get('name')}', not of '{head.name}': add --head")


def _view(folder: Path, split: str, frame: dict[str, Any]) -> View:
    matrix = np.array(frame["transform_matrix"], np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise ValueError("a transform_matrix is not 4 x 4")
    matrix[:3, 1:3] *= -1  # OpenGL: y up, looking along -z
    w, h = int(frame["w"]), int(frame["h"])
    fx = float(frame["fl_x"]) if "fl_x" in frame else w / 2 / np.tan(float(frame["camera_angle_x"]) / 2)
    fy = float(frame.get("fl_y", fx))
    cx, cy = float(frame.get("cx", w / 2)), float(frame.get("cy", h / 2))
    camera = Camera(w, h, fx, fy, cx, cy, np.linalg.inv(matrix))
    picture = _existing(folder, str(frame["file_path"]))
    mask, geometry = (folder / str(frame[k]) if k in frame else None for k in ("fg_mask_path", "geometry_path"))
    away = -matrix[:3, 2]  # from what it looks at towards the camera
    azimuth = float(np.degrees(np.arctan2(away[0], away[2])))
    elevation = float(np.degrees(np.arctan2(away[1], np.hypot(away[0], away[2]))))
    return View(
        picture.stem, split, int(frame["timestep_index"]), camera, picture,
        mask if mask is not None and mask.is_file() else None,
        geometry if geometry is not None and geometry.is_file() else None, azimuth, elevation,
    )  # fmt: skip


def _existing(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.png", folder / f"{name}.jpg"):
        if path.is_file():
            return path
    raise BadFile(folder / name, "no such picture; the capture's list names it")


def _read_picture(view: View, shrink: int) -> Picture:
    """Premultiplied, shrunk by averaging, cut to what is seen."""
    rgba = _premultiplied(view)
    if rgba.shape[:2] != (view.camera.height, view.camera.width):
        raise BadFile(view.picture, f"is {rgba.shape[1]} x {rgba.shape[0]} pixels, its camera says otherwise")
    camera = view.camera
    if shrink > min(camera.width, camera.height):
        raise BadInput(f"{view.picture} has fewer than {shrink} pixels a side; use a smaller --shrink")
    depth: Array | None = None
    normal: Array | None = None
    if view.geometry is not None:
        raw = load(view.geometry)
        if {"depth", "normal"} <= set(raw) and raw["depth"].shape == rgba.shape[:2]:
            depth, normal = raw["depth"].astype(np.uint16), raw["normal"].astype(np.int8)
    if shrink > 1:
        rgba, camera = _averaged(rgba, shrink), _smaller(camera, shrink)
        half = shrink // 2
        if depth is not None and normal is not None:
            h, w = rgba.shape[:2]
            depth, normal = (a[half::shrink, half::shrink][:h, :w] for a in (depth, normal))
    rows, columns = (np.flatnonzero((rgba[..., 3] > 255 * MASKED / 16).any(axis)) for axis in (1, 0))
    if not len(rows):
        raise BadFile(view.picture, "shows nothing: its alpha or mask is empty")
    top, bottom = max(rows[0] - MARGIN, 0), min(rows[-1] + 1 + MARGIN, camera.height)
    left, right = max(columns[0] - MARGIN, 0), min(columns[-1] + 1 + MARGIN, camera.width)
    cut = np.s_[top:bottom, left:right]
    return Picture(
        cropped(camera, int(left), int(top), int(right - left), int(bottom - top)), np.ascontiguousarray(rgba[cut]),
        None if depth is None else np.ascontiguousarray(depth[cut]),
        None if normal is None else np.ascontiguousarray(normal[cut]),
    )  # fmt: skip


def _premultiplied(view: View) -> Array:
    """[h, w, 4] uint8. An opaque picture takes its alpha from the mask; the white on which VHAP lays it comes off."""
    from PIL import Image

    try:
        with Image.open(view.picture) as image:
            straight = "A" in image.getbands()
            values = np.asarray(image.convert("RGBA"), np.float32)
        if straight and values[..., 3].min() < 255:
            alpha = values[..., 3:] / 255
            return np.round(np.concatenate([values[..., :3] * alpha, values[..., 3:]], 2)).astype(np.uint8)
        if view.mask is None:
            raise BadFile(view.picture, "has neither alpha nor a mask (fg_masks)")
        with Image.open(view.mask) as image:
            mask = np.asarray(image.convert("L"), np.float32)
    except (OSError, SyntaxError, ValueError) as error:
        raise BadFile(view.picture, f"is no readable picture ({error})") from None
    if mask.shape != values.shape[:2]:
        raise BadFile(view.picture, "and its mask differ in size")
    alpha = mask[..., None] / 255
    outside = values[mask == 0][:, :3]
    laid_on = float(outside.mean()) if len(outside) else 0.0
    if laid_on > 250:  # white is taken off again
        colour = np.clip(values[..., :3] - 255 * (1 - alpha), 0, 255)
    elif laid_on < 5:
        colour = values[..., :3]
    else:
        colour = values[..., :3] * alpha
    return np.round(np.concatenate([np.minimum(colour, 255 * alpha), mask[..., None]], 2)).astype(np.uint8)


def _averaged(rgba: Array, shrink: int) -> Array:
    h, w = (size // shrink for size in rgba.shape[:2])
    blocks = rgba[: h * shrink, : w * shrink].reshape(h, shrink, w, shrink, 4).astype(np.float32)
    return np.round(blocks.mean((1, 3))).astype(np.uint8)


def _smaller(camera: Camera, shrink: int) -> Camera:
    fx, fy, cx, cy = (v / shrink for v in (camera.fx, camera.fy, camera.cx, camera.cy))
    return Camera(camera.width // shrink, camera.height // shrink, fx, fy, cx, cy, camera.world_to_camera)


def cropped(camera: Camera, left: int, top: int, width: int, height: int) -> Camera:
    """The same camera seeing only a part of its picture."""
    return Camera(
        width, height, camera.fx, camera.fy, camera.cx - left, camera.cy - top, camera.world_to_camera
    )  # fmt: skip
