"""The training process: `python -m vgan.training --workspace W --run KEY`.

Its exit code is the whole answer (vgan.errors); its last words are in its standard error,
as `error: ...` and `hint: ...`. SIGINT, SIGTERM and SIGHUP finish the step, write a checkpoint
and exit with 75; a second one exits at once. It dies with the process that started it.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import logging
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import NoReturn

from ..errors import ResumableError, VganError
from ..storage import lease
from ..workspace import Workspace

SUPERVISOR = "VGAN_SUPERVISOR"  # pid of the process that started this one and holds the lease
PR_SET_PDEATHSIG = 1


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
        say(f"{signal.Signals(number).name}: finishing the step and writing a checkpoint")

    def __call__(self) -> bool:
        """Whether a signal has come."""
        return self.raised


def die_with(supervisor: int) -> None:
    """End this process, without a word, as soon as process `supervisor` has ended."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_watch, args=(supervisor,), daemon=True).start()
    if os.getppid() != supervisor:  # it ended before the line above
        os._exit(ResumableError.exit_code)


def _watch(supervisor: int) -> None:
    while os.getppid() == supervisor:
        time.sleep(0.5)
    os._exit(ResumableError.exit_code)


def main(arguments: list[str] | None = None) -> int:
    """Train the run that the arguments name; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m vgan.training", description="Train a prepared run.")
    parser.add_argument("--workspace", required=True, help="folder that holds datasets/ and runs/")
    parser.add_argument("--run", required=True, help="key of a run that has a config.json")
    options = parser.parse_args(arguments)
    supervisor = os.environ.get(SUPERVISOR)
    if supervisor:
        die_with(int(supervisor))
    stop = StopFlag()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    try:
        workspace = Workspace.open(options.workspace)
        from .loop import train_run  # torch is loaded after the signals are handled

        # A supervisor holds the lease itself.
        held = contextlib.nullcontext() if supervisor else lease(workspace.run(options.run).lease)
        with held:
            train_run(workspace, options.run, stop)
    except VganError as error:
        say(f"error: {error.message}")
        if error.hint:
            say(f"hint: {error.hint}")
        return error.exit_code
    return 0


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
