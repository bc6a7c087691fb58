"""Opens the arrays of an engine's answer, trusting nothing in it but the numbers.

An answer names `.npy` files in the session's private folder with their shape and dtype. They are opened
memory-mapped and without pickle; a path outside that folder, another shape or dtype, is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

DTYPES = ("float32", "float64", "float16", "int64", "int32", "int16", "uint8", "bool")


class BadArray(ValueError):
    """The engine's answer names an array that cannot be trusted or does not fit."""


def open_array(spec: Mapping[str, Any], folder: str | Path, name: str = "array") -> np.ndarray:
    """Read-only memory map of one array. spec: {"path", "shape", "dtype"}; folder: the session's folder."""
    try:
        path, shape, dtype = Path(str(spec["path"])), tuple(int(n) for n in spec["shape"]), str(spec["dtype"])
    except (KeyError, TypeError, ValueError) as error:
        raise BadArray(f"the engine's answer describes {name} wrongly ({error})") from None
    home = Path(folder).resolve()
    real = (path if path.is_absolute() else home / path).resolve()
    if home not in real.parents:
        raise BadArray(f"the engine's answer places {name} outside the session's folder")
    if dtype not in DTYPES:
        raise BadArray(f"the engine's answer gives {name} the type {dtype!r}, which is not a plain number")
    try:
        array = np.load(real, mmap_mode="r" if np.prod(shape) else None, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BadArray(f"{name} of the engine's answer cannot be read ({error})") from None
    if array.shape != shape or array.dtype != np.dtype(dtype):
        raise BadArray(f"{name} is {array.dtype} {list(array.shape)}, the engine announced {dtype} {list(shape)}")
    return array


def open_arrays(
    specs: Mapping[str, Mapping[str, Any]], folder: str | Path, want: Mapping[str, tuple[int | str, ...]]
) -> dict[str, np.ndarray]:
    """All wanted arrays. want: name -> shape, with letters for sizes that only have to agree with each other.

    >>> open_arrays(answer["arrays"], folder, {"template": ("v", 3), "shapes": ("k", "v", 3)})  # doctest: +SKIP
    """
    sizes: dict[str, int] = {}
    arrays: dict[str, np.ndarray] = {}
    for name, shape in want.items():
        if name not in specs:
            raise BadArray(f"the engine's answer has no {name}")
        array = open_array(specs[name], folder, name)
        if array.ndim != len(shape):
            raise BadArray(f"{name} must be {list(shape)}, got {list(array.shape)}")
        for size, expected in zip(array.shape, shape, strict=True):
            wanted = sizes.setdefault(expected, size) if isinstance(expected, str) else expected
            if size != wanted:
                raise BadArray(f"{name} must be {list(shape)} with {expected} = {wanted}, got {list(array.shape)}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise BadArray(f"{name} of the engine's answer holds values that are not finite")
        arrays[name] = array
    return arrays
