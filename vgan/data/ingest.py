"""From a folder of videos to a dataset version: plan, batches, commit.

The three steps can run in processes of their own, in any place that sees the workspace; `ingest` runs them in
this one. The manifest is written last: until then nothing of an ingest can be seen, and an ingest that was
killed goes on with the batches that it had finished.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed

from ..config import IngestConfig
from ..progress import Progress, silent
from ..records import IngestReport
from ..storage import lease, sweep_temporary
from ..workspace import DatasetFolder, Workspace
from .batches.batch import ingest_batch
from .decoding.pool import DecoderPool, shared_pool
from .planning.plan import IngestPlan, PlannedBatch
from .planning.planner import plan_ingest
from .versions.commit import commit_leased

BATCHES_AT_ONCE = 2


def ingest(
    workspace: Workspace, videos: str, name: str, config: IngestConfig, *, progress: Progress = silent
) -> IngestReport:
    """Bring a dataset up to date with a folder of videos; what it knows is not read again.

    Args:
        workspace: where the dataset lies.
        videos: folder or URL, or one file; files below it are taken by their ending and judged by their content.
        name: of the dataset, new or existing.
        config: how clips are cut; another one than before starts a new version from nothing.
        progress: told in videos of the whole ingest.

    Raises:
        ConfigError: there is no such folder, or something to decode with is not installed (MissingToolError).
        BadInputError: no usable video, too many rejected or vanished, or too few to hold some out.
        StorageError: reading or writing failed.
        ResumableError: another process works on this dataset.
    """
    started = time.monotonic()
    folder = workspace.dataset(name)
    with lease(folder.lease):
        sweep(folder)
        plan = plan_ingest(workspace, videos, name, config, progress=progress)
        _do_batches(workspace, plan, progress)
        report = commit_leased(workspace, config, plan)
    return report.model_copy(update={"seconds": round(time.monotonic() - started, 3)})


def sweep(folder: DatasetFolder) -> None:
    """Remove what killed processes left in the middle of writing."""
    for place in (folder.path, folder.shards, folder.batch("x").parent, folder.pending("x").parent):
        sweep_temporary(place)
    for place in (folder.version("x").parent, folder.announced("x").parent):
        sweep_temporary(place)


def _do_batches(workspace: Workspace, plan: IngestPlan, progress: Progress) -> None:
    """Two batches at a time share the workers, so that none of them idles while the last video of a batch is taken."""
    videos = sum(place.videos for place in plan.batches)
    done_of: dict[str, float] = {}
    telling = threading.Lock()

    def do(place: PlannedBatch, pool: DecoderPool) -> None:
        def tell(done: float, total: float, note: str) -> None:
            with telling:
                done_of[place.key] = done
                progress(sum(done_of.values()), videos, note)

        ingest_batch(workspace, plan.name, plan.config, place, pool=pool, progress=tell)

    threads = ThreadPoolExecutor(BATCHES_AT_ONCE, thread_name_prefix="batch")
    try:
        with shared_pool(plan.config.workers) as pool:
            for batch in as_completed([threads.submit(do, place, pool) for place in plan.batches]):
                batch.result()
    finally:
        threads.shutdown(cancel_futures=True)  # after an error the pool is closed by now, which ends the others
