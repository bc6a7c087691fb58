"""How strongly each corrective of a head answers a mix of shapes and turned joints.

One layer of clipped linear functions, evaluated in the head's order: a corrective may read those before it. The same
functions are drivers of shape keys in Blender (blender_addon/scene/fixes.py).
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.core.anatomy import Head

NOTHING_M = 1e-8  # offsets at value 1 below this are none
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


@dataclass(frozen=True)
class Sparse:
    """The correctives' offsets without the vertices that each leaves alone. rows [n] vertex, offsets [n, 3] float32 of
    corrective i: from starts[i] to starts[i + 1]."""

    starts: np.ndarray
    rows: np.ndarray
    offsets: np.ndarray


def sparse(correctives: np.ndarray) -> Sparse:
    """correctives [c, v, 3] taken apart."""
    used = [np.flatnonzero(np.abs(offsets).max(1) > NOTHING_M) for offsets in correctives]
    starts = np.cumsum([0, *(len(rows) for rows in used)]).astype(np.int64)
    if not starts[-1]:
        return Sparse(starts, np.zeros(0, np.int32), np.zeros((0, 3), np.float32))
    offsets = np.concatenate([part[rows] for part, rows in zip(correctives, used, strict=True)])
    return Sparse(starts, np.concatenate(used).astype(np.int32), np.ascontiguousarray(offsets, np.float32))


@functools.cache
def _kernel() -> Callable[..., Any]:
    import numba

    @numba.njit(cache=True, error_model="numpy")
    def add(points: np.ndarray, active: np.ndarray, starts: np.ndarray, rows: np.ndarray, offsets: np.ndarray) -> None:
        for t in range(points.shape[0]):
            for i in range(active.shape[1]):
                a = active[t, i]
                if a != 0:
                    for n in range(starts[i], starts[i + 1]):
                        for k in range(3):
                            points[t, rows[n], k] += a * offsets[n, k]

    return add


def add_to(points: np.ndarray, active: np.ndarray, it: Sparse) -> None:
    """Add the correctives at responses active [t, c] to points [t, v, 3], in place: only those that count, only the
    vertices they move."""
    _kernel()(points, np.ascontiguousarray(active, points.dtype), it.starts, it.rows, it.offsets)


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
