"""Batches that are done and wait for their commit, under pending/; and what a commit clears away behind it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from ...errors import CorruptDataError, ResumableError
from ...records import Batch, Dataset
from ...storage import fault_point, read_bytes
from ...workspace import DatasetFolder
from ..manifest import kept_versions, shard_problems
from ..planning.plan import IngestPlan

log = logging.getLogger(__name__)

WAITING_SECONDS = 7 * 24 * 3600.0  # so long a batch that no commit has taken waits for its plan to be made again


def finished_batch(folder: DatasetFolder, key: str) -> Batch | None:
    """The batch that waits for its commit; None when it is not there, or not all of it is sound."""
    path = folder.pending(key)
    if not path.exists():
        return None
    try:
        batch = Batch.from_json(read_bytes(path), str(path))
    except CorruptDataError as error:
        log.warning("a batch is made again: %s", error.message)
        return None
    sound = not any(shard_problems(folder.shards / shard.file, shard) for shard in batch.shards)
    return batch if sound and batch.key == key else None


def pending_batch(folder: DatasetFolder, key: str) -> Batch:
    """The batch of a plan that is to be committed; raises ResumableError when it is not done."""
    path = folder.pending(key)
    if not path.exists():
        raise ResumableError(f"batch {key[:12]} of the plan is not done.", hint="Run the same command again.")
    return Batch.from_json(read_bytes(path), str(path))


def clean_up(
    folder: DatasetFolder, plan: IngestPlan, dataset: Dataset, *, clock: Callable[[], float] = time.time
) -> None:
    """Remove the plan, the batches that were committed, and those of other plans that have waited for a week.

    Another plan is one of other videos or of another config that was cut short; what it decoded serves when the
    same call is made again. A batch takes with it the shards that no version and no waiting batch names.

    Args:
        folder: of the dataset.
        plan: that was committed.
        dataset: the version that it became.
        clock: seconds since 1970. What a wrong one removes is decoded again.
    """
    fault_point("before_clean_up")
    taken = {place.key for place in plan.batches} | {ref.key for ref in dataset.batches}
    waiting = sorted(folder.pending("x").parent.glob("*.json"))
    going = [path for path in waiting if path.stem in taken or clock() - path.stat().st_mtime > WAITING_SECONDS]
    # A shard goes before the record that names it, so that a killed clean-up is found again.
    for file in sorted(_only_named_by(folder, going, set(waiting) - set(going), dataset)):
        (folder.shards / file).unlink(missing_ok=True)
    for path in [*going, folder.plan]:
        path.unlink(missing_ok=True)


def _only_named_by(
    folder: DatasetFolder, going: Collection[Path], staying: Collection[Path], dataset: Dataset
) -> set[str]:
    files = set(_shard_files(going)) - {shard.file for shard in dataset.shards}
    if files:
        files.difference_update(_shard_files(staying))
        for version in kept_versions(folder):
            files.difference_update(shard.file for shard in version.shards)
    return files


def _shard_files(paths: Collection[Path]) -> Iterator[str]:
    for path in paths:
        try:
            batch = Batch.from_json(read_bytes(path), str(path))
        except CorruptDataError:
            continue
        yield from (shard.file for shard in batch.shards)
