"""Gaussians along the strands of a head's scalp hair: where they lie, and how they shine.

Light on hair is Kajiya and Kay's model (1989): a diffuse part, and highlights that lie on a cone about the strand, a
white one and a wider one in the hair's colour. Deep in the hair it is darker: a piece's depth is its rank among its
neighbours by height over the skull.
"""

from __future__ import annotations

import numpy as np

from engine.avatar import light
from engine.avatar.raycast import sphere_directions
from engine.avatar.strands import Strands, axes_along
from engine.avatar.surface import Surface, fit_views
from engine.core.anatomy import Head
from engine.core.units import linear_to_srgb
from engine.head.hair.library import hair_of
from engine.head.hair.strands import Hair

Array = np.ndarray

PIECE = 0.0085  # metres of a strand that one Gaussian stands for, at least
MOST = 5  # Gaussians along a strand
WIDEST = 2.4  # how much wider hairs may become where there are fewer of them than strands
WIDTH, OPACITY = 0.95, 0.74  # standard deviation across in radii of a hair
RGB_GAIN = 2.2  # strand colour -> diffuse albedo: a mat of hair scatters light that one hair absorbed only in part
DEEP = 0.30  # light that reaches the bottom of the hair
# Highlights: exponent, strength and how much of the hair's colour it takes.
LOBES = ((36.0, 0.026, 0.15), (9.0, 0.045, 0.85))


def scalp_hair(head: Head, surface: Surface, count: int, seed: int) -> tuple[Strands, Array] | None:
    """About `count` pieces of strands and their harmonics [n, 9, 3]; None for a head without hair."""
    hair = hair_of(head)
    if hair is None or count < 1:
        return None
    rng = np.random.default_rng([seed, 3])
    every = hair.points(head.triangles, head.template).astype(np.float64)
    length = np.linalg.norm(np.diff(every, axis=1), axis=2).sum(1)
    pieces = np.clip(np.ceil(length / PIECE), 1, MOST).astype(int)
    kept = rng.permutation(len(hair))[: max(1, round(len(hair) * min(1.0, count / pieces.sum())))]
    wider = min(WIDEST, len(hair) / len(kept))
    found = [_cut(every[rows], hair, rows, n) for n in range(1, MOST + 1) if len(rows := kept[pieces[kept] == n])]
    strand, start, end, radius, part = (np.concatenate([f[k] for f in found]) for k in range(5))
    middle, way = 0.5 * (start + end), end - start
    size = np.maximum(np.linalg.norm(way, axis=1), 1e-6)
    along = way / size[:, None]
    normal, height = _over_skull(head, surface, middle)
    across = WIDTH * wider * radius
    scales = np.stack([0.5 * size + across, across, across], 1)
    triangle = hair.triangle[strand]
    strands = Strands(
        triangle, hair.bary[strand].astype(np.float64), middle, axes_along(along, normal), scales,
        np.full(len(middle), OPACITY), hair.tint[strand].astype(np.float64),
    )  # fmt: skip
    colour = np.array(hair.rgb) * RGB_GAIN * (strands.tint * (0.85 + 0.4 * part))[:, None]
    return strands, _lit(surface, middle, along, normal, _open(middle, height), colour)


def _cut(points: Array, hair: Hair, rows: Array, pieces: int) -> tuple[Array, Array, Array, Array, Array]:
    """Strand number, start, end, radius and share of the way of `pieces` equal parts of strands points [m, k, 3]."""
    k = points.shape[1]
    at = np.linspace(0, k - 1, pieces + 1)
    low = np.minimum(at.astype(int), k - 2)
    t = at - low
    knots = points[:, low] * (1 - t)[:, None] + points[:, low + 1] * t[:, None]
    middle = np.round(0.5 * (at[1:] + at[:-1])).astype(int)
    share = np.broadcast_to(middle / (k - 1), (len(rows), pieces))
    return (
        np.repeat(rows, pieces), knots[:, :-1].reshape(-1, 3), knots[:, 1:].reshape(-1, 3),
        hair.radius[rows][:, middle].ravel().astype(np.float64), share.ravel(),
    )  # fmt: skip


def _over_skull(head: Head, surface: Surface, points: Array) -> tuple[Array, Array]:
    """Unit normals [n, 3] of the skin below points and their heights [n] over it, metres."""
    from scipy.spatial import cKDTree

    skin = np.flatnonzero(surface.smooth > 0.5)
    distance, near = cKDTree(head.template[skin]).query(points, 4)
    weight = 1 / (distance + 2e-3)
    weight /= weight.sum(1, keepdims=True)
    normal = np.einsum("nk,nkc->nc", weight, surface.normals[skin[near]])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    place = np.einsum("nk,nkc->nc", weight, head.template[skin[near]].astype(np.float64))
    return normal, ((points - place) * normal).sum(1)


def _open(points: Array, height: Array) -> Array:
    """[n] in [DEEP, 1]: part of the light that reaches each piece, by its rank in height among 24 neighbours."""
    from scipy.spatial import cKDTree

    near = cKDTree(points).query(points, min(25, len(points)))[1]
    rank = (height[near] < height[:, None]).sum(1) / near.shape[1]
    return DEEP + (1 - DEEP) * rank


def _lit(surface: Surface, middle: Array, along: Array, normal: Array, reached: Array, colour: Array) -> Array:
    """Harmonics [n, 9, 3] in display space."""
    directions = sphere_directions(light.RAYS)
    sent = light.radiance(directions)
    facing = normal - 0.5 * (normal * along).sum(1, keepdims=True) * along
    facing /= np.linalg.norm(facing, axis=1, keepdims=True)
    wrapped = np.clip((facing @ directions.T + 0.25) / 1.25, 0, 1)
    base = colour * (wrapped @ sent) * (4 / len(directions)) * reached[:, None]
    gloss = np.zeros((len(middle), len(surface.views), 3))
    hue = colour / colour.max(1, keepdims=True)
    for azimuth, elevation, _, strength in light.LIGHTS:
        towards = light.direction(azimuth, elevation)
        half = surface.views + towards
        half /= np.maximum(np.linalg.norm(half, axis=1, keepdims=True), 1e-6)
        sine = np.sqrt(np.clip(1 - (along @ half.T) ** 2, 0, 1))
        shown = np.clip(normal @ towards + 0.2, 0, 1)[:, None] * np.clip(normal @ surface.views.T + 0.2, 0, 1)
        for power, amount, tinted in LOBES:
            lobe = amount * sine**power * shown * reached[:, None] ** 2
            gloss += lobe[:, :, None] * (np.array(strength) * (1 - tinted + tinted * hue))[:, None]
    seen = np.clip(linear_to_srgb(base[:, None] + gloss), 0, 1.2)
    return fit_views(seen, normal, surface.views)
