"""`vgan prune`: remove what no alias, no process and no recent work needs."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli import console
from flows.cli.guard import JsonOption, WorkspaceOption, guarded
from vgan.workspace import Workspace

if TYPE_CHECKING:
    from vgan.pruning import Line, Pruned

IDLE_DAYS = 7.0

app = typer.Typer()


@app.command()
@guarded
def prune(
    keep: Annotated[
        int,
        typer.Option("--keep", min=1, help="How many of the newest finished runs and versions of each dataset stay."),
    ],
    idle_days: Annotated[
        float,
        typer.Option(
            "--idle-days",
            min=0.0,
            help="Unfinished or unjudged runs, waiting batches and caches used in the last so many days stay.",
        ),
    ] = IDLE_DAYS,
    yes: Annotated[bool, typer.Option("--yes", help="Remove; without it only what would go is shown.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove old runs, dataset versions, shards and caches that no alias needs and nobody uses."""
    opened = Workspace.open(workspace, write=yes, fetch=False, missing="refuse", sought="what may go")
    from tasks.pruning import prune as prune_now

    done = prune_now(opened, keep, idle_days, remove=yes)
    if as_json:
        told = {"removed": yes, "size_bytes": done.size_bytes}
        lines = {"going": done.going, "staying": done.staying}
        console.print_json(told | {name: [dataclasses.asdict(line) for line in found] for name, found in lines.items()})
        return
    _show(done, removed=yes)


def _show(done: Pruned, *, removed: bool) -> None:
    if done.going:
        console.print_table("Gone" if removed else "Would go", [_row(line) for line in done.going], _HEADINGS)
    if done.staying:
        console.print_table("Stays, beside the newest", [_row(line) for line in done.staying], _HEADINGS)
    size = console.size(done.size_bytes)
    if not done.going:
        said = "nothing may go."
    elif removed:
        said = f"removed {size}."
    else:
        said = f"{size} would go; nothing was removed: --yes removes."
    console.out.print(said, markup=False, highlight=False, soft_wrap=True)


_HEADINGS = ("what", "name", "why", "size")


def _row(line: Line) -> tuple[str, ...]:
    return line.kind, line.name, line.why, console.size(line.size_bytes) if line.size_bytes else ""
