"""The private folder through which arrays travel to the client."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np


class Session:
    """A new folder that only this user may enter (mode 0700), removed by `close`."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="soliloquy-"))  # mkdtemp makes it 0700
        self._count = 0

    def put(self, array: np.ndarray, name: str) -> dict[str, Any]:
        """Write a numeric array as .npy and return {"path", "shape", "dtype"} for a message.

        The file appears under its name only when it is whole. The client deletes it after use.
        """
        array = np.asarray(array)
        if array.dtype.hasobject:
            raise TypeError(f"array '{name}' holds Python objects, which are never sent")
        self._count += 1
        safe = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:60]
        path = self.folder / f"{self._count:05d}-{safe}.npy"
        part = path.with_suffix(".npy.part")
        with open(part, "wb") as f:
            np.save(f, array, allow_pickle=False)
        os.replace(part, path)
        return {"path": str(path), "shape": list(array.shape), "dtype": array.dtype.name}

    def put_all(self, result: dict[str, Any]) -> dict[str, Any]:
        """A job's result with every numpy array under "arrays" written and replaced by its description."""
        arrays = result.get("arrays")
        if not arrays:
            return result
        sent = {k: self.put(v, k) if isinstance(v, np.ndarray) else v for k, v in arrays.items()}
        return {**result, "arrays": sent}

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
