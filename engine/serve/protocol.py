"""The words between a client (the Blender add-on) and the engine: one UTF-8 JSON object per line.

Every message is {"v": 1, "kind": ..., ...}. Requests are small (64 KiB at most) and carry paths, never arrays.

To the engine                                     From the engine
  hello                                             hello    protocol, version, session, pid, jobs, systems
  start   id, job, request                          progress id, stage, done, total     (about 20 a second)
  cancel  id                                        warning  id or null, message
  shutdown                                          result | cancelled | error          exactly one per id
  open    id, heads, memory, names                  opened   id, gaussians, values
  update  id, seq, slot, size, format, ...          done     id, seq, slot, ms | fault id, seq, message
  close   id                                        result   (the one answer of the preview's id)

A live preview is one id from `open` to `close`: `opened` (or `error`, which ends it), then one `done` or
`fault` for each picture that was not overtaken by a newer `update`, then `result`. See engine/serve/live.py.
"""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np

from engine.core.errors import BadInput

VERSION = 1
LINE_LIMIT = 64 * 1024  # bytes of one request, newline included
ANSWER_LIMIT = 1024 * 1024  # bytes of one answer; anything larger belongs into an array file
ID_LIMIT = 80  # characters

# What a client may say -> the fields that must be there, with their types.
REQUESTS: dict[str, dict[str, type]] = {
    "hello": {},  # who are you? answered at once, also while a job runs
    "start": {"id": str, "job": str, "request": dict},  # queue one job
    "cancel": {"id": str},  # stop it; an id that is unknown or over is ignored
    "shutdown": {},  # cancel everything and exit; so does the end of stdin
    "open": {"id": str, "heads": list, "memory": dict},  # begin a live preview in a shared memory block
    "update": {"id": str, "seq": int, "slot": int, "size": list, "camera": dict, "objects": list},  # one picture
    "close": {"id": str},  # end a live preview; the memory is the client's to remove
}
# What the engine says.
ANSWERS = {
    "hello",  # protocol, version, session folder, pid, names of jobs, motion systems (engine.motion.base.offered)
    "progress",  # id, stage, done, total
    "warning",  # id or null, message: something was converted, skipped or guessed; the work goes on
    "opened",  # id: the preview takes updates from now on
    "done",  # id, seq, slot, ms: that slot holds that picture
    "fault",  # id, seq, message: that picture could not be made; the preview lives on
    "result",  # id, result: last word
    "cancelled",  # id: last word
    "error",  # id, message: last word
}
LAST_WORDS = {"result", "cancelled", "error"}


class Refused(BadInput):
    """A line that is no acceptable request. `id` and `kind` are what could be read of it, else None."""

    def __init__(self, sentence: str, message: object = None):
        super().__init__(sentence)
        fields = message if isinstance(message, dict) else {}
        self.id: str | None = fields.get("id") if _is_id(fields.get("id")) else None
        self.kind = fields.get("kind")


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def parse(line: bytes) -> dict[str, Any]:
    """A request line -> its message, checked for size, form, version and the fields of its kind.

    Raises Refused with one sentence.
    """
    if len(line) > LINE_LIMIT:
        raise Refused(f"a request of more than {LINE_LIMIT // 1024} KiB was refused; pass large values as files")
    try:
        message = json.loads(line.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Refused(f"a line that is not JSON was ignored ({error})") from None
    if not isinstance(message, dict):
        raise Refused("a message must be a JSON object")
    kind = message.get("kind")
    if not isinstance(kind, str) or kind not in REQUESTS:
        raise Refused(f"a message of unknown kind {kind!r} was ignored", message)
    # A hello of any version is answered: that is how a client learns that the versions differ.
    if kind != "hello" and message.get("v") != VERSION:
        raise Refused(
            f"this engine speaks protocol {VERSION}, the client {message.get('v')!r}; "
            "run install.py again so that the add-on and the engine are of the same version",
            message,
        )
    for name, wanted in REQUESTS[kind].items():
        value = message.get(name)
        # bool is an int to Python but not to this protocol.
        if not isinstance(value, wanted) or isinstance(value, bool) or (name == "id" and not _is_id(value)):
            raise Refused(f"a {kind} message must have {name!r} as {wanted.__name__}", message)
    return message


def _is_id(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= ID_LIMIT


def _plain(value: object) -> object:
    """What json cannot write by itself: numpy scalars, small numpy arrays and paths."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        if value.size > 4096:
            raise TypeError(f"an array of {value.size} values belongs under 'arrays' of a result")
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{type(value).__name__} cannot be sent")


def encode(kind: str, **fields: Any) -> bytes:
    """One answer as a line. Raises ValueError or TypeError if it is not plain data, or is beyond ANSWER_LIMIT."""
    assert kind in ANSWERS, kind
    line = json.dumps({"v": VERSION, "kind": kind, **fields}, default=_plain, allow_nan=False).encode() + b"\n"
    if len(line) > ANSWER_LIMIT:
        raise ValueError(f"an answer of {len(line)} bytes is beyond {ANSWER_LIMIT}")
    return line
