"""ARKit weights -> visemes, for characters whose mouth knows only those.

Stated fit: each viseme is a mix of ARKit channels (visemes.json); a frame's mouth is explained by visemes in [0, 1]
with the least weighted squared error. Contacts are not left to the fit: where lips must meet, the closure viseme is
raised to the contact and the others give way by as much; the same holds for the lower lip on the teeth.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from .mapping import Index, Row, Target
from .names import ARKIT, EXTRA

_TABLES = Path(__file__).with_name("visemes.json")
SETS = ("oculus", "microsoft")
PREFIX = {"oculus": "viseme_", "microsoft": "ms_viseme_"}
LEAST = 8  # fewer keys of a set are no viseme rig
RIDGE = 1e-3  # keeps visemes that look alike from trading places between frames
SWEEPS = 60
_WEIGHT = {"jawOpen": 2.0, "tongueTipUp": 0.35, "tongueBackUp": 0.35}  # what the eye sees first counts most


@cache
def tables() -> dict[str, dict[str, Any]]:
    """visemes.json: set -> viseme -> names, mix, closure, bite."""
    data = json.loads(_TABLES.read_text(encoding="utf-8"))
    return {name: data[name] for name in SETS}


def source_name(which: str, viseme: str) -> str:
    """The row source of a viseme: viseme_PP, ms_viseme_21."""
    return PREFIX[which] + viseme


@cache
def viseme_names() -> tuple[str, ...]:
    """Every viseme source, Oculus first."""
    return tuple(source_name(which, viseme) for which in SETS for viseme in tables()[which])


def find(keys: Sequence[str]) -> tuple[str, tuple[Row, ...]]:
    """(set, rows) of the viseme keys among a character's keys; ("", ()) below LEAST of either set."""
    index = Index(list(keys))
    best: tuple[str, tuple[Row, ...]] = ("", ())
    for which in SETS:
        rows = []
        for viseme, entry in tables()[which].items():
            rows += [Row(source_name(which, viseme), Target("KEY", key)) for key in _keys(index, entry["names"])]
        count = len({row.source for row in rows})
        if count >= max(LEAST, len({row.source for row in best[1]}) + 1):
            best = which, tuple(rows)
    return best


def _keys(index: Index, names: Sequence[str]) -> list[str]:
    """A viseme's key under one of its names, or its two halves, which show it together; [] if there is none."""
    own = next((k for k in map(index.find, names) if k is not None), None)
    if own is not None:
        return [own]
    halves = (index.find_all([f"{name}_Left", f"{name}_Right"]) for name in names)
    return next((pair for pair in halves if pair is not None), [])


@cache
def mixes(which: str) -> tuple[tuple[str, ...], np.ndarray]:
    """(channel names [m], mix of each viseme [m, n]) over the channels that any viseme of the set uses."""
    columns = []
    for entry in tables()[which].values():
        column: dict[str, float] = {}
        for name, weight in entry["mix"].items():
            sides = [name] if name in ARKIT or name in EXTRA else [f"{name}Left", f"{name}Right"]
            column.update(dict.fromkeys(sides, weight))
        columns.append(column)
    names = tuple(n for n in ARKIT + EXTRA if any(n in c for c in columns))
    return names, np.array([[c.get(n, 0.0) for c in columns] for n in names])


def bounded_least_squares(matrix: np.ndarray, wanted: np.ndarray, ridge: float = RIDGE) -> np.ndarray:
    """x [t, n] in [0, 1] with the least |matrix x - wanted|² + ridge |x|², by coordinate descent over all frames at
    once. matrix [m, n]; wanted [t, m]. The problem is convex, so the sweeps converge to its one solution."""
    gram = matrix.T @ matrix + ridge * np.eye(matrix.shape[1])
    target = (wanted @ matrix).T
    x = np.zeros_like(target)
    for _ in range(SWEEPS):
        before = x.copy()
        for j in range(len(x)):
            x[j] = np.clip(x[j] + (target[j] - gram[j] @ x) / gram[j, j], 0.0, 1.0)
        if np.abs(x - before).max(initial=0.0) < 1e-6:
            break
    return x.T


def fit(
    channels: Mapping[str, np.ndarray], closure: np.ndarray, bite: np.ndarray, which: str = "oculus"
) -> dict[str, np.ndarray]:
    """Viseme source -> [t] in [0, 1].

    channels: ARKit and extra name -> [t]; closure, bite [t] in [0, 1]: how far lips must meet, and the lower lip
    touch the teeth (`closure.contact`). The closure viseme is `closure`; every other is at most 1 - closure.
    """
    names, matrix = mixes(which)
    scale = np.array([_WEIGHT.get(name, 1.0) for name in names])
    zeros = np.zeros(len(closure))
    # mouthClose is the jaw's opening taken back at the lips: visemes know only the open mouth that is left.
    channels = {**channels, "jawOpen": channels.get("jawOpen", zeros) - channels.get("mouthClose", zeros)}
    wanted = np.stack([np.maximum(channels.get(name, zeros), 0.0) for name in names], 1).astype(np.float64)
    contact = [bool(entry.get("closure") or entry.get("bite")) for entry in tables()[which].values()]
    matrix = np.where(contact, 0.0, matrix)  # pressed lips of an angry face are no p
    x = bounded_least_squares(matrix * scale[:, None], wanted * scale)
    closure, bite = np.clip(closure, 0.0, 1.0), np.clip(bite, 0.0, 1.0)
    out = {}
    for j, (viseme, entry) in enumerate(tables()[which].items()):
        value = x[:, j]
        if entry.get("closure"):
            value = closure
        elif entry.get("bite"):
            value = bite * (1.0 - closure)
        else:
            value = value * (1.0 - closure) * (1.0 - bite)
        out[source_name(which, viseme)] = value
    return out


def set_in_use(rows: Sequence[Row]) -> str:
    """The viseme set that the rows draw on, or "" if none does."""
    for which in SETS:
        if any(row.on and row.source.startswith(PREFIX[which]) for row in rows):
            return which
    return ""
