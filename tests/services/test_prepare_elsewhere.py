"""`vgan prepare`: what servers that somebody else starts need."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flows.cli.app import app
from flows.services import processes, runs, setup
from flows.services.database import Database

ADDRESS = "postgresql://vgan:canary@127.0.0.1/vgan"


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was done, without servers."""
    made: list[Any] = []
    for name in ("VGAN_DATABASE_URL", "PREFECT_API_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Database, "prepare", lambda database: made.append(database.url))
    monkeypatch.setattr(setup, "prepare_server", lambda place: made.append(place.api))
    monkeypatch.setattr(runs, "expect_signs_of_life", lambda place: made.append("signs of life"))

    def finish(command: list[str], *, env: dict[str, str], **_: object) -> int:
        made.append((command[-2:], env))
        return 0

    monkeypatch.setattr(processes, "finish", finish)
    return made


def call(folder: Path) -> tuple[int, dict[str, Any], str]:
    answered = CliRunner().invoke(app, ["prepare", "--workspace", str(folder), "--json"])
    return answered.exit_code, json.loads(answered.stdout), answered.stderr


def test_with_a_database_only_it_makes_the_schemas(
    done: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VGAN_DATABASE_URL", ADDRESS)
    code, told, _ = call(tmp_path)
    assert (code, told) == (0, {"database": "PostgreSQL vgan on 127.0.0.1", "api": None})
    assert done == [ADDRESS]


def test_with_a_server_it_deploys_and_hands_no_password_of_the_database_on(
    done: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VGAN_DATABASE_URL", ADDRESS)
    monkeypatch.setenv("PREFECT_API_URL", "https://prefect.example.org/api/")
    code, told, _ = call(tmp_path)
    assert code == 0 and told["api"] == "https://prefect.example.org/api"
    assert done[1:3] == [told["api"], "signs of life"]
    command, env = done[3]
    assert command == ["deploy", "--all"] and Path(env["PWD"], "prefect.yaml").is_file()
    assert env["PREFECT_API_URL"].startswith("https://") and "canary" not in json.dumps(env)


def test_without_either_it_says_what_to_set(done: list[Any], tmp_path: Path) -> None:
    code, _, said = call(tmp_path)
    assert code == 2 and "PREFECT_API_URL" in said and not done
