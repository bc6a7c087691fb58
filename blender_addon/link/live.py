"""`LiveView`: one live preview (or final render) of avatars posed by the caller's meshes.

The caller owns the shared block; two slots alternate, one request is in flight at a time, and only the engine's
`done` publishes a picture. The waiting policy keeps Blender's window alive: after sending, wait at most 20 ms,
and not even that when the last picture took longer; then the caller draws the last picture and asks again when
the engine has answered. docs/design.md has the protocol, engine/serve/live.py its fields.
"""

from __future__ import annotations

import contextlib
import os
import struct
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .client import Engine
from .config import EngineError
from .shm import SharedBlock

BUDGET_S = 0.02  # how long one redraw may wait for the engine
STUCK_S = 10.0  # an engine that owes a picture for so long, with no job at work, is ended and started again
OPEN_S = 180.0  # opening loads an avatar and compiles kernels when run for the first time
RETRY_S = (0.0, 1.0, 2.0, 5.0, 15.0)  # pauses before the engine is started again after failures in a row
OVERHEAD_S = 0.001  # pipe and wake-up beside the drawing itself
LOOK_S = 1.0  # how often an open view looks whether its files were written anew
ALIGN = 64
UNKNOWN = struct.pack("f", float("nan"))
OLDER = (
    "This engine is older than the add-on: avatars are drawn without colour channels and appearance nets; "
    "run install.py again"
)
CHANNELS = {"rgba": 4, "depth": 1, "normal": 3}


@dataclass(frozen=True)
class HeadSpec:
    """One avatar of a view: head (registry name), avatar (registry name or file), the vertex count of its mesh, and
    the file of its appearance net, if it has one. files: what `dated` found; a file written anew is another avatar."""

    head: str
    avatar: str
    count: int
    appearance: str = ""
    files: tuple[tuple[int, int], ...] = ()

    def dated(self) -> HeadSpec:
        """With (mtime in ns, bytes) of avatar and net as they lie on disk; (0, 0) for a name and for no file."""
        return replace(self, files=tuple(_stamp(path) for path in (self.avatar, self.appearance)))


@dataclass(frozen=True)
class Request:
    """What a picture shall show. camera: the fields of the protocol's "camera"; objects: 16 numbers a head; values:
    what each face does beside its mesh, float32 numbers in the order of the view's names."""

    size: tuple[int, int]
    camera: dict[str, Any]
    objects: tuple[tuple[float, ...], ...]
    format: str = "srgb8"  # or "float32"
    planes: tuple[str, ...] = ("rgba", "depth")
    values: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Picture:
    """A finished picture: planes of bytes in the shared block, bottom row first. Read before the next but one."""

    seq: int
    request: Request
    planes: dict[str, memoryview]
    ms: float


Writer = Callable[[list[memoryview]], None]


class _Ear:
    """What the engine's client keeps of a view, so that a view that nobody holds any more can go."""

    def __init__(self, view: LiveView):
        self._view = weakref.ref(view)

    @property
    def opening(self) -> bool:
        view = self._view()
        return view is not None and view.opening

    @property
    def rendering(self) -> bool:
        view = self._view()
        return view is not None and view.rendering

    def receive(self, message: dict[str, Any]) -> bool:
        view = self._view()
        return view is None or view.receive(message)

    def fail(self, sentence: str) -> None:
        view = self._view()
        if view is not None:
            view.fail(sentence)


