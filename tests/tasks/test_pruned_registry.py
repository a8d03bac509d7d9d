"""Pruning asks the registry first: what an alias stands on stays, and where nobody answers nothing goes."""

import json
import os
import shutil
from pathlib import Path

import pytest
from made_registry import add_version
from typer.testing import CliRunner

from flows.cli.app import app
from tasks import tracking
from tasks.pruning import registry_needs
from vgan.workspace import Workspace

LONG_AGO = 1_000_000_000


def call(workspace: Workspace, *words: object):
    return CliRunner().invoke(app, ["prune", *map(str, words), "--workspace", str(workspace.root)])


def aged(workspace: Workspace) -> None:
    for path in (workspace.root / "runs").rglob("*"):
        os.utime(path, (LONG_AGO, LONG_AGO))


@pytest.fixture
def three(workspace: Workspace, make_run) -> Workspace:
    """Runs toys-1 to toys-3, the last the newest, none worked on lately."""
    for number in (1, 2, 3):
        make_run(f"toys-{number}")
    aged(workspace)
    os.utime(workspace.run("toys-3").record, (LONG_AGO + 1, LONG_AGO + 1))
    return workspace


def test_the_command_shows_what_would_go_and_removes_only_when_told(three: Workspace) -> None:
    shown = call(three, "--keep", 1)
    assert shown.exit_code == 0, shown.output
    assert "Would go" in shown.output and "toys-1" in shown.output and "nothing was removed" in shown.output
    assert three.run_keys() == ["toys-1", "toys-2", "toys-3"]
    assert not (three.root / "mlflow.db").exists(), "asking made a database"
    told = json.loads(call(three, "--keep", 1, "--yes", "--json").stdout)
    assert told["removed"] is True and [line["name"] for line in told["going"]] == ["toys-1", "toys-2"]
    assert told["size_bytes"] > 0 and three.run_keys() == ["toys-3"]
    assert call(three, "--keep", 1).output.strip() == "nothing may go."
    assert call(three, "--keep", 0).exit_code == 2


def test_a_registry_that_does_not_answer_stops_it(three: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAULTS 39: nobody knows what the aliases need, so nothing goes."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    refused = call(three, "--keep", 1, "--yes")
    assert refused.exit_code == 75 and "carry an alias" in refused.output
    assert three.run_keys() == ["toys-1", "toys-2", "toys-3"]


@pytest.mark.e2e
def test_the_runs_and_data_of_versions_with_an_alias_stay(three: Workspace) -> None:
    digest = three.run("toys-1").record.read_text().partition('"dataset_digest": "')[2][:64]
    for run in ("toys-1", "toys-2"):
        add_version(three, "toys", run, {}, weights=run, digest=digest)
    tracking.client(three).set_registered_model_alias("toys", "champion", "1")
    needs = registry_needs(three)
    why = "models:/toys/1 carries @champion"
    assert (needs.runs, needs.versions) == ({"toys-1": why}, {digest: why})
    assert needs.registered == {"toys-1", "toys-2"}
    copy = Workspace.open(Path(shutil.copytree(three.root, three.root.with_name("copy"))))
    told = json.loads(call(three, "--keep", 1, "--yes", "--json").stdout)
    assert [line["why"] for line in told["staying"]] == [why]
    assert three.run_keys() == ["toys-1", "toys-3"], "version 2 carries no alias"
    tracking.client(copy).delete_registered_model_alias("toys", "champion")
    assert call(copy, "--keep", 1, "--yes").exit_code == 0 and copy.run_keys() == ["toys-3"]
