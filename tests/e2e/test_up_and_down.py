"""`vgan up` on a bare workspace, with the real servers: what it brings up works, and `vgan down` leaves nothing."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from postgres import PASSWORD, postgresql, programs
from processes import BIN, ask_server, clean_env, free_port, options, vgan

INGEST = {"frames": 4, "height": 16, "width": 16, "labels": "folder"}
TRAIN = {"preset": "tiny", "budget": "2kclips", "batch": 8, "threads": 1, "checkpoints": 1000, "device": "cpu"}
SECONDS = 600  # at most, on a machine that is busy
pytestmark = pytest.mark.timeout(900)
SERVICES = {"prefect", "mlflow", "worker", "training-worker"}


class Machine:
    """A workspace with its services; they are taken down whatever happens."""

    def __init__(self, folder: Path, **env: str) -> None:
        self.workspace = folder / "workspace"
        self.elsewhere = folder
        self.prefect_port, self.mlflow_port = free_port(), free_port()
        self.api = f"http://127.0.0.1:{self.prefect_port}/api"
        self.env = clean_env(
            VGAN_WORKSPACE=str(self.workspace), OMP_NUM_THREADS="1", PREFECT_WORKER_QUERY_SECONDS="1", **env
        )

    def up(self, *more: object, code: int = 0) -> dict[str, Any]:
        ports = ("--prefect-port", self.prefect_port, "--mlflow-port", self.mlflow_port)
        return vgan("up", *ports, *more, env=self.env, cwd=self.elsewhere, code=code)

    def down(self) -> dict[str, Any]:
        return vgan("down", env=self.env, cwd=self.elsewhere)

    def status(self, code: int = 0) -> dict[str, dict[str, Any]]:
        found = vgan("status", env=self.env, cwd=self.elsewhere, code=code)
        return {one["name"]: one for one in found["services"]}

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        return ask_server(self.api + path, body)

    def start(self, deployment: str, parameters: dict[str, Any]) -> str:
        found = self.ask(f"/deployments/name/{deployment}")
        return self.ask(f"/deployments/{found['id']}/create_flow_run", {"parameters": parameters})["id"]

    def wait_for_run(self, run: str) -> dict[str, Any]:
        end = time.monotonic() + SECONDS
        while (found := self.ask(f"/flow_runs/{run}"))["state_type"] not in ("COMPLETED", "FAILED", "CRASHED"):
            assert time.monotonic() < end, (found["state"], self.logs())
            time.sleep(1)
        return found

    def processes(self) -> list[psutil.Process]:
        """All that the services consist of."""
        mark = json.loads((self.workspace / "services" / "services.json").read_text())["mark"]
        return [p for p in psutil.process_iter() if _mark(p).startswith(f"{mark}-")]

    def training(self) -> psutil.Process:
        """The one under way, once it has written a checkpoint."""
        end = time.monotonic() + SECONDS
        while not list(self.workspace.glob("runs/*/checkpoints/*.safetensors")):
            assert time.monotonic() < end, self.logs()
            time.sleep(0.1)
        (found,) = (process for process in self.processes() if "vgan.training" in process.cmdline())
        return found

    def logs(self) -> str:
        folder = self.workspace / "services" / "logs"
        return "\n".join(f"{path.name}:\n{path.read_text()[-2000:]}" for path in folder.glob("*.log"))


def _mark(process: psutil.Process) -> str:
    try:
        return process.environ().get("VGAN_SERVICE", "")
    except psutil.Error:
        return ""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    made = Machine(tmp_path_factory.mktemp("machine"))
    try:
        yield made
    finally:
        made.down()


def alive(found: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run; one that has ended and waits for its parent to ask is a zombie."""
    left: list[psutil.Process] = []
    for one in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            left += [one] if one.is_running() and one.status() != psutil.STATUS_ZOMBIE else []
    return left


def test_one_command_brings_up_all_that_a_machine_needs_and_a_second_changes_nothing(machine: Machine) -> None:
    """FAULTS 10: what it started needs no terminal. It is called in a folder that is no checkout."""
    told = machine.up()
    assert (set(told["started"]), told["deployed"], told["database"]) == (SERVICES, True, "SQLite")
    assert told["api"] == machine.api

    before = machine.status()
    assert all(one["answers"] and os.getsid(one["pid"]) == one["pid"] for one in before.values())
    listening = {
        connection.laddr.ip
        for process in machine.processes()
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}

    deployed = machine.ask("/deployments/filter", {})
    pools = {deployment["name"]: deployment["work_pool_name"] for deployment in deployed}
    assert pools["nightly"] == "vgan-train" and pools["hourly"] == "vgan"
    assert machine.ask("/v2/concurrency_limits/gpu")["limit"] >= 1
    automations = {made["name"] for made in machine.ask("/automations/filter", {})}
    assert {"vgan: crash runs that fell silent", "vgan: go on with crashed runs"} <= automations
    with urllib.request.urlopen(f"http://127.0.0.1:{machine.prefect_port}/ui-settings", timeout=60) as answer:
        assert json.load(answer)["api_url"] == machine.api, "what the browser is told"

    again = machine.up()
    assert (again["started"], again["deployed"]) == ([], False)
    after = machine.status()
    assert {n: (one["pid"], one["since"]) for n, one in after.items()} == {
        n: (one["pid"], one["since"]) for n, one in before.items()
    }
    assert {made["name"] for made in machine.ask("/automations/filter", {})} == automations
    assert len(machine.ask("/automations/filter", {})) == len(automations)


