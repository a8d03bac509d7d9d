"""The ingest stage: plan, one task a batch, commit."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from tasks.progress import stage_progress
from tasks.retries import STAGE_POLICY
from vgan.config import IngestConfig
from vgan.data import ingest as library
from vgan.data.plan import BatchPlan, IngestPlan
from vgan.records import Batch, IngestReport
from vgan.workspace import Workspace

ROWS_SHOWN = 500


@task(name="plan-ingest", **STAGE_POLICY)
def plan_ingest(root: str, videos: str, name: str, config: IngestConfig) -> IngestPlan:
    """List and hash the videos; what the dataset already has is left out."""
    return library.plan_ingest(Workspace.open(root), Path(videos), name, config)


@task(name="ingest-batch", task_run_name="ingest-batch-{batch.key:.8}", **STAGE_POLICY)
def ingest_batch(root: str, name: str, config: IngestConfig, batch: BatchPlan) -> Batch:
    """Decode one batch of videos into shards and commit it; a repeated call verifies and returns."""
    with stage_progress("ingest") as progress:
        return library.ingest_batch(Workspace.open(root), name, config, batch, progress=progress)


@task(name="commit-dataset", **STAGE_POLICY)
def commit_dataset(root: str, name: str, config: IngestConfig, plan: IngestPlan, batches: list[Batch]) -> IngestReport:
    """Write the manifest, the commit point of the stage, and show what was rejected and why."""
    report = library.commit(Workspace.open(root), name, config, plan, batches)
    rejected = [{"video": r.path, "reason": r.reason, "detail": r.detail} for r in report.rejections[:ROWS_SHOWN]]
    create_table_artifact(rejected, key="rejected-videos", description=f"Rejected videos of {name}")
    create_markdown_artifact(_summary(report), key="dataset-summary")
    return report


def _summary(report: IngestReport) -> str:
    return (
        f"**{report.name}** {'unchanged' if report.unchanged else 'updated'}: "
        f"{report.videos_accepted} videos accepted, {report.videos_rejected} rejected, "
        f"{report.videos_unchanged} known before. {report.clips_train} training clips, "
        f"{report.clips_heldout} held out, {report.shards} shards.\n\nVersion `{report.dataset_digest}`"
    )
