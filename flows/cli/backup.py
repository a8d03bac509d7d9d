"""`vgan backup` and `vgan restore`: a whole copy while everything goes on, and the way back on any machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from flows.cli import console
from flows.cli.guard import JsonOption, WorkspaceOption, guarded
from vgan.progress import counted
from vgan.workspace import Workspace

app = typer.Typer()


@app.command()
@guarded
def backup(
    out: Annotated[Path, typer.Argument(help="A new folder for the copy, outside the workspace.")],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy the workspace with its databases, whole although servers and flows go on."""
    from vgan.backup import back_up

    opened = Workspace.open(workspace, write=False, fetch=False, missing="refuse", sought="what to copy")
    elsewhere = bool(os.environ.get("VGAN_DATABASE_URL"))
    made = back_up(opened.root, out, elsewhere=elsewhere)
    if as_json:
        console.print_json(made.model_dump(mode="json"))
        return
    said = f"{counted(made.files, 'file')} with {console.size(made.size_bytes)} in {out}"
    console.out.print(f"{said}; databases: {', '.join(made.databases) or 'none'}", markup=False, soft_wrap=True)
    if elsewhere:
        said = "VGAN_DATABASE_URL: what the servers know is in PostgreSQL and not in this copy; pg_dump it first."
        console.out.print(said, markup=False, soft_wrap=True)


@app.command()
@guarded
def restore(
    source: Annotated[Path, typer.Argument(metavar="BACKUP", help="The folder that `vgan backup` made.")],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a workspace of a backup, at any place where none is."""
    from vgan.backup import restore as restore_now

    opened = Workspace.open(workspace, write=False, fetch=False, missing="accept")
    done = restore_now(source, opened.root)
    if as_json:
        console.print_json({"workspace": str(done.root), "files": done.backup.files, "places": done.places})
        return
    said = f"{counted(done.backup.files, 'file')} restored to {done.root}"
    console.out.print(f"{said}, and {counted(done.places, 'place')} in MLflow's database set to it", soft_wrap=True)
