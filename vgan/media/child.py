"""The only place that starts processes that touch media: none of them can hurt the one that starts them.

A child gets its own process group, no stdin unless it is fed, a time limit that kills the
whole group, limits on memory and more, bounds on the messages that are kept, an environment
without secrets, and the signal that ends it when its parent dies.

This module travels in the packaged model: it needs the standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any

MESSAGE_BYTES = 256 << 10  # of stderr kept at its start, and again at its end
PASSED_ON = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "VGAN_FFMPEG")  # of the environment; secrets stay here
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Limits:
    """What a child may use, where the system can bound it from outside (Linux); None bounds nothing."""

    memory_bytes: int = 8 << 30
    cpu_seconds: int | None = None
    file_bytes: int | None = None  # of one file that it writes
    files: int | None = None  # open at a time


@dataclass(frozen=True)
class Finished:
    """How a child ended."""

    returncode: int
    timed_out: bool
    stderr: str  # its start and its end, undecodable bytes as surrogates

    @property
    def first_error(self) -> str:
        """The first line that says what was wrong, for a person; at most 300 characters."""
        lines = [line for line in self.stderr.splitlines() if "[error]" in line or "[fatal]" in line]
        text = (lines or self.stderr.splitlines() or ["no message"])[0]
        return printable(re.sub(r"\[(?:[^\]]* @ 0x[0-9a-f]+|[a-z]+)\] ", "", text))

    @property
    def last_words(self) -> str:
        """The last line, for a person; at most 300 characters."""
        lines = [line for line in self.stderr.splitlines() if line.strip()]
        return printable(lines[-1]) if lines else ""

    @property
    def ending(self) -> str:
        """The exit code in words."""
        return f"exit code {self.returncode}" if self.returncode >= 0 else f"signal {-self.returncode}"


def printable(text: str) -> str:
    """`text` without what would move a terminal's cursor; at most 300 characters."""
    return "".join(c if c.isprintable() else " " for c in text).strip()[:300]


class Child:
    """A running process. Leaving the `with` block kills what still runs; `finished` tells how it ended.

    The kernel ends a child when the thread that started it ends, so that thread must outlive it.

    Args:
        command: program and arguments.
        timeout: seconds until the group is killed; None gives it all the time.
        feed: pieces of stdin, sent by a thread of their own; None gives it no stdin.
        limits: what it may use.
        pass_fds: descriptors that the child inherits.
        asked: keep stdin open as `stdin`, for questions that `stdout` answers; excludes `feed`.
        cwd: folder to run in; None takes this process's.
        environment: variables beside the few that are passed on.
    """

    stdout: IO[bytes]
    finished: Finished

    def __init__(
        self,
        command: Sequence[str],
        *,
        timeout: float | None,
        feed: Iterable[bytes] | None = None,
        limits: Limits | None = None,
        pass_fds: Sequence[int] = (),
        asked: bool = False,
        cwd: str | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self._timed_out = False
        passed_on = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        self._process = subprocess.Popen(
            command,
            bufsize=0 if asked else -1,
            stdin=subprocess.PIPE if asked or feed is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=pass_fds,
            process_group=0,
            cwd=cwd,
            env=passed_on | {"LC_ALL": "C"} | (environment or {}),
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509  one C call, no Python lock
        )
        assert self._process.stdout
        self.stdout = self._process.stdout
        self.pid = self._process.pid
        self.limit(limits or Limits())
        self._messages = _Messages(self._process.stderr)
        self._feeder = None if feed is None else threading.Thread(target=self._send, args=(feed,), daemon=True)
        self._watchdog = None if timeout is None else threading.Timer(timeout, self._kill_for_time)
        for thread in (self._messages, self._feeder, self._watchdog):
            if thread:
                thread.daemon = True
                thread.start()

    @property
    def stdin(self) -> IO[bytes]:
        """Where questions go; unbuffered."""
        assert self._process.stdin
        return self._process.stdin

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def __enter__(self) -> Child:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is not None:
            self.stop()
        self.end()

    def end(self) -> Finished:
        """Close its pipes, wait until it has ended, and say how."""
        if not hasattr(self, "finished"):
            self.stdout.close()  # a child that still writes ends by its broken pipe
            if self._process.stdin and not self._feeder:
                with contextlib.suppress(BrokenPipeError):
                    self._process.stdin.close()
            returncode = self._process.wait()
            for thread in (self._messages, self._feeder):
                if thread:
                    thread.join()
            if self._watchdog:
                self._watchdog.cancel()
            self.finished = Finished(returncode, self._timed_out, self._messages.text())
        return self.finished

    def wait(self) -> None:
        """Wait until it has ended; its pipes are left to the thread that reads them."""
        self._process.wait()

    def stop(self) -> None:
        """Kill it and all that it started, now."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def limit(self, limits: Limits) -> None:
        """Bound what the running child may use from now on."""
        if sys.platform != "linux":
            return
        wanted = {
            resource.RLIMIT_CORE: 0,
            resource.RLIMIT_AS: limits.memory_bytes,
            resource.RLIMIT_CPU: limits.cpu_seconds,
            resource.RLIMIT_FSIZE: limits.file_bytes,
            resource.RLIMIT_NOFILE: limits.files,
        }
        for kind, most in wanted.items():
            if most is not None:
                with contextlib.suppress(ProcessLookupError, ValueError, PermissionError):
                    _, hard = resource.prlimit(self.pid, kind)
                    soft = most if hard == resource.RLIM_INFINITY else min(most, hard)
                    resource.prlimit(self.pid, kind, (soft, hard))

    def _kill_for_time(self) -> None:
        self._timed_out = True
        self.stop()

    def _send(self, feed: Iterable[bytes]) -> None:
        with contextlib.suppress(BrokenPipeError):  # its exit code and messages tell the story
            for piece in feed:
                self.stdin.write(piece)
        with contextlib.suppress(BrokenPipeError):
            self.stdin.close()


class _Messages(threading.Thread):
    """Reads stderr to its end, so that the child never blocks on it, and keeps its start and its end."""

    def __init__(self, pipe: IO[bytes] | None) -> None:
        super().__init__(daemon=True)
        assert pipe
        self.pipe = pipe
        self.head = bytearray()
        self.tail = bytearray()

    def run(self) -> None:
        with self.pipe:
            while piece := os.read(self.pipe.fileno(), 1 << 16):
                room = MESSAGE_BYTES - len(self.head)
                self.head += piece[:room]
                self.tail += piece[max(room, 0) :]
                del self.tail[:-MESSAGE_BYTES]

    def text(self) -> str:
        return (self.head + self.tail).decode(errors="surrogateescape")


_libc: Any = ctypes.CDLL(None) if sys.platform == "linux" else None


def _die_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
