"""How far a training is, every two seconds: written by the training process, read by whoever supervises it.

metrics.jsonl is no help there: it has a line for each 200th of the budget, which of two days is a
quarter of an hour, and no clock. This file has one, is written over, and may be lost.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Mapping

from ..errors import VganError
from ..progress import Pace, Progress
from ..records import Record
from ..workspace import RunFolder
from .plan import RunBudget

BEAT_SECONDS = 2.0
SHOWN = ("loss_d", "loss_g", "gap")


class Heartbeat(Record):
    """progress.json: where this attempt is."""

    step: int
    seconds: float  # since the first step of this attempt
    figures: dict[str, float]  # of this step, by name, those that are finite; {} before the first one


class Pulse:
    """Writes the heartbeat of one attempt."""

    def __init__(self, folder: RunFolder) -> None:
        self.path = folder.progress
        self.started = time.monotonic()
        self.written = -BEAT_SECONDS

    def beat(self, step: int, figures: Mapping[str, float], *, last: bool = False) -> None:
        """Write, unless that was done less than two seconds ago and this is not the last step.

        Figures are looked at only when they are written: on a GPU that waits for the step, once in two seconds.
        """
        seconds = time.monotonic() - self.started
        if seconds - self.written < BEAT_SECONDS and not last:
            return
        self.written = seconds
        values = ((name, float(figures[name])) for name in SHOWN if name in figures)
        finite = {name: value for name, value in values if math.isfinite(value)}
        beat = Heartbeat(step=step, seconds=round(seconds, 3), figures=finite)
        temporary = self.path.with_suffix(".new")
        with contextlib.suppress(OSError):  # a bar is no reason to stop for
            temporary.write_bytes(beat.to_json())
            os.replace(temporary, self.path)


class Listener:
    """Reads the heartbeats of one attempt and tells a progress: clips done, clips in all, and a note.

    The speed is that of this attempt, over the last half a minute.
    """

    def __init__(self, folder: RunFolder, progress: Progress) -> None:
        self.path = folder.progress
        self.progress = progress
        self.pace = Pace()
        self.seen = 0
        self.news = ""

    def begin(self) -> None:
        """Forget what an earlier attempt left; to be called before the training process starts."""
        self.path.unlink(missing_ok=True)
        self.progress(0, 1, "starting")

    def say(self, news: str) -> None:
        """Show what the training process says of its beginning, until its first step is done."""
        self.news = news
        self.progress(0, 1, news)

    def look(self, budget: RunBudget) -> None:
        """Tell of a heartbeat that is new."""
        try:
            changed = self.path.stat().st_mtime_ns
            if changed == self.seen:
                return
            beat = Heartbeat.from_json(self.path.read_bytes(), str(self.path))
        except (OSError, VganError):
            return
        self.seen = changed
        batch = budget.clips // budget.steps
        self.pace.tell(beat.seconds, beat.step * batch, budget.clips)
        self.progress(beat.step * batch, budget.clips, self._note(beat, budget.steps))

    def _note(self, beat: Heartbeat, steps: int) -> str:
        """The more important first: a narrow terminal cuts off the end."""
        said: list[str] = [self.news] if self.news and not beat.figures else []
        if self.pace.speed is not None:
            said.append(f"{self.pace.speed:,.1f} clips/s")
        if {"loss_d", "loss_g"} <= beat.figures.keys():
            said.append(f"loss D {beat.figures['loss_d']:.3f} G {beat.figures['loss_g']:.3f}")
        if "gap" in beat.figures:
            said.append(f"gap {beat.figures['gap']:.2f}")
        return ", ".join([*said, f"step {beat.step:,}/{steps:,}"])
