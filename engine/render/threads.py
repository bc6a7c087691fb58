"""A few threads that run the same kernel on their share of the work.

Kernels release the GIL, so plain Python threads reach all cores; numba's own layers are avoided because one of them
ends the process when two renders overlap, and OpenMP's spin when Blender keeps the cores busy.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def available_threads() -> int:
    """Cores that this process may use, at most 16; SOLILOQUY_THREADS overrides."""
    asked = os.environ.get("SOLILOQUY_THREADS", "")
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, 16)


class Team:
    """`run(kernel, *args)` calls kernel(part, parts, *args) once per thread and returns when all are done."""

    def __init__(self, threads: int):
        self.threads = max(1, int(threads))
        self._pool = ThreadPoolExecutor(self.threads - 1, "raster") if self.threads > 1 else None

    def run(self, kernel: Callable[..., Any], *args: Any) -> None:
        if self._pool is None:
            kernel(0, 1, *args)
            return
        others = [self._pool.submit(kernel, part, self.threads, *args) for part in range(1, self.threads)]
        try:
            kernel(0, self.threads, *args)
        finally:
            for other in others:
                other.result()
