"""The engine as a real child process: one answer per request, cancels, noise, faults and its end."""

import contextlib
import json
import queue
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from engine.motion.base import CONTROLS
from engine.serve import protocol

ROOT = Path(__file__).resolve().parents[2]
LAST = ("result", "cancelled", "error")


class Process:
    """The engine process with jobs for tests; messages by `next`."""

    def __init__(self, log, args=("tests/fakes/serve_test_jobs.py",)):
        self.log = log
        with open(log, "wb") as err:
            self.p = subprocess.Popen(
                [sys.executable, *args], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=err
            )
        self.messages = queue.Queue()
        self.seen = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.p.stdout:
            self.messages.put(json.loads(line))
        self.messages.put(None)

    def raw(self, data):
        self.p.stdin.write(data)
        self.p.stdin.flush()

    def say(self, kind, **fields):
        self.raw(json.dumps({"v": 1, "kind": kind, **fields}).encode() + b"\n")

    def next(self, *kinds, id=None, seconds=10):
        end = time.monotonic() + seconds
        while True:
            message = self.messages.get(timeout=max(0.01, end - time.monotonic()))
            self.seen.append(message)
            if message is None or (message["kind"] in kinds and (id is None or message["id"] == id)):
                return message

    def end(self):
        """Close its stdin, as a client that goes away; by force if that is not enough."""
        with contextlib.suppress(OSError):
            self.p.stdin.close()
        try:
            self.p.wait(5)
        except subprocess.TimeoutExpired:
            self.p.kill()
            self.p.wait()

    def job(self, name, request=None, id="j"):
        self.say("start", id=id, job=name, request=request or {})
        return self.next(*LAST, id=id)


@pytest.fixture
def engine(tmp_path):
    process = Process(tmp_path / "log")
    process.say("hello")
    process.hello = process.next("hello")
    yield process
    process.end()


def test_hello_and_a_job_with_progress(engine):
    assert engine.hello["protocol"] == protocol.VERSION and "count" in engine.hello["jobs"]
    answer = engine.job("count", {"steps": 30})
    assert answer["kind"] == "result" and answer["result"] == {"steps": 30}
    progress = [m for m in engine.seen if m["kind"] == "progress"]
    assert progress[0]["stage"] == "counting" and progress[0]["total"] == 30
    assert len(progress) <= 10, "30 steps of 10 ms are 0.3 s: about 20 reports a second, not one a step"


