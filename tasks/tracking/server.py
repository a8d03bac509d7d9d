"""Where MLflow is, how it is spoken to, and what is said when it does not answer."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from vgan.addresses import without_password
from vgan.errors import RegistryError
from vgan.workspace import Workspace

log = logging.getLogger(__name__)
T = TypeVar("T")

URI_VARIABLE = "MLFLOW_TRACKING_URI"
SILENCE = "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"  # it would print a run's address, password and all, among results
DATABASE = "mlflow.db"  # in the workspace, when no server is named
IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}  # seconds


def tracking_uri(workspace: Workspace) -> str:
    """MLFLOW_TRACKING_URI when the user set it, else the SQLite file of the workspace."""
    return os.environ.get(URI_VARIABLE) or f"sqlite:///{workspace.root / DATABASE}"


def client(workspace: Workspace) -> MlflowClient:
    """A client of the workspace's tracking server and registry."""
    os.environ[SILENCE] = "true"
    asked, uri = os.environ.get(URI_VARIABLE), tracking_uri(workspace)
    mlflow.set_tracking_uri(uri)
    if asked is None:
        # MLflow puts it into the environment, where the next call would take it for the user's own setting.
        os.environ.pop(URI_VARIABLE, None)
    return MlflowClient(uri)


@contextmanager
def registry_errors(doing: str, workspace: Workspace) -> Iterator[None]:
    """Turn what MLflow raises into a RegistryError that says what was being done and where."""
    try:
        yield
    except (MlflowException, OSError) as error:
        said = str(error).replace(tracking_uri(workspace), shown_uri(workspace))
        raise RegistryError(
            f"{doing} at {shown_uri(workspace)} failed: {said[:300]}",
            hint="Nothing local is lost; when the server answers again, run the same command.",
        ) from error


def shown_uri(workspace: Workspace) -> str:
    """The tracking URI without a password, for people and records."""
    return without_password(tracking_uri(workspace))


def best_effort(doing: str, call: Callable[[], T]) -> T | None:
    """Run `call`; training must not stop because a tracking server is away, so a failure is only logged.

    Nor may it wait: MLflow would ask a server that does not answer for up to a quarter of an hour.
    """
    try:
        with impatient():
            return call()
    except Exception as error:
        # The text may hold the server's address with a password; its kind is enough to go on.
        log.warning("%s failed (%s); it is made up for later", doing, type(error).__name__)
        return None


@contextmanager
def impatient() -> Iterator[None]:
    """MLflow asks once more at most, and not for long, unless the user has said how often and how long."""
    added = {name: value for name, value in IMPATIENT.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
