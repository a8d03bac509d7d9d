"""ffmpeg, the program: finding it and running it as a guarded child.

Its exit code is no evidence of a good decode: ffmpeg returns 0 for damaged files.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from ..errors import MissingToolError
from .child import Child as Guarded
from .child import Finished, Limits

PATH_VARIABLE = "VGAN_FFMPEG"
OLDEST = (5, 1)
VERSION_SECONDS = 30.0
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
        with Guarded([path, "-version"], timeout=VERSION_SECONDS) as child:
            match = re.match(rb"ffmpeg version (\S+)", child.stdout.read())
    except OSError as error:
        raise MissingToolError(f"ffmpeg at {path} ({source}) does not run: {error}.", hint=_INSTALL_HINT) from error
    if child.finished.timed_out:
        raise MissingToolError(f"ffmpeg at {path} ({source}) hangs when asked its version.", hint=_INSTALL_HINT)
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


class Child(Guarded):
    """A running ffmpeg, which decodes or encodes one file: see `child.Child`.

    Args:
        arguments: without the program's name.
        timeout: seconds until the group is killed.
        feed: pieces of stdin, sent by a thread of their own; None gives it no stdin.
        pass_fds: descriptors that the child inherits.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        timeout: float,
        feed: Iterable[bytes] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        super().__init__(
            [find_ffmpeg().path, "-hide_banner", "-nostdin", "-nostats", *arguments],
            timeout=timeout,
            feed=feed,
            limits=Limits(cpu_seconds=int(timeout * (os.cpu_count() or 1)) + 1),
            pass_fds=pass_fds,
        )


def run(arguments: Sequence[str], *, timeout: float, feed: Iterable[bytes] | None = None) -> tuple[bytes, Finished]:
    """Run ffmpeg to its end; returns its whole stdout and how it ended."""
    with Child(arguments, timeout=timeout, feed=feed) as child:
        output = child.stdout.read()
    return output, child.finished
