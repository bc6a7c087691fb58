"""One job as a generator, and what drives it.

A task is a generator that yields a `Step` whenever Blender may breathe, receives "please stop" (True) through
`send`, returns its result and raises EngineError with one sentence. Operators write their own tasks with
`yield from call(...)`; a modal timer drives them in a window, `drive_blocking` in background mode, where
Blender's timers never tick.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from .client import CANCELLED, FAILED, RUNNING, Engine
from .config import EngineError

POLL_S = 0.01


@dataclass(frozen=True)
class Step:
    """Where a task is: a stage's name and how much of it is done, 0 to 1."""

    stage: str
    fraction: float


class Stopped(Exception):
    """The person asked to stop; nothing was changed."""


T = TypeVar("T")
Task = Generator[Step, "bool | None", T]


def call(
    engine: Engine, job: str, request: Mapping[str, Any], warn: Callable[[str], None] | None = None
) -> Task[dict[str, Any]]:
    """Task: one request to the engine; returns its result.

    warn: called with each warning sentence. Raises EngineError, or Stopped after a stop.
    """
    ticket = engine.submit(job, request)
    told = 0
    try:
        while True:
            engine.pump()
            for sentence in ticket.warnings[told:]:
                if warn:
                    warn(sentence)
            told = len(ticket.warnings)
            if ticket.state != RUNNING:
                break
            if (yield Step(ticket.stage or "Starting the engine", ticket.fraction)):
                ticket.cancel()
    finally:
        if ticket.state == RUNNING:  # the task was closed (its operator went away)
            ticket.cancel()
    if ticket.state == CANCELLED:
        raise Stopped("Stopped")
    if ticket.state == FAILED:
        raise EngineError(ticket.error)
    return ticket.result


def drive_blocking(
    task: Task[T],
    on_step: Callable[[Step], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    poll_s: float = POLL_S,
) -> T:
    """Run a task to its end in this thread; its result. Raises what the task raises."""
    try:
        step = next(task)
        while True:
            if on_step:
                on_step(step)
            time.sleep(poll_s)
            step = task.send(bool(should_stop and should_stop()))
    except StopIteration as end:
        return end.value
