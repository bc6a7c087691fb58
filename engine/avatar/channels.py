"""Dynamic colour of an avatar: colours that are added where and as far as the face moves.

    colour of Gaussian i += mask_i * weight_k(shape weights) * D_ki

The simplest dynamic appearance that works, and what the papers' nets are measured against: a fold of the skin has a
channel, masked to its zone (without masks a fold's channel learns what else moves with it), and what opens and closes
mouth and eyes has some about them. The weight is a muscle's value, a sum of shape weights clamped to [0, 1], taken from
either side of the face.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from engine.avatar import harmonics
from engine.avatar.layout import as_planes
from engine.core.anatomy import Head
from engine.core.errors import BadInput
from engine.core.names import ARKIT_INDEX, EXTRA_INDEX
from engine.core.splats import Avatar, Channel, Gaussians
from engine.head.zones import zones

Array = np.ndarray

SIDE_SOFT_M = 0.006  # over this the left half of the face gives way to the right one
FAINT = 0.5 / 255  # display values: what a channel adds at most, below which it is left out
MASK_MIN = 0.02  # Gaussians with less of a channel than this have none of it
# Channel -> (zone of engine.head.zones or a place below, shares of shapes; {} is Left or Right, L or R for extras).
# Folds' shares are those of the head's wrinkle shader (blender_addon/scene/wrinkles.py; a test compares them); the
# others tell of light and shadow: lips and teeth behind them, lids and the eyes below.
CHANNELS: dict[str, tuple[str, dict[str, float]]] = {
    "forehead inner": ("forehead_inner", {"browInnerUp": 1.0}),
    "forehead outer": ("forehead_outer", {"browOuterUp{}": 1.0}),
    "glabella": ("glabella", {"browDown{}": 0.55, "browMedialDown_{0[0]}": 0.55}),
    "crow": ("crow", {"cheekSquint{}": 0.75, "mouthSmile{}": 0.45, "eyeSquint{}": 0.25}),
    "under eye": ("under_eye", {"cheekSquint{}": 0.6, "eyeSquint{}": 0.55, "mouthSmile{}": 0.2}),
    "nasolabial": (
        "nasolabial", {"mouthSmile{}": 0.85, "noseSneer{}": 0.6, "mouthUpperUp{}": 0.45, "mouthDimple{}": 0.25},
    ),
    "nose": ("nose", {"noseSneer{}": 1.0}),
    "chin": ("chin", {"mouthShrugLower": 0.95, "mouthFrownLeft": 0.15, "mouthFrownRight": 0.15}),
    "jaw": ("mouth", {"jawOpen": 1.0}),
    "teeth": ("mouth", {"mouthUpperUp{}": 0.6, "mouthLowerDown{}": 0.6}),
    "lips wide": ("mouth", {"mouthSmile{}": 0.8, "mouthStretch{}": 0.5, "mouthDimple{}": 0.4}),
    "lips round": ("mouth", {"mouthPucker": 0.9, "mouthFunnel": 0.9}),
    "lids": ("lids", {"eyeBlink{}": 1.0}),
    "lids squint": ("lids", {"eyeSquint{}": 0.6, "cheekSquint{}": 0.6, "mouthSmile{}": 0.2}),
    "lids wide": ("lids", {"eyeWide{}": 0.6, "browOuterUp{}": 0.6, "browInnerUp": 0.4}),
    "lids under brows": ("lids", {"browDown{}": 0.6, "browMedialDown_{0[0]}": 0.4}),
}  # fmt: skip
COUNT = len(ARKIT_INDEX) + len(EXTRA_INDEX)


def column(name: str) -> int:
    """Column of a shape among ARKit's 52 followed by the extra ones. KeyError for other names."""
    return ARKIT_INDEX[name] if name in ARKIT_INDEX else len(ARKIT_INDEX) + EXTRA_INDEX[name]


def muscle(shares: Mapping[str, float], weights: Array) -> float:
    """A muscle's value in [0, 1] from shape weights [59]."""
    return float(np.clip(sum(share * weights[column(name)] for name, share in shares.items()), 0, 1))


def values(channel: Channel, weights: Array) -> Array:
    """[m] how far each of the channel's Gaussians is switched on, by shape weights [59] (ARKit, then extras)."""
    left, right = muscle(channel.left, weights), muscle(channel.right, weights)
    return (channel.mask * (right + (left - right) * channel.side)).astype(np.float32)


def _places(head: Head) -> dict[str, Array]:
    """Masks [v] beyond the zones: around and in the mouth, and the eyelids with the balls under them."""
    points, out = head.template.astype(np.float64), {}
    lips = points[np.unique(head.lip_pairs)] if len(head.lip_pairs) else points[:0]
    if len(lips):
        away = np.linalg.norm((points - lips.mean(0)) / [0.036, 0.034, 0.05], axis=1)
        inside = np.asarray(head.masks.get("mouth_inside", np.zeros(len(points))), np.float64)
        out["mouth"] = np.maximum(np.clip((1.35 - away) / 0.5, 0, 1), inside)
    eyes = (head.joint_regressor.astype(np.float64) @ points)[3:5]
    near = np.linalg.norm(points[:, None] - eyes[None], axis=2).min(1)
    out["lids"] = np.clip((0.024 - near) / 0.006, 0, 1)
    return out


