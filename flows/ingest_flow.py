"""Flow `ingest`: videos become shards and a dataset version."""

from __future__ import annotations

import time
from typing import Any

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from tasks.ingest import commit_dataset, ingest_batch, plan_ingest
from vgan.config import IngestConfig, Name
from vgan.records import IngestReport
from vgan.workspace import Workspace

# Each batch decodes with all cores already; a second one at a time fills its gaps.
RUNNER: Any = ThreadPoolTaskRunner(max_workers=2)


@flow(name="ingest", task_runner=RUNNER, result_serializer="json")
def ingest(
    videos: str, name: Name, config: IngestConfig = IngestConfig(), workspace: str | None = None
) -> IngestReport:
    """Cut the videos of a folder into clips and commit them as the dataset's next version.

    Args:
        videos: Folder of videos, searched with all its subfolders.
        name: Dataset to add to; small letters, digits, '-' and '_'.
        config: How videos become clips.
        workspace: Folder for everything that is written; empty takes VGAN_WORKSPACE or ./workspace.
    """
    root, started = str(Workspace.open(workspace).root), time.monotonic()
    plan = plan_ingest(root, videos, name, config)
    # The first batch alone sees to it that something is held out; copies in later ones follow its choice.
    batches = [ingest_batch(root, name, config, batch) for batch in plan.batches[:1]]
    waiting = [ingest_batch.submit(root, name, config, batch) for batch in plan.batches[1:]]
    batches += [future.result() for future in waiting]
    report = commit_dataset(root, name, config, plan, batches)
    return report.model_copy(update={"seconds": round(time.monotonic() - started, 3)})