@pytest.mark.parametrize(
    "text",
    ["{", '{"kind": "registry", "format": "x", "entries": []}', '{"kind": "registry", "entries": [{}]}'],
    ids=["json", "format", "entry"],
)
def test_a_damaged_registry_of_the_user_is_told_and_hello_answered(tmp_path, monkeypatch, text):
    """Of an engine error and of one that nobody foresaw ("format" is no number) alike; a sound job still runs."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "registry.json").write_text(text)
    monkeypatch.setenv("SOLILOQUY_HOME", str(tmp_path / "home"))
    process = Process(tmp_path / "log")
    process.say("hello")
    assert process.next("hello")["systems"] == []
    warning = process.next("warning")
    assert warning["id"] is None and ("registry.json" in warning["message"] or "motion systems" in warning["message"])
    assert process.job("count", {"steps": 1})["kind"] == "result" and process.log.read_text()
    process.end()


def test_an_odd_checkpoint_of_the_user_leaves_the_list_of_systems_whole(tmp_path, monkeypatch):
    from safetensors.numpy import save_file

    (tmp_path / "home" / "motion").mkdir(parents=True)
    monkeypatch.setenv("SOLILOQUY_HOME", str(tmp_path / "home"))
    for name, header in (("emotag", '{"supports": 5}'), ("emovoca", "[]"), ("emotalk3d", '{"supports": [[], "au"]}')):
        meta = {"kind": "motion net", "format": "1", "header": header}
        save_file({"a": np.zeros(1)}, tmp_path / "home" / "motion" / f"{name}.safetensors", meta)
    (tmp_path / "home" / "motion" / "emodifftalk.safetensors").write_bytes(b"nothing")
    process = Process(tmp_path / "log")
    process.say("hello")
    obeys = {row["name"]: row["obeys"] for row in process.next("hello")["systems"]}
    process.end()
    odd = {"emotalk3d": ["au"], "emovoca": [], "emotag": [], "emodifftalk": []}
    assert obeys == {"direct": list(CONTROLS), "emotalkinggaussian": ["labels", "intensity", "va"], **odd}
    assert not process.log.read_text()


def test_hello_is_answered_while_a_job_runs(engine):
    engine.say("start", id="long", job="count", request={"steps": 200})
    began = time.monotonic()
    engine.say("hello")
    engine.next("hello")
    assert time.monotonic() - began < 0.5


def test_cancel_in_the_middle_is_quick_and_touches_only_its_job(engine):
    for i in range(5):
        engine.say("start", id=f"c{i}", job="count", request={"steps": 1000})
        engine.next("progress", id=f"c{i}")
        began = time.monotonic()
        engine.say("cancel", id=f"c{i}")
        assert engine.next(*LAST, id=f"c{i}")["kind"] == "cancelled"
        assert time.monotonic() - began < 0.2
        assert engine.job("count", {"steps": 2}, f"n{i}")["kind"] == "result"


def test_cancel_of_a_waiting_job_and_of_unknown_ones(engine):
    engine.say("start", id="a", job="count", request={"steps": 30})
    engine.say("start", id="b", job="count", request={"steps": 30})
    engine.say("cancel", id="b")
    engine.say("cancel", id="nobody")
    assert engine.next(*LAST)["id"] == "b"
    assert engine.next(*LAST) == {"v": 1, "kind": "result", "id": "a", "result": {"steps": 30}}


def test_a_cancel_around_the_last_step_never_poisons_the_next_job(engine):
    """At the fault's usual moment: the cancel arrives as the job ends. One last word each, the next job lives."""
    for i in range(30):
        engine.say("start", id=f"a{i}", job="count", request={"steps": 2, "step_s": 0.002})
        time.sleep(0.0002 * i)
        engine.say("cancel", id=f"a{i}")
        engine.say("start", id=f"b{i}", job="count", request={"steps": 2, "step_s": 0.001})
        assert engine.next(*LAST, id=f"b{i}")["kind"] == "result"
    words = [m["id"] for m in engine.seen if m["kind"] in LAST]
    assert sorted(words) == sorted([f"{x}{i}" for x in "ab" for i in range(30)])


def test_noise_goes_to_the_log(engine):
    answer = engine.job("noisy")
    assert answer["result"] == {"child_read": 0}, "a child finds an empty stdin, not the protocol"
    assert {"v": 1, "kind": "warning", "id": "j", "message": "it was loud"} in engine.seen
    log = engine.log.read_text()
    assert "a library says hello" in log and "raw bytes" in log and "a child says hello" in log


def test_faults_become_sentences(engine):
    assert engine.job("fails", {"how": "person"}, "1")["message"] == "the file is no sound; choose a wav"
    internal = engine.job("fails", {"how": "other"}, "2")["message"]
    assert internal.startswith("Internal error in job 'fails' (ZeroDivisionError") and "log" in internal
    assert "Traceback" in engine.log.read_text()
    assert "SystemExit" in engine.job("fails", {"how": "exit"}, "3")["message"]
    assert engine.job("fails", {"how": "nan"}, "4")["kind"] == "error"
    assert "no job 'what'" in engine.job("what", {}, "5")["message"]
    assert engine.job("count", {"steps": 1}, "6")["kind"] == "result"


