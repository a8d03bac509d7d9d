"""Promises of the list of models: every version with what is known of it, and nothing written by asking."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest
from made_registry import add_version
from typer.testing import CliRunner

from flows.cli.app import app
from tasks import tracking
from tasks.listing import Figure, list_models
from vgan.errors import RegistryError
from vgan.workspace import Workspace

FIGURES = {"frechet": 0.5, "frechet_score": 0.1, "frechet_floor": 0.2, "density": 0.9, "fvd2048_16f": 321.0}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Three versions of "toys", of which the first was trained again to the third's weights, and one of "games"."""
    workspace = Workspace.open(tmp_path_factory.mktemp("registry") / "workspace")
    add_version(workspace, "toys", "toys-1", {"frechet": 9.0}, weights="first")
    add_version(workspace, "toys", "toys-2", FIGURES, weights="second", digest="0123456789abcdef")
    add_version(workspace, "toys", "toys-1", {"frechet": 1.0}, weights="third")
    add_version(workspace, "games", "games-1", {}, weights="fourth")
    for alias in ("champion", "shown"):
        tracking.client(workspace).set_registered_model_alias("toys", alias, "2")
    return workspace


def told(workspace: Workspace, *words: str, code: int = 0) -> dict:
    result = CliRunner().invoke(app, ["models", *words, "--json", "--workspace", str(workspace.root)])
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def test_every_version_is_listed_with_aliases_figures_data_run_and_age(registry: Workspace) -> None:
    lines = list_models(registry)
    assert [(line.uri, line.aliases) for line in lines] == [
        ("models:/games/1", ()),
        ("models:/toys/3", ()),
        ("models:/toys/2", ("champion", "shown")),
        ("models:/toys/1", ()),
    ]
    second = lines[2]
    assert (second.run, second.dataset_digest) == ("toys-2", "0123456789abcdef")
    assert second.figures == {
        "density": Figure(0.9, None, None),
        "frechet": Figure(0.5, 0.1, 0.2),
        "fvd2048_16f": Figure(321.0, None, None),
    }
    registered = datetime.fromisoformat(second.created).timestamp()
    later = list_models(registry, "toys", now=registered + 90_000)
    assert [line.version for line in later] == ["3", "2", "1"]
    assert later[1].age_seconds == pytest.approx(90_000, abs=2)


def test_figures_of_other_weights_are_not_shown_as_a_versions_own(registry: Workspace) -> None:
    """A run that was trained again to other weights logs their figures: the first version's are lost, and not wrong."""
    figures = {line.version: line.figures for line in list_models(registry, "toys")}
    assert figures["3"]["frechet"].value == 1.0
    assert figures["1"] == {}


def test_the_command_says_it_to_people_and_to_programs(registry: Workspace) -> None:
    lines = told(registry, "--name", "toys")["models"]
    assert [line["version"] for line in lines] == ["3", "2", "1"]
    assert lines[1]["aliases"] == ["champion", "shown"]
    assert lines[1]["figures"]["frechet"] == {"value": 0.5, "score": 0.1, "floor": 0.2}
    arguments = ["models", "--workspace", str(registry.root)]
    shown = CliRunner().invoke(app, arguments, env={"COLUMNS": "100"}).output
    for words in ("toys/2", "@champion", "frechet 0.5 (0.10)", "fvd2048_16f 321", "0123456789ab", "toys-2", "games/1"):
        assert words in shown
    assert "density" not in shown and "worst control" in shown


def test_an_unknown_model_is_told_with_those_that_there_are(registry: Workspace) -> None:
    error = told(registry, "--name", "nobody", code=2)["error"]
    assert "nobody" in error["message"] and "games, toys" in error["hint"]


def test_asking_an_empty_workspace_writes_nothing(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert told(workspace)["models"] == []
    assert "nobody" in told(workspace, "--name", "nobody", code=2)["error"]["message"]
    for words in (["models"], ["compare", "models:/a@b", "toys-1", "--out", str(tmp_path / "out")]):
        code = CliRunner().invoke(app, [*words, "--workspace", str(workspace.root)]).exit_code
        assert code == (0 if words == ["models"] else 2)
    assert sorted(tmp_path.rglob("*")) == before


def test_asking_a_registry_writes_nothing(registry: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in registry.root.rglob("*")}
    assert told(registry)["models"]
    assert {path: path.stat().st_mtime_ns for path in registry.root.rglob("*")} == before
    assert not list(tmp_path.iterdir())


def test_a_registry_that_is_away_is_told(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:canary@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(RegistryError) as caught:
        list_models(workspace)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("words", [["models"], ["compare", "a", "b", "--out", "clips"]])
def test_a_mistyped_workspace_is_not_made(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, [*words, "--workspace", str(tmp_path / "mistyped")])
    assert result.exit_code == 2 and "no workspace" in result.output
    assert not list(tmp_path.iterdir())
