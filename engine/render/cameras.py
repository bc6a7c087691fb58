"""Cameras round a head, and camera files.

All cameras are OpenCV's (`core.splats.Camera`): x right, y down, looking along +z, pixel centres at .5. The head stands
in engine axes: Y up, facing +Z, its left at +X. Azimuth 0 looks at its face, +90 degrees stands on its left.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from engine.core.errors import BadFile, BadInput
from engine.core.files import read_json
from engine.core.splats import Camera

PORTRAIT_FOV_DEG = 22.0  # about a 62 mm lens on full frame: near enough to feel a face, far enough not to bulge it
FILL = 0.88  # share of the picture that the head takes in its tighter direction
_FORMAT = 1


def focal_from_fov(size: int, fov_deg: float) -> float:
    """Focal length in pixels of a picture `size` pixels wide (or high) that sees `fov_deg` degrees across it."""
    if not 0 < fov_deg < 179:
        raise BadInput(f"a field of view of {fov_deg} degrees is outside 0 to 179")
    return size / 2 / math.tan(math.radians(fov_deg) / 2)


def fov_from_focal(size: int, focal: float) -> float:
    """Degrees across a picture of `size` pixels; the inverse of `focal_from_fov`."""
    return math.degrees(2 * math.atan(size / 2 / abs(focal)))


def focal_from_lens(size: int, lens_mm: float, sensor_mm: float = 36.0) -> float:
    """Focal length in pixels of a lens on a sensor that is `sensor_mm` across the side of `size` pixels."""
    return size * lens_mm / sensor_mm


def look_at(
    position: np.ndarray, target: np.ndarray, up: np.ndarray | tuple[float, ...] = (0.0, 1.0, 0.0)
) -> np.ndarray:
    """[4, 4] float64 world-to-camera matrix of a camera at `position` with `target` in the middle and `up` upwards."""
    position, target = np.asarray(position, np.float64), np.asarray(target, np.float64)
    forward = target - position
    right = np.cross(forward, np.asarray(up, np.float64))
    if np.linalg.norm(right) < 1e-9 * max(float(np.linalg.norm(forward)), 1e-9):
        raise BadInput("a camera cannot look along its own up direction or at its own position")
    forward, right = forward / np.linalg.norm(forward), right / np.linalg.norm(right)
    matrix = np.eye(4)
    matrix[:3, :3] = [right, np.cross(forward, right), forward]
    matrix[:3, 3] = -matrix[:3, :3] @ position
    return matrix


def orbit(
    points: np.ndarray, width: int, height: int, azimuth_deg: float = 0.0, elevation_deg: float = 0.0,
    fov_deg: float = PORTRAIT_FOV_DEG, fill: float = FILL,
) -> Camera:  # fmt: skip
    """A camera on a sphere round the points [n, 3] that keeps them in the picture from every azimuth.

    The distance depends on the points' height and their reach from the vertical axis through the middle, not on the
    azimuth, so that a turning camera does not pump. fov_deg: across the picture's height.
    """
    points = np.asarray(points, np.float64).reshape(-1, 3)
    if not len(points) or not np.isfinite(points).all():
        raise BadInput("a camera needs points to look at, with finite coordinates")
    low, high = points.min(0), points.max(0)
    centre = (low + high) / 2
    reach = float(np.linalg.norm((points - centre)[:, [0, 2]], axis=1).max())
    half = float(high[1] - low[1]) / 2
    focal = focal_from_fov(height, fov_deg)
    # Perspective brings the near side `reach` closer.
    distance = reach + focal * max(half / (fill * height / 2), reach / (fill * width / 2), 1e-6)
    azimuth, elevation = math.radians(azimuth_deg), math.radians(elevation_deg)
    away = [math.sin(azimuth) * math.cos(elevation), math.sin(elevation), math.cos(azimuth) * math.cos(elevation)]
    view = look_at(centre + distance * np.array(away), centre)
    return Camera(width, height, focal, focal, width / 2, height / 2, view)


def front(points: np.ndarray, width: int, height: int) -> Camera:
    """Straight at the face."""
    return orbit(points, width, height)


def three_quarter(points: np.ndarray, width: int, height: int) -> Camera:
    """From 38 degrees on the subject's left."""
    return orbit(points, width, height, azimuth_deg=38.0)


def profile(points: np.ndarray, width: int, height: int) -> Camera:
    """From the subject's left."""
    return orbit(points, width, height, azimuth_deg=90.0)


