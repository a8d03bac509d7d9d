"""The vgan command: `vgan --help` shows everything it can do."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli import datasets, doctor, inspection, models, pipeline, promotion, provenance, stages
from flows.cli.options import PlainHelp
from vgan import __version__

app = typer.Typer(
    name="vgan",
    help="Turn a folder of videos into a registered, continuously retrained video generator.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    add_completion=False,
)
for part in (pipeline, stages, models, promotion, inspection, datasets, provenance, doctor):
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
) -> None:
    """Turn a folder of videos into a registered, continuously retrained video generator."""


def main() -> None:
    """Entry point of the console script."""
    app()
