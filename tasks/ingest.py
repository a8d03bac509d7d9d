"""The ingest stage: plan, one task a batch, commit, and what is shown of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.events import emit_event

from tasks.dataset_summary import summary_markdown
from tasks.progress import part_progress, stage_progress
from tasks.retries import STAGE_POLICY
from vgan.config import IngestConfig
from vgan.data.batches import batch as batches
from vgan.data.batches.batch import BatchDone
from vgan.data.decoding.pool import DecoderPool
from vgan.data.ingest import sweep
from vgan.data.inspection.summary import summarise
from vgan.data.manifest import load_dataset
from vgan.data.planning import planner
from vgan.data.planning.plan import IngestPlan, PlannedBatch
from vgan.data.versions.commit import commit_leased
from vgan.data.versions.growth import announce
from vgan.records import IngestReport
from vgan.storage import lease
from vgan.workspace import Workspace

log = logging.getLogger(__name__)

ROWS_SHOWN = 500
WAIT_SECONDS = 900.0
# Events that other deployments may wait for: each new version, and one with enough clips that nobody trained on.
UPDATED = "vgan.dataset.updated"
GROWN = "vgan.dataset.grown"
OF_THE_MACHINE = {"workers", "runner", "runner_address"}  # settings that a training elsewhere does not take over


@contextmanager
def only_ingest(workspace: Workspace, name: str) -> Iterator[None]:
    """Be the only ingest of a dataset for the length of the block; waits for another one to end.

    Raises:
        ResumableError: it did not end in a quarter of an hour; says who holds the dataset.
    """
    folder = workspace.dataset(name)
    with lease(folder.lease, wait=WAIT_SECONDS):
        sweep(folder)
        yield


@task(name="plan-ingest", **STAGE_POLICY)
def plan_ingest(root: str, videos: str, name: str, config: IngestConfig) -> IngestPlan:
    """List the videos and hash the new ones; what the dataset already has is not opened."""
    with stage_progress("plan") as progress:
        return planner.plan_ingest(Workspace.open(root), videos, name, config, progress=progress)


@task(name="ingest-batch", task_run_name="ingest-batch-{place.key:.8}", **STAGE_POLICY)
def ingest_batch(root: str, name: str, config: IngestConfig, place: PlannedBatch) -> BatchDone:
    """Decode one batch of videos into shards and commit it; a repeated call verifies and returns."""
    with part_progress(place.key, place.videos) as progress, _own_pool(config) as pool:
        return batches.ingest_batch(Workspace.open(root), name, config, place, pool=pool, progress=progress)


def _own_pool(config: IngestConfig) -> AbstractContextManager[DecoderPool | None]:
    """Decoders of this batch alone, on a cluster, which places so many batches on a machine as have room there."""
    return nullcontext() if config.runner == "threads" else DecoderPool(config.workers or 1)


@task(name="commit-dataset", **STAGE_POLICY)
def commit_dataset(root: str, name: str, config: IngestConfig, plan: IngestPlan) -> IngestReport:
    """Write the manifest, the commit point of the stage, and tell who waits for a new version."""
    report = commit_leased(Workspace.open(root), config, plan)
    # Not `report.unchanged`: a commit that was killed after its manifest finds its own version when it is tried again.
    if report.dataset_digest != plan.base:
        _tell(UPDATED, name, report.dataset_digest, report.number, report.clips_new)
    return report


@task(name="announce-growth", **STAGE_POLICY)
def announce_growth(root: str, videos: str, name: str, config: IngestConfig, least: int, workspace: str | None) -> None:
    """Tell who retrains once at least so many clips have come that no training has seen; never twice of the same.

    `videos`, `config` and `workspace` are what the ingest was asked for, so that the training can ask for the same.
    """
    growth = announce(Workspace.open(root), name, least)
    if growth is None:
        return
    log.info("%s has %d new clips: telling those who retrain", name, growth.new_clips)
    asked = config.model_dump(mode="json", exclude_unset=True, exclude=OF_THE_MACHINE)
    more = {"videos": videos, "config": asked, "workspace": workspace}
    _tell(GROWN, name, growth.digest, growth.number, growth.new_clips, more)


def _tell(event: str, name: str, digest: str, number: int, new_clips: int, more: dict[str, Any] | None = None) -> None:
    resource = {"prefect.resource.id": f"vgan.dataset.{name}", "prefect.resource.name": name}
    payload = {"name": name, "digest": digest, "number": number, "new_clips": new_clips, **(more or {})}
    emit_event(event=event, resource=resource, payload=payload)


@task(name="show-dataset", **STAGE_POLICY)
def show_dataset(root: str, report: IngestReport) -> None:
    """Show what was rejected and why, and what the dataset consists of now.

    A task of its own: were the server away, the retry must not find a commit that is done and call it unchanged.
    """
    workspace = Workspace.open(root)
    rejected = [{"video": r.path, "reason": r.reason, "detail": r.detail} for r in report.rejections[:ROWS_SHOWN]]
    create_table_artifact(rejected, key="rejected-videos", description=f"Rejected videos of {report.name}")
    dataset = load_dataset(workspace, report.name, report.dataset_digest)
    summary = summarise(workspace.dataset(report.name), dataset)
    create_markdown_artifact(summary_markdown(report, summary), key="dataset-summary")
