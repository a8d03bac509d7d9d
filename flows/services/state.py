"""What was started for a workspace, in <workspace>/services/services.json: written before each start and after it.

A service that is recorded without a pid was about to be started when the command died; it is found by its mark.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from flows.services import processes
from flows.services.processes import Started
from vgan.errors import CorruptDataError
from vgan.storage import read_bytes, write_atomic
from vgan.workspace import Workspace

VERSION = 1


@dataclass(frozen=True)
class Record:
    """One service as it was started."""

    address: str
    since: str  # UTC, ISO 8601
    process: Started | None = None


@dataclass(frozen=True)
class State:
    """Everything that is known of a workspace's services from one command to the next."""

    mark: str = ""
    host: str = ""
    prefect_port: int = 0
    mlflow_port: int = 0
    database: str = ""  # as it may be shown
    deployed: str = ""  # digest of what was deployed
    services: dict[str, Record] = field(default_factory=dict)

    def mark_of(self, name: str) -> str:
        """What the service of this name and all it starts carry in their environment."""
        return f"{self.mark}-{name}"

    def process(self, name: str) -> Started | None:
        """The living process of a service; None when it is not running."""
        record = self.services.get(name)
        if record is None:
            return None
        if record.process is None:
            return processes.oldest(self.mark_of(name))
        return record.process if processes.is_ours(record.process, self.mark_of(name)) else None

    def with_record(self, name: str, record: Record) -> State:
        """The same with one service's record put in or replaced."""
        return replace(self, services={**self.services, name: record})

    def without(self, name: str) -> State:
        """The same without one service."""
        return replace(self, services={key: value for key, value in self.services.items() if key != name})


def folder(workspace: Workspace) -> Path:
    """Where the servers and workers of a workspace keep their own things."""
    return workspace.root / "services"


def read(workspace: Workspace) -> State:
    """The recorded state, or an empty one with a new mark."""
    path = folder(workspace) / "services.json"
    if not path.exists():
        return State(mark=secrets.token_hex(8))
    try:
        found: dict[str, Any] = json.loads(read_bytes(path))
        if found.pop("version") != VERSION:
            raise ValueError("written by another version of vgan")
        found["services"] = {name: _record(record) for name, record in found["services"].items()}
        return State(**found)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptDataError(
            f"{path} cannot be understood: {error}.",
            hint=f"Stop what still runs (`ps -ef | grep -e prefect -e mlflow`), remove {path}, and run `vgan up`.",
        ) from error


def _record(found: dict[str, Any]) -> Record:
    process = found["process"]
    return Record(found["address"], found["since"], Started(**process) if process else None)


def write(workspace: Workspace, state: State) -> State:
    """Keep the state; returns it."""
    content = {"version": VERSION, **asdict(state)}
    write_atomic(folder(workspace) / "services.json", json.dumps(content, indent=1).encode())
    return state
