"""Live preview: an avatar drawn as a client's evaluated meshes stand right now, through one shared memory block.

The client makes a plain file, maps it, and owns it (it alone removes it). The block holds the vertices of each
head, float32 [v, 3] in object space and the client's axes (Blender's: Z up), and a few slots for pictures.

open    {"id", "heads": [{"head", "avatar", "appearance", "offset", "count", "values"}, ...], "names": [...],
         "memory": {"path", "size", "slots": [[offset, size], ...]}}
  appearance: file of a net ("" or nothing: none). names, values: what the face does beside its mesh (below).
update  {"id", "seq", "slot", "size": [w, h], "format": "srgb8" | "float32", "planes": ["rgba", "depth", "normal"],
         "camera": {"view": 16 numbers, "fx", "fy", "cx", "cy", "orthographic"}, "objects": [16 numbers, ...],
         "fresh": bool}
  view: world (client's axes) to OpenCV camera axes, row-major; cx, cy in pixels from the left and the top edge.
  objects: object to world of each head. fresh: the vertices or the values changed since the last update.
done    {"id", "seq", "slot", "ms", "size", "planes": {name: offset}}; in the block bottom row first:
  rgba uint8 [h, w, 4] display values or float32 [h, w, 4] linear, premultiplied; depth float32 [h, w] metres along
  the view axis, 1e10 where alpha < 0.5; normal float32 [h, w, 3] in the client's world axes.

Colour channels and appearance nets follow the frame's shape weights, action units and emotion. A client that knows
them names them once (`names`: engine.avatar.face_values.NAMES, in any order; others are passed over) and keeps
float32 [names] for each head in the block, at its `values`; a number that is not finite is not known. Without `names`
an avatar is drawn as at rest in its colours, and a `warning` of the preview's id says so once. `opened` holds "values":
true where the engine reads them: an older one does not, and the client says it.

Of several waiting updates only the newest is drawn. A slot's picture counts only when its `done` was sent.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from engine.core.errors import BadInput, SoliloquyError
from engine.core.splats import Camera, Frame

if TYPE_CHECKING:
    from engine.avatar.face_values import FaceValues

LARGEST_SIDE = 8192  # pixels
PLANES = {"rgba": 4, "depth": 1, "normal": 3}  # channels
ALIGN = 64  # bytes


class Painter(Protocol):
    """Draws the heads of one preview. `engine.serve.paint.HeadPainter` is the real one."""

    counts: Sequence[int]  # vertices of each head
    gaussians: int
    notes: list[str]  # sentences on what the client will not see; whoever says them takes them off

    def pose(
        self, vertices: Sequence[np.ndarray], objects: np.ndarray, faces: Sequence[FaceValues | None] | None = None
    ) -> None:
        """vertices: [v, 3] float32 of each head (client's axes); objects [n, 4, 4] object to world; faces: what each
        face does beside its mesh, None where nobody says."""

    def draw(self, camera: Camera, planes: Sequence[str], leave_a_core: bool = False) -> Frame:
        """The posed heads from an OpenCV camera of the client's world; leave_a_core: the client draws meanwhile."""


class View:
    """One open preview: its mapped block, its heads and the way from an update to bytes in a slot."""

    def __init__(
        self, heads: list[Any], memory: dict[str, Any], painter: Callable[[list[dict[str, Any]]], Painter],
        names: object = None,
    ):  # fmt: skip
        from engine.avatar.face_values import Reader
        from engine.serve.pixels import pack_srgb8

        self._pack = pack_srgb8
        told = _names(names)
        self._reader = Reader(told)
        self._specs = [_head_spec(h, bool(told)) for h in heads]
        if not self._specs:
            raise BadInput("a live preview needs at least one head")
        self._block = _map(memory)
        try:
            self._slots = [(_whole(o), _whole(s)) for o, s in _pairs(memory.get("slots"))]
            for offset, size in self._slots:
                self._check_range(offset, size)
            self.painter = painter(self._specs)
            self._vertices = []
            for spec, count in zip(self._specs, self.painter.counts, strict=True):
                if spec["count"] != count:
                    raise BadInput(
                        f"the mesh has {spec['count']} vertices, head '{spec['head']}' has {count}; "
                        "switch off modifiers that change the topology, or mark the object with its own head"
                    )
                self._check_range(spec["offset"], count * 12)
                flat = np.frombuffer(self._block, np.float32, count * 3, spec["offset"])
                self._vertices.append(flat.reshape(count, 3))
            self._values = [self._row(spec["values"], len(told)) for spec in self._specs]
        except BaseException:
            self.close()
            raise
        self._objects: np.ndarray | None = None
        pack_srgb8(np.zeros((1, 1, 4), np.float32), np.zeros((1, 1, 4), np.uint8))  # compiled now, not in a redraw

    def paint(self, message: dict[str, Any]) -> dict[str, Any]:
        """Draw one update into its slot; the fields of `done`."""
        began = time.perf_counter()
        width, height = (_whole(n) for n in _sized(message["size"], 2, "size"))
        if not (1 <= width <= LARGEST_SIDE and 1 <= height <= LARGEST_SIDE):
            raise BadInput(f"a picture of {width}x{height} is outside 1 to {LARGEST_SIDE} pixels a side")
        planes = _sized(message.get("planes", ["rgba", "depth"]), None, "planes")
        if not set(planes) <= set(PLANES) or "rgba" not in planes:
            raise BadInput(f"planes must be 'rgba' and any of {', '.join(PLANES)}")
        objects = np.stack([_matrix(m, "objects") for m in _sized(message["objects"], len(self._specs), "objects")])
        camera = _camera(message["camera"], width, height)
        slot, form = message["slot"], message.get("format", "srgb8")
        offsets, end = layout(planes, form, width, height)
        if not 0 <= slot < len(self._slots) or end > self._slots[slot][1]:
            raise BadInput(f"a picture of {width}x{height} needs {end} bytes, more than slot {slot} of the block holds")
        if message.get("fresh", True) or self._objects is None or not np.array_equal(objects, self._objects):
            faces = [None if row is None else self._reader.read(row) for row in self._values]
            self.painter.pose(self._vertices, objects, faces)
            self._objects = objects
        frame = self.painter.draw(camera, planes, leave_a_core=form == "srgb8")  # 8 bits are for a live viewport
        base = self._slots[slot][0]
        for name in planes:
            self._write(frame, name, form, base + offsets[name])
        return {
            "slot": slot, "size": [width, height], "format": form, "ms": 1e3 * (time.perf_counter() - began),
            "planes": {name: base + offset for name, offset in offsets.items()},
        }  # fmt: skip

    def _write(self, frame: Frame, name: str, form: str, offset: int) -> None:
        height, width = frame.rgba.shape[:2]
        count = height * width * PLANES[name]
        if name == "rgba" and form == "srgb8":
            self._pack(frame.rgba, np.frombuffer(self._block, np.uint8, count, offset).reshape(height, width, 4))
            return
        image = getattr(frame, name)[::-1]
        out = np.frombuffer(self._block, np.float32, count, offset).reshape(image.shape)
        if name == "normal":  # engine axes -> Blender's: (x, -z, y)
            out[..., 0], out[..., 2] = image[..., 0], image[..., 1]
            np.negative(image[..., 2], out=out[..., 1])
        else:
            out[:] = image

    def _row(self, offset: int | None, count: int) -> np.ndarray | None:
        """A head's values in the block."""
        if offset is None:
            return None
        self._check_range(offset, 4 * count)
        return np.frombuffer(self._block, np.float32, count, offset)

    def _check_range(self, offset: int, size: int) -> None:
        if offset % 4 or not 0 <= offset <= offset + size <= len(self._block):
            raise BadInput("the shared block does not hold what its description says")

    def close(self) -> None:
        self._vertices, self._values = [], []
        with contextlib.suppress(BufferError):  # a picture still being drawn holds it; it goes with the last view of it
            self._block.close()


class Live:
    """All open previews. `post` is called by the reader, `serve` and `close` by the one worker thread."""

    def __init__(self, send: Callable[..., None], painter: Callable[[list[dict[str, Any]]], Painter] | None = None):
        self._send, self._painter = send, painter or _head_painter
        self._lock = threading.Lock()
        self._inbox: dict[tuple[str, str], dict[str, Any]] = {}  # (id, kind) -> message, in order; the latest wins
        self._views: dict[str, View] = {}

    def post(self, message: dict[str, Any]) -> None:
        """Take an open, update or close; an update replaces one of the same preview that still waits."""
        key = (message["id"], message["kind"])
        with self._lock:
            self._inbox.pop(key, None)
            self._inbox[key] = message

    def pending(self) -> bool:
        return bool(self._inbox)

    def serve(self) -> None:
        """Answer everything that waits."""
        while True:
            with self._lock:
                if not self._inbox:
                    return
                message = self._inbox.pop(next(iter(self._inbox)))
            getattr(self, "_" + message["kind"])(message)

    def close(self) -> None:
        for view in self._views.values():
            view.close()
        self._views.clear()

    def _open(self, message: dict[str, Any]) -> None:
        name = message["id"]
        try:
            view = View(message["heads"], message["memory"], self._painter, message.get("names"))
        except Exception as error:
            self._send("error", id=name, message=_sentence("the live preview", error))
            return
        self._views[name] = view
        self._send("opened", id=name, gaussians=view.painter.gaussians, values=True)
        self._say(name, view)

    def _update(self, message: dict[str, Any]) -> None:
        name, seq = message["id"], message["seq"]
        view = self._views.get(name)
        if view is None:
            return  # unknown ids are ignored
        try:
            done = view.paint(message)
        except Exception as error:
            self._send("fault", id=name, seq=seq, message=_sentence("the live preview", error))
            return
        self._send("done", id=name, seq=seq, **done)
        self._say(name, view)

    def _say(self, name: str, view: View) -> None:
        """What the painter noted, once."""
        while view.painter.notes:
            self._send("warning", id=name, message=view.painter.notes.pop(0))

    def _close(self, message: dict[str, Any]) -> None:
        view = self._views.pop(message["id"], None)
        if view is not None:
            view.close()
            self._send("result", id=message["id"], result={})


def layout(planes: Sequence[str], form: str, width: int, height: int) -> tuple[dict[str, int], int]:
    """Byte offsets of the planes within a slot, in order and aligned, and the bytes needed."""
    if form not in ("srgb8", "float32"):
        raise BadInput(f"format must be srgb8 or float32, got {form!r}")
    offsets, end = {}, 0
    for name in planes:
        offsets[name] = end
        size = width * height * PLANES[name] * (1 if form == "srgb8" and name == "rgba" else 4)
        end += -(-size // ALIGN) * ALIGN
    return offsets, end


def _head_painter(specs: list[dict[str, Any]]) -> Painter:
    from engine.serve.paint import HeadPainter

    return HeadPainter(specs)


def _sentence(where: str, error: Exception) -> str:
    if isinstance(error, SoliloquyError):
        return str(error)
    from engine.serve.loop import internal_error

    return internal_error(where, error)


def _map(memory: dict[str, Any]) -> mmap.mmap:
    path, size = memory.get("path"), memory.get("size")
    try:
        if not isinstance(path, str) or not os.path.isabs(path) or not os.path.isfile(path):
            raise BadInput("the shared block of a live preview is no file")
        if os.path.getsize(path) != size:
            raise BadInput(f"the shared block is {os.path.getsize(path)} bytes, its description says {size}")
        with open(path, "r+b") as f:
            return mmap.mmap(f.fileno(), 0)
    except OSError as error:
        raise BadInput(f"the shared block of a live preview cannot be opened ({error})") from None


def _head_spec(value: Any, told: bool) -> dict[str, Any]:
    """told: the client named the values that it sends."""
    if not isinstance(value, dict):
        raise BadInput("each head of a live preview must be an object")
    names = {"head": value.get("head", "default"), "avatar": value.get("avatar", "default")}
    names["appearance"] = value.get("appearance", "")
    if not all(isinstance(n, str) for n in names.values()):
        raise BadInput("head and avatar must be names, appearance a file")
    values = _whole(value["values"]) if told and value.get("values") is not None else None
    places = {"offset": _whole(value.get("offset")), "count": _whole(value.get("count")), "values": values}
    return {**names, **places, "told": values is not None}


def _names(value: object) -> list[str]:
    names = [] if value is None else _sized(value, None, "names")
    if not all(isinstance(name, str) for name in names):
        raise BadInput("'names' must be a list of names")
    return names


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise BadInput(f"expected a whole number, got {value!r}")
    return value


def _pairs(value: Any) -> list[list[Any]]:
    return [_sized(pair, 2, "slots") for pair in _sized(value, None, "slots")]


def _sized(value: Any, length: int | None, name: str) -> list[Any]:
    if not isinstance(value, list) or (length is not None and len(value) != length):
        raise BadInput(f"'{name}' must be a list" + ("" if length is None else f" of {length}"))
    return value


def _matrix(value: Any, name: str) -> np.ndarray:
    try:
        matrix = np.array(_sized(value, 16, name), np.float64).reshape(4, 4)
    except (TypeError, ValueError):
        matrix = np.full((4, 4), np.nan)
    if not np.isfinite(matrix).all():
        raise BadInput(f"'{name}' must hold 16 finite numbers a matrix")
    return matrix


def _camera(value: dict[str, Any], width: int, height: int) -> Camera:
    numbers = [value.get(k) for k in ("fx", "fy", "cx", "cy")]
    if not all(isinstance(n, int | float) and np.isfinite(n) for n in numbers) or not numbers[0] or not numbers[1]:
        raise BadInput("a camera must have finite fx, fy, cx, cy, and fx, fy other than zero")
    fx, fy, cx, cy = (float(n) for n in numbers)  # type: ignore[arg-type]
    view = _matrix(value.get("view"), "view")
    return Camera(width, height, fx, fy, cx, cy, view, bool(value.get("orthographic", False)))
