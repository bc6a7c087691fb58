"""`Engine`: the child process, what is asked of it, and what becomes of each request.

Nothing here waits and nothing starts a thread (but see pipes.py for Windows): the owner calls `pump` from a
timer, a modal operator or a loop. F12 renders in Blender's own render thread, so `pump` may come from two
threads; a lock keeps them apart. Message kinds are listed in engine/serve/protocol.py.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .config import Config, EngineError, user_log_dir
from .pipes import PosixPipes, ThreadPipes, pipes_of, wait_for_exit

PROTOCOL = 1
REQUEST_LIMIT = 64 * 1024  # bytes; the engine refuses longer lines
ANSWER_LIMIT = 1024 * 1024
HELLO_S = 30.0  # a cold disk can take seconds; an engine that has not said hello by then never will
CANCEL_GRACE_S = 0.2  # a cancel that was not honoured by then ends the process
LOGS_KEPT = 5

RUNNING, DONE, CANCELLED, FAILED = "running", "done", "cancelled", "failed"


class Job:
    """One request and what is known of it. Read its fields; only the engine changes them."""

    def __init__(self, engine: Engine, name: str):
        self.id, self.name = engine.new_id(), name
        self.state = RUNNING
        self.stage, self.done, self.total = "", 0, 0
        self.warnings: list[str] = []
        self.result: dict[str, Any] = {}
        self.error = ""
        self.cancel_by: float | None = None
        self._engine = engine

    @property
    def fraction(self) -> float:
        """Progress within the present stage, 0 to 1."""
        return min(1.0, self.done / self.total) if self.total > 0 else 0.0

    def cancel(self) -> None:
        self._engine.cancel(self)

    def receive(self, message: dict[str, Any]) -> bool:
        """Take one message; True when it was the last word."""
        kind = message["kind"]
        if kind == "progress":
            self.stage, self.done, self.total = str(message["stage"]), int(message["done"]), int(message["total"])
        elif kind == "warning":
            self.warnings.append(str(message["message"]))
        elif kind == "result":
            # A result that crossed the cancel on its way: the person asked to stop, so nothing is used of it.
            self.state = CANCELLED if self.cancel_by is not None else DONE
            self.result = dict(message["result"])
        elif kind == "cancelled":
            self.state = CANCELLED
        elif kind == "error":
            self.fail(str(message["message"]))
        return self.state != RUNNING

    def fail(self, sentence: str) -> None:
        """The last word came from here: the engine is gone."""
        self.state = CANCELLED if self.cancel_by is not None else FAILED
        self.error = sentence


class Engine:
    """The engine process. Starts at the first request and again at the first request after its death.

    command: the program and its arguments; cwd: its working folder. `Engine.of(config)` is the usual way.
    """

    def __init__(
        self, command: Sequence[str], cwd: str | os.PathLike[str] | None = None, log_dir: Path | None = None,
        version: str | None = None, cancel_grace_s: float = CANCEL_GRACE_S, hello_s: float = HELLO_S,
    ):  # fmt: skip
        self.command, self.cwd, self.version = list(command), cwd, version
        self.log_dir = log_dir or user_log_dir()
        self.cancel_grace_s, self.hello_s = cancel_grace_s, hello_s
        self.hello: dict[str, Any] | None = None  # what the running engine said of itself
        self.log: Path | None = None
        self.generation = 0  # counts starts: what belonged to an earlier process is void
        self.last_error = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._pipes: PosixPipes | ThreadPipes | None = None
        self._tail = b""
        self._started = self._greeted = 0.0
        self._open: dict[str, Any] = {}  # id -> Job or live view: has receive(message) -> bool and fail(sentence)
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()

    @classmethod
    def of(cls, config: Config) -> Engine:
        return cls([config.python, "-m", "engine", "serve"], cwd=config.root, version=config.version)

    # Life ----------------------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        return self._process is not None

    @property
    def busy(self) -> bool:
        """Whether a job or a final picture is under way or a live preview being opened: then a picture may be late for
        a good reason."""
        return any(isinstance(j, Job) or j.opening or j.rendering for j in list(self._open.values()))

    @property
    def session(self) -> str:
        """The running engine's folder of array files. Raises EngineError before its hello and after its end."""
        if self.hello is None:
            raise EngineError(self.last_error or "The engine does not run")
        return str(self.hello["session"])

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the process if it does not run; returns at once. Raises EngineError if it cannot be started."""
        with self._lock:
            if self._process is not None:
                return
            self.log = _new_log(self.log_dir)
            flags = getattr(subprocess, "CREATE_NO_WINDOW", 0)  # Windows would open a console
            try:
                with open(self.log, "wb") as log:
                    self._process = subprocess.Popen(
                        self.command, cwd=self.cwd, env=engine_environment(os.environ, str(self.log)),
                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, bufsize=0, creationflags=flags,
                    )  # fmt: skip
            except OSError as error:
                raise EngineError(f"The engine could not be started ({error}); run 'python install.py' again") from None
            self._pipes = pipes_of(self._process)
            self._tail, self.hello, self._started = b"", None, time.monotonic()
            self.generation += 1
            self._write({"kind": "hello"})

    def stop(self, wait_s: float = 1.0) -> None:
        """End the process: a polite word, then force."""
        with self._lock:
            if self._process is None:
                return
            self._write({"kind": "shutdown"})
            wait_for_exit(self._process, wait_s)
            self._die("The engine was stopped")

    def kill(self, why: str = "The engine was stopped") -> None:
        """End the process by force; every open request fails with `why`."""
        with self._lock:
            if self._process is not None:
                self._process.kill()
                self._die(why)

    def restart(self) -> None:
        self.kill("The engine was restarted")
        self.start()

    def _die(self, why: str) -> None:
        """Bury the process and give every open request its last word."""
        process, pipes = self._process, self._pipes
        assert process is not None and pipes is not None
        if process.poll() is None:
            process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(2.0)
        pipes.close()
        session = (self.hello or {}).get("session")
        if isinstance(session, str) and _is_session(session):
            shutil.rmtree(session, ignore_errors=True)  # a killed engine could not do it
        self._process = self._pipes = self.hello = None
        self.last_error = why
        orphans, self._open = self._open, {}
        for orphan in orphans.values():
            orphan.fail(why)

    # Requests ------------------------------------------------------------------------------------------

    def new_id(self) -> str:
        return f"{os.getpid()}-{next(self._numbers)}"

    def submit(self, job: str, request: Mapping[str, Any]) -> Job:
        """Queue a job, starting the engine if need be; returns at once.

        Raises EngineError if the engine cannot be started or the request is beyond 64 KiB.
        """
        with self._lock:
            self.start()
            ticket = Job(self, job)
            self.send({"kind": "start", "id": ticket.id, "job": job, "request": dict(request)}, ticket)
            return ticket

    def send(self, message: dict[str, Any], receiver: Any = None) -> None:
        """Write one message to the running engine; `receiver` gets the answers to its id."""
        with self._lock:
            if self._process is None:
                raise EngineError(self.last_error or "The engine does not run")
            self._write(message)
            if receiver is not None:
                self._open[message["id"]] = receiver

    def cancel(self, job: Job) -> None:
        """Ask a job to stop. If the engine does not obey within the grace time, `pump` ends the process."""
        with self._lock:
            if job.state == RUNNING and job.cancel_by is None:
                job.cancel_by = time.monotonic() + self.cancel_grace_s
                self._write({"kind": "cancel", "id": job.id})

    def forget(self, name: str) -> None:
        """Ignore what still arrives for an id."""
        with self._lock:
            self._open.pop(name, None)

    def _write(self, message: dict[str, Any]) -> None:
        line = json.dumps({"v": PROTOCOL, **message}, allow_nan=False).encode() + b"\n"
        if len(line) > REQUEST_LIMIT:
            raise EngineError(f"A request of {len(line) // 1024} KiB is too large; write the values to a file")
        assert self._pipes is not None
        self._pipes.write(line)

    # Answers -------------------------------------------------------------------------------------------

    def pump(self) -> None:
        """Take everything that has arrived and notice death, silence and ignored cancels. Never waits."""
        with self._lock:
            if self._process is None or self._pipes is None:
                return
            self._pipes.write()
            ended = self._process.poll() is not None  # asked before reading: what it said last is then read too
            data, closed = self._pipes.read()
            *lines, self._tail = (self._tail + data).split(b"\n")
            if len(self._tail) > ANSWER_LIMIT:
                self.kill(f"The engine sent a line beyond {ANSWER_LIMIT} bytes. {self._see_log()}")
                return
            for line in lines:
                if not self._take(line):
                    return
            now = time.monotonic()
            if closed or ended:
                wait_for_exit(self._process, 0.05)  # its end of the pipe closes a moment before it has a code
                self._process.kill()
                self._process.wait(2.0)
                self._die(f"The engine stopped unexpectedly ({_exit_words(self._process)}). {self._see_log()}")
            elif self.hello is None and now > self._started + self.hello_s:
                self.kill(f"The engine did not answer within {self.hello_s:.0f} s. {self._see_log()}")
            elif self.hello is not None and any(self._deaf_to(j, now) for j in self._open.values()):
                self.kill("The engine was stopped because it did not react to a cancel")

    def _deaf_to(self, receiver: Any, now: float) -> bool:
        """Whether a cancel was not honoured in time; an engine that was still starting gets its time from its hello."""
        if not isinstance(receiver, Job) or receiver.cancel_by is None:
            return False
        return now > max(receiver.cancel_by, self._greeted + self.cancel_grace_s)

    def wait(self, seconds: float, until: Callable[[], bool]) -> bool:
        """Pump until `until()` or the time is over; its last value. Blocks: for background mode and short budgets."""
        end = time.monotonic() + seconds
        while True:
            self.pump()
            if until():
                return True
            rest = end - time.monotonic()
            pipes = self._pipes
            if rest <= 0 or pipes is None:
                return False
            pipes.wait(min(rest, 0.05))

    def _take(self, line: bytes) -> bool:
        """Handle one line; False when it ended the engine."""
        try:
            message = json.loads(line.decode("utf-8"))
            kind, name = message["kind"], message.get("id")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            self.kill(f"The engine sent a line that is no message: {line[:60]!r}. {self._see_log()}")
            return False
        if kind == "hello":
            return self._greet(message)
        receiver = self._open.get(name) if isinstance(name, str) else None
        if receiver is None:
            return True  # unknown or over
        try:
            over = receiver.receive(message)
        except (KeyError, TypeError, ValueError) as error:
            self.kill(f"The engine sent a {kind} message that lacks something ({error}). {self._see_log()}")
            return False
        if over:
            self._open.pop(name, None)
        return True

    def _greet(self, hello: dict[str, Any]) -> bool:
        """Check the engine's versions: an add-on and an engine of different installs must not guess at each other."""
        self.hello, self._greeted = hello, time.monotonic()  # also of a stranger: it says which folder to remove
        if hello.get("protocol") != PROTOCOL or (self.version is not None and hello.get("version") != self.version):
            self.kill(
                f"The engine is version {hello.get('version')} (protocol {hello.get('protocol')}), "
                f"the add-on expects {self.version} (protocol {PROTOCOL}); run 'python install.py' again"
            )
            return False
        return True

    def _see_log(self) -> str:
        return f"See {self.log}"