def test_schedules_are_kept(machine: Machine) -> None:
    """Prefect with another SQLAlchemy only logs that it cannot schedule."""
    machine.up()
    asked = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
    end = time.monotonic() + SECONDS
    while not (waiting := machine.ask("/flow_runs/filter", asked)):
        assert time.monotonic() < end, machine.logs()
        time.sleep(1)
    assert {run["auto_scheduled"] for run in waiting} == {True}


def test_a_training_under_way_survives_down_and_up(machine: Machine, shapes_videos: Path) -> None:
    """FAULTS 9, 40: it writes a checkpoint, the run waits in the queue, and ends once the services are back."""
    machine.up()
    vgan("ingest", "--videos", shapes_videos, "--name", "shapes", *options(INGEST), env=machine.env)
    run = machine.start("train/on-demand", {"name": "shapes", "config": TRAIN})
    machine.training()
    found = machine.processes()

    done = machine.down()
    assert (set(done["stopped"]), done["killed"], done["put_back"]) == (SERVICES, [], 1)
    assert not alive(found)
    assert not list(machine.workspace.glob("runs/*/run.json"))
    (log,) = machine.workspace.glob("runs/*/train.log")
    assert {one["pid"] for one in machine.status(code=75).values()} == {None}

    machine.up()
    ended = machine.wait_for_run(run)
    assert ended["state_type"] == "COMPLETED", (ended["state"], machine.logs())
    assert ended["run_count"] == 2
    assert list(machine.workspace.glob("runs/*/run.json"))
    assert "resum" in log.read_text()


def test_down_leaves_nothing_and_nobody_else_is_touched(machine: Machine) -> None:
    machine.up()
    found = machine.processes()
    stranger = subprocess.Popen([str(BIN / "python"), "-S", "-c", "import time; time.sleep(600)"])
    try:
        assert len(found) >= 4
        machine.down()
        assert not alive(found)
        assert stranger.poll() is None
        for port in (machine.prefect_port, machine.mlflow_port):
            with socket.create_server(("127.0.0.1", port)):
                pass
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.skipif(programs() is None, reason="no PostgreSQL is installed (initdb)")
def test_one_variable_puts_both_servers_on_postgresql_which_may_be_restarted(
    tmp_path: Path, shapes_videos: Path
) -> None:
    """FAULTS 40, 45: a training goes on without the database; the password is in no log, state or command line."""
    with postgresql() as database:
        machine = Machine(tmp_path, VGAN_DATABASE_URL=database.url)
        try:
            with database.up():
                told = machine.up()
                assert told["database"].startswith("PostgreSQL postgres on 127.0.0.1:")
                _assert_all_is_in(database.url, machine)
                assert machine.up()["started"] == []
                vgan("ingest", "--videos", shapes_videos, "--name", "shapes", *options(INGEST), env=machine.env)
                run = machine.start("train/on-demand", {"name": "shapes", "config": TRAIN})
                training = machine.training()
                training.suspend()  # so that it is in its middle on any machine
            time.sleep(10)
            assert training.is_running()
            training.resume()
            with database.up():
                assert machine.wait_for_run(run)["state_type"] == "COMPLETED"
                assert len(list(machine.workspace.glob("runs/*/run.json"))) == 1
                assert {one["answers"] for one in machine.status().values()} == {True}
                assert machine.down()["killed"] == []
        finally:
            machine.down()
    kept = [path for path in machine.workspace.rglob("*") if path.is_file()]
    assert not [path for path in kept if PASSWORD.encode() in path.read_bytes()]
    assert not list((machine.workspace / "services").rglob("*.db"))


def _assert_all_is_in(url: str, machine: Machine) -> None:
    assert {one["answers"] for one in machine.status().values()} == {True}
    tables = _tables(url)
    assert {"alembic_version", "flow_run", "deployment"} <= tables["prefect"]
    assert {"alembic_version", "experiments", "registered_models"} <= tables["mlflow"]
    assert not tables["public"]
    assert len(machine.ask("/deployments/filter", {})) >= 5
    for process in machine.processes():
        assert PASSWORD not in " ".join(process.cmdline())
        assert PASSWORD not in process.environ().get("PREFECT_API_URL", "")
    workers = [p for p in machine.processes() if "worker" in p.cmdline()]
    assert workers and not any(PASSWORD in json.dumps(p.environ()) for p in workers)


def _tables(url: str) -> dict[str, set[str]]:
    import psycopg2

    connection = psycopg2.connect(url)
    try:
        with connection.cursor() as cursor:
            cursor.execute("select schemaname, tablename from pg_tables")
            found: dict[str, set[str]] = {"prefect": set(), "mlflow": set(), "public": set()}
            for schema, table in cursor.fetchall():
                found.setdefault(schema, set()).add(table)
    finally:
        connection.close()
    return found
