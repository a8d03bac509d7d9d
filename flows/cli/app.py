"""The vgan command: `vgan --help` shows everything it can do."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli import doctor, pipeline, stages
from vgan import __version__

app = typer.Typer(
    name="vgan",
    help="Turn a folder of videos into a registered, continuously retrained video generator.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    add_completion=False,
)
for part in (pipeline, stages, doctor):
    app.registered_commands += part.app.registered_commands


@app.callback()
def version_option(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    """Turn a folder of videos into a registered, continuously retrained video generator."""
    if version:
        typer.echo(f"vgan {__version__}")
        raise typer.Exit


def main() -> None:
    """Entry point of the console script."""
    app()
