"""How a long job says where it is and hears that it should stop."""

from __future__ import annotations

from collections.abc import Callable

from engine.core.errors import Cancelled

Progress = Callable[[str, int, int], None]  # stage, done, total


class Reporter:
    """Passed to every job. Call `step` at least every 100 ms of work: it is also where a cancel is heard."""

    def __init__(
        self,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
        warn: Callable[[str], None] | None = None,
    ):
        self._progress, self._cancelled, self._warn = progress, cancelled, warn

    def step(self, stage: str, done: int, total: int) -> None:
        """Report `done` of `total` units of `stage`; raises Cancelled if the person asked to stop."""
        self.check()
        if self._progress:
            self._progress(stage, int(done), int(total))

    def check(self) -> None:
        if self._cancelled and self._cancelled():
            raise Cancelled()

    def warn(self, sentence: str) -> None:
        """Something was converted, skipped or guessed; the job goes on."""
        if self._warn:
            self._warn(sentence)


SILENT = Reporter()