def empty(head: Head, triangle: Array, names: tuple[str, ...] = tuple(CHANNELS)) -> tuple[Channel, ...]:
    """Channels without colour for Gaussians on triangles [n] of a head; those that its landmarks do not place are
    missing. Raises BadInput for an unknown name."""
    if unknown := sorted(set(names) - set(CHANNELS)):
        raise BadInput(f"there is no channel '{unknown[0]}'; there are: {', '.join(CHANNELS)}")
    masks: dict[str, Array] = {**zones(head), **_places(head)}
    corners = head.triangles[triangle]
    x = head.template[corners][..., 0].mean(1)
    side = np.clip((x / SIDE_SOFT_M + 1) / 2, 0, 1)
    side = (side * side * (3 - 2 * side)).astype(np.float32)
    out = []
    for name in names:
        zone, shares = CHANNELS[name]
        if zone not in masks:
            continue
        mask = masks[zone][corners].mean(1).astype(np.float32)
        rows = np.flatnonzero(mask > MASK_MIN).astype(np.int32)
        left, right = ({key.format(s): share for key, share in shares.items()} for s in ("Left", "Right"))
        out.append(Channel(name, left, right, rows, mask[rows], side[rows], np.zeros((len(rows), 3), np.float32)))
    return tuple(out)


def widened(avatar: Avatar, head: Head) -> Avatar:
    """The avatar with every channel on every Gaussian of its zone again, without colour where `pruned` took it off."""
    held = {channel.name: channel for channel in avatar.channels}
    out = []
    for channel in empty(head, avatar.triangle):
        if (old := held.pop(channel.name, None)) is not None:
            at = np.searchsorted(channel.rows, old.rows).clip(0, max(len(channel.rows) - 1, 0))
            if len(channel.rows) and np.array_equal(channel.rows[at], old.rows):
                channel.colour[at] = old.colour
            else:
                channel = old
        out.append(channel)
    return replace(avatar, channels=(*out, *held.values()))


def pruned(avatar: Avatar) -> Avatar:
    """The avatar's channels without the Gaussians on which they are never seen (FAINT)."""
    out = []
    for c in avatar.channels:
        kept = np.abs(c.colour * c.mask[:, None]).max(1, initial=0) * harmonics.Y0 > FAINT
        out.append(replace(c, rows=c.rows[kept], mask=c.mask[kept], side=c.side[kept], colour=c.colour[kept]))
    return replace(avatar, channels=tuple(out))


def coloured(avatar: Avatar, gaussians: Gaussians, weights: Array | None) -> Gaussians:
    """The Gaussians with the avatar's channels added for shape weights [59]; the same object where nothing is added."""
    if weights is None or not avatar.channels:
        return gaussians
    if np.shape(weights) != (COUNT,):
        raise BadInput(f"shape weights must be [{COUNT}] (ARKit's 52, then the extra ones), got {np.shape(weights)}")
    sh: Array | None = None
    for channel in avatar.channels:
        on = values(channel, np.asarray(weights, np.float32))
        if on.any():
            if sh is None:
                sh = as_planes(np.array(gaussians.sh))
            sh[channel.rows, 0] += on[:, None] * channel.colour
    return gaussians if sh is None else replace(gaussians, sh=sh)


def to_arrays(channels: tuple[Channel, ...]) -> tuple[dict[str, Array], list[dict[str, Any]]]:
    """(arrays, JSON values) for an avatar file; colours as float16."""
    arrays: dict[str, Array] = {}
    for k, c in enumerate(channels):
        arrays |= {f"channel{k}_rows": c.rows.astype(np.int32), f"channel{k}_colour": c.colour.astype(np.float16)}
        arrays |= {f"channel{k}_mask": c.mask.astype(np.float16), f"channel{k}_side": c.side.astype(np.float16)}
    return arrays, [{"name": c.name, "left": c.left, "right": c.right} for c in channels]


def from_arrays(arrays: Mapping[str, Array], specs: list[dict[str, Any]], count: int) -> tuple[Channel, ...]:
    """The way back. Raises KeyError, TypeError or ValueError for what is no channel of `count` Gaussians."""
    out = []
    for k, spec in enumerate(specs):
        rows = arrays[f"channel{k}_rows"].astype(np.int32)
        mask, side, colour = (arrays[f"channel{k}_{n}"].astype(np.float32) for n in ("mask", "side", "colour"))
        left, right = ({str(n): float(v) for n, v in spec[key].items()} for key in ("left", "right"))
        for name in (*left, *right):
            column(name)
        good = rows.ndim == 1 and mask.shape == side.shape == rows.shape and colour.shape == (len(rows), 3)
        if not good or (len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < count):
            raise ValueError(f"channel '{spec['name']}' does not fit")
        if not all(np.isfinite(a).all() for a in (mask, side, colour)):
            raise ValueError(f"channel '{spec['name']}' is not finite")
        out.append(Channel(str(spec["name"]), left, right, rows, mask, side, colour))
    return tuple(out)
