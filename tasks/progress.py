"""Progress of a stage, shown twice: a bar on the terminal that listens, an artifact in Prefect."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import cast
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from vgan.progress import Progress

SECONDS_BETWEEN_UPDATES = 2.0

# The command line sets this before it starts a flow in its own process: stage name -> sink.
terminal: Callable[[str], Progress] | None = None


def listen(sink_of: Callable[[str], Progress]) -> None:
    """Send the progress of every stage that runs in this process to `sink_of(stage)` too."""
    global terminal  # noqa: PLW0603
    terminal = sink_of


@contextmanager
def stage_progress(stage: str) -> Iterator[Progress]:
    """A sink that updates the stage's progress artifact, at most every two seconds, and the terminal."""
    artifact: UUID | None = None
    # Progress is for people; a server that is away must not stop the work.
    with suppress(Exception):
        created = create_progress_artifact(0.0, key=f"{stage}-progress", description=f"{stage}: starting")
        artifact = cast(UUID, created)  # outside a coroutine it is never one
    shown = terminal(stage) if terminal else None
    last = 0.0

    def report(done: float, total: float, note: str) -> None:
        nonlocal last
        if shown:
            shown(done, total, note)
        now = time.monotonic()
        if artifact is not None and (now - last >= SECONDS_BETWEEN_UPDATES or done >= total):
            last = now
            with suppress(Exception):
                update_progress_artifact(artifact, 100.0 * done / max(total, 1e-9), f"{stage}: {note}")

    yield report
