"""Least squares in a box for a whole sequence: min over w of |B w - y|², 0 <= w <= 1, smooth in time, sparse.

Per frame  1/2 w'Aw - b'w + sparse sum(d w) + smooth/2 sum(d (w - w of the frames beside)²),  d = diag A, A = B'B.
Cyclic coordinate descent with clipping converges for such problems (Tseng 2001, theorem 4.1); with the normal matrix
given, a sweep over a frame costs k² operations and the frame before is the start.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from engine.core.errors import BadInput

SWEEPS = 400
TOLERANCE = 2e-6  # largest change of a weight in a sweep at which a sequence counts as solved


def solve_box_reference(normal: np.ndarray, right: np.ndarray, upper: float = 1.0) -> np.ndarray:
    """Plain twin without smoothness and sparsity: each frame by itself with scipy's bounded least squares."""
    from scipy.linalg import sqrtm
    from scipy.optimize import lsq_linear

    # |Rw - R^-T b|² with A = R'R has the same normal equations.
    root = np.real(sqrtm(normal + 1e-12 * np.trace(normal) / len(normal) * np.eye(len(normal))))
    goal = np.linalg.solve(root, right.T).T
    return np.stack([lsq_linear(root, y, bounds=(0, upper), tol=1e-12).x for y in goal])


def solve_box(
    normal: np.ndarray, right: np.ndarray, smooth: float = 0.0, sparse: float = 0.0, upper: float = 1.0,
    sweeps: int = SWEEPS, start: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """Weights [t, k] in [0, upper] of normal matrix A [k, k] and right sides b [t, k].

    smooth: stiffness between neighbouring frames, sparse: price of a weight, both as parts of the diagonal of A. A
    shape without extent (zero diagonal) keeps weight 0. start [t, k]: a solution that is nearly right. Raises BadInput
    for shapes that do not fit or values not finite.
    """
    normal, right = np.ascontiguousarray(normal, np.float64), np.ascontiguousarray(right, np.float64)
    if normal.ndim != 2 or right.ndim != 2 or normal.shape != (right.shape[1], right.shape[1]):
        raise BadInput(f"normal matrix {list(normal.shape)} and right sides {list(right.shape)} do not fit together")
    if not (np.isfinite(normal).all() and np.isfinite(right).all()):
        raise BadInput("the vertices to fit hold values that are not finite")
    weights = np.zeros_like(right) if start is None else np.array(start, np.float64)
    if right.size:
        warm = start is not None
        _kernel()(normal, right, weights, float(smooth), float(sparse), float(upper), int(sweeps), TOLERANCE, warm)
    return weights


@functools.cache
def _kernel() -> Callable[..., Any]:
    import numba

    @numba.njit(cache=True)
    def frame(a: np.ndarray, b: np.ndarray, w: np.ndarray, t: int, smooth: float, sparse: float, upper: float) -> float:
        most = 0.0
        for k in range(b.shape[1]):
            d = a[k, k]
            if d <= 0:
                continue
            pull, extra = 0.0, 0.0
            if smooth > 0:
                if t > 0:
                    pull += w[t - 1, k]
                    extra += 1
                if t + 1 < w.shape[0]:
                    pull += w[t + 1, k]
                    extra += 1
            gradient = -b[t, k] + sparse * d
            for j in range(b.shape[1]):
                gradient += a[k, j] * w[t, j]
            gradient += smooth * d * (extra * w[t, k] - pull)
            new = min(max(w[t, k] - gradient / (d * (1 + smooth * extra)), 0.0), upper)
            most = max(most, abs(new - w[t, k]))
            w[t, k] = new
        return most

    @numba.njit(cache=True)
    def solve(
        a: np.ndarray,
        b: np.ndarray,
        w: np.ndarray,
        smooth: float,
        sparse: float,
        upper: float,
        sweeps: int,
        least: float,
        warm: bool,
    ) -> None:
        frames = b.shape[0]
        for t in range(frames):  # every frame by itself, from the one before unless there is something better
            if warm and smooth > 0:
                break
            if t > 0 and not warm:
                w[t] = w[t - 1]
            for _ in range(sweeps):
                if frame(a, b, w, t, 0.0, sparse, upper) < least:
                    break
        if smooth > 0:
            for _ in range(sweeps):
                most = 0.0
                for t in range(frames):
                    most = max(most, frame(a, b, w, t, smooth, sparse, upper))
                for t in range(frames - 1, -1, -1):
                    most = max(most, frame(a, b, w, t, smooth, sparse, upper))
                if most < least:
                    break

    return solve
