"""What every command shares: --workspace, --json, and errors as a message, a remedy and an exit code."""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer

from flows.cli import console
from vgan.errors import ResumableError, VganError

WorkspaceOption = Annotated[
    Path | None,
    typer.Option(
        "--workspace",
        help="Folder for everything that is written.",
        show_default="$VGAN_WORKSPACE, else ./workspace",
    ),
]
JsonOption = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON object on standard output, logs on standard error."),
]


MLFLOW_BARS = "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"  # which MLflow draws into pipes and across ours


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Run a command; turn vgan's errors and interruptions into a clear message and the right exit code."""

    @functools.wraps(command)
    def call(**arguments: Any) -> None:
        console.setup_logging()
        os.environ.setdefault(MLFLOW_BARS, "false")
        before = {number: signal.signal(number, _interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
        as_json = bool(arguments.get("as_json"))
        try:
            with console.json_alone() if as_json else nullcontext():
                _answered(command, arguments, as_json)
        finally:
            # Whoever calls a command as a function keeps the answers to signals that were there before.
            for number, handler in before.items():
                signal.signal(number, handler or signal.SIG_DFL)

    return call


def _answered(command: Callable[..., None], arguments: dict[str, Any], as_json: bool) -> None:
    try:
        command(**arguments)
    except VganError as error:
        _fail(error, as_json)
    except KeyboardInterrupt:
        _fail(ResumableError("interrupted.", hint="What was committed stays; the same command goes on."), as_json)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """A request to stop, from a scheduler or a closed terminal, ends like Ctrl-C."""
    raise KeyboardInterrupt


def _fail(error: VganError, as_json: bool) -> NoReturn:
    if as_json:
        told = {"code": error.exit_code, "message": error.message, "hint": error.hint}
        console.print_json({"error": told})
    console.complain(error)
    raise typer.Exit(error.exit_code)