def engine_environment(environ: Mapping[str, str], log: str) -> dict[str, str]:
    """The child's environment: without Blender's Python and library paths, with idle OpenMP threads that sleep."""
    clean = {k: v for k, v in environ.items() if not k.startswith(("PYTHON", "LD_", "DYLD_"))}
    return {**clean, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONUTF8": "1", "SOLILOQUY_LOG": log}


def _new_log(folder: Path) -> Path:
    """A new log file; the oldest beyond LOGS_KEPT are removed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        old = sorted(folder.glob("engine-*.log"), key=lambda p: p.stat().st_mtime)
        for path in old[: -LOGS_KEPT + 1]:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise EngineError(f"The engine's log folder {folder} cannot be used ({error})") from None
    return folder / f"engine-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{time.monotonic_ns() % 10**6}.log"


def _exit_words(process: subprocess.Popen[bytes]) -> str:
    code = process.returncode
    if code is not None and code < 0:
        return f"signal {-code}"
    return f"exit code {code}"


def _is_session(path: str) -> bool:
    """Only a folder that looks like the engine's own is ever removed."""
    if not os.path.basename(path).startswith("soliloquy-") or os.path.islink(path):
        return False
    try:
        return os.path.isdir(path) and (sys.platform == "win32" or os.stat(path).st_uid == os.getuid())
    except OSError:
        return False
