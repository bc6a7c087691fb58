"""The numba rasteriser: `CpuRaster` holds the work space and draws frames into the caller's buffers.

Stages: project + colour (project.py), one depth sort, packing, tile lists (order.py), blending with the image write
(blend.py). All are chunked over the same threads. Semantics are reference.py's; the tolerance is in its test.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from engine.avatar.layout import planes
from engine.core.errors import BadInput
from engine.core.splats import Camera, Gaussians
from engine.render import blend, order, project
from engine.render.threads import Team, available_threads

# Entries (Gaussian, tile) held at once, 4 bytes each. A picture that needs more is drawn in bands of tile rows, so
# that three million huge Gaussians on a 4k picture cost time and not memory.
MAX_ENTRIES = 1 << 26
_NO_NORMALS = np.zeros((3, 0), np.float32)


def lens_of(camera: Camera, antialiased: bool = False) -> np.ndarray:
    """[13] float32: focal lengths, principal point, limits of x/z and y/z for the Jacobian, size, kind, near plane,
    anti-aliased or not."""
    w, h, fx, fy, cx, cy = camera.width, camera.height, camera.fx, camera.fy, camera.cx, camera.cy
    # A mirrored axis (negative focal length) swaps the limits.
    x = sorted(((-0.15 * w - cx) / fx, (1.15 * w - cx) / fx))
    y = sorted(((-0.15 * h - cy) / fy, (1.15 * h - cy) / fy))
    near = -project.FAR_PLANE if camera.orthographic else project.NEAR_PLANE
    return np.array([fx, fy, cx, cy, *x, *y, w, h, not camera.orthographic, near, antialiased], np.float32)


def eye_of(camera: Camera) -> np.ndarray:
    """[3] float32: the camera's position, or, of an orthographic one, the direction that it looks in (unit)."""
    matrix = np.asarray(camera.world_to_camera, np.float64)
    if camera.orthographic:
        return (matrix[2, :3] / np.linalg.norm(matrix[2, :3])).astype(np.float32)
    return np.linalg.inv(matrix)[:3, 3].astype(np.float32)


