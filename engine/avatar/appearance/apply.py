"""Per-vertex changes -> the Gaussians' own parameters, in the frames of their triangles; numpy, and the way back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from engine.avatar.appearance import kernels
from engine.avatar.appearance.anchors import Anchors
from engine.avatar.attach import multiply, rotate
from engine.avatar.layout import as_planes, planes
from engine.core.splats import Avatar

Array = np.ndarray

_ORDER = ("means", "turns", "log_scales", "logits", "sh")
OPACITY = (1e-4, 1 - 1e-4)
_NOTHING = np.zeros((0, 0), np.float32)


def to_gaussians(anchors: Anchors, change: Mapping[str, Array]) -> dict[str, Array]:
    """Changes per vertex [q, k] (base.PARTS) -> changes of the parameters of anchors.rows, float32: "means" [m, 3] in
    units of the triangle, "quats" [m, 3], rotation vectors in the triangle's axes, the others as they are."""
    names = [name for name in _ORDER if name in change]
    if not names:
        return {}
    values = [np.asarray(change[name], np.float32).reshape(len(anchors), -1) for name in names]
    joined = np.ascontiguousarray(np.concatenate(values, 1))
    found = np.empty((len(anchors.rows), joined.shape[1]), np.float32)
    kernels.gather(anchors.corners, anchors.shares, joined, found)
    edges = np.cumsum([value.shape[1] for value in values])[:-1]
    out = dict(zip(names, np.split(found, edges, 1), strict=True))
    back = anchors.frames[:, 4:] * np.array([1, -1, -1, -1], np.float32)
    if "means" in out:
        out["means"] = rotate(back, out["means"]) / anchors.frames[:, 3:4]
    if "turns" in out:
        out["turns"] = rotate(back, out["turns"])
    return out


def from_gaussians(anchors: Anchors, gradient: Mapping[str, Array]) -> dict[str, Array]:
    """The way back: gradients of `to_gaussians`' results -> of the changes per vertex."""
    values = {}
    for name, value in gradient.items():
        here = np.asarray(value, np.float32).reshape(len(anchors.rows), -1)
        if name in ("means", "turns"):
            here = rotate(anchors.frames[:, 4:], here)
            here = here / anchors.frames[:, 3:4] if name == "means" else here
        values[name] = np.zeros((len(anchors), here.shape[1]), np.float32)
        kernels.scatter(anchors.corners, anchors.shares, np.ascontiguousarray(here, np.float32), values[name])
    return values


def from_local(
    anchors: Anchors, local: Mapping[str, Array], quats: Array, turns: Array | None = None
) -> dict[str, Array]:  # fmt: skip
    """Gradients of the Gaussians' local parameters, all n of them -> of the changes per vertex [q, k].

    local: "means" [3, n], "quats" [4, n] (of the unit ones), "log_scales" [3, n], "logits" [n], "sh" [3 * terms, n],
    those that there are; quats [n, 4]: the local rotations with the change on them; turns [q, 3]: that change per
    vertex (None: zeros).
    """
    rows, out = anchors.rows, {}
    if "means" in local:
        out["means"] = local["means"][:, rows].T
    if "quats" in local:
        # A further small turn dv of q is (0, dv / 2) q: its gradient is half the vector part of g q*.
        unit = quats[rows] / np.maximum(np.linalg.norm(quats[rows], axis=1, keepdims=True), 1e-12)
        back = unit * np.array([1, -1, -1, -1], np.float32)
        small = 0.5 * multiply(local["quats"][:, rows].T, back)[:, 1:]
        there = to_gaussians(anchors, {"turns": np.zeros((len(anchors), 3)) if turns is None else turns})["turns"]
        out["turns"] = _along_the_way(there, small)
    if "log_scales" in local:
        out["log_scales"] = local["log_scales"][:, rows].sum(0)[:, None]
    if "logits" in local:
        out["logits"] = local["logits"][rows][:, None]
    if "sh" in local:
        out["sh"] = local["sh"][:, rows].T
    return from_gaussians(anchors, out)


