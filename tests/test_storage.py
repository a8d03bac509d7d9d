"""Promises of storage: whole files or none, one writer at a time."""

from __future__ import annotations

import errno
import json
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from vgan import storage
from vgan.errors import ResumableError, StorageError

KILL_POINTS = ["before_fsync", "before_rename"]


def in_child(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("point", KILL_POINTS)
def test_a_writer_killed_by_sigkill_leaves_the_old_content(tmp_path: Path, point: str) -> None:
    """FAULTS 1: the name holds the old content or the new one."""
    target = tmp_path / "record.json"
    storage.write_atomic(target, b"old")
    code = (
        f"from pathlib import Path; from vgan.storage import write_atomic; write_atomic(Path({str(target)!r}), b'new')"
    )
    assert in_child(code, VGAN_FAULT=point).returncode == -9
    assert target.read_bytes() == b"old"
    assert storage.sweep_temporary(tmp_path) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["record.json"]
    assert in_child(code).returncode == 0
    assert target.read_bytes() == b"new"


def test_an_exception_in_the_block_discards_the_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stop"), storage.atomic_file(tmp_path / "a") as file:
        file.write(b"half")
        raise ValueError("stop")
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_leaves_what_another_host_writes_until_it_has_not_grown_for_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Machines share a folder: a process of another one may live, though none here has its number."""
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(socket, "gethostname", lambda: "elsewhere")
        elsewhere.setattr(os, "getpid", lambda: 999_999_999)
        path = tmp_path / f"{storage.temporary_prefix()}spool"
        path.write_bytes(b"")
    written = path.stat().st_mtime
    assert storage.sweep_temporary(tmp_path, clock=lambda: written + 3600) == 0
    assert storage.sweep_temporary(tmp_path, clock=lambda: written + 25 * 3600) == 1
    assert not list(tmp_path.iterdir())


def test_a_sweep_leaves_the_files_of_living_writers(tmp_path: Path) -> None:
    with storage.atomic_file(tmp_path / "a") as file:
        assert storage.sweep_temporary(tmp_path) == 0
        file.write(b"whole")
    assert (tmp_path / "a").read_bytes() == b"whole"


def test_a_full_disk_is_a_storage_error_that_names_the_file_and_keeps_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "weights"
    storage.write_atomic(target, b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left") as caught:
        storage.write_atomic(target, b"new")
    assert str(target) in caught.value.message
    assert "space" in caught.value.hint
    assert caught.value.exit_code == 74
    assert target.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["weights"]


def test_a_file_size_limit_leaves_nothing_half_written(tmp_path: Path) -> None:
    """FAULTS 6: EFBIG is a storage error."""
    target = tmp_path / "big"
    limit = f"resource.setrlimit(resource.RLIMIT_FSIZE, (4096, {resource.RLIM_INFINITY}))"
    code = (
        "import resource, signal; from pathlib import Path; from vgan.storage import write_atomic\n"
        f"signal.signal(signal.SIGXFSZ, signal.SIG_IGN); {limit}\n"
        f"write_atomic(Path({str(target)!r}), bytes(100_000))"
    )
    assert "StorageError" in in_child(code).stderr
    assert list(tmp_path.iterdir()) == []


def test_a_lease_is_held_by_one_process(tmp_path: Path) -> None:
    """FAULTS 41: the other one is told which process holds it."""
    path = tmp_path / "lease.json"
    code = f"from pathlib import Path; from vgan.storage import lease\nwith lease(Path({str(path)!r})): pass"
    with storage.lease(path):
        refused = in_child(code)
        assert "ResumableError" in refused.stderr
        assert f"process {os.getpid()} on {socket.gethostname()}" in refused.stderr
    assert in_child(code).returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_the_lock_of_a_lease_is_put_away_and_still_lets_one_in_at_a_time(tmp_path: Path) -> None:
    """FAULTS 42: whoever waits for a lock that its holder removes does not enter beside one who makes a new one."""
    inside, met = [], []

    def look() -> None:
        for _ in range(25):
            with storage._locked(tmp_path / "lease.json") as lock:
                inside.append(1)
                time.sleep(0.0005)
                met.append(len(inside))
                inside.pop()
                lock.unlink()

    threads = [threading.Thread(target=look) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(met) == {1}
    assert list(tmp_path.iterdir()) == []


def test_a_lease_is_waited_for_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "WAIT_BETWEEN_SECONDS", 0.01)
    path, order = tmp_path / "lease.json", []

    def end() -> None:
        order.append("first")
        held.__exit__(None, None, None)

    held = storage.lease(path)
    held.__enter__()
    threading.Timer(0.1, end).start()
    with storage.lease(path, wait=60):
        order.append("second")
    assert order == ["first", "second"]


def test_of_many_threads_exactly_one_takes_a_stale_lease(tmp_path: Path) -> None:
    """FAULTS 42: of many that find a dead owner's lease at once, one has it."""
    path = tmp_path / "lease.json"
    path.write_text(json.dumps({"host": socket.gethostname(), "pid": 2**22 + 1, "start": "1"}))
    start, hold = threading.Barrier(8), threading.Event()
    taken: list[bool] = []

    def take() -> None:
        start.wait()
        try:
            with storage.lease(path):
                taken.append(True)
                hold.wait(10)
        except ResumableError:
            taken.append(False)
            if taken.count(False) == 7:
                hold.set()

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == [False] * 7 + [True]


def test_a_lease_whose_pid_was_used_again_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    path.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "start": "1"}))
    with storage.lease(path):
        assert json.loads(path.read_text())["start"] == storage.process_start(os.getpid())


def test_a_lease_of_another_host_lives_as_long_as_its_heartbeat(tmp_path: Path) -> None:
    """FAULTS 42, 43: nobody sees its process, only its sign of life; a clock that jumped back makes nobody dead."""
    path = tmp_path / "lease.json"
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "start": "1"}))
    beat = path.stat().st_mtime
    with pytest.raises(ResumableError, match="elsewhere"), storage.lease(path, clock=lambda: beat + 30):
        pass
    with pytest.raises(ResumableError), storage.lease(path, clock=lambda: beat - 3600):  # a clock that jumped back
        pass
    with storage.lease(path, clock=lambda: beat + storage.STALE_SECONDS + 1):
        pass


def test_a_machine_whose_clock_is_wrong_takes_nobodys_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAULTS 43: heartbeats are timed by the file system that both see, not by the clock of who looks."""
    path = tmp_path / "lease.json"
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "start": "1"}))
    real = time.time
    for wrong in (-3600.0, 3600.0):
        monkeypatch.setattr(time, "time", lambda wrong=wrong: real() + wrong)
        with pytest.raises(ResumableError, match="elsewhere"), storage.lease(path):
            pass
    beat = path.stat().st_mtime - storage.STALE_SECONDS - 1
    os.utime(path, (beat, beat))
    with storage.lease(path):
        assert json.loads(path.read_text())["host"] == socket.gethostname()


def test_process_start_tells_a_process_from_a_dead_one() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert storage.process_start(child.pid) == storage.process_start(child.pid) is not None
    child.kill()
    child.communicate()
    assert storage.process_start(child.pid) is None


def test_sha256_of_a_missing_file_says_which(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="gone"):
        storage.sha256_file(tmp_path / "gone")
