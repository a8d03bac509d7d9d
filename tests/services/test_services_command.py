"""`vgan up`, `vgan down` and `vgan status` as a person or a script calls them."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli.app import app
from flows.services import machine
from flows.services.database import Database
from flows.services.servers import Place
from vgan.workspace import Workspace


def call(*words: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, list(map(str, words)))
    return done.exit_code, done.stdout, done.stderr


def test_status_of_what_was_never_started_ends_with_75(tmp_path: Path) -> None:
    code, said, _ = call("status", "--workspace", tmp_path)
    assert code == 75 and said.count("not started") == 4
    code, said, _ = call("status", "--workspace", tmp_path, "--json")
    assert code == 75 and not json.loads(said)["ok"]
    assert not list(tmp_path.iterdir()), "it only looks"


def test_down_of_what_was_never_started_is_no_error(tmp_path: Path) -> None:
    code, said, _ = call("down", "--workspace", tmp_path)
    assert code == 0 and "nothing was running" in said


@pytest.mark.parametrize("command", ["down", "status"])
def test_a_workspace_that_is_not_there_is_refused(command: str, tmp_path: Path) -> None:
    code, _, said = call(command, "--workspace", tmp_path / "nowhere")
    assert code == 2 and "nowhere" in said


def test_a_taken_port_ends_with_2_and_says_which_option_helps(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, said = call("up", "--workspace", tmp_path, "--prefect-port", port)
    assert code == 2 and f"--prefect-port {port + 1}" in " ".join(said.split())


def up(folder: Path, host: str, monkeypatch: pytest.MonkeyPatch, *started: str) -> tuple[int, str, str]:
    workspace = Workspace(folder)
    done = machine.Up(Place(workspace, folder, host, 4311, 5311, Database(workspace)), started, deployed=bool(started))
    monkeypatch.setattr(machine, "up", lambda *_, **__: done)
    return call("up", "--workspace", folder)


def test_up_prints_where_everything_is_and_how_to_reach_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, said, errors = up(tmp_path, "127.0.0.1", monkeypatch, "prefect", "mlflow")
    assert code == 0 and "started: prefect, mlflow; deployed" in said and not errors
    assert "PREFECT_API_URL=http://127.0.0.1:4311/api" in said
    assert "MLFLOW_TRACKING_URI=http://127.0.0.1:5311" in said
    assert "everything was running already" in up(tmp_path, "localhost", monkeypatch)[1]


def test_an_open_door_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_SERVER_API_AUTH_STRING", raising=False)
    assert "without a password" in up(tmp_path, "0.0.0.0", monkeypatch)[2]
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", "admin:pass")
    assert "without a password" not in up(tmp_path, "0.0.0.0", monkeypatch)[2]
