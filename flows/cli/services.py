"""`vgan up`, `down` and `status`: servers and workers of one machine; `vgan prepare` for servers elsewhere."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Annotated

import typer

from flows.cli import console
from flows.cli.guard import JsonOption, WorkspaceOption, guarded
from vgan.addresses import is_loopback
from vgan.workspace import Workspace

NOT_RUNNING = 75  # the same code as for a server that is away: `vgan up` mends it

app = typer.Typer()

HostOption = Annotated[
    str | None,
    typer.Option("--host", help="Address at which the servers listen.", show_default="127.0.0.1, or the last one"),
]
PrefectPortOption = Annotated[
    int | None,
    typer.Option(
        "--prefect-port", min=1, max=65535, help="Port of the Prefect server.", show_default="4200, or the last one"
    ),
]
MlflowPortOption = Annotated[
    int | None,
    typer.Option(
        "--mlflow-port", min=1, max=65535, help="Port of the MLflow server.", show_default="5000, or the last one"
    ),
]


@app.command()
@guarded
def up(
    host: HostOption = None,
    prefect_port: PrefectPortOption = None,
    mlflow_port: MlflowPortOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start Prefect server, MLflow server and workers in the background, and deploy all flows; mends what has ended."""
    opened = Workspace.open(workspace, fetch=False)
    from flows.services import machine

    done = machine.up(opened, host=host, prefect_port=prefect_port, mlflow_port=mlflow_port)
    place = done.place
    if as_json:
        told = {"prefect": place.prefect, "api": place.api, "mlflow": place.mlflow, "database": place.database.shown}
        console.print_json({"started": done.started, "deployed": done.deployed, "workspace": str(opened.root), **told})
        return
    said = f"started: {', '.join(done.started)}" if done.started else "everything was running already"
    lines = [
        said + ("; deployed" if done.deployed else "; deployments unchanged"),
        f"Prefect  {place.prefect}   export PREFECT_API_URL={place.api}",
        f"MLflow   {place.mlflow}   export MLFLOW_TRACKING_URI={place.mlflow}",
        f"logs     {place.folder / 'logs'}",
    ]
    console.out.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
    _warn_of_open_doors(place.host)


@app.command()
@guarded
def down(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Stop what `vgan up` has started, and nothing else; running flows go on after the next `vgan up`."""
    opened = _existing(workspace)
    from flows.services import machine

    done = machine.down(opened)
    if as_json:
        console.print_json(dataclasses.asdict(done))
        return
    said = f"stopped: {', '.join(done.stopped)}" if done.stopped else "nothing was running"
    if done.killed:
        said += f"; killed, since they did not end by themselves: {', '.join(done.killed)}"
    if done.put_back:
        said += f"; {done.put_back} runs go on after the next `vgan up`"
    console.out.print(said, markup=False, highlight=False, soft_wrap=True)


@app.command()
@guarded
def status(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Show whether each server and worker runs and answers; ends with 75 when one does not."""
    opened = _existing(workspace)
    from flows.services import machine

    found = machine.look(opened)
    fine = all(one.answers for one in found)
    if as_json:
        console.print_json({"ok": fine, "services": [dataclasses.asdict(one) for one in found]})
    else:
        rows = [
            (one.title, _state(one.pid, one.answers, one.since), one.address, one.since, one.last_line) for one in found
        ]
        console.print_table("vgan status", rows, ("service", "state", "address", "since", "last words"))
    if not fine:
        raise typer.Exit(NOT_RUNNING)


@app.command()
@guarded
def prepare(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Make what servers elsewhere need: schemas in VGAN_DATABASE_URL, pools and deployments at PREFECT_API_URL."""
    opened = Workspace.open(workspace, fetch=False)
    from flows.services import elsewhere

    done = elsewhere.prepare(opened)
    if as_json:
        console.print_json(dataclasses.asdict(done))
        return
    lines = [f"schemas are there: {done.database}"] if done.database else []
    lines += [f"pools, limit, automations and deployments are there: {done.api}"] if done.api else []
    console.out.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def _existing(workspace: Path | None) -> Workspace:
    return Workspace.open(workspace, fetch=False, missing="refuse", sought="services")


def _state(pid: int | None, answers: bool, since: str) -> str:
    if pid is None:
        return "has ended" if since else "not started"
    return f"process {pid}" + ("" if answers else ", does not answer")


def _warn_of_open_doors(host: str) -> None:
    if not is_loopback(host) and not os.environ.get("PREFECT_SERVER_API_AUTH_STRING"):
        console.err.print(
            f"[yellow]warning:[/] the servers listen at {host} without a password; whoever reaches them can run code "
            "here. See docs/security.md.",
            highlight=False,
            soft_wrap=True,
        )
