"""Files that are there whole or not at all, and one writer at a time.

`write_atomic` is the only way a commit record, shard or checkpoint gets its final name:
write beside it, fsync the file, rename, fsync the folder. A reader never sees half a file,
and after a power cut the old content or the new one is there.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import IO, Any

from .errors import ResumableError, StorageError

log = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 20
STALE_SECONDS = 60.0  # a lease whose heartbeat is older belongs to a dead owner
HEARTBEAT_SECONDS = 10.0
ABANDONED_SECONDS = 24 * 3600.0  # without growth, after which a temporary file of another host is nobody's
WAIT_BETWEEN_SECONDS = 1.0  # looks at a lease that is waited for


_passed: dict[str, int] = {}  # how often this process came by each fault point


def fault_point(name: str) -> None:
    """Kill this process here when VGAN_FAULT names this point: how tests cut a write in half.

    `VGAN_FAULT=before_rename` kills at the first time, `before_rename:3` at the third.
    """
    asked = os.environ.get("VGAN_FAULT")
    if not asked:
        return
    point, _, time_of = asked.partition(":")
    if point == name:
        _passed[name] = _passed.get(name, 0) + 1
        if _passed[name] == int(time_of or 1):
            os.kill(os.getpid(), 9)


@contextlib.contextmanager
def storage_errors(path: Path, doing: str) -> Generator[None]:
    """Turn an OSError into a StorageError that names the file and, when the disk is full, says so."""
    try:
        yield
    except OSError as error:
        hint = "Free some space or name another workspace." if error.errno in (27, 28, 122) else ""
        raise StorageError(f"{doing} {path} failed: {error.strerror or error}.", hint=hint) from error


@contextlib.contextmanager
def atomic_file(path: Path, *, rename: Callable[[], Path] | None = None) -> Generator[IO[bytes]]:
    """Open a file that gets its name only when the block ends without an exception.

    `rename` is asked for another name in the same folder when the content is known. A killed
    process leaves at most `.tmp-<pid>@<host>-<nonce>-<name>`, which no reader looks at and
    `sweep_temporary` removes.
    """
    with storage_errors(path, "writing"):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f"{temporary_prefix()}{secrets.token_hex(4)}-{path.name}"
        try:
            with open(temporary, "xb") as file:
                fault_point("after_open")
                yield file
                file.flush()
                fault_point("before_fsync")
                os.fsync(file.fileno())
            fault_point("before_rename")
            os.replace(temporary, rename() if rename else path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        fault_point("before_folder_fsync")
        fsync_folder(path.parent)


def write_atomic(path: Path, content: bytes) -> None:
    """Give `path` this content, all or nothing; raises StorageError."""
    with atomic_file(path) as file:
        file.write(content)


def fsync_folder(folder: Path) -> None:
    """Make renames in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def temporary_prefix() -> str:
    """What names of this process's temporary files begin with."""
    return f".tmp-{os.getpid()}@{_host_mark()}-"


def _host_mark() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def sweep_temporary(folder: Path, *, clock: Callable[[], float] = time.time) -> int:
    """Remove what killed writers left in `folder`; leaves those of living processes. Returns how many.

    Whether a process of another host lives cannot be seen here: its files go when they have not grown for a day.
    """
    swept = 0
    for path in folder.glob(".tmp-*"):
        pid, _, host = path.name.split("-")[1].partition("@")
        if not pid.isdigit():
            continue
        with contextlib.suppress(FileNotFoundError):
            ended = (
                process_start(int(pid)) is None
                if host in ("", _host_mark())
                else clock() - path.stat().st_mtime > ABANDONED_SECONDS
            )
            if ended:
                path.unlink()
                swept += 1
    return swept


