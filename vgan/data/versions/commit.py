"""From finished batches to a dataset version: groups and sides over all its videos, then the manifest, last of all.

Batches know nothing of each other. Here copies in different batches become one, videos that belong together get
one side, and what files say now (their names and labels, or that they have gone) replaces what they
said before. A batch that this changes is written anew from its own shards; nothing is decoded.
"""

from __future__ import annotations

from ...config import IngestConfig
from ...records import Dataset, IngestReport
from ...storage import lease
from ...workspace import Workspace
from ..batches.pending import clean_up
from ..buckets.published import publish
from ..manifest import current_version, write_version
from ..planning.plan import IngestPlan
from .assemble import assemble
from .ingest_report import report_of_kept, report_of_new
from .judge import judge
from .making import Making, edits_of, find_kept, overtaken


def commit(workspace: Workspace, name: str, config: IngestConfig, plan: IngestPlan) -> IngestReport:
    """Make the version that a plan's kept and new batches are, and clean up behind it.

    Args:
        workspace: where the dataset lies.
        name: of the dataset.
        config: the config that the plan was made with.
        plan: the plan, of which every batch is done.

    Raises:
        BadInputError: no usable video, more rejected than `config.max_rejected`, or nothing to hold out.
        ResumableError: the dataset has changed since the plan was made, or a batch of the plan is not done.
        CorruptDataError: a kept record or shard is not as it was written.
        StorageError: the version cannot be written, or not be published to VGAN_DATASETS; calling again goes on.
    """
    folder = workspace.dataset(name)
    with lease(folder.lease):
        return commit_leased(workspace, config, plan)


def commit_leased(workspace: Workspace, config: IngestConfig, plan: IngestPlan) -> IngestReport:
    """`commit` for a caller that holds the lease."""
    folder = workspace.dataset(plan.name)
    current = current_version(folder)
    origin, kept = find_kept(folder, current, plan)
    changed = (current.digest() if current else None) != plan.base
    making = Making(workspace, folder, config, plan, current, origin, kept, edits_of(plan))
    if origin and not changed and not plan.batches and not plan.edits and len(kept) == len(origin.batches):
        return _keep(making, origin)
    making.read()
    arranged = making.table.arrange(config.heldout)
    judge(making, arranged)
    dataset = assemble(making, arranged)
    # A commit that was killed after its manifest is called again with a plan of the version before.
    if changed and (current is None or dataset.digest() != current.digest()):
        raise overtaken(plan)
    _make_current(making, dataset, write=current != dataset)
    return report_of_new(making, arranged, dataset)


def _keep(making: Making, origin: Dataset) -> IngestReport:
    """Make the version that was there, or is there, the current one."""
    _make_current(making, origin, write=making.current is None or making.current.digest() != origin.digest())
    return report_of_kept(making)


def _make_current(making: Making, dataset: Dataset, *, write: bool) -> None:
    if write:
        write_version(making.folder, dataset)
    # Before the clean-up: when it fails, the same commit can be tried again.
    publish(making.workspace, dataset)
    clean_up(making.folder, making.plan, dataset)
