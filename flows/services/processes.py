"""Processes that outlive the command that started them, and are known again by more than a pid.

A pid is used again after a while and after a boot, so a service is taken for ours only when its
start time is the recorded one too and it carries the workspace's mark in its environment. All it
starts inherits the mark: so its children are found even after it was killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from vgan.errors import StorageError
from vgan.storage import process_start, storage_errors

MARK = "VGAN_SERVICE"
MOST_LOG_BYTES = 20 << 20
POLL_SECONDS = 0.2
ENOUGH_SECONDS = 10.0  # in which a killed process is gone


@dataclass(frozen=True)
class Started:
    """A process of this machine, whatever else gets its pid later."""

    pid: int
    start: str


def launch(command: list[str], *, mark: str, env: Mapping[str, str], log: Path, folder: Path) -> Started:
    """Start a process in a session of its own, which no terminal's end reaches; it says everything into `log`."""
    with storage_errors(log, "writing"):
        log.parent.mkdir(parents=True, exist_ok=True)
        bound(log)
        with open(log, "ab") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**env, MARK: mark},
                cwd=folder,
                start_new_session=True,
            )
    process.returncode = 0  # nobody here waits for it; Popen would warn that it is still running
    return Started(process.pid, process_start(process.pid) or "")


def finish(command: list[str], *, env: Mapping[str, str], log: Path, folder: Path, seconds: float) -> int:
    """Run a command to its end, all it says in `log`, which is written anew; returns its exit code."""
    with storage_errors(log, "writing"):
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "wb") as output:
            try:
                done = subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=dict(env),
                    cwd=folder,
                    timeout=seconds,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                return -signal.SIGKILL
    return done.returncode


def bound(log: Path) -> None:
    """Keep the last half of a log that has become long; who writes it appends, so it may go on meanwhile."""
    if not log.exists() or log.stat().st_size <= MOST_LOG_BYTES:
        return
    with open(log, "r+b") as file:
        file.seek(-(MOST_LOG_BYTES // 2), os.SEEK_END)
        kept = file.read()
        file.seek(0)
        file.truncate()
        file.write(kept[kept.find(b"\n") + 1 :])


def last_lines(log: Path, count: int) -> list[str]:
    """The last lines of a log that are not empty; none when there is no log."""
    with contextlib.suppress(OSError), open(log, "rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - (64 << 10)))
        lines = [line.rstrip() for line in file.read().decode("utf-8", "replace").splitlines()]
        return [line for line in lines if line][-count:]
    return []


def is_ours(process: Started, mark: str) -> bool:
    """Whether the process lives, is the recorded one and carries the mark."""
    return process_start(process.pid) == process.start and _mark_of(psutil.Process(process.pid)) == mark


def marked(mark: str) -> list[psutil.Process]:
    """All living processes of this user that carry the mark, the oldest first."""
    found = [process for process in psutil.process_iter() if _mark_of(process) == mark]
    return sorted(found, key=lambda process: process.create_time())


def oldest(mark: str) -> Started | None:
    """The service that carries the mark, when only that is known of it."""
    for process in marked(mark):
        start = process_start(process.pid)
        if start is not None:
            return Started(process.pid, start)
    return None


def listener(port: int) -> str:
    """Who listens at a port, for people: 'process 12 (prefect server start)'; '' when it cannot be known."""
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,) and connection.pid:
                words = psutil.Process(connection.pid).cmdline()
                return f"process {connection.pid} ({' '.join(words)[:120]})"
    return ""


def ask_all(mark: str) -> None:
    """Send SIGTERM to everything that carries the mark."""
    for process in marked(mark):
        _signal(process.pid, signal.SIGTERM)


def end_runs(mark: str, worker: Started | None, seconds: float) -> bool:
    """Ask the runs of a worker to end, wait, and after so many seconds kill them. True when none was killed.

    The worker stands still meanwhile: one that is asked to end kills its runs after moments, which
    leaves a training no time for its checkpoint, and one that goes on takes the next run. A run is a
    process group of its own. A group that another one of the same run has started, such as a
    training, is left to that: who is asked twice ends at once.
    """
    if worker is not None:
        _signal(worker.pid, signal.SIGSTOP)
    try:
        living = {process.pid: _group(process.pid) for process in _runs(mark, worker)}
        for group in {group for group in living.values() if group is not None}:
            above = {living[pid] for pid in _parents(group) if pid in living}
            if not above - {group}:
                _signal(group, signal.SIGTERM, group=True)
        return _end(lambda: _runs(mark, worker), seconds)
    finally:
        if worker is not None:
            resume(worker)


def resume(process: Started) -> None:
    """Let a process go on that was made to stand still, by a command that died meanwhile."""
    _signal(process.pid, signal.SIGCONT)


def _runs(mark: str, worker: Started | None) -> list[psutil.Process]:
    """What carries the mark of a worker and is not the worker."""
    return [process for process in marked(mark) if worker is None or _group(process.pid) not in (None, worker.pid)]


def end(mark: str, seconds: float) -> bool:
    """Wait until nothing carries the mark; after so many seconds kill what still does. True when nothing was killed."""
    return _end(lambda: marked(mark), seconds)


def _end(living: Callable[[], list[psutil.Process]], seconds: float) -> bool:
    stop = time.monotonic() + seconds
    while living():
        if time.monotonic() >= stop:
            _kill(living)
            return False
        time.sleep(POLL_SECONDS)
    return True


def _kill(living: Callable[[], list[psutil.Process]]) -> None:
    stop = time.monotonic() + ENOUGH_SECONDS
    while left := living():
        if time.monotonic() >= stop:
            raise StorageError(
                f"process {left[0].pid} does not end, not even when it is killed.",
                hint="It waits for a disk or a device: `ps` says for which. Then run the same command again.",
            )
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()  # psutil looks at the start time again
        time.sleep(POLL_SECONDS)


def _mark_of(process: psutil.Process) -> str | None:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process.environ().get(MARK)
    except (psutil.Error, OSError):
        return None


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def _parents(pid: int) -> set[int]:
    try:
        return {parent.pid for parent in psutil.Process(pid).parents()}
    except psutil.Error:
        return set()


def _signal(pid: int, number: int, *, group: bool = False) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        (os.killpg if group else os.kill)(pid, number)