def test_arrays_lie_in_the_private_folder(engine):
    answer = engine.job("arrays")["result"]
    assert answer["figure"] == 0.5
    session = Path(engine.hello["session"])
    assert stat.S_IMODE(session.stat().st_mode) == 0o700
    for name, dtype, shape in (("ramp", "float32", [3, 4]), ("../odd name", "int32", [3, 2])):
        said = answer["arrays"][name]
        assert (said["shape"], said["dtype"]) == (shape, dtype) and Path(said["path"]).parent == session
        value = np.load(said["path"], mmap_mode="r", allow_pickle=False)
        assert list(value.shape) == shape and value.dtype == dtype and value[1, 0] == 4
    assert not list(session.glob("*.part"))


@pytest.mark.parametrize(
    "line, words",
    [
        (b"hello?\n", "not JSON"),
        (b"[1, 2]\n", "JSON object"),
        (b'{"v": 1, "kind": "dance"}\n', "unknown kind"),
        (b'{"v": 1, "kind": "start", "id": 5, "job": "count", "request": {}}\n', "'id'"),
        (b'{"v": 1, "kind": "start", "id": "", "job": "count", "request": {}}\n', "'id'"),
        (b'{"v": 1, "kind": "cancel"}\n', "'id'"),
        (b'{"v": 1, "kind": "start", "id": "x", "job": "count", "request": {"a": NaN}}\n', "not JSON"),
        (b'{"v": 1, "kind": "start", "id": "' + b"x" * 70000 + b'"}\n', "64 KiB"),
        (b"\xff\xfe\n", "not JSON"),
        (b"[" * 50000 + b"\n", "not JSON"),
    ],
    ids=["text", "list", "kind", "number-id", "empty-id", "no-id", "nan", "long", "bytes", "deep"],
)
def test_lines_that_are_no_request(engine, line, words):
    engine.raw(line)
    warning = engine.next("warning")
    assert warning["id"] is None and words in warning["message"]
    assert engine.job("count", {"steps": 1})["kind"] == "result"


def test_a_work_request_that_is_wrong_gets_its_one_error(engine):
    engine.say("start", id="x", job="count", request=[])
    assert "'request'" in engine.next(*LAST, id="x")["message"]
    engine.raw(b'{"v": 2, "kind": "start", "id": "y", "job": "count", "request": {}}\n')
    assert "install.py" in engine.next(*LAST, id="y")["message"]
    engine.raw(b'{"v": 7, "kind": "hello"}\n')
    assert engine.next("hello")["protocol"] == protocol.VERSION, "a hello of any version is answered"


def test_an_id_is_used_once(engine):
    assert engine.job("count", {"steps": 1}, "same")["kind"] == "result"
    engine.say("start", id="same", job="count", request={"steps": 1})
    assert "twice" in engine.next("warning")["message"]


@pytest.mark.parametrize("job", [None, "count", "deaf"])
def test_the_end_of_stdin_ends_it(engine, job):
    if job:
        engine.say("start", id="j", job=job, request={"steps": 10000})
        time.sleep(0.1)
    session = Path(engine.hello["session"])
    engine.p.stdin.close()
    assert engine.p.wait(3) == 0 and not session.exists()


def test_shutdown_ends_it_and_interrupts_do_not(engine):
    engine.p.send_signal(signal.SIGINT)
    assert engine.job("count", {"steps": 1})["kind"] == "result"
    engine.say("start", id="k", job="count", request={"steps": 10000})
    engine.next("progress")
    engine.say("shutdown")
    assert engine.p.wait(3) == 0 and engine.next(*LAST)["kind"] == "cancelled"


def test_the_product_has_no_test_jobs_and_starts_quickly(tmp_path):
    process = Process(tmp_path / "log", ("-m", "engine.serve"))
    process.say("hello")
    began = time.monotonic()
    hello = process.next("hello")
    # Starting imports numpy and nothing heavier; 0.1 s idle, and the bound allows for a busy machine.
    assert time.monotonic() - began < 5 and "version" in hello["jobs"]
    assert not {"count", "deaf", "noisy"} & set(hello["jobs"])
    assert process.job("version")["result"]["version"]
    process.say("shutdown")
    assert process.p.wait(5) == 0
    assert process.log.read_text() == ""
