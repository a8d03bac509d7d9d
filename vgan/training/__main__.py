"""The training process: `python -m vgan.training --workspace W --run KEY`; with `--measure` a rehearsal of it.

Its exit code is the whole answer (vgan.errors); its last words are in its standard error,
as `error: ...` and `hint: ...`. SIGINT, SIGTERM and SIGHUP finish the step, write a checkpoint
and exit with 75; a second one exits at once. It dies with the process that started it.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

from ..errors import ResumableError, VganError
from ..storage import lease, read_bytes
from ..workspace import Workspace
from .lifeline import SUPERVISOR, die_with
from .plan import RunConfig


def say(line: str) -> None:
    """Write a line to standard error, past any buffer; on a full disk nobody hears it, and the exit code stays."""
    with contextlib.suppress(OSError):
        os.write(2, f"{line}\n".encode())


class StopFlag:
    """Set by the first signal; the second one ends the process."""

    def __init__(self) -> None:
        self.raised = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.raised:
            os._exit(ResumableError.exit_code)
        self.raised = True
        # Whoever supervises hands warnings on: a step can take minutes while it is being compiled. One rank says it.
        level = "INFO" if os.environ.get("RANK", "0") != "0" else "WARNING"
        said = "finishing the step and writing a checkpoint; a second signal ends the run at once"
        say(f"{level} {signal.Signals(number).name}: {said}")

    def __call__(self) -> bool:
        """Whether a signal has come."""
        return self.raised


def main(arguments: list[str] | None = None) -> int:
    """Train, or measure, the run that the arguments name; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m vgan.training", description="Train a prepared run.")
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument("--run", help="key of a run that has a config.json")
    wanted.add_argument("--measure", metavar="FILE", help="print what a few steps of this config.json cost")
    parser.add_argument("--workspace", help="folder that holds datasets/ and runs/")
    options = parser.parse_args(arguments)
    supervisor = os.environ.get(SUPERVISOR)
    rank = int(os.environ.get("RANK", "0"))
    if supervisor or "TORCHELASTIC_RUN_ID" in os.environ:  # torchrun would leave its ranks behind when it is killed
        die_with(int(supervisor or os.getppid()))
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    try:
        if options.measure:
            _measure(Path(options.measure))
        else:
            _train(options.workspace, options.run, leased=bool(supervisor or rank))
    except VganError as error:
        from .distributed import LostRankError

        if isinstance(error, LostRankError):  # the other one says what was wrong
            say(f"rank {rank}: {error.message}")
            return error.exit_code
        say(f"error: {error.message}")
        if error.hint:
            say(f"hint: {error.hint}")
        return error.exit_code
    return 0


def _train(root: str | None, key: str, *, leased: bool) -> None:
    """Train; a supervisor holds the lease itself, and of several processes the first one does."""
    stop = StopFlag()
    workspace = Workspace.open(root)
    from .loop import train_run  # torch is loaded after the signals are handled

    with contextlib.nullcontext() if leased else lease(workspace.run(key).lease):
        train_run(workspace, key, stop)


def _measure(file: Path) -> None:
    from .probe import probe

    found = probe(RunConfig.from_json(read_bytes(file), str(file)))
    if found is not None:  # one of several processes speaks for all
        sys.stdout.buffer.write(found.to_json())


def leave(code: int) -> NoReturn:
    """Exit with `code`, even when what the log still holds cannot be written: Python would make it 120."""
    for name in ("stdout", "stderr"):
        try:
            getattr(sys, name).flush()
        except OSError:
            setattr(sys, name, None)
    sys.exit(code)


if __name__ == "__main__":
    leave(main())
