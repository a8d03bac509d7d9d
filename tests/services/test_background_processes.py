"""Processes that outlive the command which started them: known again, and stopped with all they started."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from flows.services import processes
from flows.services.processes import Started

IGNORES = "trap '' TERM; while :; do sleep 0.05; done"
SLEEPS = "while :; do sleep 0.05; done"


@pytest.fixture
def mark() -> Iterator[str]:
    name = f"test-{os.getpid()}-{time.monotonic_ns()}"
    yield name
    processes.end(name, 0)


def start(script: str, mark: str, folder: Path) -> Started:
    return processes.launch(["sh", "-c", script], mark=mark, env=os.environ, log=folder / "log", folder=folder)


def until(what: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_service_lives_in_a_session_of_its_own_and_writes_its_log(mark: str, tmp_path: Path) -> None:
    process = start("echo begun; exec sleep 60", mark, tmp_path)
    assert os.getsid(process.pid) == process.pid
    until(lambda: processes.last_lines(tmp_path / "log", 1) == ["begun"])
    assert processes.is_ours(process, mark)


def test_a_pid_alone_is_never_taken_for_a_service(mark: str, tmp_path: Path) -> None:
    process = start(SLEEPS, mark, tmp_path)
    assert not processes.is_ours(Started(process.pid, "1"), mark), "the pid was used again"
    assert not processes.is_ours(process, f"{mark}-of-another-workspace")


def test_all_that_a_service_has_started_ends_with_it(mark: str, tmp_path: Path) -> None:
    start(f'setsid sh -c "{SLEEPS}" & {SLEEPS}', mark, tmp_path)
    until(lambda: len({os.getsid(p.pid) for p in processes.marked(mark)}) == 2)
    processes.ask_all(mark)
    assert processes.end(mark, 20)
    assert not processes.marked(mark)


def test_who_does_not_end_when_asked_is_killed(mark: str, tmp_path: Path) -> None:
    process = start(f"echo begun; {IGNORES}", mark, tmp_path)
    until(lambda: processes.last_lines(tmp_path / "log", 1))
    processes.ask_all(mark)
    assert not processes.end(mark, 0.3)
    assert not processes.is_ours(process, mark)


def test_a_neighbour_without_the_mark_is_left_alone(mark: str, tmp_path: Path) -> None:
    neighbour = start(SLEEPS, f"{mark}-other", tmp_path)
    start(SLEEPS, mark, tmp_path)
    processes.ask_all(mark)
    assert processes.end(mark, 20)
    assert processes.is_ours(neighbour, f"{mark}-other")
    processes.end(f"{mark}-other", 0)


COUNTS = """
import os, signal, subprocess, sys, time
count = 0
def told(number, frame):
    global count
    count += 1
    print(sys.argv[1], count, flush=True)
signal.signal(signal.SIGTERM, told)
for name in sys.argv[2:3]:
    subprocess.Popen([sys.executable, "-S", "-c", CODE, name, *sys.argv[3:]], process_group=0)
print(sys.argv[1], "begun", flush=True)
while True:
    time.sleep(0.05)
"""


def test_a_run_is_asked_once_and_its_training_is_left_to_it(mark: str, tmp_path: Path) -> None:
    """FAULTS 9: who is asked a second time ends without a checkpoint."""
    code = f"CODE = {COUNTS!r}\nexec(CODE)"
    nested = COUNTS.replace("CODE, name", "'CODE = ' + repr(CODE) + '; exec(CODE)', name")
    code = f"CODE = {nested!r}\nexec(CODE)"
    command = [sys.executable, "-S", "-c", code, "worker", "run", "training"]
    worker = processes.launch(command, mark=mark, env=os.environ, log=tmp_path / "log", folder=tmp_path)

    def said() -> list[str]:
        return sorted((tmp_path / "log").read_text().splitlines())

    until(lambda: said() == ["run begun", "training begun", "worker begun"])
    assert not processes.end_runs(mark, worker, 0.5), "none of them ends"
    assert said() == ["run 1", "run begun", "training begun", "worker begun"]
    assert [process.pid for process in processes.marked(mark)] == [worker.pid]
    until(lambda: psutil.Process(worker.pid).status() != psutil.STATUS_STOPPED)
    processes.ask_all(mark)
    until(lambda: "worker 1" in said())


def test_a_worker_stands_still_until_its_runs_have_ended(mark: str, tmp_path: Path) -> None:
    """It would kill them when it is asked to end, and start the next when it is not."""
    run = "trap 'sleep 0.5; echo saved; exit' TERM; echo begun; while :; do sleep 0.05; done"
    begun = f'setsid sh -c "{run}" & trap "kill -KILL $!; exit" TERM; while :; do sleep 0.05; done'
    worker = start(begun, mark, tmp_path)
    until(lambda: processes.last_lines(tmp_path / "log", 1) == ["begun"])
    assert processes.end_runs(mark, worker, 30)
    assert processes.last_lines(tmp_path / "log", 1) == ["saved"]
    processes.ask_all(mark)
    assert processes.end(mark, 30)


def test_runs_whose_worker_has_died_are_asked_too(mark: str, tmp_path: Path) -> None:
    start("trap 'echo saved; exit' TERM; echo begun; while :; do sleep 0.05; done", mark, tmp_path)
    until(lambda: processes.last_lines(tmp_path / "log", 1) == ["begun"])
    assert processes.end_runs(mark, None, 30)
    assert processes.last_lines(tmp_path / "log", 1) == ["saved"]


def test_a_service_of_which_only_the_mark_is_known_is_found(mark: str, tmp_path: Path) -> None:
    process = start(f'sh -c "{SLEEPS}" & {SLEEPS}', mark, tmp_path)
    until(lambda: len(processes.marked(mark)) >= 2)
    assert processes.oldest(mark) == process
    assert processes.oldest(f"{mark}-nobody") is None


def test_a_long_log_keeps_its_end_while_somebody_appends_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "MOST_LOG_BYTES", 1000)
    log = tmp_path / "log"
    with open(log, "a") as writer:
        writer.write("".join(f"line {number}\n" for number in range(500)))
        writer.flush()
        processes.bound(log)
        writer.write("later\n")
    lines = log.read_text().splitlines()
    assert lines[-2:] == ["line 499", "later"] and log.stat().st_size < 600
    assert all(line.startswith(("line ", "later")) for line in lines), "no half line at the beginning"


def test_who_listens_at_a_port_is_named(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = processes.listener(taken.getsockname()[1])
    assert f"process {os.getpid()} (" in said and psutil.Process().cmdline()[0] in said