def _along_the_way(turns: Array, gradient: Array) -> Array:
    """Gradient [m, 3] of a further small turn -> of the rotation vectors [m, 3] (the transposed left Jacobian)."""
    angle = np.linalg.norm(turns, axis=1, keepdims=True)
    safe = np.maximum(angle, 1e-6)
    axis = turns / safe
    s, c = np.where(angle > 1e-6, np.sin(angle) / safe, 1), np.where(angle > 1e-6, (1 - np.cos(angle)) / safe, 0)
    along = (axis * gradient).sum(1, keepdims=True) * axis
    return s * gradient + (1 - s) * along - c * np.cross(axis, gradient)


def turned(quats: Array, turns: Array) -> Array:
    """Quaternions [m, 4] turned by rotation vectors [m, 3] in the axes outside of them."""
    angle = np.linalg.norm(turns, axis=1, keepdims=True)
    half = 0.5 * angle
    axis = turns * np.where(angle > 1e-6, np.sin(half) / np.maximum(angle, 1e-12), 0.5)
    return multiply(np.concatenate([np.cos(half), axis], 1), quats)


def changed(avatar: Avatar, anchors: Anchors, change: Mapping[str, Array]) -> Avatar:
    """The avatar with a net's changes (per vertex, numpy) on it; the same object where there are none."""
    names = [name for name in _ORDER if name in change]
    if not names:
        return avatar
    values = [np.asarray(change[name], np.float32).reshape(len(anchors), -1) for name in names]
    first = dict(zip(names, np.cumsum([0, *(value.shape[1] for value in values)]), strict=False))
    fields = {"means": "local_means", "turns": "local_quats", "log_scales": "log_scales", "sh": "sh"}
    # What is not changed is only passed on.
    new = {name: np.array(planes(getattr(avatar, field))) for name, field in fields.items() if name in names}
    flat = {name: new.get(name, _NOTHING) for name in fields}
    opacity = np.array(avatar.opacity, np.float32) if "logits" in names else avatar.opacity
    kernels.apply(
        anchors.rows, anchors.corners, anchors.shares, anchors.frames, np.concatenate(values, 1),
        np.array([first.get(name, -1) for name in _ORDER], np.int64), flat["means"], flat["turns"], flat["log_scales"],
        opacity, flat["sh"],
    )  # fmt: skip
    n, made = len(avatar), {fields[name]: value.T for name, value in new.items() if name != "sh"}
    if "sh" in new:
        made["sh"] = new["sh"].reshape(len(new["sh"]) // 3, 3, n).transpose(2, 0, 1)
    more: dict[str, Any] = {**made, "opacity": opacity}
    return replace(avatar, **more)


def changed_reference(avatar: Avatar, anchors: Anchors, change: Mapping[str, Array]) -> Avatar:
    """Plain twin of `changed`."""
    found = to_gaussians(anchors, change)
    if not found:
        return avatar
    rows = anchors.rows
    new: dict[str, Any] = {}
    for name, field in (("means", "local_means"), ("log_scales", "log_scales")):
        if name in found:
            values = as_planes(np.array(getattr(avatar, field)))
            values[rows] += found[name]
            new[field] = values
    if "turns" in found:
        quats = as_planes(np.array(avatar.local_quats))
        quats[rows] = turned(quats[rows], found["turns"])
        new["local_quats"] = quats
    if "logits" in found:
        opacity = np.array(avatar.opacity, np.float32)
        inside = np.clip(opacity[rows], *OPACITY)
        opacity[rows] = inside / (inside + (1 - inside) * np.exp(-found["logits"][:, 0]))
        new["opacity"] = opacity
    if "sh" in found:
        sh = as_planes(np.array(avatar.sh))
        sh[rows] += found["sh"].reshape(len(rows), -1, 3)
        new["sh"] = sh
    return replace(avatar, **new)
