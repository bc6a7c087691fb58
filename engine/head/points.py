"""Points spread over a face."""

from __future__ import annotations

import numpy as np

from engine.core.anatomy import Head
from engine.core.errors import BadInput

_MOVES_M = 0.002  # a point that no shape moves further tells nothing


def farthest(points: np.ndarray, count: int, given: np.ndarray | None = None) -> np.ndarray:
    """Indices of `count` of the points [n, 3] by farthest-point sampling, ascending. given: indices that are chosen
    already (none: it begins with the foremost point)."""
    chosen = [int(np.argmax(points[:, 2]))] if given is None else [int(i) for i in given[:count]]
    distance = np.linalg.norm(points[:, None] - points[chosen], axis=2).min(1)
    while len(chosen) < count:
        chosen.append(int(np.argmax(distance)))
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return np.sort(np.array(chosen))


def face_points(head: Head, count: int, given: np.ndarray | None = None) -> np.ndarray:
    """Vertices spread over the moving skin of the front. [count] int64, the same for the same head. Raises BadInput.

    given: vertices that are among them where they belong to that skin.
    """
    skin = np.asarray(head.masks["skin"]) > 0.5
    moves = np.linalg.norm(head.shapes, axis=2).max(0) > _MOVES_M
    rows = np.flatnonzero(skin & moves & (head.template[:, 2] > np.median(head.template[skin, 2])))
    if len(rows) < count:
        raise BadInput(f"the head '{head.name}' has only {len(rows)} moving skin points; {count} are needed")
    first = None if given is None else np.flatnonzero(np.isin(rows, given))
    return rows[farthest(head.template[rows].astype(np.float64), count, first)]
