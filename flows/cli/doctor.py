"""`vgan doctor`: is everything here that a run needs, and if not, what to do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import typer

from flows.cli import console
from flows.cli.guard import JsonOption, WorkspaceOption, guarded
from flows.doctor.finding import Finding

app = typer.Typer()


@app.command("doctor")
@guarded
def doctor(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Check this machine, its packages and the servers, and say what to do; exit 2 when something is missing."""
    findings = list(_findings(workspace))
    missing = any(finding.state == "missing" for finding in findings)
    if as_json:
        console.print_json({"ok": not missing, "checks": [vars(finding) for finding in findings]})
    else:
        rows = [(f.check, f.state, f.detail, f.remedy) for f in findings]
        console.print_table("vgan doctor", rows, ("check", "state", "found", "remedy"))
    if missing:
        raise typer.Exit(2)


def _findings(workspace: Path | None) -> Iterator[Finding]:
    from flows.cli.embedded import QUIET
    from flows.doctor import machine, orchestration, secrets, servers

    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    yield machine.check_workspace(workspace)
    yield machine.check_decoder()
    yield machine.check_ffmpeg()
    yield machine.check_torch()
    yield from machine.check_versions()
    yield from servers.check_prefect()
    yield from orchestration.check_orchestration()
    yield from servers.check_mlflow()
    yield from secrets.check_secrets(workspace)
