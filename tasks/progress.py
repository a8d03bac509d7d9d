"""Progress of a stage, shown twice: a bar on the terminal that listens, an artifact in Prefect.

A stage of one task reports through `stage_progress`. Where many tasks do the work of one stage, the flow holds
`whole_progress` open around them and each task reports through `part_progress`: there is one bar and one artifact
for all of them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import copy_context
from typing import cast
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import FlowRunContext
from prefect.runtime import flow_run

from vgan import logs
from vgan.progress import Pace, Progress, counted, duration, silent

SECONDS_BETWEEN_UPDATES = 5.0  # each is a write and an event in the server, which shares a small machine
CLOSING_SECONDS = 5.0  # that a stage waits at its end for the last update

# The command line sets this before it starts a flow in its own process: stage name -> sink.
terminal: Callable[[str], Progress] | None = None


def _run_fields() -> dict[str, str]:
    """Which flow run this is, for log lines of ours: Prefect's own know it."""
    run = FlowRunContext.get()
    return {"flow_run_id": str(run.flow_run.id)} if run and run.flow_run else {}


logs.sources.append(_run_fields)


def listen(sink_of: Callable[[str], Progress]) -> None:
    """Send the progress of every stage that runs in this process to `sink_of(stage)` too."""
    global terminal  # noqa: PLW0603
    terminal = sink_of


@contextmanager
def stage_progress(stage: str) -> Iterator[Progress]:
    """A sink that updates the stage's progress artifact, at most every five seconds, and the terminal.

    The artifact's description is the note and the time left, which a terminal shows beside its bar.
    """
    shown = terminal(stage) if terminal else None
    artifact, pace = _Artifact(stage), Pace()

    def report(done: float, total: float, note: str) -> None:
        if shown:
            shown(done, total, note)
        pace.tell(time.monotonic(), done, total)
        left = pace.seconds_left
        rest = f", {duration(left)} left" if left and done < total else ""
        artifact.latest = (100.0 * done / max(total, 1e-9), f"{stage}: {note}{rest}")

    try:
        with logs.about(stage=stage):
            yield report
    finally:
        artifact.close()


class _Artifact:
    """Sends the latest state to Prefect from a thread of its own.

    Progress is for people: a server that is away or slow must neither stop nor delay the work.
    """

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.latest: tuple[float, str] | None = None
        self._closed = threading.Event()
        # The copied context says which run the artifact belongs to.
        context = copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._send,), daemon=True, name=f"{stage}-progress")
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._thread.join(CLOSING_SECONDS)

    def _send(self) -> None:
        artifact: UUID | None = None
        sent: tuple[float, str] | None = None
        wait = 0.0
        closed = False
        while not closed:
            closed, wait = self._closed.wait(wait), SECONDS_BETWEEN_UPDATES
            latest = self.latest or (0.0, f"{self.stage}: starting")
            if latest == sent:
                continue
            with suppress(Exception):
                if artifact is None:
                    created = create_progress_artifact(latest[0], key=f"{self.stage}-progress", description=latest[1])
                    artifact = cast(UUID, created)  # outside a coroutine it is never one
                else:
                    update_progress_artifact(artifact, latest[0], latest[1])
                sent = latest


class WholeProgress:
    """Adds up the parts of a whole, from several threads; a part that begins again takes back what it had reported.

    Args:
        sink: told of the whole.
        total: units of all parts together.
    """

    def __init__(self, sink: Progress, total: float) -> None:
        self.sink = sink
        self.total = total
        self._ended = 0.0  # units of the parts that have ended
        self._running: dict[str, float] = {}
        self._lock = threading.Lock()

    @contextmanager
    def part(self, key: str, size: float) -> Iterator[Progress]:
        """A sink for one part of `size` units, in whatever units it counts itself; its end makes it whole."""

        def report(done: float, total: float, note: str) -> None:
            with self._lock:
                self._running[key] = size * min(1.0, done / max(total, 1e-9))
                self._tell(note)

        try:
            yield report
        except BaseException:
            with self._lock:
                self._running.pop(key, None)
            raise
        with self._lock:
            self._running.pop(key, None)
            self._ended += size
            self._tell("")

    def _tell(self, note: str) -> None:
        done = self._ended + sum(self._running.values())
        units = f"{done:,.0f} of {counted(round(self.total), 'video')}"
        self.sink(done, self.total, f"{units}, {note}" if note else units)


_wholes: dict[str, WholeProgress] = {}  # by flow run, of this process


@contextmanager
def whole_progress(stage: str, total: float) -> Iterator[None]:
    """Show one progress of `total` videos for all parts that tasks of this flow run report until the block ends."""
    run = str(flow_run.get_id())
    with stage_progress(stage) as sink:
        _wholes[run] = WholeProgress(sink, total)
        try:
            yield
        finally:
            del _wholes[run]


@contextmanager
def part_progress(key: str, size: float) -> Iterator[Progress]:
    """A sink of a task for its part of the whole; silent in a process that the flow does not run in."""
    whole = _wholes.get(str(flow_run.get_id()))
    if whole is None:
        yield silent
    else:
        with whole.part(key, size) as sink:
            yield sink


def part_elsewhere(key: str, size: float, elsewhere: bool = True) -> AbstractContextManager[object]:
    """Report in the flow a part that a task does in another process; it counts when the block ends well.

    `elsewhere` False does nothing: the task reports for itself.
    """
    return part_progress(key, size) if elsewhere else nullcontext()
