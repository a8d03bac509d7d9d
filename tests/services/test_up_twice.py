"""What `vgan up` and `vgan down` promise, with toy services in the place of the servers."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from flows.services import machine, processes, runs, setup, state
from flows.services.database import Database
from flows.services.servers import Name, Place, Service
from flows.services.state import Record
from vgan.errors import ConfigError, CorruptDataError, ResumableError
from vgan.workspace import Workspace

FINE = "echo fine; touch {answer}; while :; do sleep 0.05; done"
BROKEN = "echo one; echo what is wrong; exit 3"
NAMES: tuple[Name, ...] = ("prefect", "mlflow", "worker", "training-worker")


class Toys:
    """Four services of shell scripts; each answers once its file is there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scripts = dict.fromkeys(NAMES, FINE)
        self.ports: dict[str, int] = {}
        self.deployed = 0

    def __call__(self, place: Place) -> tuple[Service, ...]:
        return tuple(self._service(name) for name in NAMES)

    def _service(self, name: Name) -> Service:
        answer = self.folder / name
        return Service(
            name=name,
            title=f"toy {name}",
            command=["sh", "-c", self.scripts[name].format(answer=answer)],
            env=dict(os.environ),
            address="here",
            port=self.ports.get(name),
            answers=lambda since: bool(since) and answer.exists(),
        )


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Toys]:
    made = Toys(tmp_path)

    def deploy(_: Place) -> None:
        made.deployed += 1

    monkeypatch.setattr(machine, "services", made)
    monkeypatch.setattr(machine, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(setup, "prepare_server", lambda place: None)
    monkeypatch.setattr(setup, "deploy", deploy)
    monkeypatch.setattr(setup, "are_deployed", lambda place: made.deployed > 0)
    monkeypatch.setattr(runs, "expect_signs_of_life", lambda place: None)
    monkeypatch.delenv("VGAN_DATABASE_URL", raising=False)
    yield made
    known = state.read(Workspace(tmp_path))
    for name in NAMES:
        processes.end(known.mark_of(name), 0)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def pids(workspace: Workspace) -> dict[str, int | None]:
    return {one.name: one.pid for one in machine.look(workspace)}


def test_what_is_up_stays_as_it_is_when_it_is_brought_up_again(toys: Toys, workspace: Workspace) -> None:
    assert machine.up(workspace).started == NAMES
    before = pids(workspace)
    assert all(before.values()) and all(one.answers for one in machine.look(workspace))
    again = machine.up(workspace)
    assert (again.started, again.deployed, toys.deployed) == ((), False, 1)
    assert pids(workspace) == before
    assert machine.down(workspace).stopped == NAMES
    assert set(pids(workspace).values()) == {None}
    assert machine.down(workspace).stopped == ()


def test_only_what_has_ended_is_started_again(toys: Toys, workspace: Workspace) -> None:
    machine.up(workspace)
    before = pids(workspace)
    os.kill(before["worker"] or 0, signal.SIGKILL)
    ended = {one.name: one for one in machine.look(workspace)}["worker"]
    while ended.pid is not None:  # a kill takes a moment
        ended = {one.name: one for one in machine.look(workspace)}["worker"]
    assert (ended.answers, ended.last_line) == (False, "fine")
    assert machine.up(workspace).started == ("worker",)
    after = pids(workspace)
    assert after.pop("worker") != before.pop("worker") and after == before


def test_a_start_that_fails_says_why_and_leaves_nothing_behind(toys: Toys, workspace: Workspace) -> None:
    machine.up(workspace)
    machine.down(workspace)
    toys.scripts["worker"] = BROKEN
    (workspace.root / "worker").unlink()
    with pytest.raises(ResumableError, match=r"(?s)the toy worker ended.*what is wrong") as told:
        machine.up(workspace)
    assert "worker.log" in told.value.hint
    assert set(pids(workspace).values()) == {None}
    assert not state.read(workspace).services


def test_a_failing_start_stops_only_what_it_has_started(toys: Toys, workspace: Workspace) -> None:
    machine.up(workspace)
    before = pids(workspace)
    os.kill(before["worker"] or 0, signal.SIGKILL)
    toys.scripts["worker"] = BROKEN
    (workspace.root / "worker").unlink()
    with pytest.raises(ResumableError):
        machine.up(workspace)
    assert pids(workspace) == {**before, "worker": None}


@pytest.mark.parametrize("moment", ["before the start", "after the start"])
def test_a_command_that_dies_loses_no_process(
    moment: str, toys: Toys, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the two writes of the state a service is known by its mark only."""
    write = state.write

    def dies(asked: Workspace, known: state.State) -> state.State:
        if "prefect" in known.services and known.services["prefect"].process is not None:
            raise SystemExit("killed")
        return write(asked, known)

    def dies_earlier(*arguments: object, **settings: object) -> None:
        raise SystemExit("killed")

    with monkeypatch.context() as killed:
        killed.setattr(machine, "_stop", lambda *_: None)  # who is killed cleans nothing up
        if moment == "before the start":
            killed.setattr(processes, "launch", dies_earlier)
        else:
            killed.setattr(state, "write", dies)
        with pytest.raises(SystemExit):
            machine.up(workspace)
    known = state.read(workspace)
    assert known.services["prefect"].process is None
    if moment == "before the start":
        assert known.process("prefect") is None
        assert machine.up(workspace).started == NAMES
        return
    found = known.process("prefect")
    assert found is not None
    assert machine.up(workspace).started == NAMES[1:]
    assert pids(workspace)["prefect"] == found.pid
    assert machine.down(workspace).stopped == NAMES


def test_a_taken_port_is_refused_with_who_has_it_and_what_to_do(toys: Toys, workspace: Workspace) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        toys.ports["mlflow"] = port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port}.*process {os.getpid()}") as told:
            machine.up(workspace)
    assert f"--mlflow-port {port + 1}" in told.value.hint
    assert not toys.deployed and set(pids(workspace).values()) == {None}


def test_services_are_not_moved_while_they_run(toys: Toys, workspace: Workspace) -> None:
    machine.up(workspace, prefect_port=4300)
    assert machine.up(workspace, prefect_port=4300).started == ()
    with pytest.raises(ConfigError, match="--prefect-port 4300") as told:
        machine.up(workspace, prefect_port=4301)
    assert "vgan down" in told.value.hint
    machine.down(workspace)
    assert machine.up(workspace).place.prefect_port == 4300, "where they were last"
    machine.down(workspace)
    assert machine.up(workspace, prefect_port=4301).place.prefect_port == 4301


def test_a_forgotten_variable_does_not_lead_to_an_empty_database(
    toys: Toys, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Database, "prepare", lambda _: None)
    with monkeypatch.context() as set_once:
        set_once.setenv("VGAN_DATABASE_URL", "postgresql://u:s3cret@h/d")
        assert machine.up(workspace).place.database.url
        machine.down(workspace)
    with pytest.raises(ConfigError, match="PostgreSQL d on h") as told:
        machine.up(workspace)
    assert "VGAN_DATABASE_URL" in str(told.value) and "s3cret" not in str(told.value)


def test_a_pid_that_somebody_else_got_is_neither_trusted_nor_stopped(toys: Toys, workspace: Workspace) -> None:
    machine.up(workspace)
    machine.down(workspace)
    known = state.read(workspace)
    mine = processes.Started(os.getpid(), processes.process_start(os.getpid()) or "")
    state.write(workspace, known.with_record("mlflow", Record("here", "then", mine)))
    assert pids(workspace)["mlflow"] is None
    assert machine.down(workspace).stopped == ()
    assert psutil.pid_exists(os.getpid())


def test_it_is_deployed_again_when_the_deployments_have_changed(
    toys: Toys, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = tmp_path / "checkout"
    (checkout / "flows").mkdir(parents=True)
    for name in ("prefect.yaml", "flows/retrain_flow.py"):
        (checkout / name).write_text("")
    monkeypatch.setattr(setup, "find_checkout", lambda: checkout)
    assert machine.up(workspace).deployed
    assert not machine.up(workspace).deployed
    for name in ("prefect.yaml", "flows/retrain_flow.py"):
        (checkout / name).write_text("changed")
        assert machine.up(workspace).deployed and not machine.up(workspace).deployed
    toys.deployed = 0  # a database that is new
    assert machine.up(workspace).deployed


def test_looking_writes_nothing(toys: Toys, workspace: Workspace) -> None:
    before = set(workspace.root.rglob("*"))
    assert [one.pid for one in machine.look(workspace)] == [None] * 4
    assert set(workspace.root.rglob("*")) == before


def test_a_state_that_cannot_be_understood_is_told_and_kept(workspace: Workspace) -> None:
    path = state.folder(workspace) / "services.json"
    path.parent.mkdir()
    for content in ("{", '{"version": 99}', '{"version": 1, "services": 3}'):
        path.write_text(content)
        with pytest.raises(CorruptDataError, match=r"services\.json"):
            state.read(workspace)
        assert path.read_text() == content


def test_the_state_is_read_as_it_was_written(workspace: Workspace) -> None:
    known = dataclasses.replace(state.read(workspace), host="::1", deployed="d")
    known = known.with_record("prefect", Record("a", "then", processes.Started(1, "2"))).with_record(
        "mlflow", Record("b", "then")
    )
    assert state.read(workspace).mark != known.mark
    assert state.read(Workspace(state.write(workspace, known) and workspace.root)) == known


def test_only_a_checkout_can_be_deployed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(sys.modules[setup.__name__].__file__ or "").parents[2]
    monkeypatch.chdir(tmp_path)
    assert setup.find_checkout() == root, "from any folder"
    monkeypatch.setattr(setup, "__file__", str(tmp_path / "lib" / "flows" / "services" / "setup.py"))
    with pytest.raises(ConfigError, match=r"prefect\.yaml") as told:
        setup.find_checkout()
    assert "checkout" in told.value.hint
    monkeypatch.chdir(root / "tests")
    assert setup.find_checkout() == root, "an installed package, called in a checkout"


@pytest.mark.parametrize(
    ("said", "tries", "fails"),
    [
        (["503 Service Unavailable", ""], 2, False),
        (["503 Service Unavailable"] * 9, setup.DEPLOY_TRIES, True),
        (["no such flow"] * 9, 1, True),
    ],
)
def test_deploying_is_tried_again_only_when_the_database_was_busy(
    said: list[str], tries: int, fails: bool, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []

    def finish(*_: object, log: Path, **__: object) -> int:
        called.append(said[len(called)])
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(called[-1])
        return bool(called[-1])

    monkeypatch.setattr(processes, "finish", finish)
    place = Place(workspace, workspace.root, "127.0.0.1", 4311, 5311, Database(workspace))
    if fails:
        with pytest.raises(ConfigError, match=said[0]):
            setup.deploy(place)
    else:
        setup.deploy(place)
    assert len(called) == tries
