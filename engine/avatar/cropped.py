"""A trained avatar without its hair: the recipe's cropped scalp in the place of what hangs on the roots' triangles.

Below hair no picture shows skin, so what training left there cannot be bared: the recipe's Gaussians take its place.
Skin close under a fringe was seen through it, so its Gaussians stay but have the recipe's colours. Both are scaled to
the open skin beside them: gains by channel, from the triangles there by the inverse square of the distance.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from engine.avatar.bind import bind
from engine.avatar.harmonics import Y0
from engine.avatar.layout import as_planes
from engine.avatar.surface import material_ids
from engine.core.anatomy import Head
from engine.core.errors import BadInput
from engine.core.splats import Avatar

Array = np.ndarray

UNDER_M, OPEN_M = 0.009, 0.020  # skin this close to hair is recoloured, and from here on it is as it was seen
BORDER_M = 0.045  # open skin this close to hair tells the gain
GAIN = (0.5, 2.0)  # bounds of it: beyond, the two show different things
NEAR_M = 0.02  # distances below it weigh alike, so that single discs make no spots


def without_hair(trained: Avatar, recipe: Avatar, head: Head, roots: Array) -> Avatar:
    """`trained` with `recipe`'s Gaussians on the triangles `roots` [r] of the head that hair grows from.

    The triangles in use stay the same, so that an appearance net of the trained avatar fits this one. Raises BadInput
    for avatars that cannot be joined.
    """
    if trained.free is not None or recipe.free is not None:
        raise BadInput("hair cannot be taken off an avatar with free Gaussians")
    if (trained.layers, trained.blend_space) != (recipe.layers, recipe.blend_space):
        raise BadInput("these avatars differ in their layers or in how they blend; hair cannot be taken off")
    on = np.zeros(len(head.triangles), bool)
    on[roots] = True
    used = np.zeros(len(head.triangles), bool)
    used[trained.triangle] = True
    new = np.flatnonzero(on[recipe.triangle] & used[recipe.triangle])
    kept = ~on[trained.triangle]
    kept[_flattest(trained, on & used & ~np.isin(np.arange(len(on)), recipe.triangle[new]))] = True
    old = np.flatnonzero(kept)
    covered = _covered(trained, head, on, kept)
    gain = _gains(trained, recipe, head, np.maximum(covered, on))
    sh = _scaled(recipe, new, gain, trained.sh.shape[1])
    seen = replace(trained, sh=_recoloured(trained, recipe, head, covered, gain))
    order = np.argsort(np.concatenate([trained.triangle[old], recipe.triangle[new]]), kind="stable")

    def joined(name: str, added: Array | None = None) -> Array:
        more = getattr(recipe, name)[new] if added is None else added
        out = np.concatenate([getattr(seen, name)[old], more])[order]
        return as_planes(out) if out.ndim > 1 else out

    place = np.full(len(trained), -1, np.int64)
    back = np.empty(len(order), np.int64)
    back[order] = np.arange(len(order))
    place[old] = back[: len(old)]
    channels = []
    for channel in trained.channels:
        stays = place[channel.rows] >= 0
        parts = {name: getattr(channel, name)[stays] for name in ("mask", "side", "colour")}
        channels.append(replace(channel, rows=place[channel.rows[stays]].astype(np.int32), **parts))
    return replace(
        trained, triangle=joined("triangle"), local_means=joined("local_means"), local_quats=joined("local_quats"),
        log_scales=joined("log_scales"), opacity=joined("opacity"), layer=joined("layer"), sh=joined("sh", sh),
        channels=tuple(channels), meta={**trained.meta, "hair": "cropped"},
    )  # fmt: skip


def _flattest(avatar: Avatar, triangles: Array) -> Array:
    """For each of the triangles (mask), the number of the Gaussian that lies closest to it: skin, not a strand."""
    rows = np.flatnonzero(triangles[avatar.triangle])
    rows = rows[np.argsort(np.abs(avatar.local_means[rows, 1]), kind="stable")]
    return rows[np.unique(avatar.triangle[rows], return_index=True)[1]]


def _covered(trained: Avatar, head: Head, on: Array, kept: Array) -> Array:
    """[triangles] in [0, 1]: skin that hair hangs close over, beside the triangles that it grows from."""
    from scipy.spatial import cKDTree

    skin = np.isin(head.face_material, material_ids(head, ("skin",)))[head.triangle_face] & ~on
    out = np.zeros(len(head.triangles))
    if kept.all():
        return out
    hair = bind(trained, head.triangles, head.template).means[~kept]
    away = cKDTree(hair).query(_middles(head)[skin])[0]
    out[skin] = np.clip((OPEN_M - away) / (OPEN_M - UNDER_M), 0, 1)
    return out


def _recoloured(trained: Avatar, recipe: Avatar, head: Head, covered: Array, gain: Array) -> Array:
    """The trained harmonics with the recipe's of the nearest Gaussian, scaled, as far as a triangle is covered."""
    from scipy.spatial import cKDTree

    out = trained.sh.copy()
    rows, source = (np.flatnonzero(covered[a.triangle] > 0) for a in (trained, recipe))
    if len(rows) and len(source):
        places = [bind(a, head.triangles, head.template).means[n] for a, n in ((trained, rows), (recipe, source))]
        nearest = source[cKDTree(places[1]).query(places[0])[1]]
        part = covered[trained.triangle[rows], None, None].astype(np.float32)
        out[rows] += part * (_scaled(recipe, nearest, gain, out.shape[1]) - out[rows])
    return out


def _scaled(recipe: Avatar, rows: Array, gain: Array, bands: int) -> Array:
    """Harmonics [rows, bands, 3] of the recipe, their display colours times the gain [triangles, 3]."""
    times = gain[recipe.triangle[rows]]
    out = np.zeros((len(rows), bands, 3), np.float32)
    common = min(bands, recipe.sh.shape[1])
    out[:, :common] = recipe.sh[rows, :common] * times[:, None]
    out[:, 0] += 0.5 * (times - 1) / Y0
    return out


def _middles(head: Head) -> Array:
    return head.template[head.triangles].astype(np.float64).mean(1)


def _gains(trained: Avatar, recipe: Avatar, head: Head, wanted: Array) -> Array:
    """[triangles, 3] what the recipe's display colours are multiplied by where `wanted` [triangles] is above 0."""
    from scipy.spatial import cKDTree

    count, on = len(head.triangles), wanted > 0
    skin = np.isin(head.face_material, material_ids(head, ("skin",)))[head.triangle_face]
    colours, both = [], skin & ~on
    for avatar in (trained, recipe):
        number = np.bincount(avatar.triangle, minlength=count)
        shown = 0.5 + Y0 * avatar.sh[:, 0].astype(np.float64)
        total = np.stack([np.bincount(avatar.triangle, shown[:, k], minlength=count) for k in range(3)], 1)
        colours.append(total / np.maximum(number, 1)[:, None])
        both = both & (number > 0)
    out = np.ones((count, 3), np.float32)
    middle = _middles(head)
    border = np.flatnonzero(both)
    if on.any() and len(border):
        border = border[cKDTree(middle[on]).query(middle[border])[0] < BORDER_M]
    if len(border):
        ratio = np.clip(colours[0][border] / np.maximum(colours[1][border], 0.02), *GAIN)
        away = np.linalg.norm(middle[on][:, None] - middle[border][None], axis=2)
        weight = 1 / (away**2 + NEAR_M**2)
        out[on] = np.exp((weight @ np.log(ratio)) / weight.sum(1, keepdims=True))
    return out
