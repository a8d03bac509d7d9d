"""Batches that are done and wait for their commit, under pending/; and what a commit clears away behind it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from pathlib import Path

from ..errors import CorruptDataError, ResumableError
from ..records import Batch, Dataset
from ..storage import fault_point, read_bytes
from ..workspace import DatasetFolder
from .manifest import kept_versions, shard_problems
from .plan import IngestPlan

log = logging.getLogger(__name__)


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


def clean_up(folder: DatasetFolder, plan: IngestPlan, dataset: Dataset) -> None:
    """Remove the plan, what waited for the commit, and shards that nothing else names."""
    fault_point("before_clean_up")
    waiting = sorted(folder.pending("x").parent.glob("*.json"))
    lost = set(_shard_files(waiting)) - {shard.file for shard in dataset.shards}
    if lost:
        for version in kept_versions(folder):
            lost -= {shard.file for shard in version.shards}
    # A shard goes before the record that names it, so that a killed clean-up is found again.
    for file in sorted(lost):
        (folder.shards / file).unlink(missing_ok=True)
    for path in [*waiting, folder.plan]:
        path.unlink(missing_ok=True)


def _shard_files(paths: Collection[Path]) -> Iterator[str]:
    for path in paths:
        try:
            batch = Batch.from_json(read_bytes(path), str(path))
        except CorruptDataError:
            continue
        yield from (shard.file for shard in batch.shards)
