"""Where both servers keep what they know: SQLite files in the workspace, or one PostgreSQL database.

Prefect and MLflow both number their migrations in a table `alembic_version`, so in PostgreSQL each
has a schema of its own, found by its search path; pg_trgm, which Prefect's searches need, is in `public`.
"""

from __future__ import annotations

import asyncio
import importlib
import os
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, urlsplit, urlunsplit

from vgan.errors import ConfigError, MissingToolError, RegistryError
from vgan.workspace import Workspace

VARIABLE = "VGAN_DATABASE_URL"
SCHEMAS = ("prefect", "mlflow")
SCHEMES = ("postgresql", "postgres")
CONNECT_SECONDS = 20
# On a busy machine Prefect's ten and five seconds end as "database is locked" or a refused call.
PATIENT = {"PREFECT_SERVER_DATABASE_TIMEOUT": "60", "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "30"}


@dataclass(frozen=True)
class Database:
    """The database of both servers; `url` is None for SQLite."""

    workspace: Workspace
    url: str | None = None

    @classmethod
    def chosen(cls, workspace: Workspace) -> Database:
        """What VGAN_DATABASE_URL names, else SQLite; raises ConfigError for what is no such URL."""
        url = os.environ.get(VARIABLE, "").strip()
        if not url:
            return cls(workspace)
        parts = _parts(url)
        if parts is None:
            # The value is not repeated: it may hold a password.
            raise ConfigError(
                f"{VARIABLE} is no address of a PostgreSQL database.",
                hint="It looks like postgresql://user:password@host:5432/database; unset it for SQLite.",
            )
        return cls(workspace, urlunsplit(parts._replace(scheme="postgresql")))

    @property
    def shown(self) -> str:
        """The database for people, without a password."""
        if self.url is None:
            return "SQLite"
        parts = urlsplit(self.url)
        return f"PostgreSQL {parts.path.strip('/')} on {parts.netloc.rpartition('@')[2]}"

    def for_prefect(self) -> dict[str, str]:
        """The Prefect server's settings, which its command line would show to everybody on the machine."""
        if self.url is None:
            return PATIENT
        parts = urlsplit(self.url)
        return {
            **PATIENT,
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": urlunsplit(parts._replace(scheme="postgresql+asyncpg")),
            "PREFECT_SERVER_DATABASE_SQLALCHEMY_CONNECT_ARGS_SEARCH_PATH": "prefect,public",
        }

    def for_mlflow(self) -> dict[str, str]:
        """The MLflow server's settings."""
        if self.url is None:
            return {"MLFLOW_BACKEND_STORE_URI": f"sqlite:///{self.workspace.root / 'mlflow.db'}"}
        parts = urlsplit(self.url)
        path = f"options={quote('-csearch_path=mlflow,public')}"
        query = f"{parts.query}&{path}" if parts.query else path
        return {"MLFLOW_BACKEND_STORE_URI": urlunsplit(parts._replace(query=query))}

    def prepare(self) -> None:
        """Make the schemas and the extension in PostgreSQL, where they are not there yet.

        Raises:
            MissingToolError: the drivers are not installed.
            RegistryError: the database does not answer, or does not let this be done.
        """
        if self.url is None:
            return
        try:
            importlib.import_module("psycopg2")  # MLflow's driver: better missed now than in a server's log
        except ImportError as error:
            raise MissingToolError(
                f"{VARIABLE} names a PostgreSQL database, and its drivers are not installed.",
                hint="pip install 'vgan[postgres]', or in a checkout: pip install -e '.[postgres]'",
            ) from error
        try:
            asyncio.run(_prepare(self.url))
        except Exception as error:
            said = str(error).replace(urlsplit(self.url).password or "\0", "***") or type(error).__name__
            raise RegistryError(
                f"{self.shown} cannot be used: {said}.",
                hint=f"Check host, database, user and password in {VARIABLE}; the user must be allowed to create "
                "schemas, and the extension pg_trgm where it is not there.",
            ) from error


def _parts(url: str) -> SplitResult | None:
    """The parts of a URL of a PostgreSQL database; None when it is not one."""
    try:
        parts = urlsplit(url)
        whole = parts.scheme in SCHEMES and parts.hostname and parts.path.strip("/") and parts.port != 0
    except ValueError:
        return None
    return parts if whole else None


async def _prepare(url: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(url, timeout=CONNECT_SECONDS)
    try:
        for schema in SCHEMAS:
            await connection.execute(f"create schema if not exists {schema}")
        await connection.execute("create extension if not exists pg_trgm schema public")
    finally:
        await connection.close()
