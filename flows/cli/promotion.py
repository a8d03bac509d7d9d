"""`vgan promote`: give an alias to a registered version by hand, such as back to an earlier one."""

from __future__ import annotations

import dataclasses
import os
from typing import Annotated

import typer

from flows.cli import console
from flows.cli.guard import JsonOption, WorkspaceOption, guarded
from flows.cli.options import option_name
from vgan.config import RegisterConfig, build
from vgan.workspace import Workspace

app = typer.Typer()


@app.command()
@guarded
def promote(
    model: Annotated[str, typer.Option("--model", help="Name of the registered model.")],
    version: Annotated[int, typer.Option("--version", min=1, help="Number of the version that takes the alias.")],
    alias: Annotated[str, typer.Option("--alias", help="Alias that moves to it.")] = "champion",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give an alias to a registered version without asking the gate, such as back to an earlier one."""
    called = {"model_name": "model"}
    build(RegisterConfig, {"model_name": model, "alias": alias}, lambda name: option_name(called.get(name, name)))
    elsewhere = os.environ.get("MLFLOW_TRACKING_URI")
    missing = "make" if elsewhere else "refuse"
    opened = Workspace.open(workspace, fetch=False, missing=missing, sought=f"model {model!r}")
    from tasks.promotion import promote as promote_version

    done = promote_version(opened, model, version, alias)
    if as_json:
        console.print_json(dataclasses.asdict(done))
        return
    held = "nobody" if done.before is None else f"version {done.before}"
    said = "carries it already" if done.unchanged else f"carries it now; before: {held}"
    console.out.print(f"@{alias}: {done.model_uri} {said}", markup=False, highlight=False, soft_wrap=True)
