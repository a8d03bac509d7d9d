"""Promises of the retry policy: retry what a retry can help, and nothing else."""

from __future__ import annotations

from typing import cast

import httpx
import pytest
from prefect.client.schemas.objects import TaskRun
from prefect.states import Failed
from prefect.tasks import Task

from flows import evaluate_flow, generate_flow, ingest_flow, retrain_flow, train_flow
from tasks.evaluate import evaluate
from tasks.generate import generate
from tasks.ingest import commit_dataset, ingest_batch, plan_ingest, show_dataset
from tasks.register import register
from tasks.retries import retry_can_help
from tasks.train import train
from vgan import errors

HELPS = {"StorageError", "ResumableError", "RegistryError"}
STAGES: list[Task] = [plan_ingest, ingest_batch, commit_dataset, show_dataset, train, evaluate, register, generate]
FLOWS = (ingest_flow.ingest, train_flow.train, evaluate_flow.evaluate, retrain_flow.retrain, generate_flow.generate)


def asked(error: Exception) -> bool:
    return retry_can_help(cast(Task, None), cast(TaskRun, None), Failed(data=error))


@pytest.mark.parametrize(
    "kind", [*errors.VganError.__subclasses__(), errors.StoppedError, errors.MissingToolError], ids=lambda k: k.__name__
)
def test_our_errors_say_whether_a_retry_can_help(kind: type[errors.VganError]) -> None:
    assert asked(kind("what")) == (kind.__name__ in HELPS)


@pytest.mark.parametrize(
    ("error", "helps"),
    [(ConnectionError(), True), (TimeoutError(), True), (httpx.ConnectError("away"), True), (ValueError(), False)],
)
def test_other_failures_are_retried_only_when_they_pass(error: Exception, helps: bool) -> None:
    assert asked(error) is helps


@pytest.mark.parametrize("task", STAGES, ids=lambda task: task.name)
def test_every_stage_is_a_task_that_retries_and_trusts_no_cache(task: Task) -> None:
    assert task.retries == (6 if task is register else 3)  # the last one waits longest: hours of work hang on it
    assert task.retry_condition_fn is retry_can_help
    assert task.persist_result is False


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_no_flow_pickles_its_result(flow) -> None:
    assert flow.result_serializer == "json"
