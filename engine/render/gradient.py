"""The cpu rasteriser with gradients: one torch function for training, everything in numba kernels.

    picture = render(means, quats, log_scales, logits, sh, camera)      # torch tensors; picture.rgba.sum().backward()
    sums, tape = forward(Gaussians, camera); gradients = backward(tape, v)   # the same in plain numpy

Memory of one step: what `forward` keeps (64 bytes a drawn Gaussian, 4 a list entry up to cpu.MAX_ENTRIES, 32 a pixel)
and, in `backward`, 64 bytes a Gaussian and thread plus the gradients. Threads: each owns tiles and a gradient buffer.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from engine.avatar.layout import planes
from engine.core.errors import BadInput
from engine.core.splats import Camera, Gaussians
from engine.render import blend_gradient, order, project, project_gradient
from engine.render.cpu import MAX_ENTRIES, bands, eye_of, lens_of
from engine.render.threads import Team

if TYPE_CHECKING:
    from torch import Tensor

    from engine.render.reference import Rendered

Array = np.ndarray
_NONE = np.zeros((3, 0), np.float32)


class Gradients(NamedTuple):
    """[3, n], [4, n], [3, n] (of linear scales), [n], [3 * terms, n]; of given normals [3, n], else [3, 0]."""

    means: Array
    quats: Array
    scales: Array
    opacity: Array
    sh: Array
    normals: Array


@dataclass
class Tape:
    """What `forward` keeps for `backward`; arrays as the kernels name them."""

    camera: Camera
    inputs: tuple[Array, Array, Array, Array, Array]
    given: Array
    antialiased: bool
    geometry: bool
    team: Team
    colour: Array
    order: Array
    records: Array
    boxes: Array
    offsets: Array
    lists: Array | None  # of the whole picture, where it is one band
    tiles: Array


@functools.lru_cache(maxsize=4)
def _team(threads: int) -> Team:
    return Team(threads)


def forward(
    gaussians: Gaussians, camera: Camera, geometry: bool = False, normals: Array | None = None,
    antialiased: bool = False, threads: int = 1,
) -> tuple[Array, Array | None, Tape]:  # fmt: skip
    """(rgba [h, w, 4], geometry [h, w, 4] or None, tape): premultiplied colour and alpha as blended; sums of weight
    times camera depth and of weight times unit normal, if asked for. Raises BadInput for a wrong number of SH terms."""
    g, n = gaussians, len(gaussians)
    inputs = (
        planes(g.means), planes(g.quats), planes(g.scales), np.ascontiguousarray(g.opacity, np.float32), planes(g.sh)
    )  # fmt: skip
    means, quats, scales, opacity, sh = inputs
    terms = len(sh) // 3
    if terms not in (1, 4, 9, 16):
        raise BadInput(f"spherical harmonics of degree 0 to 3 have 1, 4, 9 or 16 coefficients, got {terms}")
    given, team = _NONE if normals is None else planes(normals), _team(threads)
    ellipses, depth, colour = (np.empty(shape, np.float32) for shape in ((8, n), (n,), (3, n)))
    view, lens = np.ascontiguousarray(camera.world_to_camera[:3], np.float64), lens_of(camera, antialiased)
    eye = eye_of(camera)
    team.run(
        project.project, means, quats, scales, opacity, sh, terms, view, lens, eye, camera.orthographic, ellipses,
        depth, colour,
    )  # fmt: skip
    keys, indices = (np.empty((2, n), kind) for kind in (np.uint32, np.int32))
    m = int(order.sort_by_depth(ellipses, depth, colour, keys[0], indices[0], keys[1], indices[1])) if n else 0
    records, boxes = np.zeros((m, order.RECORD), np.float32), np.empty((4, m), np.int16)
    team.run(order.pack, m, indices[0], ellipses, depth, colour, camera.width, camera.height, records, boxes)
    if geometry:
        team.run(
            order.pack_normals, m, indices[0], quats, scales, given, means, eye, camera.orthographic, records
        )  # fmt: skip
    columns, rows = _tiles(camera)
    offsets = np.zeros(rows * columns + 1, np.int64)
    order.count_tiles(m, boxes, columns, rows, offsets)
    tiles = np.empty((rows * columns, blend_gradient.SUMS * 256), np.float32)
    tape = Tape(
        camera, inputs, given, antialiased, geometry, team, colour, indices[0, :m], records, boxes, offsets, None, tiles
    )
    rgba = np.empty((camera.height, camera.width, 4), np.float32)
    more = np.empty_like(rgba) if geometry else None
    flat = None if more is None else more.reshape(-1)
    for first, last, lists in _bands(tape):
        team.run(
            blend_gradient.blend_sums, first, last, columns, records.reshape(-1), lists, offsets, camera.width,
            camera.height, tiles, rgba.reshape(-1), flat,
        )  # fmt: skip
    return rgba, more, tape


def backward(tape: Tape, v: Array, u: Array | None = None) -> Gradients:
    """Gradients of the Gaussians from gradients v [h, w, 4] of rgba and u [h, w, 4] of the geometry sums (or None)."""
    camera, team = tape.camera, tape.team
    means, quats, scales, opacity, sh = tape.inputs
    m, n, terms = len(tape.order), len(opacity), len(sh) // 3
    buffers = np.zeros((team.threads, order.RECORD * m), np.float32)
    flat = [None if a is None else np.ascontiguousarray(a, np.float32).reshape(-1) for a in (v, u)]
    for first, last, lists in _bands(tape):
        team.run(
            blend_gradient.blend_gradient, first, last, _tiles(camera)[0], tape.records.reshape(-1), lists,
            tape.offsets, camera.width, camera.height, tape.tiles, *flat, buffers,
        )  # fmt: skip
    rows, drawn = np.zeros((n, order.RECORD), np.float32), np.zeros(n, np.bool_)
    drawn[tape.order] = True
    team.run(project_gradient.gather, m, tape.order, buffers, tape.colour, rows)
    d = Gradients(
        np.zeros((3, n), np.float32), np.zeros((4, n), np.float32), np.zeros((3, n), np.float32),
        np.zeros(n, np.float32), np.empty((3 * terms, n), np.float32), np.zeros_like(tape.given),
    )  # fmt: skip
    eye, view = eye_of(camera), np.ascontiguousarray(camera.world_to_camera[:3], np.float32)
    team.run(
        project_gradient.project_gradient, rows, drawn, means, quats, scales, opacity, view,
        lens_of(camera, tape.antialiased), eye, camera.orthographic, tape.given, d.means, d.quats, d.scales, d.opacity,
        d.normals,
    )  # fmt: skip
    team.run(
        project_gradient.colour_gradient, rows, means, sh, terms, eye, camera.orthographic, d.sh, d.means
    )  # fmt: skip
    return d


def _tiles(camera: Camera) -> tuple[int, int]:
    return -(-camera.width // order.TILE), -(-camera.height // order.TILE)


def _bands(tape: Tape) -> Any:
    """(first tile row, last, lists) of each band of rows whose lists fit in memory; kept where one band suffices."""
    columns, _ = _tiles(tape.camera)
    offsets, ranges = tape.offsets, bands(tape.offsets[::columns], MAX_ENTRIES)
    for first, last in ranges:
        lists = tape.lists
        if lists is None:
            lists = np.empty(int(offsets[last * columns] - offsets[first * columns]), np.int32)
            tape.team.run(order.fill_tiles, len(tape.order), tape.boxes, columns, first, last, offsets, lists)
            tape.lists = lists if len(ranges) == 1 else None
        yield first, last, lists


def render(
    means: Tensor, quats: Tensor, log_scales: Tensor, logits: Tensor, sh: Tensor, camera: Camera,
    geometry: bool = False, normals: Tensor | None = None, antialiased: bool = False, threads: int = 1,
) -> Rendered:  # fmt: skip
    """Draw for training; gradients reach every tensor given.

    means [n, 3] metres, quats [n, 4] wxyz of any length, log_scales [n, 3], logits [n] of the opacity,
    sh [n, terms, 3], float32 on the CPU (fastest as transposed views of [3, n] and so on); normals [n, 3] instead of
    the shortest axes. Result as of reference.rasterise: rgba [h, w, 4] in the space of the colours; mean depth [h, w]
    and unit normal [h, w, 3], or with geometry=False (which is faster) two empty tensors.
    """
    import torch

    from engine.render.gradient_torch import Raster
    from engine.render.reference import Rendered

    rgba, sums = Raster.apply(means, quats, log_scales, logits, sh, normals, camera, geometry, antialiased, threads)
    if not geometry:
        return Rendered(rgba, rgba.new_zeros(0, 0), rgba.new_zeros(0, 0, 3))
    length = sums[..., 1:].norm(dim=-1, keepdim=True)
    return Rendered(
        rgba,
        sums[..., 0] / rgba[..., 3].clamp_min(1e-12),
        torch.where(length > 1e-4, sums[..., 1:] / length.clamp_min(1e-4), 0.0),
    )
