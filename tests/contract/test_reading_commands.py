"""Commands that work on what is there make no folders, and say what they looked for, where, and what to do."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest
from made_records import commit_batches
from typer.testing import CliRunner

from flows.cli.app import app
from vgan.config import IngestConfig
from vgan.errors import ConfigError
from vgan.workspace import Workspace

READING = {
    "train": ["train", "--name", "sought"],
    "dry run": ["train", "--name", "sought", "--dry-run"],
    "evaluate": ["evaluate", "--run", "sought"],
    "register": ["register", "--run", "sought"],
    "verify": ["verify", "--name", "sought"],
    "inspect": ["inspect", "--name", "sought"],
    "datasets": ["datasets", "--name", "sought"],
    "prune": ["datasets", "--name", "sought", "--prune", "--keep", "1"],
    "models": ["models", "--name", "sought"],
    "compare": ["compare", "sought", "models:/sought@champion", "--out", "clips"],
    "sample": ["sample", "--model", "sought", "--out", "clips"],
    "sample registered": ["sample", "--model", "models:/sought@champion", "--out", "clips"],
}
FLOWS = {"train": ("train", {"name": "sought"}), "evaluate": ("evaluate", {"run": "sought"})}
OF_DATASETS = ["train", "dry run", "verify", "inspect", "datasets", "prune"]


def write_dataset(root: Path) -> None:
    commit_batches(Workspace.open(root).dataset("shapes"), IngestConfig(), [], [])


def refused(command: list[str], workspace: Path) -> dict[str, str]:
    """The error that a command ends with, as its --json tells it."""
    result = CliRunner().invoke(app, [*command, "--workspace", str(workspace), "--json"])
    assert result.exit_code == 2, result.output
    return json.loads(result.stdout)["error"]


@pytest.mark.parametrize("command", READING)
@pytest.mark.parametrize("published", ["", "s3://nobody/datasets"])
def test_a_mistyped_workspace_is_not_made(
    command: str, published: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if published:  # nothing of the name is there
        monkeypatch.setenv("VGAN_DATASETS", published)
        monkeypatch.setattr("vgan.data.buckets.published.Published.pull", lambda self: False)
    error = refused(READING[command], tmp_path / "mistyped")
    assert not list(tmp_path.iterdir())
    assert "sought" in error["message"] and str(tmp_path / "mistyped") in error["message"]
    assert error["hint"]


def test_a_missing_workspace_is_told_with_those_beside_it(tmp_path: Path) -> None:
    write_dataset(tmp_path / "workspace")
    error = refused(READING["train"], tmp_path / "workspcae")
    assert error["message"] == f"there is no workspace {tmp_path / 'workspcae'} to look for dataset 'sought' in."
    assert f"Beside it: {tmp_path / 'workspace'} (datasets: shapes)." in error["hint"]
    assert "--workspace" in error["hint"] and "vgan ingest" in error["hint"]


@pytest.mark.parametrize("command", OF_DATASETS)
def test_an_unknown_dataset_is_told_with_those_that_there_are(command: str, tmp_path: Path) -> None:
    write_dataset(tmp_path)
    before = set(tmp_path.rglob("*"))
    error = refused(READING[command], tmp_path)
    assert error["message"] == f"there is no dataset 'sought' in {tmp_path} (known: shapes)."
    assert "--workspace" in error["hint"] and "vgan ingest --videos FOLDER --name sought" in error["hint"]
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("flow", FLOWS)
def test_a_flow_makes_no_workspace_either(flow: str, tmp_path: Path) -> None:
    from importlib import import_module

    named, arguments = FLOWS[flow]
    deployed = getattr(import_module(f"flows.{named}_flow"), named)
    with pytest.raises(ConfigError, match="no workspace"):
        inspect.unwrap(deployed.fn)(**arguments, workspace=str(tmp_path / "mistyped"))  # without a server to tell
    assert not list(tmp_path.iterdir())


def test_doctor_says_of_a_workspace_that_it_is_not_there_and_makes_none(tmp_path: Path) -> None:
    from flows.doctor.machine import check_workspace

    found = check_workspace(tmp_path / "later" / "workspace")
    assert found.state in ("ok", "warning") and "not there yet" in found.detail
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    assert check_workspace(tmp_path / "file" / "workspace").state == "missing"


def test_what_is_published_is_fetched_into_a_workspace_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VGAN_DATASETS", "s3://bucket/datasets")
    assert Workspace.open(tmp_path / "new", missing="refuse").published == "s3://bucket/datasets"
    assert Workspace.open(tmp_path / "new", write=False).published == "s3://bucket/datasets"
    assert not list(tmp_path.iterdir())


def test_what_a_library_prints_does_not_reach_the_json(capfd: pytest.CaptureFixture[str]) -> None:
    from flows.cli import console
    from flows.cli.guard import guarded

    @guarded
    def command(as_json: bool) -> None:
        print("(raylet) a worker died")
        console.print_json({"ok": True})

    command(as_json=True)
    written = capfd.readouterr()
    assert json.loads(written.out) == {"ok": True}
    assert "raylet" in written.err
