"""The registry of rasterisers, and the colour conversion that those share which do not fuse it."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from engine.core.errors import BadInput
from engine.core.splats import FAR_DEPTH, Camera, Frame, Gaussians
from engine.core.units import srgb_to_linear

PASSES = ("rgba", "depth", "normal")
DISPLAY_MAX = 4.0  # as in blend.py: display values above are clamped before they are made linear
_NO_DEPTH, _NO_NORMAL = np.zeros((0, 0), np.float32), np.zeros((0, 0, 3), np.float32)
Draw = Callable[[Gaussians, Camera, str, tuple[str, ...], int, "np.ndarray | None", bool], Frame]


def draw(
    gaussians: Gaussians, camera: Camera, blend_space: str, backend: str, passes: tuple[str, ...], threads: int,
    normals: np.ndarray | None, antialiased: bool = False,
) -> Frame:  # fmt: skip
    """See `engine.render.rasterise`."""
    if blend_space not in ("srgb", "linear"):
        raise BadInput(f"blend space '{blend_space}' is unknown; use srgb or linear")
    if not passes or not set(passes) <= set(PASSES):
        raise BadInput(f"passes {list(passes)} are not a choice of {', '.join(PASSES)}")
    if normals is not None and normals.shape != (len(gaussians), 3):
        raise BadInput(f"normals must be [{len(gaussians)}, 3], got {list(normals.shape)}")
    name = choose() if backend == "auto" else backend
    if name not in BACKENDS:
        raise BadInput(f"rasteriser '{backend}' is unknown; use auto, {', '.join(BACKENDS)}")
    return BACKENDS[name](gaussians, camera, blend_space, passes, threads, normals, antialiased)


def choose() -> str:
    """The backend that "auto" stands for on this machine."""
    from engine.render import cuda

    return "gsplat" if cuda.available() else "cpu"


def make_linear(rgba: np.ndarray) -> np.ndarray:
    """Premultiplied display colour [..., 4] -> premultiplied linear light: unpremultiply, decode, premultiply."""
    alpha = rgba[..., 3:]
    straight = np.clip(rgba[..., :3] / np.maximum(alpha, 1e-12), 0.0, DISPLAY_MAX)
    return np.concatenate([srgb_to_linear(straight) * alpha, alpha], -1)


def frame_of(
    rgba: np.ndarray, depth: np.ndarray, normal: np.ndarray, blend_space: str, passes: tuple[str, ...]
) -> Frame:
    """A `Frame` from blended colour, mean depth and unit normals of any float type."""
    depth = np.where(rgba[..., 3] >= 0.5, depth, FAR_DEPTH)
    if blend_space == "srgb":
        rgba = make_linear(rgba)
    depth = depth if "depth" in passes else _NO_DEPTH
    normal = normal if "normal" in passes else _NO_NORMAL
    return Frame(*(np.ascontiguousarray(value, np.float32) for value in (rgba, depth, normal)))


@functools.lru_cache(maxsize=4)
def cpu_raster(threads: int) -> object:
    """The shared `CpuRaster` with this many threads (its work space is kept between frames)."""
    from engine.render.cpu import CpuRaster

    return CpuRaster(threads)


def _cpu(
    gaussians: Gaussians, camera: Camera, blend_space: str, passes: tuple[str, ...], threads: int,
    normals: np.ndarray | None, antialiased: bool = False,
) -> Frame:  # fmt: skip
    h, w = camera.height, camera.width
    rgba = np.empty((h, w, 4), np.float32)
    depth = np.empty((h, w), np.float32) if "depth" in passes else None
    normal = np.empty((h, w, 3), np.float32) if "normal" in passes else None
    raster = cpu_raster(threads)
    raster.draw(gaussians, camera, rgba, depth, normal, blend_space, normals=normals, antialiased=antialiased)  # type: ignore[attr-defined]
    return Frame(rgba, _NO_DEPTH if depth is None else depth, _NO_NORMAL if normal is None else normal)


def _reference(
    gaussians: Gaussians, camera: Camera, blend_space: str, passes: tuple[str, ...], threads: int,
    normals: np.ndarray | None, antialiased: bool = False,
) -> Frame:  # fmt: skip
    import torch

    from engine.render import reference

    g = gaussians
    means, quats, scales, opacity, sh = (
        torch.as_tensor(np.asarray(a, np.float64).copy()) for a in (g.means, g.quats, g.scales, g.opacity, g.sh)
    )
    given = None if normals is None else torch.as_tensor(np.asarray(normals, np.float64))
    with torch.no_grad():
        out = reference.rasterise(means, quats, scales, opacity, sh, camera, given, antialiased)
    return frame_of(out.rgba.numpy(), out.depth.numpy(), out.normal.numpy(), blend_space, passes)


def _gsplat(
    gaussians: Gaussians, camera: Camera, blend_space: str, passes: tuple[str, ...], threads: int,
    normals: np.ndarray | None, antialiased: bool = False,
) -> Frame:  # fmt: skip
    from engine.render import cuda

    return frame_of(*cuda.rasterise(gaussians, camera, normals, antialiased), blend_space, passes)


BACKENDS: dict[str, Draw] = {"cpu": _cpu, "gsplat": _gsplat, "reference": _reference}
