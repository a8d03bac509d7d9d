"""Flow `ingest`: videos become shards and a dataset version."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from typing import Any

from prefect import flow
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner

from tasks.ingest import commit_dataset, ingest_batch, only_ingest, plan_ingest, show_dataset
from tasks.progress import whole_progress
from vgan.config import IngestConfig, Name
from vgan.data.decoding.pool import shared_pool
from vgan.data.planning.plan import PlannedBatch
from vgan.records import IngestReport
from vgan.workspace import Workspace

# Each batch decodes with all workers already; a second one at a time fills its gaps.
AT_ONCE = 2
SUBMITTED = 2 * AT_ONCE  # a plan of a million videos never waits as fifteen thousand futures
RUNNER: Any = ThreadPoolTaskRunner(max_workers=AT_ONCE)


@flow(name="ingest", task_runner=RUNNER, result_serializer="json")
def ingest(
    videos: str, name: Name, config: IngestConfig = IngestConfig(), workspace: str | None = None
) -> IngestReport:
    """Cut the videos of a folder into clips and commit them as the dataset's next version.

    Args:
        videos: Folder of videos, searched with all its subfolders, or a URL such as s3://bucket/folder.
        name: Dataset to add to; small letters, digits, '-' and '_'.
        config: How videos become clips.
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
    report = report.model_copy(update={"seconds": round(time.monotonic() - started, 3)})
    show_dataset(root, report)
    return report


def _ingest_batches(root: str, name: str, config: IngestConfig, places: Iterable[PlannedBatch]) -> None:
    """Run the batches, a few submitted at a time; the first one that fails for good ends them all."""
    waiting: deque[PrefectFuture[Any]] = deque()
    # Held open here, so that the decoders stay alive from batch to batch.
    with shared_pool(config.workers) as pool:
        try:
            for place in places:
                if len(waiting) == SUBMITTED:
                    waiting.popleft().result()
                waiting.append(ingest_batch.submit(root, name, config, place))
            while waiting:
                waiting.popleft().result()
        except BaseException:
            # What still decodes ends now, and with it the tasks that Prefect waits for.
            pool.close()
            raise
