"""Which failures a retry can help, and how every task asks."""

from __future__ import annotations

from typing import Any, TypedDict

import httpx
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task

from vgan.errors import VganError


def retry_can_help(task: Task[Any, Any], task_run: TaskRun, state: State[Any]) -> bool:
    """True for errors that say so (killed child, storage, server away) and for failures that are not ours."""
    error = state.result(raise_on_failure=False)
    if isinstance(error, VganError):
        return error.retryable
    # Prefect's own client raises httpx errors when its server is away.
    return isinstance(error, (ConnectionError, TimeoutError, httpx.TransportError))


class StagePolicy(TypedDict):
    """Options that every stage's task shares."""

    retries: int
    retry_delay_seconds: list[float]
    retry_condition_fn: Any
    cache_policy: Any
    persist_result: bool


# What is there already is decided by manifests and hashes, never by the server's memory: nothing is cached here.
STAGE_POLICY: StagePolicy = {
    "retries": 3,
    "retry_delay_seconds": [1.0, 10.0, 60.0],
    "retry_condition_fn": retry_can_help,
    "cache_policy": NO_CACHE,
    "persist_result": False,
}

# The last stage, after hours of training: a registry may be away for longer than a restart takes.
REGISTER_POLICY: StagePolicy = {
    **STAGE_POLICY,
    "retries": 6,
    "retry_delay_seconds": [1.0, 10.0, 60.0, 300.0, 600.0, 1200.0],
}
