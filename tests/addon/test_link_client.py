"""The add-on's client against a fake engine that speaks the full protocol: every way an engine can misbehave."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from blender_addon.link import client as client_module
from blender_addon.link.client import CANCELLED, DONE, FAILED, RUNNING, Engine, engine_environment
from blender_addon.link.config import Config, EngineError
from blender_addon.link.jobs import Step, Stopped, call, drive_blocking
from blender_addon.link.pipes import PosixPipes, ThreadPipes

FAKE = Path(__file__).resolve().parents[1] / "fakes" / "fake_engine.py"


@pytest.fixture(params=[PosixPipes, ThreadPipes], ids=["posix", "threads"])
def pipes(request, monkeypatch):
    """Windows's pipe shim is run here too: its logic is portable."""
    monkeypatch.setattr(client_module, "pipes_of", request.param)


@pytest.fixture
def make(tmp_path):
    engines = []

    def make(mode="good", **options):
        engines.append(Engine([sys.executable, str(FAKE), mode], log_dir=tmp_path, version="0.1.0", **options))
        return engines[-1]

    yield make
    for engine in engines:
        engine.kill()


def finish(engine, job, seconds=10.0):
    engine.wait(seconds, lambda: job.state != RUNNING)
    return job


@pytest.mark.parametrize("mode", ["good", "split"])
def test_a_job_runs_to_its_result(make, pipes, mode):
    engine = make(mode)
    job = finish(engine, engine.submit("count", {"steps": 4}))
    assert (job.state, job.result, job.warnings, job.total) == (DONE, {"steps": 4}, ["half way"], 4)
    assert finish(engine, engine.submit("echo", {"é": [1, 2.5, None]})).result == {"é": [1, 2.5, None]}


def test_an_error_is_its_sentence(make, pipes):
    engine = make()
    job = finish(engine, engine.submit("fail", {}))
    assert (job.state, job.error) == (FAILED, "this job always fails")


def test_pump_never_waits(make, pipes):
    engine = make("slow")
    job = engine.submit("count", {"steps": 2})
    longest, end = 0.0, time.monotonic() + 1.0
    while time.monotonic() < end:
        began = time.monotonic()
        engine.pump()
        longest = max(longest, time.monotonic() - began)
        time.sleep(0.005)
    # A pump costs under 0.1 ms; the bound leaves room for a scheduler with other work on both cores.
    assert longest < 0.1
    assert job.state == RUNNING


def test_cancel_at_once_and_in_the_middle(make, pipes):
    engine = make(cancel_grace_s=5.0)  # the real 0.2 s are tested with a deaf engine; here the answer is
    first = engine.submit("count", {"steps": 500})
    first.cancel()
    assert finish(engine, first).state == CANCELLED
    second = engine.submit("count", {"steps": 500})
    engine.wait(5, lambda: second.done > 3)
    began = time.monotonic()
    second.cancel()
    assert finish(engine, second).state == CANCELLED
    assert time.monotonic() - began < 1.0, "10 ms in practice; the rest is a busy machine"
    assert engine.generation == 1, "an engine that obeys is not restarted"


def test_a_cancel_on_the_last_step_never_harms_the_next_job(make):
    engine = make(cancel_grace_s=5.0)
    for _ in range(20):
        job = engine.submit("count", {"steps": 2, "step_s": 0.002})
        engine.wait(5, lambda job=job: job.done == 1 or job.state != RUNNING)
        job.cancel()
        assert finish(engine, job).state in (CANCELLED, DONE)
        assert finish(engine, engine.submit("count", {"steps": 2, "step_s": 0.001})).state == DONE
    assert engine.generation == 1


def test_a_result_that_crossed_the_cancel_is_not_used(make):
    engine = make("late", cancel_grace_s=5.0)
    job = engine.submit("count", {"steps": 3})
    job.cancel()
    assert finish(engine, job).state == CANCELLED


def test_a_deaf_engine_is_ended_and_restarted_on_the_next_job(make):
    engine = make("deaf")
    job = engine.submit("count", {"steps": 1000})
    engine.wait(5, lambda: job.done > 1)
    pid, began = engine.pid, time.monotonic()
    job.cancel()
    assert finish(engine, job).state == CANCELLED
    assert 0.15 < time.monotonic() - began < 1.0
    with pytest.raises(OSError):
        os.kill(pid, 0)
    assert finish(engine, engine.submit("echo", {"again": 1})).result == {"again": 1}
    assert engine.generation == 2


@pytest.mark.parametrize("how", ["exits", "is killed"])
def test_death_is_reported_within_a_second_and_the_next_job_works(make, pipes, how):
    engine = make("dies" if how == "exits" else "good")
    job = engine.submit("count", {"steps": 1000, "step_s": 0.001 if how == "exits" else 0.01})
    began = time.monotonic()
    if how == "is killed":
        engine.wait(5, lambda: job.done > 2)
        session = engine.session
        os.kill(engine.pid, signal.SIGKILL)
        began = time.monotonic()
    finish(engine, job)
    assert time.monotonic() - began < (1.0 if how == "is killed" else 3.0)
    assert job.state == FAILED and "stopped unexpectedly" in job.error and str(engine.log) in job.error
    assert ("exit code 7" if how == "exits" else "signal 9") in job.error
    if how == "is killed":
        assert not os.path.exists(session), "the folder of a killed engine is removed"
    assert finish(engine, engine.submit("echo", {"x": 1})).state == DONE


