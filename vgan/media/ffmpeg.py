"""The only place that starts ffmpeg: finding it, running it, and never being hurt by it.

A child gets its own process group, no stdin unless it is fed, a time limit that kills the
whole group, limits on CPU time, memory and kept messages, and the signal that ends it when
its parent dies. Its exit code is no evidence of a good decode: ffmpeg returns 0 for damaged files.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from types import TracebackType
from typing import IO, Any

from ..errors import MissingToolError

PATH_VARIABLE = "VGAN_FFMPEG"
MESSAGE_BYTES = 256 << 10  # of stderr kept at its start, and again at its end
MEMORY_BYTES = 8 << 30
OLDEST = (5, 1)
PASSED_ON = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH")  # of the environment; secrets stay here
PR_SET_PDEATHSIG = 1
_INSTALL_HINT = f"Run `pip install imageio-ffmpeg`, install your system's ffmpeg package, or set {PATH_VARIABLE}."


@dataclass(frozen=True)
class Ffmpeg:
    """A working ffmpeg program."""

    path: str
    version: str  # as it names itself, for example "5.1.9-0+deb12u1"
    source: str  # "VGAN_FFMPEG", "PATH" or "imageio-ffmpeg"

    @property
    def release(self) -> tuple[int, int]:
        """Major and minor number; a build from git without a number counts as the newest."""
        match = re.match(r"n?(\d+)\.(\d+)", self.version)
        return (int(match[1]), int(match[2])) if match else (99, 0)


def find_ffmpeg() -> Ffmpeg:
    """The ffmpeg to use: VGAN_FFMPEG, else the one on PATH, else the one that imageio-ffmpeg brings.

    Raises:
        MissingToolError: there is none, it does not run, or it is older than 5.1.
    """
    return _find(os.environ.get(PATH_VARIABLE), os.environ.get("PATH"))


@cache
def _find(override: str | None, path: str | None) -> Ffmpeg:
    if override:
        return _identify(override, PATH_VARIABLE)
    if on_path := shutil.which("ffmpeg", path=path):
        return _identify(on_path, "PATH")
    try:
        import imageio_ffmpeg  # pyright: ignore[reportMissingTypeStubs]

        bundled: str = imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError) as error:
        raise MissingToolError("ffmpeg was not found.", hint=_INSTALL_HINT) from error
    return _identify(bundled, "imageio-ffmpeg")


def _identify(path: str, source: str) -> Ffmpeg:
    try:
        answer = subprocess.run(
            [path, "-version"], check=False, stdin=subprocess.DEVNULL, capture_output=True, timeout=30
        )
        match = re.match(rb"ffmpeg version (\S+)", answer.stdout)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingToolError(f"ffmpeg at {path} ({source}) does not run: {error}.", hint=_INSTALL_HINT) from error
    if not match:
        raise MissingToolError(f"{path} ({source}) does not answer as ffmpeg does.", hint=_INSTALL_HINT)
    found = Ffmpeg(path, match[1].decode(errors="replace"), source)
    if found.release < OLDEST:
        raise MissingToolError(
            f"ffmpeg at {path} is version {found.version}, too old: 5.1 is the oldest.", hint=_INSTALL_HINT
        )
    return found


def file_url(path: str | os.PathLike[str]) -> str:
    """`path` as ffmpeg takes any name: absolute, so that no name is read as an option, a pattern or a protocol."""
    return "file:" + os.path.abspath(path)  # noqa: PTH100  Path.absolute keeps '..', which ffmpeg would keep too


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
        printable = "".join(
            c if c.isprintable() else " " for c in re.sub(r"\[(?:[^\]]* @ 0x[0-9a-f]+|[a-z]+)\] ", "", text)
        )
        return printable.strip()[:300]


class Child:
    """A running ffmpeg. Leaving the `with` block kills what still runs; `finished` tells how it ended.

    Args:
        arguments: without the program's name.
        timeout: seconds until the group is killed.
        feed: pieces of stdin, sent by a thread of their own; None gives it no stdin.
        pass_fds: descriptors that the child inherits.
    """

    stdout: IO[bytes]
    finished: Finished

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        timeout: float,
        feed: Iterable[bytes] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self._timed_out = False
        self._process = subprocess.Popen(
            [find_ffmpeg().path, "-hide_banner", "-nostdin", "-nostats", *arguments],
            stdin=subprocess.DEVNULL if feed is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=pass_fds,
            process_group=0,
            env={name: os.environ[name] for name in PASSED_ON if name in os.environ} | {"LC_ALL": "C"},
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509  one C call, no Python lock
        )
        assert self._process.stdout
        self.stdout = self._process.stdout
        _limit(self._process.pid, cpu_seconds=int(timeout * (os.cpu_count() or 1)) + 1)
        self._messages = _Messages(self._process.stderr)
        self._feeder = None if feed is None else threading.Thread(target=self._send, args=(feed,), daemon=True)
        self._watchdog = threading.Timer(timeout, self._kill_for_time)
        self._watchdog.daemon = True
        for thread in (self._messages, self._feeder, self._watchdog):
            if thread:
                thread.start()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is not None:
            self._kill()
        self.stdout.close()  # a child that still writes ends by its broken pipe
        returncode = self._process.wait()
        self._watchdog.cancel()
        self._messages.join()
        if self._feeder:
            self._feeder.join()
        self.finished = Finished(returncode, self._timed_out, self._messages.text())

    def stop(self) -> None:
        """End the child now: the caller has what it wants."""
        self._kill()

    def _kill_for_time(self) -> None:
        self._timed_out = True
        self._kill()

    def _kill(self) -> None:
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _send(self, feed: Iterable[bytes]) -> None:
        pipe = self._process.stdin
        assert pipe
        with contextlib.suppress(BrokenPipeError):  # its exit code and messages tell the story
            for piece in feed:
                pipe.write(piece)
        with contextlib.suppress(BrokenPipeError):
            pipe.close()


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


def run(arguments: Sequence[str], *, timeout: float, feed: Iterable[bytes] | None = None) -> tuple[bytes, Finished]:
    """Run ffmpeg to its end; returns its whole stdout and how it ended."""
    with Child(arguments, timeout=timeout, feed=feed) as child:
        output = child.stdout.read()
    return output, child.finished


_libc: Any = ctypes.CDLL(None) if sys.platform == "linux" else None


def _die_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _limit(pid: int, cpu_seconds: int) -> None:
    """Bound CPU time and memory of a child where the system can do it from outside (Linux)."""
    if sys.platform == "linux":
        with contextlib.suppress(ProcessLookupError, ValueError, PermissionError):
            resource.prlimit(pid, resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
            resource.prlimit(pid, resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
