"""What a Prefect server needs before the first run: pools, the limit on GPUs, automations, deployments."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from flows.services import processes
from flows.services.automations import make_automations
from flows.services.servers import BUSY, POOL, TRAINING_POOL, Place, Server, ask, slots
from tasks.slots import GPU_SLOT
from vgan.errors import ConfigError, RegistryError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

DEPLOYMENTS = "prefect.yaml"
DEPLOY_SECONDS = 600.0
LAST_LINES = 12
DEPLOY_TRIES = 3  # while the server is busy


class Deployed(Server, Protocol):
    """A server to which the flows of a checkout are deployed."""

    @property
    def checkout(self) -> Path:
        """From where the flows run."""
        ...

    @property
    def folder(self) -> Path:
        """Where the log of the deployment goes."""
        ...

    def environment(self) -> dict[str, str]:
        """What Prefect's command is started with."""
        ...


def find_checkout() -> Path:
    """The folder from which the flows run: the checkout that this package is in, else one around the current folder.

    Raises:
        ConfigError: there is none, since only the package is installed.
    """
    here = Path.cwd()
    for folder in (Path(__file__).resolve().parents[2], here, *here.parents):
        if (folder / DEPLOYMENTS).is_file() and (folder / "flows" / "retrain_flow.py").is_file():
            return folder
    raise ConfigError(
        f"there is no {DEPLOYMENTS} to deploy.",
        hint="The flows run from a checkout of vgan: call this command in one.",
    )


def prepare_server(place: Server) -> None:
    """Make the pools, the `gpu` limit and the automations where they are not there; leave what a person has changed."""
    from prefect.client.orchestration import SyncPrefectClient

    secret = os.environ.get("PREFECT_API_AUTH_STRING")
    with _told("preparing the Prefect server"), SyncPrefectClient(place.api, auth_string=secret) as client:
        _make_pools(client)
        _make_gpu_limit(client)
        make_automations(client)


def _make_pools(client: SyncPrefectClient) -> None:
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists
    from prefect.workers.process import ProcessWorker

    about = {POOL: "Ingest, evaluate, generate.", TRAINING_POOL: "Train and retrain: one a GPU."}
    template = ProcessWorker.get_default_base_job_template()
    for pool, description in about.items():
        made = WorkPoolCreate(name=pool, type="process", description=description, base_job_template=template)
        try:
            client.create_work_pool(made)
        except ObjectAlreadyExists:
            continue


def _make_gpu_limit(client: SyncPrefectClient) -> None:
    from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
    from prefect.exceptions import ObjectAlreadyExists

    try:
        client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=GPU_SLOT, limit=slots()))
    except ObjectAlreadyExists:
        return


@contextmanager
def _told(doing: str) -> Iterator[None]:
    from httpx import HTTPError

    try:
        yield
    except HTTPError as error:
        raise RegistryError(
            f"{doing} failed: {str(error) or type(error).__name__}", hint="Run the same command again."
        ) from error


def deployment_digest(place: Place) -> str:
    """What the deployments are made of: another one means that they have to be deployed again."""
    digest = hashlib.sha256(str(place.checkout).encode())
    sources = [place.checkout / DEPLOYMENTS]
    sources += sorted([*place.checkout.glob("flows/*.py"), *place.checkout.glob("vgan/config/*.py")])
    for path in sources:
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()


def are_deployed(place: Server) -> bool:
    """Whether the server has deployments at all, which it has not with a new database."""
    return bool(ask(place.api, "/deployments/filter", {"limit": 1}))


def deploy(place: Deployed) -> None:
    """Deploy all of prefect.yaml; the flows run from the checkout.

    Raises:
        ConfigError: Prefect refused it; the last lines of what it said are in the message.
    """
    log = place.folder / "logs" / "deploy.log"
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    # prefect.yaml takes the checkout's place from PWD, which does not follow the working directory by itself.
    env = place.environment() | {"PWD": str(place.checkout), "NO_COLOR": "1", "COLUMNS": "120"}
    tries = DEPLOY_TRIES
    while code := processes.finish(command, env=env, log=log, folder=place.checkout, seconds=DEPLOY_SECONDS):
        said, tries = "\n".join(processes.last_lines(log, LAST_LINES)), tries - 1
        if f"{BUSY} Service Unavailable" not in said or not tries:
            what = place.checkout / DEPLOYMENTS
            raise ConfigError(f"deploying {what} failed ({code}):\n{said}", hint=f"All of it: {log}")
