"""The services of one machine as a whole: brought up, taken down, looked at."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from flows.services import processes, runs, setup, state
from flows.services.database import VARIABLE, Database
from flows.services.servers import Name, Place, Service, now, services
from flows.services.state import Record, State
from vgan.errors import ConfigError, RegistryError, ResumableError
from vgan.storage import lease
from vgan.workspace import Workspace

log = logging.getLogger("vgan.services")

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PREFECT_PORT, DEFAULT_MLFLOW_PORT = 4200, 5000
START_SECONDS = 600.0  # a new database on a small machine that is busy
RUNS_SECONDS = 90.0  # for running flows to write a checkpoint and end
STOP_SECONDS = 60.0
OTHER_COMMAND_SECONDS = 300.0
POLL_SECONDS = 0.5
LAST_LINES = 12
SERVERS: tuple[Name, ...] = ("prefect", "mlflow")


@dataclass(frozen=True)
class Up:
    """What `up` has done."""

    place: Place
    started: tuple[str, ...]
    deployed: bool


@dataclass(frozen=True)
class Down:
    """What `down` has done."""

    stopped: tuple[str, ...]
    killed: tuple[str, ...]
    put_back: int


@dataclass(frozen=True)
class Look:
    """What is to be seen of one service."""

    name: Name
    title: str
    address: str
    pid: int | None
    since: str
    answers: bool
    log: str
    last_line: str


def up(
    workspace: Workspace, *, host: str | None = None, prefect_port: int | None = None, mlflow_port: int | None = None
) -> Up:
    """Start what is not running, wait until it answers, prepare the server and deploy; all of it may be there already.

    What this call has started is stopped again when it cannot be finished.

    Raises:
        ConfigError: a port is taken, an option contradicts what is running, or the deployments are refused.
        ResumableError: a service ended or never answered; its last lines are in the message.
    """
    with _alone(workspace):
        known = state.read(workspace)
        place = _choose(workspace, known, host, prefect_port, mlflow_port)
        place.database.prepare()
        wanted = services(place)
        missing = [service for service in wanted if known.process(service.name) is None]
        for process in filter(None, map(known.process, known.services)):
            processes.resume(process)
        for service in missing:
            _refuse_taken_port(service, place)
        known = replace(known, host=place.host, prefect_port=place.prefect_port, mlflow_port=place.mlflow_port)
        known = state.write(workspace, replace(known, database=place.database.shown))
        try:
            deployed = _bring_up(place, known, wanted, missing)
        except BaseException:
            with suppress(Exception):
                _stop(place, [service.name for service in missing])
            raise
        return Up(place, tuple(service.name for service in missing), deployed)


def _bring_up(place: Place, known: State, wanted: Sequence[Service], missing: Sequence[Service]) -> bool:
    """Start the missing, servers before workers; returns whether it has deployed."""
    servers = [service for service in wanted if service.name in SERVERS]
    workers = [service for service in wanted if service.name not in SERVERS]
    known = _start(place, known, [service for service in servers if service in missing])
    _wait(place, known, servers)
    setup.prepare_server(place)
    if servers[0] in missing:
        runs.expect_signs_of_life(place)
    known = _start(place, known, [service for service in workers if service in missing])
    digest = setup.deployment_digest(place)
    deploying = known.deployed != digest or not setup.are_deployed(place)
    if deploying:
        log.info("deploying %s", place.checkout / setup.DEPLOYMENTS)
        setup.deploy(place)
        known = state.write(place.workspace, replace(known, deployed=digest))
    _wait(place, known, workers)
    return deploying


def down(workspace: Workspace) -> Down:
    """Stop what `up` has started, the workers first, and put the runs that are under way back into the queue.

    A training writes a checkpoint; the next `up` goes on with the run.
    """
    with _alone(workspace):
        known = state.read(workspace)
        place = _place(workspace, known, Path())
        return _stop(place, [service.name for service in services(place)])


def look(workspace: Workspace) -> list[Look]:
    """How each service is; starts and stops nothing, and writes nothing."""
    known = state.read(workspace)
    return [_look(known, service, place) for place in [_place(workspace, known, Path())] for service in services(place)]


def _look(known: State, service: Service, place: Place) -> Look:
    process, record = known.process(service.name), known.services.get(service.name)
    path = _log(place, service.name)
    last = processes.last_lines(path, 1) if record is not None and process is None else []
    return Look(
        service.name,
        service.title,
        service.address if record else "",
        process.pid if process else None,
        record.since if record else "",
        process is not None and record is not None and service.answers(record.since),
        str(path),
        last[0] if last else "",
    )


def _choose(
    workspace: Workspace, known: State, host: str | None, prefect_port: int | None, mlflow_port: int | None
) -> Place:
    """Where the services are, or are going to be; raises ConfigError when they run elsewhere than asked."""
    checkout, database = setup.find_checkout(), Database.chosen(workspace)
    asked = {"--host": host, "--prefect-port": prefect_port, "--mlflow-port": mlflow_port}
    if not any(known.process(name) for name in known.services):
        if database.url is None and known.database not in ("", database.shown):
            raise ConfigError(
                f"the services of {workspace.root} kept what they know in {known.database}, and {VARIABLE} is not set.",
                hint=f"Set it as before; or, for SQLite from now on, remove {state.folder(workspace)}/services.json.",
            )
        # Where they were last is where people look for them.
        return Place(
            workspace,
            checkout,
            host or known.host or DEFAULT_HOST,
            prefect_port or known.prefect_port or DEFAULT_PREFECT_PORT,
            mlflow_port or known.mlflow_port or DEFAULT_MLFLOW_PORT,
            database,
        )
    running = {"--host": known.host, "--prefect-port": known.prefect_port, "--mlflow-port": known.mlflow_port}
    moved = [option for option, value in asked.items() if value not in (None, running[option])]
    differing = [f"{option} {running[option]}" for option in moved]
    if known.database != database.shown:
        differing.append(f"the database {known.database}")
    if differing:
        raise ConfigError(
            f"the services of {workspace.root} are running with {', '.join(differing)}.",
            hint="To move them: `vgan down`, then `vgan up` with the new ones.",
        )
    return replace(_place(workspace, known, checkout), database=database)


def _place(workspace: Workspace, known: State, checkout: Path) -> Place:
    """Where the recorded services are; the checkout and the database matter to `up` only."""
    host, prefect_port = known.host or DEFAULT_HOST, known.prefect_port or DEFAULT_PREFECT_PORT
    return Place(workspace, checkout, host, prefect_port, known.mlflow_port or DEFAULT_MLFLOW_PORT, Database(workspace))


def _refuse_taken_port(service: Service, place: Place) -> None:
    if service.port is None:
        return
    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    with socket.socket(family) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do
        try:
            tried.bind((place.host, service.port))
        except OSError as error:
            who = processes.listener(service.port) or error.strerror or "somebody else"
            option = f"--{service.name}-port"
            raise ConfigError(
                f"the {service.title} cannot have port {service.port} of {place.host}: {who} has it, and "
                "`vgan up` of this workspace did not start that.",
                hint=f"Stop it, or take another one: {option} {service.port + 1}",
            ) from error


def _start(place: Place, known: State, missing: Sequence[Service]) -> State:
    """Start services; the state says so before each and after it, so that none is ever lost sight of."""
    for service in missing:
        log.info("starting the %s", service.title)
        record = Record(service.address, now())
        known = state.write(place.workspace, known.with_record(service.name, record))
        process = processes.launch(
            service.command,
            mark=known.mark_of(service.name),
            env=service.env,
            log=_log(place, service.name),
            folder=place.folder,
        )
        known = state.write(place.workspace, known.with_record(service.name, replace(record, process=process)))
    return known


def _wait(place: Place, known: State, started: Sequence[Service]) -> None:
    """Wait until each of them answers; raises ResumableError with the last lines of one that does not."""
    end = time.monotonic() + START_SECONDS
    for service in started:
        while not service.answers(known.services[service.name].since):
            ended = known.process(service.name) is None
            if ended or time.monotonic() >= end:
                said = "\n".join(processes.last_lines(_log(place, service.name), LAST_LINES))
                what = "ended" if ended else f"did not answer within {START_SECONDS:.0f} s"
                raise ResumableError(
                    f"the {service.title} {what}; it last said:\n{said}",
                    hint=f"All of it: {_log(place, service.name)}",
                )
            time.sleep(POLL_SECONDS)


def _stop(place: Place, names: Sequence[Name]) -> Down:
    """Stop services with all they have started, the last started first."""
    known = state.read(place.workspace)
    there = [name for name in names if processes.marked(known.mark_of(name))]
    workers = [name for name in there if name not in SERVERS]
    killed: list[str] = []
    cut: list[str] = []
    # A server that does not say leaves the runs to its automations, which judge them when it is back.
    if workers:
        with _automations_see_to_it():
            cut = [run["id"] for run in runs.under_way(place)]
    for name in workers:
        log.info("stopping the %s", name)
        if not processes.end_runs(known.mark_of(name), known.process(name), RUNS_SECONDS):
            killed.append(name)
        processes.ask_all(known.mark_of(name))
    for name in workers:
        if not processes.end(known.mark_of(name), STOP_SECONDS) and name not in killed:
            killed.append(name)
    put_back = 0
    with _automations_see_to_it():
        put_back = runs.put_back(place, cut)
    for name in reversed([name for name in there if name in SERVERS]):
        log.info("stopping the %s server", name)
        processes.ask_all(known.mark_of(name))
        if not processes.end(known.mark_of(name), STOP_SECONDS):
            killed.append(name)
    for name in names:
        known = known.without(name)
    state.write(place.workspace, known)
    return Down(tuple(there), tuple(killed), put_back)


@contextmanager
def _automations_see_to_it() -> Iterator[None]:
    try:
        yield
    except RegistryError as error:
        log.warning("%s Runs that are under way go on later, by the automations.", error.message)


def _log(place: Place, name: str) -> Path:
    return place.folder / "logs" / f"{name}.log"


@contextmanager
def _alone(workspace: Workspace) -> Iterator[None]:
    """One `up` or `down` of a workspace at a time."""
    with lease(state.folder(workspace) / "lease.json", wait=OTHER_COMMAND_SECONDS):
        yield
