"""FACS action units -> ARKit weights and the extra channels, by the table action_units.json.

Table after Apple's shape names, the ICT-FaceKit list and M. Ozel's ARKit-to-FACS sheet; gains set by eye on the default
head so that every unit at 1.0 (FACS intensity E) reads clearly.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.core.errors import BadFile, BadInput
from engine.core.files import read_json
from engine.core.names import ARKIT, ARKIT_INDEX, AUS, EXTRA, EXTRA_INDEX, SIDES

TABLE = Path(__file__).with_name("action_units.json")


@dataclass(frozen=True)
class Table:
    """matrix [18, 2, 59]: weight of every shape (ARKit, then extra) for each AU and side; join_max [59] bool: columns
    where contributions are not summed but the largest counts; hidden [2][...]: what a blink of this side fades;
    raised [2][...]: (column, share) of what the inner brow's raiser (AU01) of this side takes off."""

    matrix: np.ndarray
    join_max: np.ndarray
    hidden: tuple[tuple[int, ...], tuple[int, ...]]
    raised: tuple[tuple[tuple[int, float], ...], tuple[tuple[int, float], ...]]


def _column(name: str) -> int:
    if name in ARKIT_INDEX:
        return ARKIT_INDEX[name]
    return len(ARKIT) + EXTRA_INDEX[name]


def other_side(name: str) -> str:
    """A left shape's right twin; a shape without a side is its own."""
    if name.endswith("Left"):
        return name[:-4] + "Right"
    return name[:-2] + "_R" if name.endswith("_L") else name


@functools.cache
def table() -> Table:
    """The shipped table. Raises BadFile if it names an unknown unit or shape."""
    raw = read_json(TABLE)
    matrix = np.zeros((len(AUS), 2, len(ARKIT) + len(EXTRA)), np.float32)
    try:
        for unit, mixture in raw["units"].items():
            for name, weight in mixture.items():
                row, twin = AUS.index(unit), other_side(name)
                sides = (name, twin)
                share = 1.0 if twin != name or name in raw["join_max"] else 0.5  # a middle shape is fed from both sides
                for side, shape in enumerate(sides):
                    matrix[row, side, _column(shape)] += share * weight
        join = np.zeros(matrix.shape[2], bool)
        join[[_column(name) for name in raw["join_max"]]] = True
        hides = raw["blink_hides"]
        hidden = (tuple(map(_column, hides)), tuple(_column(other_side(n)) for n in hides))
        lifted = {name: float(share) for name, share in raw.get("raised_hides", {}).items()}
        raised = (
            tuple((_column(n), s) for n, s in lifted.items()),
            tuple((_column(other_side(n)), s) for n, s in lifted.items()),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise BadFile(TABLE, f"is not a table of action units ({error})") from None
    return Table(matrix, join, hidden, raised)


def to_shapes(au: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """au [t, 18, 2] (left, right; 0-1) -> (arkit [t, 52], extra [t, 7]) float32, weights at least 0.

    Units add up; jawOpen takes the largest contribution; a blink fades that side's squint and wide (a closed lid can
    be neither), and a raised inner brow most of the frown's pull downwards: AU01 + AU04 are the oblique brows of
    sadness (FACS 1 + 4), not level ones.
    """
    au = np.asarray(au, np.float32)
    if au.ndim != 3 or au.shape[1:] != (len(AUS), len(SIDES)):
        raise BadInput(f"action units must be [frames, {len(AUS)}, 2], got {list(au.shape)}")
    t = table()
    weights = np.einsum("tas,ask->tk", au, t.matrix)
    join = np.flatnonzero(t.join_max)
    weights[:, join] = (au[..., None] * t.matrix[..., join]).max((1, 2))
    for side, columns in enumerate(t.hidden):
        weights[:, columns] *= 1 - np.clip(au[:, AUS.index("AU45"), side], 0, 1)[:, None]
    for side, rows in enumerate(t.raised):
        for column, share in rows:
            weights[:, column] *= 1 - share * np.clip(au[:, AUS.index("AU01"), side], 0, 1)
    weights = np.maximum(weights, 0)
    return weights[:, : len(ARKIT)], weights[:, len(ARKIT) :]
