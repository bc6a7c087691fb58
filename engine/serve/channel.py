"""The engine's private ends of stdin and stdout.

Libraries print, and programs that a job starts inherit fds 0 and 1: one stray byte would break the
protocol. So the real pipes are moved to private descriptors, fd 1 then leads to stderr (the log) and fd 0
to nothing.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from typing import Any, BinaryIO

from engine.serve import protocol


class Channel:
    """Lines in, lines out. `send` may be called from any thread; a line is never torn."""

    def __init__(self, reader: BinaryIO, write_fd: int):
        self._reader, self._write_fd = reader, write_fd
        self._lock = threading.Lock()

    @classmethod
    def take_standard_streams(cls) -> Channel:
        """Move stdin and stdout of this process to private descriptors. Call once, before anything prints."""
        sys.stdout.flush()
        read_fd, write_fd = os.dup(0), os.dup(1)  # not inherited by children
        os.dup2(2, 1)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        return cls(os.fdopen(read_fd, "rb", buffering=protocol.LINE_LIMIT), write_fd)

    def send(self, kind: str, **fields: Any) -> None:
        """Write one message. Raises OSError when the client is gone, ValueError or TypeError for odd data."""
        line = protocol.encode(kind, **fields)
        with self._lock:
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(self._write_fd, rest) :]

    def lines(self) -> Iterator[bytes]:
        """Request lines until the client closes its end. Of an oversized line only the beginning is given."""
        while line := self._reader.readline(protocol.LINE_LIMIT + 1):
            part = line
            while part and not part.endswith(b"\n"):  # swallow the rest of a line that is too long
                part = self._reader.readline(protocol.LINE_LIMIT + 1)
            if line.strip():
                yield line
