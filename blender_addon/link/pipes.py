"""Reading and writing a child's pipes without ever waiting.

POSIX has non-blocking pipes. Python's are blocking on Windows (before 3.12), so there two small threads do the
waiting; they touch nothing but bytes. Both classes have the same four methods.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import subprocess
import sys
import threading
import time

CHUNK = 65536


class PosixPipes:
    """Non-blocking descriptors."""

    def __init__(self, process: subprocess.Popen[bytes]):
        assert process.stdin and process.stdout
        self._stdin, self._stdout = process.stdin, process.stdout
        self._rest = b""
        for stream in (self._stdin, self._stdout):
            os.set_blocking(stream.fileno(), False)

    def read(self) -> tuple[bytes, bool]:
        """(everything that has arrived, whether the child has closed its end)."""
        parts: list[bytes] = []
        while True:
            try:
                part = os.read(self._stdout.fileno(), CHUNK)
            except BlockingIOError:
                return b"".join(parts), False
            except (OSError, ValueError):
                return b"".join(parts), True
            if not part:
                return b"".join(parts), True
            parts.append(part)

    def write(self, data: bytes = b"") -> None:
        """Send `data` after what is still unsent; what the pipe does not take now goes with the next call."""
        self._rest += data
        try:
            while self._rest:
                self._rest = self._rest[os.write(self._stdin.fileno(), self._rest) :]
        except BlockingIOError:
            pass
        except (OSError, ValueError):
            self._rest = b""  # the child is gone, which `read` reports

    def wait(self, seconds: float) -> None:
        """Return when something has arrived, at the latest after `seconds`."""
        with contextlib.suppress(OSError, ValueError):
            writing = [self._stdin] if self._rest else []
            select.select([self._stdout], writing, [], max(0.0, seconds))

    def close(self) -> None:
        for stream in (self._stdin, self._stdout):
            with contextlib.suppress(OSError):
                stream.close()


class ThreadPipes:
    """Blocking pipes behind two threads (Windows)."""

    def __init__(self, process: subprocess.Popen[bytes]):
        assert process.stdin and process.stdout
        self._stdin, self._stdout = process.stdin, process.stdout
        self._arrived: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._leaving: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._news = threading.Event()
        self._closed = False
        for target in (self._pull, self._push):
            threading.Thread(target=target, name="soliloquy-pipe", daemon=True).start()

    def _pull(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while part := os.read(self._stdout.fileno(), CHUNK):
                self._arrived.put(part)
                self._news.set()
        self._closed = True
        self._news.set()

    def _push(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while (data := self._leaving.get()) is not None:
                self._stdin.write(data)
                self._stdin.flush()
        with contextlib.suppress(OSError):
            self._stdin.close()

    def read(self) -> tuple[bytes, bool]:
        self._news.clear()
        closed = self._closed  # before emptying the queue: what came earlier is then in it
        parts = []
        with contextlib.suppress(queue.Empty):
            while True:
                parts.append(self._arrived.get_nowait())
        return b"".join(parts), closed

    def write(self, data: bytes = b"") -> None:
        if data:
            self._leaving.put(data)

    def wait(self, seconds: float) -> None:
        if self._arrived.empty() and not self._closed:
            self._news.wait(max(0.0, seconds))

    def close(self) -> None:
        self._leaving.put(None)


def pipes_of(process: subprocess.Popen[bytes]) -> PosixPipes | ThreadPipes:
    return ThreadPipes(process) if sys.platform == "win32" else PosixPipes(process)


def wait_for_exit(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether the process ended within `seconds`."""
    end = time.monotonic() + seconds
    while process.poll() is None:
        if time.monotonic() >= end:
            return False
        time.sleep(0.005)
    return True
