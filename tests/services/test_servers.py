"""What the servers and workers are called with: addresses, databases, and what they must not get."""

from __future__ import annotations

import json
import sys
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from flows.services import servers
from flows.services.automations import _automations
from flows.services.database import Database
from flows.services.servers import Place, services
from vgan.errors import ConfigError, MissingToolError, RegistryError
from vgan.workspace import Workspace

URL = "postgresql://vgan:s3cret%40x@db.local:5433/both"


def place(folder: Path, host: str = "127.0.0.1") -> Place:
    workspace = Workspace(folder)
    return Place(workspace, folder, host, 4311, 5311, Database.chosen(workspace))


def by_name(folder: Path) -> dict[str, servers.Service]:
    return {service.name: service for service in services(place(folder))}


def test_every_service_knows_the_servers_and_the_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://somebody.else/api")
    monkeypatch.setenv("PREFECT_API_KEY", "of the cloud")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://somebody.else")
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", "kept")
    for service in by_name(tmp_path).values():
        assert service.env["PREFECT_API_URL"] == "http://127.0.0.1:4311/api", "the server tells it to the browser"
        assert service.env["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:5311"
        assert service.env["VGAN_WORKSPACE"] == str(tmp_path)
        assert service.env["PREFECT_HOME"] == str(tmp_path / "services" / "prefect")
        assert service.env["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
        assert service.env["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30", "or no zombie is ever found"
        assert service.env["PREFECT_SERVER_API_AUTH_STRING"] == "kept"
        assert "PREFECT_API_KEY" not in service.env


def test_the_servers_listen_where_they_are_told_and_are_called_from_here(tmp_path: Path) -> None:
    assert place(tmp_path).prefect == "http://127.0.0.1:4311"
    open_to_all = place(tmp_path, "0.0.0.0")
    assert open_to_all.api == "http://127.0.0.1:4311/api"
    assert "0.0.0.0" in services(open_to_all)[0].command
    assert place(tmp_path, "::1").mlflow == "http://[::1]:5311"


def test_mlflow_takes_the_files_of_the_embedded_default(tmp_path: Path) -> None:
    service = by_name(tmp_path)["mlflow"]
    assert service.env["MLFLOW_BACKEND_STORE_URI"] == f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert str(tmp_path / "mlartifacts") in service.command
    assert service.env["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"


def test_one_variable_puts_both_servers_on_postgresql_and_no_flow_gets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAULTS 45: nor does a command line, which everybody on the machine can read."""
    monkeypatch.setenv("VGAN_DATABASE_URL", URL.replace("postgresql:", "postgres:"))
    found = by_name(tmp_path)
    prefect = found["prefect"].env
    assert prefect["PREFECT_SERVER_DATABASE_CONNECTION_URL"] == URL.replace("postgresql:", "postgresql+asyncpg:")
    assert prefect["PREFECT_SERVER_DATABASE_SQLALCHEMY_CONNECT_ARGS_SEARCH_PATH"] == "prefect,public"
    mlflow = found["mlflow"].env["MLFLOW_BACKEND_STORE_URI"]
    assert mlflow.startswith(URL) and "search_path%3Dmlflow%2Cpublic" in mlflow
    for service in found.values():
        assert "s3cret" not in " ".join(service.command) + service.address
    for worker in ("worker", "training-worker"):
        assert "s3cret" not in json.dumps(found[worker].env)
    assert place(tmp_path).database.shown == "PostgreSQL both on db.local:5433"


@pytest.mark.parametrize(
    "url", ["mysql://u:s3cret@h/d", "postgresql://", "postgresql://h", "s3cret", "postgres://h:x/d"]
)
def test_what_is_no_address_of_a_database_is_refused_without_showing_it(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VGAN_DATABASE_URL", url)
    with pytest.raises(ConfigError, match="VGAN_DATABASE_URL") as told:
        place(tmp_path)
    assert "s3cret" not in str(told.value)


def test_a_database_that_is_away_is_told_without_the_password(tmp_path: Path) -> None:
    pytest.importorskip("psycopg2", reason="needs the extra postgres")
    with pytest.raises(RegistryError, match="PostgreSQL d on 127") as told:
        Database(Workspace(tmp_path), "postgresql://u:s3cret@127.0.0.1:1/d").prepare()
    assert "s3cret" not in str(told.value)


def test_missing_drivers_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    with pytest.raises(MissingToolError, match="drivers") as told:
        Database(Workspace(tmp_path), URL).prepare()
    assert "postgres]" in told.value.hint
    Database(Workspace(tmp_path)).prepare()
    assert "PREFECT_SERVER_DATABASE_CONNECTION_URL" not in Database(Workspace(tmp_path)).for_prefect()


@pytest.mark.parametrize(("visible", "count"), [("0,1,2", 3), ("", 1), ("GPU-1", 1)])
def test_as_many_trainings_run_as_there_are_gpus_and_at_least_one(
    visible: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert servers.slots() == count


def test_a_crash_before_the_beginning_is_not_tried_for_ever() -> None:
    """Such a run has no number: a flow that cannot be loaded would crash again at once."""
    (crashed,) = [made for made in _automations(60) if made.name == "vgan: go on with crashed runs"]
    counts = crashed.trigger.model_dump(mode="json")["match"]["prefect.run-count"]
    assert "0" not in counts and len(counts) == 4


@pytest.mark.parametrize(
    ("heartbeat", "fine"), [(-300.0, False), (-30.0, True), (-150.0, True), (-20.0, True), (None, False)]
)
def test_a_worker_is_fine_when_it_has_said_so_lately_and_after_its_start(
    heartbeat: float | None, fine: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    time = None if heartbeat is None else (now + timedelta(seconds=heartbeat)).isoformat()
    known = [
        {"name": servers._worker_name("vgan"), "last_heartbeat_time": time, "status": "OFFLINE"},
        {"name": "vgan on another machine", "last_heartbeat_time": now.isoformat(), "status": "ONLINE"},
    ]
    monkeypatch.setattr(servers, "ask", lambda *_, **__: known)
    assert servers.is_online("http://here/api", "vgan", (now - timedelta(hours=1)).isoformat()) is fine
    assert not servers.is_online("http://here/api", "vgan", now.isoformat()), "that was the one before it"


def test_a_server_whose_database_is_locked_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "BUSY_PAUSE_SECONDS", 0.01)
    codes = [503, 503, 200, 503, 500]

    class Busy(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(codes.pop(0))
            self.end_headers()
            self.wfile.write(b'{"runs": 1}')

        def log_message(self, format: str, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Busy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        api = f"http://127.0.0.1:{server.server_port}"
        assert servers.ask(api, "/asked", {}) == {"runs": 1}
        with pytest.raises(RegistryError, match="500"):
            servers.ask(api, "/asked", {})
        server.shutdown()
    assert not codes
