"""The four services: what each is called with, its environment, and how it answers."""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

from flows.cli.embedded import QUIET
from flows.services.database import Database
from vgan.addresses import basic_authorization
from vgan.errors import RegistryError
from vgan.workspace import ROOT_VARIABLE, Workspace

Name = Literal["prefect", "mlflow", "worker", "training-worker"]
POOL, TRAINING_POOL = "vgan", "vgan-train"
HEARTBEAT_SECONDS = 30  # of a flow run, the least that Prefect takes
# A server keeps the leases of slots in its memory unless told otherwise. When it is restarted they are lost, and a flow
# that holds the only slot of its deployment is ended because it cannot renew its lease.
# Its automations would lose what happened while its database was locked.
SERVER_SETTINGS = {
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": "flows.services.ordering",
}
ANSWER_SECONDS = 15.0
BUSY, BUSY_PAUSE_SECONDS = 503, 1.0  # Prefect's word for a locked database
WORKER_SILENT_SECONDS = 240
REPLY_SECONDS = 120.0  # of a small machine that is busy
# The user's own, which would lead a service to other servers, or hand a flow the database's password.
LEFT_OUT = (
    "PREFECT_API_KEY",
    "PREFECT_API_URL",
    "PREFECT_HOME",
    "PREFECT_PROFILE",
    "PREFECT_PROFILES_PATH",
    "PREFECT_API_DATABASE_",
    "PREFECT_SERVER_DATABASE_",
    "PREFECT_LOCAL_STORAGE_PATH",
    "MLFLOW_TRACKING_URI",
    "MLFLOW_REGISTRY_URI",
    "MLFLOW_BACKEND_STORE_URI",
    "MLFLOW_REGISTRY_STORE_URI",
    "MLFLOW_RUN_ID",
    "VGAN_DATABASE_URL",
)


class Server(Protocol):
    """A Prefect server, whoever has started it."""

    @property
    def api(self) -> str:
        """Its PREFECT_API_URL."""
        ...


@dataclass(frozen=True)
class Place:
    """Where the services of a workspace are."""

    workspace: Workspace
    checkout: Path
    host: str
    prefect_port: int
    mlflow_port: int
    database: Database

    @property
    def folder(self) -> Path:
        """Where the services keep their own things."""
        return self.workspace.root / "services"

    @property
    def prefect(self) -> str:
        """Address of the Prefect server from this machine."""
        return f"http://{_within_url(self.host)}:{self.prefect_port}"

    @property
    def api(self) -> str:
        """What PREFECT_API_URL is set to."""
        return f"{self.prefect}/api"

    @property
    def mlflow(self) -> str:
        """Address of the MLflow server from this machine; what MLFLOW_TRACKING_URI is set to."""
        return f"http://{_within_url(self.host)}:{self.mlflow_port}"

    def environment(self) -> dict[str, str]:
        """What everything that speaks to the servers is started with, flows too."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(LEFT_OUT)}
        return {
            **QUIET,
            "PREFECT_WORKER_QUERY_SECONDS": "5",
            **kept,
            "PREFECT_HOME": str(self.folder / "prefect"),
            "PREFECT_API_URL": self.api,
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
            "MLFLOW_TRACKING_URI": self.mlflow,
            ROOT_VARIABLE: str(self.workspace.root),
            "PYTHONUNBUFFERED": "1",
        }


@dataclass(frozen=True)
class Service:
    """One process to keep running."""

    name: Name
    title: str
    command: list[str]
    env: dict[str, str]
    address: str
    port: int | None
    answers: Callable[[str], bool]  # given when the process was started


def services(place: Place) -> tuple[Service, ...]:
    """The services in the order in which they are started; each needs those before it."""
    env, artifacts = place.environment(), str(place.workspace.root / "mlartifacts")
    prefect = _python("prefect", "server", "start", "--host", place.host, "--port", str(place.prefect_port))
    mlflow = _python("mlflow", "server", "--host", place.host, "--port", str(place.mlflow_port))
    mlflow += ["--workers", "1", "--artifacts-destination", artifacts]
    # Jobs would be open to whoever reaches the server.
    mlflow_env = env | place.database.for_mlflow() | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    return (
        Service(
            name="prefect",
            title="Prefect server",
            command=prefect,
            env=SERVER_SETTINGS | env | place.database.for_prefect(),
            address=place.prefect,
            port=place.prefect_port,
            answers=partial(answers, f"{place.api}/health"),
        ),
        Service(
            name="mlflow",
            title="MLflow server",
            command=mlflow,
            env=mlflow_env,
            address=place.mlflow,
            port=place.mlflow_port,
            answers=partial(answers, f"{place.mlflow}/health"),
        ),
        _worker(place, "worker", "worker", POOL, max(2, (os.cpu_count() or 1) // 4)),
        _worker(place, "training-worker", "training worker", TRAINING_POOL, slots()),
    )


def slots() -> int:
    """How many trainings may run at a time: one a GPU, or one on the CPU."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return max(1, len([device for device in visible.split(",") if device.strip()]))
    return max(1, len(list(Path("/dev").glob("nvidia[0-9]*"))))