def sha256_file(path: Path) -> str:
    """sha256 (64 hex digits) of a file, read in pieces; raises StorageError."""
    digest = hashlib.sha256()
    with storage_errors(path, "reading"), open(path, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def read_bytes(path: Path) -> bytes:
    """Whole content of a small file; raises StorageError."""
    with storage_errors(path, "reading"):
        return path.read_bytes()


def process_start(pid: int) -> str | None:
    """When a process of this machine started, in clock ticks since boot; None when there is none.

    Together with the pid this names a process even after pids are used again. Where there is
    no /proc, a living process is "unknown".
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
        return "unknown" if _is_alive(pid) else None
    except OSError:
        return "unknown"
    return None if fields[0] in "ZX" else fields[19]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


class _Heartbeat(threading.Thread):
    """Touches the lease file until told to stop."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True, name=f"lease-{path.parent.name}")
        self.path = path
        self.stopped = threading.Event()

    def run(self) -> None:
        while not self.stopped.wait(HEARTBEAT_SECONDS):
            with contextlib.suppress(OSError):
                os.utime(self.path)


@contextlib.contextmanager
def lease(path: Path, *, clock: Callable[[], float] | None = None, wait: float = 0.0) -> Generator[None]:
    """Be the only process that works in the folder of `path`.

    The owner is named by host, pid and start time. A lease of a dead process of this host, or
    one whose heartbeat is older than a minute on another host, is taken over with a warning.

    Args:
        path: the lease.
        clock: seconds since 1970; None asks the file system, by which heartbeats are timed too: one that machines
            share has one clock for all of them, whatever their own say.
        wait: seconds for which to wait for a living owner to end.

    Raises:
        ResumableError: another living process holds it.
    """
    _wait_for(path, clock, wait)
    heartbeat = _Heartbeat(path)
    heartbeat.start()
    try:
        yield
    finally:
        heartbeat.stopped.set()
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError), _locked(path) as lock:
            lock.unlink()


def _wait_for(path: Path, clock: Callable[[], float] | None, wait: float) -> None:
    """Take the lease, after at most so many seconds."""
    end, said = time.monotonic() + wait, False
    while True:
        try:
            return _take(path, clock)
        except ResumableError as error:
            if time.monotonic() >= end:
                raise
            if not said:
                log.info("waiting: %s", error.message)
            said = True
            time.sleep(min(WAIT_BETWEEN_SECONDS, wait))


def _take(path: Path, clock: Callable[[], float] | None) -> None:
    content = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "start": process_start(os.getpid())})
    with storage_errors(path, "taking the lease"):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Looking at the owner and replacing a dead one is one step: without the lock, a second process
        # that saw the dead owner too would remove the lease of the first that replaced it.
        with _locked(path) as lock:
            os.utime(lock)
            _refuse_living_owner(path, clock or (lambda: lock.stat().st_mtime))
            temporary = path.parent / f"{temporary_prefix()}{secrets.token_hex(4)}-{path.name}"
            temporary.write_text(content)
            os.replace(temporary, path)


@contextlib.contextmanager
def _locked(path: Path) -> Generator[Path]:
    """Be the only one who looks at the lease `path`; yields the lock's file, which may be removed meanwhile.

    Whoever waited for a file that was removed then holds a lock that nobody else will meet, and asks again.
    """
    file = path.with_name(f".{path.name}.lock")
    while True:
        with open(file, "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _is_at(file, lock):
                yield file
                return


def _is_at(path: Path, file: IO[bytes]) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _refuse_living_owner(path: Path, clock: Callable[[], float]) -> None:
    """Raise ResumableError when a living process holds the lease; log that a dead one's is taken over."""
    found = _owner(path, clock)
    if found is None:
        return
    owner, age, dead = found
    if not dead:
        raise ResumableError(
            f"{path.parent} is in use by process {owner['pid']} on {owner['host']} "
            f"(last sign of life {max(age, 0):.0f} s ago).",
            hint="Wait until it ends and run the same command again.",
        )
    log.warning("taking over the lease %s of a process that ended (%s)", path, owner)


def is_leased(path: Path, *, clock: Callable[[], float] = time.time) -> bool:
    """Whether a living process holds the lease; only looks."""
    found = _owner(path, clock)
    return found is not None and not found[2]


def _owner(path: Path, clock: Callable[[], float]) -> tuple[dict[str, Any], float, bool] | None:
    """Who wrote the lease, seconds since the last heartbeat, and whether it is dead; None without a lease."""
    try:
        age = clock() - path.stat().st_mtime
        owner: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError:
        owner, age = {}, STALE_SECONDS + 1
    if owner.get("host") == socket.gethostname():
        return owner, age, process_start(int(owner["pid"])) != owner["start"]
    return owner, age, age > STALE_SECONDS
