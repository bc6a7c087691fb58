"""What both halves of the command line share: progress bars, Ctrl-C, JSON or text."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from engine.core.errors import BadInput
from engine.core.progress import Reporter

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@contextlib.contextmanager
def reporting(quiet: bool = False) -> Iterator[Reporter]:
    """A reporter that draws one progress bar a stage on stderr and stops at the first Ctrl-C."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    stopped: list[bool] = []

    def stop(*_: object) -> None:
        if stopped:  # asked twice: do not wait for the next step
            raise KeyboardInterrupt
        stopped.append(True)

    before = signal.signal(signal.SIGINT, stop)
    console = Console(stderr=True, quiet=quiet)
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
    )
    try:
        with Progress(*columns, console=console, transient=False) as bars:
            tasks: dict[str, Any] = {}

            def progress(stage: str, done: int, total: int) -> None:
                if stage not in tasks:
                    for earlier in tasks.values():  # a stage that says no more is done once the next begins
                        bars.update(earlier, completed=bars.tasks[earlier].total)
                    tasks[stage] = bars.add_task(stage, total=max(total, 1))
                bars.update(tasks[stage], completed=done, total=max(total, 1))

            def warn(sentence: str) -> None:
                console.print(f"warning: {sentence}", style="yellow", highlight=False)

            yield Reporter(progress, lambda: bool(stopped), warn)
    finally:
        signal.signal(signal.SIGINT, before)


def show(result: Any, as_json: bool, text: str) -> None:
    """Print `result` as JSON or `text` for a person."""
    print(json.dumps(result, ensure_ascii=False, allow_nan=False) if as_json else text)


def parse_size(text: str) -> list[int]:
    """ "512x512" -> [512, 512]. Raises BadInput."""
    width, x, height = text.lower().partition("x")
    if not (x and width.isdigit() and height.isdigit()):
        raise BadInput(f"'{text}' is no size; write WIDTHxHEIGHT, such as 1280x720")
    return [int(width), int(height)]
