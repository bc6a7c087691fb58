"""How strongly each corrective of a head answers a mix of shapes and turned joints.

One layer of clipped linear functions, evaluated in the head's order: a corrective may read those before it. The same
functions are drivers of shape keys in Blender (blender_addon/scene/fixes.py).
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.core.anatomy import Head

TURNS = 36  # entries of R - I of neck, jaw, left and right eye


@dataclass(frozen=True)
class Drive:
    """corrective_drive taken apart. shapes [k, c], turns [n, c] of the features `columns`, bias [c]; layers: groups of
    correctives that read only earlier groups, each with what it reads there [c, group]."""

    shapes: np.ndarray
    columns: np.ndarray
    turns: np.ndarray
    bias: np.ndarray
    layers: tuple[tuple[np.ndarray, np.ndarray | None], ...]


def _layers(chain: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray | None], ...]:
    depth = np.zeros(len(chain), int)
    for i, row in enumerate(chain):
        read = np.flatnonzero(row)
        if len(read):
            depth[i] = 1 + depth[read].max()
    groups = [np.flatnonzero(depth == d) for d in range(depth.max(initial=0) + 1)]
    return tuple((g, np.ascontiguousarray(chain[g].T) if chain[g].any() else None) for g in groups)


_drives: dict[int, Drive] = {}


def drive_of(head: Head) -> Drive:
    """The head's drive, taken apart once and forgotten with it."""
    found = _drives.get(id(head))
    if found is None:
        k, c = len(head.shape_names), len(head.corrective_names)
        table = head.corrective_drive
        turns = table[:, k + c : k + c + TURNS]
        columns = np.flatnonzero(turns.any(0))
        found = _drives[id(head)] = Drive(
            np.ascontiguousarray(table[:, :k].T), columns, np.ascontiguousarray(turns[:, columns].T),
            table[:, -1].copy(), _layers(table[:, k : k + c]),
        )  # fmt: skip
        weakref.finalize(head, _drives.pop, id(head), None)
    return found


def responses(head: Head, weights: np.ndarray, turn: np.ndarray | None = None) -> np.ndarray:
    """[t, c] >= 0: how often each corrective counts. weights [t, k] of the shapes; turn [t, 36]: R - I (None: at rest).

    Clipped sums: the work of a few small products, next to that of the shapes themselves.
    """
    it = drive_of(head)
    given = weights @ it.shapes.astype(weights.dtype, copy=False) + it.bias
    if turn is not None and len(it.columns):
        given = given + turn[:, it.columns].astype(given.dtype) @ it.turns
    out = np.zeros_like(given)
    for group, chain in it.layers:
        part = given[:, group]
        if chain is not None:
            part = part + out @ chain
        out[:, group] = np.maximum(part, 0)
    return out


def described(head: Head) -> list[dict[str, Any]]:
    """The correctives for a client that drives them itself: name, drive (shape or corrective -> factor), turns (feature
    of R - I -> factor), bias."""
    k, c = len(head.shape_names), len(head.corrective_names)
    names = (*head.shape_names, *head.corrective_names)
    out = []
    for name, row in zip(head.corrective_names, head.corrective_drive, strict=True):
        factors = [round(float(value), 6) for value in row]
        out.append({
            "name": name, "bias": factors[-1],
            "drive": {n: f for n, f in zip(names, factors[: k + c], strict=True) if f},
            "turns": {str(i): f for i, f in enumerate(factors[k + c : -1]) if f},
        })  # fmt: skip
    return out


def responses_reference(head: Head, weights: np.ndarray, turn: np.ndarray | None = None) -> np.ndarray:
    """Plain float64 twin of `responses`: one corrective after another."""
    k, c = len(head.shape_names), len(head.corrective_names)
    turn = np.zeros((len(weights), TURNS)) if turn is None else turn
    out = np.zeros((len(weights), c))
    for i, row in enumerate(head.corrective_drive.astype(np.float64)):
        value = weights @ row[:k] + out @ row[k : k + c] + turn @ row[k + c : -1] + row[-1]
        out[:, i] = np.maximum(value, 0)
    return out
