"""Flow `ingest`: videos become shards and a dataset version."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from typing import Any

from prefect import flow
from prefect.futures import PrefectFuture

from flows.parameters import DatasetName, IngestSettings, NewClips, Videos, WorkspaceFolder
from flows.runners import SUBMITTED, batch_runner
from tasks.failures import explained
from tasks.ingest import announce_growth, commit_dataset, ingest_batch, only_ingest, plan_ingest, show_dataset
from tasks.progress import part_elsewhere, whole_progress
from vgan.config import IngestConfig
from vgan.data.planning.plan import PlannedBatch
from vgan.records import IngestReport
from vgan.workspace import Workspace


@flow(name="ingest", flow_run_name="ingest {name}", result_serializer="json")
@explained
def ingest(
    videos: Videos,
    name: DatasetName,
    retrain_after: NewClips = 500,
    config: IngestSettings = IngestConfig(),
    workspace: WorkspaceFolder = None,
) -> IngestReport:
    """Cut the videos of a folder into clips and commit them as the dataset's next version.

    Only new videos are opened; with none, nothing is written and the version stays as it is.

    Args:
        videos: Folder of videos, searched with all its subfolders, or a URL such as s3://bucket/folder.
        name: Dataset to add to; small letters, digits, '-' and '_'.
        retrain_after: Retraining starts by itself once so many clips have come since the last one; empty never.
            1 to 1,000,000,000.
        config: How videos become clips; give retrain/nightly the same.
        workspace: Folder for everything that is written; empty takes VGAN_WORKSPACE or ./workspace.
    """
    opened, started = Workspace.open(workspace), time.monotonic()
    root = str(opened.root)
    with only_ingest(opened, name):
        plan = plan_ingest(root, videos, name, config)
        if plan.batches:
            with whole_progress("ingest", sum(place.videos for place in plan.batches)):
                _ingest_batches(root, name, config, plan.batches)
        report = commit_dataset(root, name, config, plan)
        if retrain_after is not None:
            announce_growth(root, videos, name, config, retrain_after, workspace)
    report = report.model_copy(update={"seconds": round(time.monotonic() - started, 3)})
    show_dataset(root, report)
    return report


def _ingest_batches(root: str, name: str, config: IngestConfig, places: Iterable[PlannedBatch]) -> None:
    """Run the batches, a few submitted at a time; the first one that fails for good ends them all."""
    waiting: deque[tuple[PlannedBatch, PrefectFuture[Any]]] = deque()

    def take_first() -> None:
        place, future = waiting.popleft()
        with part_elsewhere(place.key, place.videos, config.runner != "threads"):
            future.result()

    with batch_runner(config) as runner:
        for place in places:
            if len(waiting) == SUBMITTED[config.runner]:
                take_first()
            batch = {"root": root, "name": name, "config": config, "place": place}
            waiting.append((place, runner.submit(ingest_batch, batch)))
        while waiting:
            take_first()