class LiveView:
    """One view; it closes itself when it is let go.

    `error` holds a sentence while something is wrong; `picture` is the last good picture, or None; `notes` what the
    engine would have said once: whoever shows it takes it off. names: of the requests' values.
    """

    def __init__(
        self, engine: Engine, slots: int = 2, budget_s: float = BUDGET_S, stuck_s: float = STUCK_S,
        names: Sequence[str] = (),
    ):  # fmt: skip
        self.engine, self.budget_s, self.stuck_s = engine, budget_s, stuck_s
        self.names, self.notes = tuple(names), list[str]()
        self.picture: Picture | None = None
        self.error = ""
        self.round_trip_s = 0.0  # of the last picture: whether the next is worth waiting for
        self._at_the_pipe = False
        self._slots = slots
        self._id = ""
        self._heads: tuple[HeadSpec, ...] = ()
        self._block: SharedBlock | None = None
        self._slot_size = self._first_slot = 0
        self._ready = False
        self._opened_at = 0.0
        self._refused: tuple[HeadSpec, ...] | None = None  # heads that the engine would not take
        self._seq = 0
        self._flight: tuple[int, Request, float] | None = None  # seq, request, when it was sent
        self._sent: Request | None = None
        self._stale = True  # the vertices changed since they were last sent
        self._failures, self._retry_at = 0, 0.0
        self._look_at = 0.0

    # What the caller does ------------------------------------------------------------------------------

    @property
    def waiting(self) -> bool:
        """Whether an answer of the engine is owed; the caller's timer should then call `poll` often."""
        return bool(self._id) and (self._flight is not None or self.opening)

    @property
    def opening(self) -> bool:
        """Whether the engine is loading the avatars (and, the first time, compiling)."""
        return bool(self._id) and not self._ready

    @property
    def rendering(self) -> bool:
        """Whether a final picture is being drawn, which may take long."""
        return self._slots == 1 and self._flight is not None

    def poll(self) -> bool:
        """Take what has arrived, end an engine that is stuck. True when a redraw would show something new."""
        before = (self.picture, self._ready, self.error, len(self.notes))
        self.engine.pump()
        now = time.monotonic()
        if self._flight is not None and now - self._flight[2] > self.stuck_s and not self.engine.busy:
            self.engine.kill(f"The engine did not draw for {self.stuck_s:.0f} s and was ended")
        elif self.opening and now - self._opened_at > OPEN_S:
            self.engine.kill(f"The engine did not open the avatar within {OPEN_S:.0f} s and was ended")
        due = bool(self.error) and self._refused is None and not self._id and now >= self._retry_at
        return (self.picture, self._ready, self.error, len(self.notes)) != before or due or self._rewritten(now)

    def show(self, heads: Sequence[HeadSpec], request: Request, write: Writer, changed: bool) -> Picture | None:
        """Ask for a picture if anything differs from the last one, wait within the budget, return the newest.

        write: fills one float32 memoryview [count * 3] for each head; called only when its values are sent.
        changed: the meshes may have moved since the last call.
        """
        self._stale |= changed
        self.poll()
        if not self._prepare(tuple(head.dated() for head in heads), request):
            return self.picture
        if self._flight is not None:
            self._wait()
        if self._flight is None and self._ready and (self._stale or request != self._sent):
            self._send(request, write)
            self._wait()
        return self.picture

    def render(
        self, heads: Sequence[HeadSpec], request: Request, write: Writer, should_stop: Callable[[], bool],
        limit_s: float = 600.0,
    ) -> Picture | None:  # fmt: skip
        """One final picture, however long it takes; None when `should_stop()` said so. Raises EngineError."""
        end = time.monotonic() + limit_s
        self.engine.pump()  # a death since the last picture is no failure of this one
        self._failures, self._retry_at, self._refused = 0, 0.0, None
        self.error, self._stale, self._flight = "", True, None
        if not self._prepare(tuple(head.dated() for head in heads), request):
            raise EngineError(self.error)
        while time.monotonic() < end:
            if should_stop():
                return None
            if self._ready and self._flight is None:
                self._send(request, write)
            seq = self._seq
            if self._ready and self.engine.wait(0.1, lambda: self._flight is None):
                if self.picture is not None and self.picture.seq == seq and not self.error:
                    return self.picture
                raise EngineError(self.error or "The engine made no picture")
            self.poll()
            if self.error:
                raise EngineError(self.error)
            if not self._ready:
                self.engine.wait(0.1, lambda: self._ready or bool(self.error))
        raise EngineError(f"The engine made no picture within {limit_s:.0f} s")

    def close(self) -> None:
        """End the preview and remove its memory. The view can be used again."""
        if self._id and self.engine.running:
            self.engine.forget(self._id)
            self.engine.send({"kind": "close", "id": self._id})
        self._drop()
        self.error, self._failures, self._refused = "", 0, None
        self.picture = None

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # at the interpreter's end anything may be gone already
            self.close()

    # What the engine says ------------------------------------------------------------------------------

    def receive(self, message: dict[str, Any]) -> bool:
        kind = message["kind"]
        if kind == "opened":
            self._ready, self.error = True, ""
            if self.names and not message.get("values"):
                self.notes.append(OLDER)
            if self._block:
                self._block.unlink()
        elif kind == "warning":
            self.notes.append(str(message["message"]))
        elif kind in ("done", "fault") and self._flight is not None and message["seq"] == self._flight[0]:
            seq, request, sent = self._flight
            self._flight = None
            if kind == "fault":
                self.error = str(message["message"])
            else:
                # An answer that lay in the pipe until somebody looked says nothing about the time it took.
                drawn_s = float(message["ms"]) / 1000 + OVERHEAD_S
                self.round_trip_s = time.monotonic() - sent if self._at_the_pipe else drawn_s
                self.picture = Picture(seq, request, self._planes(message, request), float(message["ms"]))
                self.error, self._failures = "", 0
        elif kind == "error":
            self._refused = self._heads
            self._drop()
            self.error = str(message["message"])
            return True
        return bool(kind == "result")

    def fail(self, sentence: str) -> None:
        """The engine is gone: keep the last picture, try again after a pause that grows."""
        self._drop()
        self.error = sentence
        self._retry_at = time.monotonic() + RETRY_S[min(self._failures, len(RETRY_S) - 1)]
        self._failures += 1

    # Inside --------------------------------------------------------------------------------------------

    def _rewritten(self, now: float) -> bool:
        """Whether a file of the shown (or refused) heads has changed since they were sent; looked up now and then."""
        if now < self._look_at:
            return False
        self._look_at = now + LOOK_S
        return any(head.dated() != head for head in self._heads or self._refused or ())

    def _prepare(self, heads: tuple[HeadSpec, ...], request: Request) -> bool:
        """Have an open view that fits; False when there is none and why is in `error`."""
        needed = slot_bytes(request)
        if self._id and heads == self._heads and needed <= self._slot_size:
            return True
        if heads == self._refused or (self.error and time.monotonic() < self._retry_at):
            return False
        if self._flight is not None and self._id:
            self._wait()  # let a picture on its way arrive; its slot is about to go
        old = (self._id, self._block)
        try:
            self.engine.start()
            self._open(heads, needed + needed // 4 if self._slots > 1 else needed)
        except EngineError as error:
            self.fail(str(error))
            if old[1]:
                old[1].close()
            return False
        if old[0]:  # after the new one: what both use stays loaded in the engine
            self.engine.forget(old[0])
            self.engine.send({"kind": "close", "id": old[0]})
        if old[1]:
            old[1].close()
        return True

    def _open(self, heads: tuple[HeadSpec, ...], slot_size: int) -> None:
        described, offset = [], 0
        for head in heads:
            here = {"head": head.head, "avatar": head.avatar, "offset": offset, "count": head.count}
            here["values"] = offset + _aligned(head.count * 12)
            described.append({**here, "appearance": head.appearance} if head.appearance else here)
            offset += self._room(head)
        slot_size = _aligned(slot_size)
        slots = [[offset + i * slot_size, slot_size] for i in range(self._slots)]
        block = SharedBlock(offset + self._slots * slot_size)
        name = self.engine.new_id()
        memory = {"path": block.path, "size": block.size, "slots": slots}
        # Before the request goes: another thread may take its answer at once.
        self._id, self._heads, self._block, self._slot_size = name, heads, block, slot_size
        self._first_slot, self._refused, self._ready = offset, None, False
        self.notes.clear()  # they were of the avatars before
        self._flight, self._sent, self._stale, self._opened_at = None, None, True, time.monotonic()
        message = {"kind": "open", "id": name, "heads": described, "memory": memory, "names": list(self.names)}
        self.engine.send(message, _Ear(self))

    def _send(self, request: Request, write: Writer) -> None:
        assert self._block is not None
        told = bool(self.names) and (self._sent is None or request.values != self._sent.values)
        fresh = self._stale or told
        if fresh:
            self._write(request, write if self._stale else None)
        self._seq += 1
        message = {
            "kind": "update", "id": self._id, "seq": self._seq, "slot": self._seq % self._slots,
            "size": list(request.size), "format": request.format, "planes": list(request.planes),
            "camera": request.camera, "objects": [list(m) for m in request.objects], "fresh": fresh,
        }  # fmt: skip
        # Before the request goes, as in `_open`.
        self._flight, self._sent, self._stale = (self._seq, request, time.monotonic()), request, False
        try:
            self.engine.send(message)
        except EngineError:
            self._flight, self._stale = None, True
            raise

    def _room(self, head: HeadSpec) -> int:
        """Bytes of a head in the block: its vertices, then its values."""
        return _aligned(head.count * 12) + _aligned(4 * len(self.names))

    def _write(self, request: Request, write: Writer | None) -> None:
        """Fill the block with the values, and by `write` with the vertices."""
        assert self._block is not None
        views: list[Any] = []
        offset = 0
        for i, head in enumerate(self._heads):
            size = head.count * 12
            views.append(self._block.memory[offset : offset + size].cast("f"))
            if self.names:
                size = 4 * len(self.names)
                start = offset + _aligned(head.count * 12)
                self._block.memory[start : start + size] = (
                    request.values[i] if request.values else UNKNOWN * len(self.names)
                )
            offset += self._room(head)
        if write is not None:
            write(views)

    def _wait(self) -> None:
        if self.round_trip_s <= self.budget_s:
            self._at_the_pipe = True
            self.engine.wait(self.budget_s, lambda: self._flight is None)
            self._at_the_pipe = False
            if self._flight is not None:
                # Slow from now on; do not wait again before a picture has come quickly.
                self.round_trip_s = max(self.round_trip_s, time.monotonic() - self._flight[2])
        else:
            self.engine.pump()

    def _planes(self, message: dict[str, Any], request: Request) -> dict[str, memoryview]:
        """The published slot's planes, each checked to lie in the block."""
        assert self._block is not None
        planes = {}
        for name in request.planes:
            offset, size = int(message["planes"][name]), plane_bytes(request, name)
            if not self._first_slot <= offset <= offset + size <= self._block.size:
                raise ValueError(f"plane {name} lies outside the shared block")
            planes[name] = self._block.memory[offset : offset + size]
        return planes

    def _drop(self) -> None:
        self._id, self._ready, self._flight, self._sent, self._stale = "", False, None, None, True
        self._heads, self._slot_size = (), 0
        if self._block is not None:
            self._block.close()
            self._block = None


def _stamp(path: str) -> tuple[int, int]:
    try:
        stat = os.stat(path) if os.path.isabs(path) else None
    except OSError:
        stat = None
    return (stat.st_mtime_ns, stat.st_size) if stat else (0, 0)


def plane_bytes(request: Request, name: str) -> int:
    """Bytes of one plane: 8-bit colour in srgb8, float32 otherwise."""
    width, height = request.size
    return width * height * CHANNELS[name] * (1 if request.format == "srgb8" and name == "rgba" else 4)


def slot_bytes(request: Request) -> int:
    """Bytes of one slot: its planes, each aligned."""
    return sum(_aligned(plane_bytes(request, name)) for name in request.planes)


def _aligned(size: int) -> int:
    return -(-size // ALIGN) * ALIGN
