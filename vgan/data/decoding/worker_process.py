"""One decoding worker as its asker sees it: a process with limits, questions and answers, and a time for each.

Nothing here loads a decoder or numpy.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
from pathlib import Path
from typing import Any, cast

from pydantic import TypeAdapter

from ...config import IngestConfig
from ...errors import BY_EXIT_CODE, ConfigError, MissingToolError, VganError
from ...media.child import Child, Finished, Limits
from ..files.names import text_of
from .taken import Refused, TakenVideo, TakeRequest

MEMORY_BYTES = 4 << 30  # of address space of a worker
OPEN_FILES = 64
ANSWER_BYTES = 128 << 20  # of one answer: a clip takes some 160
START_SECONDS = 120.0
VIDEOS_OF_A_WORKER = 300  # then a fresh one takes its place, and with it all that libraries may have leaked
# One place to import from, the parent's, and nothing from the environment (-I) or the folder it runs in.
_BOOTSTRAP = "import sys; sys.path[:] = sys.argv[1:]; from vgan.data.decoding.worker import main; main()"

_TAKEN, _REFUSED = TypeAdapter(TakenVideo), TypeAdapter(Refused)


class Worker:
    """One process, asked by one thread at a time."""

    def __init__(self) -> None:
        self.child = Child(
            worker_command(),
            timeout=None,
            limits=Limits(memory_bytes=MEMORY_BYTES, files=OPEN_FILES),
            asked=True,
            cwd="/",
            environment={"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )
        self.asked = 0
        self.answered = True
        self._early = b""

    @property
    def usable(self) -> bool:
        """Whether it can be asked again."""
        return self.answered and self.asked < VIDEOS_OF_A_WORKER and self.child.running

    def stop(self) -> None:
        """Kill it, from any thread."""
        self.child.stop()

    def end(self) -> Finished:
        """Reap it and close its pipes; only for the thread that asks it."""
        return self.child.end()

    def expect_ready(self) -> None:
        """Wait until it has loaded all it needs; raises ConfigError with its last words when it cannot."""
        line = self._read_line(time.monotonic() + START_SECONDS)
        if line and b'"ready"' in line:
            return
        self.stop()
        finished = self.end()
        words = finished.last_words or finished.ending
        missing = "ModuleNotFoundError" in words or "ImportError" in words
        kind = MissingToolError if missing else ConfigError
        why = "it did not answer in time" if line == b"" else words
        raise kind(
            f"a decoding worker cannot start: {text_of(why)}.",
            hint="Run `pip install av numpy`." if missing else "Run `python -m vgan.data.decoding.worker` to see why.",
        )

    def ask(self, request: TakeRequest) -> TakenVideo | Refused | Finished:
        """One question and its answer; `Finished` when it died of it."""
        seconds = request.config.video_timeout
        self.asked += 1
        self.answered = False
        self.child.limit(
            Limits(memory_bytes=MEMORY_BYTES, files=OPEN_FILES, file_bytes=most_file_bytes(request.config))
        )
        try:
            self.child.stdin.write(request.to_json())
            line = self._read_line(time.monotonic() + seconds)
        except BrokenPipeError:
            line = None
        if line == b"":
            self.stop()
            self.end()
            return Refused(reason="decode_timeout", detail=f"not decoded within {seconds:g} s")
        answer = _parse(line) if line else None
        if answer is None:
            self.stop()
            return self.end()
        self.answered = True
        return _outcome(answer)

    def _read_line(self, deadline: float) -> bytes | None:
        """The next line; b"" when time is up, None when there will be none."""
        descriptor = self.child.stdout.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        pieces: list[bytes] = []
        size = 0
        while size <= ANSWER_BYTES:
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                return b""
            piece = os.read(descriptor, 1 << 20)
            pieces.append(piece)
            size += len(piece)
            if piece.endswith(b"\n"):  # nothing follows an answer until the next question
                return b"".join(pieces)
            if not piece:
                return None
        return None


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        answer: Any = json.loads(line)
    except ValueError:
        return None
    return cast(dict[str, Any], answer) if isinstance(answer, dict) else None


def _outcome(answer: dict[str, Any]) -> TakenVideo | Refused:
    if "taken" in answer:
        return _TAKEN.validate_python(answer["taken"])
    if "refused" in answer:
        return _REFUSED.validate_python(answer["refused"])
    failure = answer["failed"]
    kind = BY_EXIT_CODE.get(failure["exit_code"], VganError)
    raise kind(failure["message"], hint=failure["hint"])


def worker_command() -> list[str]:
    """Program and arguments of a worker: this Python, with the same places to import from."""
    places = [place or os.getcwd() for place in sys.path]  # noqa: PTH109  a text, as the others
    return [sys.executable, "-I", "-S", "-c", _BOOTSTRAP, *places, str(Path(__file__).resolve().parents[3])]


def most_file_bytes(config: IngestConfig) -> int:
    """A bound on what one video can make a worker write in one file: all frames, or all clips uncompressed."""
    frame = config.height * config.width * 3
    frames = config.max_seconds * config.fps
    windows = min(frames, config.max_seconds / config.stride)
    if config.max_clips_per_video:
        windows = min(windows, config.max_clips_per_video)
    return int(1.1 * frame * max(frames, windows * config.frames)) + (64 << 20)
