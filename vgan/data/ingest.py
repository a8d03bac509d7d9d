"""From a folder of videos to a dataset version: plan, batches, commit.

The three steps can run in processes of their own, in any place that sees the workspace; `ingest` runs them in
this one. The manifest is written last: until then nothing of an ingest can be seen, and an ingest that was
killed goes on with the batches that it had finished.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ..config import IngestConfig
from ..errors import BadInputError, ResumableError
from ..progress import Progress, silent
from ..records import Batch, Dataset, IngestReport, Rejection
from ..storage import lease, sweep_temporary
from ..workspace import DatasetFolder, Workspace
from .batch import ingest_batch
from .manifest import current_version, new_version, write_version
from .plan import IngestPlan, plan_ingest, recipe


def ingest(
    workspace: Workspace,
    videos: Path,
    name: str,
    config: IngestConfig,
    *,
    workers: int | None = None,
    progress: Progress = silent,
) -> IngestReport:
    """Bring a dataset up to date with a folder of videos (or one file); what it knows is not read again.

    Args:
        workspace: where the dataset lies.
        videos: folder; files below it are taken by their ending and judged by their content.
        name: of the dataset, new or existing.
        config: how clips are cut; another one than before starts a new version from nothing.
        workers: videos decoded at a time; None takes one for each core.
        progress: told in videos of the whole ingest.

    Raises:
        ConfigError: there is no such folder, or no ffmpeg (MissingToolError).
        BadInputError: no usable video, too many rejected, or too few to hold some out.
        StorageError: reading or writing failed.
        ResumableError: another process works on this dataset.
    """
    started = time.monotonic()
    folder = workspace.dataset(name)
    with lease(folder.lease):
        for place in (folder.path, folder.shards, folder.manifest.with_name("batches")):
            sweep_temporary(place)
        plan = plan_ingest(workspace, videos, name, config, progress=progress)
        total = sum(len(batch.sources) for batch in plan.batches)
        batches: list[Batch] = []
        before = 0
        for batch_plan in plan.batches:

            def inner(done: float, total: float, note: str, before: int = before, all_of: int = total) -> None:
                progress(before + done, all_of, note)

            batches.append(ingest_batch(workspace, name, config, batch_plan, workers=workers, progress=inner))
            before += len(batch_plan.sources)
        report = _commit(folder, config, plan, batches)
    return report.model_copy(update={"seconds": round(time.monotonic() - started, 3)})


def commit(
    workspace: Workspace, name: str, config: IngestConfig, plan: IngestPlan, batches: Sequence[Batch]
) -> IngestReport:
    """Make the version that consists of the plan's kept batches and these new ones.

    Args:
        workspace: where the dataset lies.
        name: of the dataset.
        config: the config that the plan was made with.
        plan: the plan.
        batches: the results of all of `plan.batches`, in any order.

    Raises:
        BadInputError: no usable video, more rejected than `config.max_rejected`, or nothing to hold out.
        ResumableError: the dataset has changed since the plan was made, or two batches disagree.
    """
    folder = workspace.dataset(name)
    with lease(folder.lease):
        return _commit(folder, config, plan, batches)


def _commit(folder: DatasetFolder, config: IngestConfig, plan: IngestPlan, batches: Sequence[Batch]) -> IngestReport:
    base = current_version(folder)
    if (base.digest() if base else None) != plan.base:
        raise ResumableError(
            f"dataset {plan.name} was changed by another ingest in the meantime.", hint="Run the same command again."
        )
    kept = [batch for batch in base.batches if batch.key in plan.kept] if base else []
    # Fields that leave the clips alone do not make a version.
    same = base is not None and recipe(base.config) == recipe(config)
    dataset = new_version(plan.name, base.config if base and same else config, [*kept, *batches])
    rejections = [*plan.rejections, *(rejection for batch in batches for rejection in batch.rejections)]
    accepted = sum(len(video.paths) for batch in batches for video in batch.videos)
    _judge_rejections(rejections, accepted, config, dataset)
    _judge_split(folder, dataset, batches)
    unchanged = dataset.digest() == plan.base
    if not unchanged:
        write_version(folder, dataset)
    return IngestReport(
        name=plan.name,
        manifest=str(folder.manifest),
        dataset_digest=dataset.digest(),
        unchanged=unchanged,
        videos_accepted=accepted,
        videos_rejected=len(rejections),
        videos_unchanged=plan.unchanged,
        clips_train=dataset.clips("train"),
        clips_heldout=dataset.clips("heldout"),
        shards=len(dataset.shards),
        frames_decoded=sum(video.frames_decoded for batch in batches for video in batch.videos),
        seconds=0.0,
        rejections=(*plan.rejections, *dataset.rejections),
    )


def _judge_rejections(rejections: Sequence[Rejection], accepted: int, config: IngestConfig, dataset: Dataset) -> None:
    reasons = Counter(rejection.reason for rejection in rejections)
    listed = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    example = f" For example {rejections[0].path}: {rejections[0].detail}." if rejections else ""
    if not dataset.videos:
        raise BadInputError(
            f"none of the {len(rejections)} videos can be used ({listed}).{example}",
            hint="A clip needs --frames at --fps without a scene cut: shorter clips take shorter videos.",
        )
    share = len(rejections) / max(1, accepted + len(rejections))
    if share > config.max_rejected:
        raise BadInputError(
            f"{len(rejections)} of {accepted + len(rejections)} new videos cannot be used ({listed}), more than the "
            f"allowed {config.max_rejected:.0%}.{example}",
            hint=f"Mend the videos, or go on without them with --max-rejected {min(1.0, share + 0.005):.2f}; "
            "what was decoded is kept.",
        )


def _judge_split(folder: DatasetFolder, dataset: Dataset, batches: Sequence[Batch]) -> None:
    """Both splits must hold clips, and no group may be on both sides."""
    sides: dict[str, str] = {}
    new = {batch.key for batch in batches}
    for batch in sorted(dataset.batches, key=lambda batch: batch.key in new):
        if any(sides.setdefault(video.group, video.split) != video.split for video in batch.videos):
            folder.batch(batch.key).unlink(missing_ok=True)
            raise ResumableError(
                f"batch {batch.key[:12]} put copies of a video on the other side of the split.",
                hint="Run the same command again: the batch is made anew.",
            )
    groups = {video.group for video in dataset.videos}
    if not dataset.clips("train") or not dataset.clips("heldout"):
        raise BadInputError(
            f"{len(groups)} different video(s) (or groups of --group-by) cannot be split into training and held-out.",
            hint="At least two different videos are needed; with very small batches raise --videos-per-batch.",
        )
