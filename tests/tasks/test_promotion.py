"""Promises of `vgan promote`, on a real MLflow store: only what is whole takes the alias, and who held it is kept."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from flows.cli.app import app
from tasks import registration, tracking
from tasks.promotion import promote
from vgan.config import RegisterConfig
from vgan.errors import ConfigError, CorruptDataError
from vgan.workspace import Workspace

CONFIG = RegisterConfig()


@pytest.fixture
def two(workspace: Workspace, make_run) -> Workspace:
    """A workspace in which version 2 took the alias from version 1."""
    registration.register(workspace, make_run("toys-1", figure=1.0, seed=1), CONFIG)
    assert registration.register(workspace, make_run("toys-2", figure=0.5, seed=2), CONFIG).champion
    return workspace


def holder(workspace: Workspace) -> str:
    found = tracking.champion_version(tracking.client(workspace), "toys", "champion")
    assert found is not None
    return str(found.version)


def test_an_alias_goes_back_by_hand_to_what_is_there_and_whole_and_stays_there(two: Workspace) -> None:
    refuse_what_is_not_there(two)
    asked = ["promote", "--model", "toys", "--version", "1", "--workspace", str(two.root), "--json"]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["version"], told["before"], told["unchanged"], told["alias"]) == ("1", "2", False, "champion")
    assert holder(two) == "1"
    moved = json.loads(tracking.resolve(two, "models:/toys/1").tags["vgan.moved.champion"])
    assert (moved["before"], moved["by"]) == ("2", "promote")
    assert moved["at"].startswith("20")
    again = promote(two, "toys", 1, "champion")
    assert again.unchanged
    assert json.loads(tracking.resolve(two, "models:/toys/1").tags["vgan.moved.champion"]) == moved
    repeated = registration.register(two, "toys-2", CONFIG)
    assert (repeated.unchanged, repeated.champion, holder(two)) == (True, False, "1"), "taken back, and not to be taken"
    refuse_what_is_damaged(two)


def refuse_what_is_not_there(workspace: Workspace) -> None:
    with pytest.raises(ConfigError, match="no version 9") as caught:
        promote(workspace, "toys", 9, "champion")
    assert "1, 2" in caught.value.hint
    with pytest.raises(ConfigError, match="games") as caught:
        promote(workspace, "games", 1, "champion")
    assert "toys" in caught.value.hint


def refuse_what_is_damaged(workspace: Workspace) -> None:
    for weights in (workspace.root / "mlartifacts").rglob("weights.safetensors"):
        weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    with pytest.raises(CorruptDataError, match="altered"):
        promote(workspace, "toys", 2, "champion")
    assert holder(workspace) == "1"


def test_asking_where_nothing_was_registered_makes_no_database(workspace: Workspace) -> None:
    with pytest.raises(ConfigError, match="Registered models: none"):
        promote(workspace, "toys", 1, "champion")
    assert not list(workspace.root.iterdir())


@pytest.mark.parametrize("alias", ["latest", "v1", "v20"])
def test_an_alias_that_mlflow_keeps_for_itself_is_refused_before_anything_is_asked(
    workspace: Workspace, make_run, alias: str
) -> None:
    """It is a wrong name, which no server that answers again would take."""
    with pytest.raises(ConfigError, match=alias):
        promote(workspace, "toys", 1, alias)
    with pytest.raises(ConfigError, match=alias):
        registration.register(workspace, make_run("toys-1"), RegisterConfig(alias=alias))
    assert not (workspace.root / "mlflow.db").exists()
