"""Operators that ask the engine: one task, two drivers.

In a window a modal timer drives the task, so Blender stays responsive and Escape stops it; in background mode,
and when a script calls the operator, a loop does. A task changes the scene only after the engine's answer is
whole, so a stop leaves everything as it was.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

import bpy

from ..convert.arrays import BadArray
from ..link.config import EngineError
from ..link.jobs import Step, Stopped, Task, drive_blocking
from ..scene import SceneProblem

TICK_S = 0.05
PROBLEMS = (EngineError, SceneProblem, BadArray)


@dataclass
class Running:
    """What the panel shows of the task under way, and the wish to stop it."""

    title: str
    stage: str = ""
    fraction: float = 0.0
    stop: bool = False


@dataclass
class Board:
    """Running task, and the sentences that the last one left behind."""

    running: Running | None = None
    messages: list[str] = field(default_factory=list)
    error: str = ""
    operator: EngineOperator | None = None  # whose task it is


board = Board()


def abandon() -> None:
    """Close the task under way, because the add-on is being disabled: nobody is left to take its next step."""
    if board.operator is not None:
        board.operator.cancel(bpy.context)
    board.running = board.operator = None


def unavailable(problem: str | None, cls: type) -> bool:
    """For polls: True if all is well, else the reason goes to the button's tooltip."""
    if problem:
        cls.poll_message_set(problem)
    return problem is None


def why_not(check: Callable[..., object], *arguments: object) -> str | None:
    """The sentence of the SceneProblem that `check(*arguments)` raises, or None."""
    try:
        check(*arguments)
    except SceneProblem as problem:
        return str(problem)
    return None


def wrong_mode(context: bpy.types.Context) -> str | None:
    """A sentence in modes that keep their own copy of the data, which would undo what is written meanwhile."""
    return None if context.mode in {"OBJECT", "POSE"} else "Go to object or pose mode first"


class EngineOperator:
    """Mix-in for bpy.types.Operator. Subclasses write `title` and `task`."""

    title = "Working"

    def task(self, context: bpy.types.Context) -> Task[str]:
        """Generator of steps that returns one sentence for the status bar."""
        raise NotImplementedError

    def execute(self, context: bpy.types.Context) -> set[str]:
        if board.running is not None:
            self.report({"ERROR"}, f"{board.running.title} is still under way")
            return {"CANCELLED"}
        self._begin()
        try:
            return self._succeed(drive_blocking(self.task(context), self._show, lambda: board.running.stop))
        except (Stopped, *PROBLEMS) as problem:
            return self._fail(problem)
        finally:
            board.running = board.operator = None

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        if bpy.app.background or board.running is not None:
            return self.execute(context)
        self._begin()
        self._task = self.task(context)
        outcome = self._advance(context, first=True)
        if outcome is not None:
            return outcome
        manager = context.window_manager
        self._timer = manager.event_timer_add(TICK_S, window=context.window)
        manager.progress_begin(0, 100)
        manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        if event.type == "ESC" and event.value == "PRESS":
            board.running.stop = True
            return {"RUNNING_MODAL"}
        if event.type != "TIMER":
            return {"PASS_THROUGH"}
        outcome = self._advance(context)
        return {"PASS_THROUGH"} if outcome is None else outcome

    def cancel(self, context: bpy.types.Context) -> None:
        """Blender closes, another file is loaded, or the add-on is disabled."""
        task = getattr(self, "_task", None)
        if task is not None:
            task.close()
        self._tidy(context)

    def _begin(self) -> None:
        board.running, board.operator = Running(self.title), self
        board.messages, board.error = [], ""

    def _advance(self, context: bpy.types.Context, first: bool = False) -> set[str] | None:
        """Let the task take one step; its outcome when it is over."""
        try:
            self._show(next(self._task) if first else self._task.send(board.running.stop))
            if not first:
                context.window_manager.progress_update(int(100 * board.running.fraction))
            now = board.running
            context.workspace.status_text_set(f"{self.title}: {now.stage} {now.fraction:.0%}   (Esc stops)")
            _redraw(context)
            return None
        except StopIteration as end:
            outcome = self._succeed(end.value)
        except (Stopped, *PROBLEMS) as problem:
            outcome = self._fail(problem)
        except Exception:
            self._tidy(context)
            raise
        self._tidy(context)
        return outcome

    def _tidy(self, context: bpy.types.Context) -> None:
        board.running = board.operator = None
        timer = getattr(self, "_timer", None)
        if timer is not None:
            context.window_manager.event_timer_remove(timer)
            context.window_manager.progress_end()
            self._timer = None
        with contextlib.suppress(AttributeError):
            context.workspace.status_text_set(None)
        _redraw(context)

    def _show(self, step: Step) -> None:
        board.running.stage, board.running.fraction = step.stage, step.fraction

    def _succeed(self, sentence: str | None) -> set[str]:
        for message in board.messages:
            self.report({"WARNING"}, message)
        if sentence:
            self.report({"INFO"}, sentence)
        return {"FINISHED"}

    def _fail(self, problem: Exception) -> set[str]:
        if isinstance(problem, Stopped):
            self.report({"INFO"}, f"{self.title}: stopped, nothing was changed")
        else:
            board.error = str(problem)
            self.report({"ERROR"}, board.error)
        return {"CANCELLED"}


def _redraw(context: bpy.types.Context) -> None:
    """The side panels only: drawing the 3D view at every step would cost more than the task."""
    for window in context.window_manager.windows:
        for area in window.screen.areas:
            for region in area.regions if area.type == "VIEW_3D" else ():
                if region.type == "UI":
                    region.tag_redraw()