def turntable(
    points: np.ndarray, width: int, height: int, count: int, period: int | None = None, elevation_deg: float = 4.0
) -> list[Camera]:
    """`count` cameras on a circle, from the front round the subject's left; a whole turn takes `period` frames."""
    period = max(1, count if period is None else period)
    return [
        orbit(points, width, height, azimuth_deg=360.0 * i / period, elevation_deg=elevation_deg) for i in range(count)
    ]


def from_json(source: str | os.PathLike[str] | dict[str, Any], width: int, height: int, count: int = 1) -> list[Camera]:
    """`count` cameras of this picture size from a camera file (or its parsed content).

    {"kind": "cameras", "format": 1, "cameras": [camera, ...]} or one camera alone; one camera serves every frame, else
    there must be at least `count`. A camera has, beside "orthographic" (false), a lens:
      "fx", "fy", "cx", "cy" in pixels of a picture "width" x "height" (scaled to the size asked for), or "fov_deg"
      across the picture's height (orthographic: "height_m", the metres that the picture is high);
    and a place: "world_to_camera" [4][4] (OpenCV), or "position", "target" and optionally "up" [3].
    """
    where = "the camera" if isinstance(source, dict) else source
    value = source if isinstance(source, dict) else read_json(source)
    if not isinstance(value, dict):
        raise BadFile(where, "is not a camera file")
    if value.get("kind", "cameras") != "cameras":
        raise BadFile(where, f"holds {value['kind']}, not cameras")
    if _number(where, value, "format", 1.0) > _FORMAT:
        raise BadFile(where, f"was written by a newer Soliloquy (format {value['format']}, this one reads {_FORMAT})")
    rows = value.get("cameras", [value])
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise BadFile(where, "has no list of cameras")
    if len(rows) not in (1, *range(count, len(rows) + 1)):
        raise BadFile(where, f"has {len(rows)} cameras for {count} frames; give one, or one a frame")
    if len(rows) == 1:
        return [_camera(where, rows[0], width, height)] * count
    return [_camera(where, row, width, height) for row in rows[:count]]


def to_json(cameras: list[Camera]) -> dict[str, Any]:
    """What `from_json` reads."""
    rows = [
        {
            "width": c.width, "height": c.height, "fx": c.fx, "fy": c.fy, "cx": c.cx, "cy": c.cy,
            "orthographic": c.orthographic, "world_to_camera": np.asarray(c.world_to_camera, float).tolist(),
        }
        for c in cameras
    ]  # fmt: skip
    return {"kind": "cameras", "format": _FORMAT, "cameras": rows}


def _camera(where: Path | str | Any, row: dict[str, Any], width: int, height: int) -> Camera:
    if "world_to_camera" in row:
        view = _array(where, row, "world_to_camera", (4, 4))
    elif "position" in row and "target" in row:
        up = _array(where, row, "up", (3,)) if "up" in row else (0.0, 1.0, 0.0)
        view = look_at(_array(where, row, "position", (3,)), _array(where, row, "target", (3,)), up)
    else:
        raise BadFile(where, "a camera needs world_to_camera, or position and target")
    orthographic = bool(row.get("orthographic", False))
    if "fx" in row:
        kx = width / _number(where, row, "width", width)
        ky = height / _number(where, row, "height", height)
        fx = _number(where, row, "fx")
        fy = _number(where, row, "fy", fx)
        cx = _number(where, row, "cx", width / kx / 2)
        cy = _number(where, row, "cy", height / ky / 2)
        return Camera(width, height, fx * kx, fy * ky, cx * kx, cy * ky, view, orthographic)
    if orthographic:
        focal = height / _number(where, row, "height_m")
    else:
        focal = focal_from_fov(height, _number(where, row, "fov_deg", PORTRAIT_FOV_DEG))
    return Camera(width, height, focal, focal, width / 2, height / 2, view, orthographic)


def _number(where: Any, row: dict[str, Any], name: str, otherwise: float | None = None) -> float:
    value = row.get(name, otherwise)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value == 0:
        if name in ("cx", "cy") and value == 0 and not isinstance(value, bool):
            return 0.0
        raise BadFile(where, f"the camera's {name} must be a number other than 0, got {value!r}")
    return float(value)


def _array(where: Any, row: dict[str, Any], name: str, shape: tuple[int, ...]) -> np.ndarray:
    try:
        value = np.asarray(row[name], np.float64)
    except (TypeError, ValueError):
        value = np.empty(0)
    if value.shape != shape or not np.isfinite(value).all():
        raise BadFile(where, f"the camera's {name} must be {list(shape)} finite numbers")
    return value
