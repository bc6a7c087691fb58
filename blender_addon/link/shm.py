"""A block of memory shared with the engine: a mapped plain file that this side makes and removes.

`multiprocessing.shared_memory` is not used: before Python 3.13 a child that attaches to a block removes it at
its own exit.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import sys
import tempfile

from .config import EngineError


class SharedBlock:
    """`size` bytes, zero at first. `path`: what the engine opens; `memory`: the bytes here.

    Raises EngineError when neither the RAM disk nor the temporary folder has the room.
    """

    def __init__(self, size: int, folders: list[str] | None = None):
        self.size = size
        self.path, self._map = _make(size, folders or _folders())
        self._named = True
        self.memory = memoryview(self._map)

    def unlink(self) -> None:
        """Take the name away as soon as the engine has mapped it: then nothing is left behind by any crash.

        Windows cannot remove an open file; there `close` does it.
        """
        if self._named:
            with contextlib.suppress(FileNotFoundError):
                try:
                    os.unlink(self.path)
                except PermissionError:
                    return
            self._named = False

    def close(self) -> None:
        with contextlib.suppress(BufferError):  # a picture still in use keeps the mapping until it goes
            self.memory.release()
            self._map.close()
        self.unlink()


def _folders() -> list[str]:
    ram = ["/dev/shm"] if sys.platform.startswith("linux") and os.path.isdir("/dev/shm") else []
    return [*ram, tempfile.gettempdir()]


def _make(size: int, folders: list[str]) -> tuple[str, mmap.mmap]:
    error: OSError | None = None
    for folder in folders:
        path = ""
        try:
            fd, path = tempfile.mkstemp(prefix="soliloquy-", suffix=".block", dir=folder)  # mode 0600
            try:
                if hasattr(os, "posix_fallocate"):
                    # Reserve now: on a full RAM disk a sparse file would end the process at the first write.
                    os.posix_fallocate(fd, 0, size)
                else:
                    os.truncate(fd, size)
                return path, mmap.mmap(fd, size)
            finally:
                os.close(fd)
        except OSError as problem:
            error = problem
            if path:
                with contextlib.suppress(OSError):
                    os.unlink(path)
    raise EngineError(f"There is no room for {size / 1e6:.0f} MB of shared memory ({error}); free some disk space")
