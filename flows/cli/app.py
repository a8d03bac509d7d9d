"""The vgan command: `vgan --help` shows everything it can do."""

from __future__ import annotations

import logging
import sys
from itertools import takewhile
from typing import Annotated

import typer

from flows.cli import (
    backup,
    datasets,
    doctor,
    inspection,
    models,
    pipeline,
    promotion,
    provenance,
    pruning,
    services,
    stages,
)
from flows.cli.options import PlainHelp
from vgan import __version__, logs

log = logging.getLogger("vgan")
JSON_LOGS = "--json-logs"

app = typer.Typer(
    name="vgan",
    help="Turn a folder of videos into a registered, continuously retrained video generator.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    add_completion=False,
)
for part in (pipeline, stages, models, promotion, inspection, datasets, pruning, backup, provenance, services, doctor):
    app.registered_commands += part.app.registered_commands
for command in app.registered_commands:
    command.cls = PlainHelp


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vgan {__version__}")
        raise typer.Exit


@app.callback()
def shared(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
    json_logs: Annotated[
        bool,
        typer.Option(
            JSON_LOGS,
            help="Write logs and errors on standard error as one JSON object a line, without progress bars.",
            envvar=logs.VARIABLE,
            show_envvar=True,
        ),
    ] = False,
) -> None:
    """Turn a folder of videos into a registered, continuously retrained video generator."""
    if json_logs:
        logs.as_json()


def main() -> None:
    """Entry point of the console script."""
    if logs.wanted() or JSON_LOGS in takewhile(lambda word: word.startswith("-"), sys.argv[1:]):
        sys.exit(_run_for_machines())
    app()


def _run_for_machines() -> int:
    """Run the command; what Typer would write for people, of wrong options and of a crash, become lines too."""
    logs.as_json()
    try:
        return app(standalone_mode=False) or 0
    except Exception as error:
        code = getattr(error, "exit_code", 1)
        if isinstance(error, typer.Abort):
            log.error("aborted", extra={"told": {"code": code}})
        elif hasattr(error, "format_message"):  # of a wrong option or value
            log.error("%s", error.format_message(), extra={"told": {"code": code}})  # pyright: ignore[reportAttributeAccessIssue]
        else:
            log.critical("%s: %s", type(error).__name__, error, exc_info=error, extra={"told": {"code": code}})
        return code
    finally:
        sys.stderr.flush()
