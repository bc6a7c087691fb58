"""The engine process: a reader thread that only takes notes, and the main thread that does the work.

One computation runs at a time. A job that is at work serves the live preview at each `reporter.step`, so the
viewport stays alive during a long job and no two threads ever enter the compiled kernels at once (numba's
portable thread pool aborts the process when they do).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from typing import Any

import engine
from engine.core.errors import BadInput, Cancelled, SoliloquyError
from engine.core.progress import Reporter
from engine.motion.base import offered
from engine.serve import protocol
from engine.serve.channel import Channel
from engine.serve.jobs import JOBS, Job
from engine.serve.live import Live
from engine.serve.session import Session

PROGRESS_INTERVAL_S = 0.05  # about 20 reports a second: more would only fill the pipe
END_GRACE_S = 1.0  # how long a running job may take to notice that the client is gone


class _Work:
    """One `start`: its cancel flag belongs to it alone, so a late cancel can never meet the next job."""

    def __init__(self, message: dict[str, Any]):
        self.id: str = message["id"]
        self.name: str = message["job"]
        self.request: dict[str, Any] = message["request"]
        self.cancelled = threading.Event()


class Server:
    """Runs requests of one channel until it ends. `jobs`: name -> function(request, reporter) -> result."""

    def __init__(self, channel: Channel, session: Session, jobs: Mapping[str, Job], live: Live):
        self._channel, self._session, self._jobs, self._live = channel, session, jobs, live
        self._change = threading.Condition()
        self._waiting: dict[str, _Work] = {}  # in order of arrival
        self._running: _Work | None = None
        self._seen: set[str] = set()
        self._ending = False
        self.idle = threading.Event()  # set when the worker has left its loop

    # Reader thread -------------------------------------------------------------------------------------

    def read(self) -> None:
        """Take requests until shutdown or the end of stdin."""
        try:
            for line in self._channel.lines():
                try:
                    message = protocol.parse(line)
                except protocol.Refused as error:
                    self._refuse(error)
                    continue
                if message["kind"] == "shutdown":
                    break
                self._take(message)
        except OSError:
            pass  # the client's end broke: the same as its end
        with self._change:
            self._ending = True
            for work in [*self._waiting.values(), *([self._running] if self._running else [])]:
                work.cancelled.set()
            self._change.notify()

    def _refuse(self, error: protocol.Refused) -> None:
        """A work request with an id of its own gets its one answer; all else is a warning."""
        with self._change:
            own = error.kind in ("start", "open") and error.id is not None and error.id not in self._seen
            if own:
                self._seen.add(str(error.id))
        if own:
            self._channel.send("error", id=error.id, message=str(error))
        else:
            self._channel.send("warning", id=None, message=str(error))

    def _take(self, message: dict[str, Any]) -> None:
        kind = message["kind"]
        if kind == "hello":
            systems, trouble = _systems()
            self._channel.send(
                "hello", protocol=protocol.VERSION, version=engine.__version__, pid=os.getpid(),
                session=str(self._session.folder), jobs=sorted(self._jobs), systems=systems,
            )  # fmt: skip
            if trouble:
                self._channel.send("warning", id=None, message=trouble)
        elif kind == "cancel":
            self._cancel(message["id"])
        else:
            with self._change:
                if kind in ("start", "open"):
                    if message["id"] in self._seen:
                        self._channel.send("warning", id=None, message="an id was used twice; the second was ignored")
                        return
                    self._seen.add(message["id"])
                if kind == "start":
                    self._waiting[message["id"]] = _Work(message)
                else:
                    self._live.post(message)
                self._change.notify()

    def _cancel(self, name: str) -> None:
        with self._change:
            work = self._waiting.pop(name, None)
            if work is None:
                if self._running and self._running.id == name:
                    self._running.cancelled.set()
                return
        self._channel.send("cancelled", id=name)

    # Worker thread -------------------------------------------------------------------------------------

    def work(self) -> None:
        """Run jobs and live pictures until the reader has ended."""
        try:
            while True:
                with self._change:
                    self._change.wait_for(lambda: self._ending or self._waiting or self._live.pending())
                    if self._ending:
                        return
                    name = next(iter(self._waiting), None)
                    work = self._waiting.pop(name) if name is not None else None
                    self._running = work
                self._live.serve()
                if work is not None:
                    self._run(work)
        except OSError:
            pass  # nobody listens any more
        finally:
            self._live.close()
            self.idle.set()

    def _run(self, work: _Work) -> None:
        """One job from its request to its one last word."""
        reporter = _JobReporter(self._channel, work, self._live)
        last: dict[str, Any]
        try:
            if work.name not in self._jobs:
                raise BadInput(f"this engine has no job '{work.name}'; it has {', '.join(sorted(self._jobs))}")
            reporter.check()
            result = self._session.put_all(self._jobs[work.name](work.request, reporter))
            last = {"kind": "result", "id": work.id, "result": result}
            protocol.encode(**last)
        except Cancelled:
            last = {"kind": "cancelled", "id": work.id}
        except SoliloquyError as error:
            last = {"kind": "error", "id": work.id, "message": str(error)}
        except BaseException as error:  # a job that calls sys.exit must not end the engine
            last = {"kind": "error", "id": work.id, "message": internal_error(f"job '{work.name}'", error)}
        with self._change:
            self._running = None
        self._channel.send(**last)


class _JobReporter(Reporter):
    """Progress to the client, throttled; the place where a cancel is heard and the live preview served."""

    def __init__(self, channel: Channel, work: _Work, live: Live):
        super().__init__(self._send, work.cancelled.is_set, self._warning)
        self._channel, self._id, self._live = channel, work.id, live
        self._next = 0.0

    def check(self) -> None:
        super().check()
        if self._live.pending():
            self._live.serve()

    def _send(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + PROGRESS_INTERVAL_S
            self._channel.send("progress", id=self._id, stage=stage, done=done, total=total)

    def _warning(self, sentence: str) -> None:
        self._channel.send("warning", id=self._id, message=sentence)


def _systems() -> tuple[list[dict[str, Any]], str]:
    """(the motion systems for a hello, a sentence on what is wrong with their list). Raises nothing: what lies in the
    user's folder must not keep an engine from answering."""
    try:
        return offered(), ""
    except SoliloquyError as error:
        print(error, file=sys.stderr, flush=True)
        return [], str(error)
    except Exception as error:
        return [], internal_error("the list of motion systems", error)


def internal_error(where: str, error: BaseException) -> str:
    """Traceback to the log (stderr); a sentence for the person."""
    traceback.print_exception(error, file=sys.stderr)
    sys.stderr.flush()
    log = os.environ.get("SOLILOQUY_LOG")
    return f"Internal error in {where} ({type(error).__name__}: {error}); details are in " + (log or "the engine's log")


def serve() -> None:
    """Run the engine on this process's stdin and stdout until they end; then exit the process with code 0."""
    channel = Channel.take_standard_streams()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the client's terminal is the client's matter
    session = Session()
    server = Server(channel, session, JOBS, Live(channel.send))

    def read() -> None:
        server.read()
        server.idle.wait(END_GRACE_S)
        session.close()
        os._exit(0)  # also when a job sits in compiled code and cannot hear

    threading.Thread(target=read, name="requests", daemon=True).start()
    server.work()
    session.close()
    sys.stderr.flush()
    os._exit(0)
