"""Servers that somebody else starts, in containers or on other machines: what they need before the first run."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from flows.services import runs, setup
from flows.services.database import VARIABLE, Database
from vgan.errors import ConfigError
from vgan.workspace import Workspace

API_VARIABLE = "PREFECT_API_URL"

log = logging.getLogger("vgan.services")


@dataclass(frozen=True)
class Elsewhere:
    """A Prefect server at any address, and the checkout that its workers have in the same place."""

    workspace: Workspace
    checkout: Path
    api: str

    @property
    def folder(self) -> Path:
        """Where the log of the deployment goes."""
        return self.workspace.root / "services"

    def environment(self) -> dict[str, str]:
        """This environment without the database's address, which may hold a password."""
        return {key: value for key, value in os.environ.items() if key != VARIABLE}


@dataclass(frozen=True)
class Prepared:
    """What `prepare` has seen to; None where the environment named nothing."""

    database: str | None
    api: str | None


def prepare(workspace: Workspace) -> Prepared:
    """Make the schemas in the database, and pools, limit, automations and deployments on the server, where they miss.

    The environment says which: VGAN_DATABASE_URL before the servers are started, PREFECT_API_URL once they answer.

    Raises:
        ConfigError: neither is set, or the deployments are refused.
        RegistryError: database or server does not answer.
    """
    database, api = Database.chosen(workspace), os.environ.get(API_VARIABLE, "").strip().rstrip("/")
    if database.url is None and not api:
        raise ConfigError(
            f"neither {VARIABLE} nor {API_VARIABLE} is set: there is nothing to prepare.",
            hint=f"Set {VARIABLE} to make the schemas of both servers, {API_VARIABLE} to prepare a Prefect server; "
            "on one machine `vgan up` does all of it.",
        )
    database.prepare()
    if api:
        place = Elsewhere(workspace, setup.find_checkout(), api)
        setup.prepare_server(place)
        runs.expect_signs_of_life(place)
        log.info("deploying %s", place.checkout / setup.DEPLOYMENTS)
        setup.deploy(place)
    return Prepared(database.shown if database.url else None, api or None)