class CpuRaster:
    """Draws Gaussians with `threads` threads (0: as many as the process may use). One frame at a time."""

    def __init__(self, threads: int = 0):
        self.team = Team(threads or available_threads())
        self._work: dict[str, np.ndarray] = {}
        self._lock = threading.Lock()

    def draw(
        self,
        gaussians: Gaussians,
        camera: Camera,
        colour: np.ndarray,
        depth: np.ndarray | None = None,
        normal: np.ndarray | None = None,
        blend_space: str = "srgb",
        colour_space: str = "linear",
        flip: bool = False,
        normals: np.ndarray | None = None,
        antialiased: bool = False,
    ) -> None:
        """Write one frame into the given C-contiguous arrays (they may lie in shared memory).

        colour [h, w, 4] float32 or uint8, premultiplied: in linear light, or with colour_space="display" in sRGB
        display values (what a uint8 buffer wants: linear light in 8 bits bands in the dark).
        depth [h, w], normal [h, w, 3] float32: as in `Frame`; None costs nothing.
        blend_space: of the Gaussians' colours. flip: row 0 at the bottom, as in Blender.
        normals [n, 3]: world directions of the Gaussians' surface instead of their shortest axes.
        antialiased: see `engine.render.rasterise`.
        """
        self._check(camera, colour, depth, normal, blend_space, colour_space)
        how = blend.AS_BLENDED
        if (blend_space == "srgb") != (colour_space == "display"):
            how = blend.TO_LINEAR if blend_space == "srgb" else blend.TO_DISPLAY
        with self._lock:
            drawn = self._prepare(gaussians, camera, normal is not None, normals, antialiased)
            self._blend(drawn, camera, colour, depth, normal, how, flip)

    @staticmethod
    def _check(camera: Camera, colour: np.ndarray, depth: Any, normal: Any, *spaces: str) -> None:
        size = (camera.height, camera.width)
        wanted = (("colour", colour, (*size, 4)), ("depth", depth, size), ("normal", normal, (*size, 3)))
        for name, array, shape in wanted:
            if array is None:
                continue
            kinds = (np.float32, np.uint8) if name == "colour" else (np.float32,)
            if array.shape != shape or array.dtype not in kinds or not array.flags.c_contiguous:
                raise BadInput(f"the {name} buffer must be contiguous {list(shape)}, got {array.dtype} {array.shape}")
        if spaces[0] not in ("srgb", "linear") or spaces[1] not in ("linear", "display"):
            raise BadInput(
                f"blend space {spaces[0]!r} with colour space {spaces[1]!r}; use srgb or linear, linear or display"
            )

    def _space(self, name: str, shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
        """Work space of this shape, kept between frames and grown when needed."""
        count = int(np.prod(shape))
        have = self._work.get(name)
        if have is None or have.size < count or have.size > 8 * max(count, 1 << 16):
            have = self._work[name] = np.empty(count, dtype)
        return have[:count].reshape(shape)

    def _prepare(
        self, g: Gaussians, camera: Camera, want_normals: bool, normals: np.ndarray | None, antialiased: bool
    ) -> int:
        """Project, colour, sort and pack; the number of Gaussians to draw. Records and boxes stay in the work space."""
        n = len(g)
        if n == 0:
            return 0
        means, quats, scales, sh = planes(g.means), planes(g.quats), planes(g.scales), planes(g.sh)
        count = len(sh) // 3
        if count not in (1, 4, 9, 16):
            raise BadInput(f"spherical harmonics of degree 0 to 3 have 1, 4, 9 or 16 coefficients, got {count}")
        opacity = np.ascontiguousarray(g.opacity, np.float32)
        ellipses, depth, colour = (
            self._space("ellipses", (8, n)),
            self._space("depth", (n,)),
            self._space("rgb", (3, n)),
        )
        view = np.ascontiguousarray(camera.world_to_camera[:3], np.float64)
        eye = eye_of(camera)
        self.team.run(
            project.project, means, quats, scales, opacity, sh, count, view, lens_of(camera, antialiased), eye,
            camera.orthographic, ellipses, depth, colour,
        )  # fmt: skip
        keys, keys_2 = self._space("keys", (n,), np.uint32), self._space("keys_2", (n,), np.uint32)
        indices, indices_2 = self._space("order", (n,), np.int32), self._space("order_2", (n,), np.int32)
        m = int(order.sort_by_depth(ellipses, depth, colour, keys, indices, keys_2, indices_2))
        records, boxes = self._space("records", (n, order.RECORD)), self._space("boxes", (4, n), np.int16)
        self.team.run(order.pack, m, indices, ellipses, depth, colour, camera.width, camera.height, records, boxes)
        if want_normals:
            given = _NO_NORMALS if normals is None else planes(normals)
            self.team.run(
                order.pack_normals, m, indices, quats, scales, given, means, eye, camera.orthographic, records
            )
        self._records, self._boxes = records, boxes
        return m

    def _blend(self, m: int, camera: Camera, colour: np.ndarray, depth: Any, normal: Any, how: int, flip: bool) -> None:
        columns, rows = -(-camera.width // order.TILE), -(-camera.height // order.TILE)
        offsets = self._space("offsets", (rows * columns + 1,), np.int64)
        if m:
            records, boxes = self._records, self._boxes
            order.count_tiles(m, boxes, columns, rows, offsets)
        else:
            records, boxes = np.zeros((0, order.RECORD), np.float32), np.zeros((4, 0), np.int16)
            offsets[:] = 0
        as_bytes = colour.dtype == np.uint8
        images = (
            None if as_bytes else colour.reshape(-1),
            colour.reshape(-1) if as_bytes else None,
            None if depth is None else depth.reshape(-1),
            None if normal is None else normal.reshape(-1),
        )
        for first, last in bands(offsets[::columns], MAX_ENTRIES):
            lists = self._space("lists", (int(offsets[last * columns] - offsets[first * columns]),), np.int32)
            if len(lists):
                self.team.run(order.fill_tiles, m, boxes, columns, first, last, offsets, lists)
            self.team.run(
                blend.blend, first, last, columns, records.reshape(-1), lists, offsets, camera.width, camera.height,
                flip, how, blend.DECODE, *images,
            )  # fmt: skip


def bands(row_offsets: np.ndarray, limit: int) -> list[tuple[int, int]]:
    """Ranges of tile rows with at most `limit` entries each (a single row may have more)."""
    out, first = [], 0
    for row in range(1, len(row_offsets)):
        if row - first > 1 and row_offsets[row] - row_offsets[first] > limit:
            out.append((first, row - 1))
            first = row - 1
    return [*out, (first, len(row_offsets) - 1)]