def _worker(place: Place, name: Name, title: str, pool: str, limit: int) -> Service:
    command = _python("prefect", "--no-prompt", "worker", "start", "--pool", pool, "--name", _worker_name(pool))
    command += ["--type", "process", "--install-policy", "never", "--limit", str(limit)]
    address = f"pool {pool} of {place.prefect}"
    return Service(name, title, command, place.environment(), address, None, partial(is_online, place.api, pool))


def _worker_name(pool: str) -> str:
    return f"{pool} on {os.uname().nodename}"


def answers(url: str, since: str = "") -> bool:
    """Whether a server answers at all, whenever it was started."""
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_SECONDS):  # noqa: S310  (an address of our own)
            return True
    except (OSError, ValueError):
        return False


def is_online(api: str, pool: str, since: str) -> bool:
    """Whether this machine's worker of a pool has told the server lately, and after its start, that it lives.

    Prefect takes a worker for gone after a minute and a half; on a busy machine its word may come later.
    """
    try:
        known = ask(api, f"/work_pools/{pool}/workers/filter", {}, seconds=ANSWER_SECONDS)
    except RegistryError:
        return False
    told = [worker["last_heartbeat_time"] for worker in known if worker["name"] == _worker_name(pool)]
    latest = max((datetime.fromisoformat(time) for time in told if time), default=None)
    if latest is None or latest < datetime.fromisoformat(since):
        return False
    return datetime.now(UTC) - latest < timedelta(seconds=WORKER_SILENT_SECONDS)


def ask(api: str, path: str, body: Any, *, seconds: float = REPLY_SECONDS) -> Any:
    """What Prefect's API answers to a POST; raises RegistryError when it does not.

    One that is busy (503: its database is locked) is asked again until `seconds` have passed.
    """
    headers = {"Content-Type": "application/json"}
    if secret := os.environ.get("PREFECT_API_AUTH_STRING"):
        headers["Authorization"] = basic_authorization(secret)
    request = urllib.request.Request(api + path, json.dumps(body).encode(), headers)  # noqa: S310
    last = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(request, timeout=seconds) as answer:  # noqa: S310  (an address of our own)
                return json.loads(answer.read() or b"null")
        except (OSError, ValueError) as error:
            if not (isinstance(error, urllib.error.HTTPError) and error.code == BUSY and time.monotonic() < last):
                raise RegistryError(
                    f"the Prefect server at {api} did not answer as it should: {error}",
                    hint="Run the same command again.",
                ) from error
        time.sleep(BUSY_PAUSE_SECONDS)


def now() -> str:
    """The time for records."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _python(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]


def _within_url(host: str) -> str:
    """The host as this machine reaches it."""
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"[{reached}]" if ":" in reached else reached