def test_garbage_on_the_channel_ends_the_engine_with_a_sentence(make):
    engine = make("garbage")
    job = finish(engine, engine.submit("count", {"steps": 50}))
    assert job.state == FAILED and "Loading weights" in job.error


def test_another_protocol_version_is_refused_with_what_to_do(make):
    engine = make("version")
    job = finish(engine, engine.submit("echo", {}))
    assert job.state == FAILED and "install.py" in job.error and "99" in job.error


def test_an_engine_of_another_release_is_refused(tmp_path):
    engine = Engine([sys.executable, str(FAKE)], log_dir=tmp_path, version="9.9.9")
    job = finish(engine, engine.submit("echo", {}))
    assert job.state == FAILED and "9.9.9" in job.error


def test_an_engine_that_never_says_hello(make):
    engine = make("silent", hello_s=0.3)
    job = finish(engine, engine.submit("count", {"steps": 1000}), 5)
    assert job.state == FAILED and "did not answer" in job.error


def test_a_program_that_is_missing(tmp_path):
    with pytest.raises(EngineError, match="could not be started"):
        Engine([str(tmp_path / "no-python")], log_dir=tmp_path).submit("echo", {})


def test_a_request_beyond_the_limit_is_refused_here(make):
    with pytest.raises(EngineError, match="too large"):
        make().submit("echo", {"text": "x" * 70000})


def test_the_engine_ends_with_its_client(tmp_path):
    """A client killed with SIGKILL leaves no engine behind: the end of stdin ends it."""
    code = (
        f"import sys, time; sys.path.insert(0, {str(FAKE.parents[2])!r})\n"
        "from pathlib import Path\nfrom blender_addon.link.client import Engine\n"
        f"e = Engine([sys.executable, {str(FAKE)!r}], log_dir=Path({str(tmp_path)!r}))\n"
        "e.start(); e.wait(5, lambda: e.hello); print(e.pid, flush=True); time.sleep(60)"
    )
    import subprocess

    owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    pid = int(owner.stdout.readline())
    owner.kill()
    owner.wait()
    owner.stdout.close()
    end = time.monotonic() + 5
    while time.monotonic() < end and _alive(pid):
        time.sleep(0.02)
    assert not _alive(pid)


def _alive(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().split(")")[-1].split()[0]
    except FileNotFoundError:
        return False


def test_the_environment_is_cleaned():
    clean = engine_environment({"PATH": "p", "PYTHONHOME": "x", "LD_LIBRARY_PATH": "x", "DYLD_X": "x"}, "log")
    assert clean["PATH"] == "p" and clean["OMP_WAIT_POLICY"] == "PASSIVE" and clean["SOLILOQUY_LOG"] == "log"
    assert not {"PYTHONHOME", "LD_LIBRARY_PATH", "DYLD_X"} & set(clean)


def test_old_logs_are_removed(tmp_path, make):
    for _ in range(7):
        engine = make()
        engine.start()
        engine.stop()
    assert len(list(tmp_path.glob("engine-*.log"))) == client_module.LOGS_KEPT


def test_a_task_driven_to_its_end(make):
    steps, warned = [], []
    task = call(make(), "count", {"steps": 5}, warned.append)
    assert drive_blocking(task, steps.append) == {"steps": 5}
    assert warned == ["half way"] and any(isinstance(s, Step) and s.fraction > 0 for s in steps)


def test_a_task_that_fails_and_one_that_is_stopped(make):
    engine = make()
    with pytest.raises(EngineError, match="always fails"):
        drive_blocking(call(engine, "fail", {}))
    with pytest.raises(Stopped):
        drive_blocking(call(engine, "count", {"steps": 500}), should_stop=lambda: True)


def test_closing_a_task_cancels_its_job(make):
    engine = make()
    task = call(engine, "count", {"steps": 500})
    next(task)
    task.close()
    assert engine.wait(2, lambda: not engine.busy)


def test_the_real_engine_as_the_installer_configures_it(tmp_path, monkeypatch):
    """`python -m engine serve`, its hello, one job, its polite end: nothing in its log."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    engine = Engine.of(Config(sys.executable, str(FAKE.parents[2]), "0.1.0"))
    try:
        assert drive_blocking(call(engine, "version", {}))["version"] == "0.1.0"
        assert {"head", "speak", "render"} <= set(engine.hello["jobs"]) and os.path.isdir(engine.session)
        process, log, session = engine._process, engine.log, engine.session
    finally:
        engine.stop()
    assert process.returncode == 0 and log.read_text() == "" and not os.path.exists(session)
