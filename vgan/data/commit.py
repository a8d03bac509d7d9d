"""From finished batches to a dataset version: groups and sides over all its videos, then the manifest, last of all.

Batches know nothing of each other. Here copies in different batches become one, videos that belong together get
one side, and what files say now (their names and labels, or that they have gone) replaces what they
said before. A batch that this changes is written anew from its own shards; nothing is decoded.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from ..config import NOT_OF_CONTENT, IngestConfig
from ..errors import BadInputError, CorruptDataError, ResumableError
from ..records import REJECTIONS_SHOWN, Batch, BatchRef, Dataset, IngestReport, Rejection, Shard, Video, recipe
from ..storage import fault_point, lease, read_bytes
from ..workspace import DatasetFolder, Workspace
from .batch import with_copy
from .manifest import (
    current_version,
    kept_versions,
    new_version,
    plain_batch,
    plain_batches,
    read_batch,
    write_batch,
    write_version,
)
from .plan import IngestPlan, Source
from .published import ensure_local, publish
from .revise import check_counts, revise_batch
from .table import LEFT, Arranged, Table

KNOWN_SHARE = 0.05  # of all videos: so few bad ones never stop an ingest


@dataclass
class _Making:
    """A version in the making."""

    workspace: Workspace
    folder: DatasetFolder
    config: IngestConfig
    plan: IngestPlan
    current: Dataset | None
    origin: Dataset | None
    kept: list[BatchRef]  # batches 0, 1, ... of the table; those of the plan follow
    edits: dict[str, Source | None]  # by digest; None: it leaves
    table: Table = field(default_factory=Table)
    lost: set[str] = field(default_factory=set[str])  # digests of the videos of batches that are made again
    dropped: int = 0
    relabelled: int = 0
    accepted: int = 0
    frames: int = 0
    left_out: Counter[str] = field(default_factory=Counter[str])
    new_rejections: list[Rejection] = field(default_factory=list[Rejection])
    old_rejections: list[Rejection] = field(default_factory=list[Rejection])  # as many as are shown


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
    origin, kept = _origin(folder, current, plan)
    changed = (current.digest() if current else None) != plan.base
    if origin and not changed and not plan.batches and not plan.edits and len(kept) == len(origin.batches):
        return _unchanged(workspace, config, plan, current, origin)
    making = _Making(workspace, folder, config, plan, current, origin, kept, _edits(plan))
    _read_kept(making)
    _read_pending(making)
    arranged = making.table.arrange(config.heldout)
    _judge_rejections(making, arranged)
    _judge_split(making, arranged)
    dataset = _dataset(making, arranged)
    # A commit that was killed after its manifest is called again with a plan of the version before.
    if changed and (current is None or dataset.digest() != current.digest()):
        raise _overtaken(plan)
    if current != dataset:
        write_version(folder, dataset)
    # Before the clean-up: when it fails, the same commit can be tried again.
    publish(workspace, dataset)
    _clean_up(folder, dataset)
    return _report(making, arranged.near, dataset, _new_clips(making, arranged))


def _edits(plan: IngestPlan) -> dict[str, Source | None]:
    return {edit.digest_sha256: edit.source for edit in plan.edits}


def _overtaken(plan: IngestPlan) -> ResumableError:
    return ResumableError(
        f"dataset {plan.name} was changed by another ingest in the meantime.", hint="Run the same command again."
    )


def _origin(folder: DatasetFolder, current: Dataset | None, plan: IngestPlan) -> tuple[Dataset | None, list[BatchRef]]:
    """The version whose batches are kept, and those that are."""
    origin = current
    if plan.origin is None:
        origin = None
    elif current is None or current.digest() != plan.origin:
        path = folder.version(plan.origin)
        if not path.exists():
            raise _overtaken(plan)
        origin = Dataset.from_json(read_bytes(path), str(path))
    refs = {ref.record: ref for ref in origin.batches} if origin else {}
    try:
        return origin, [refs[record] for record in plan.kept]
    except KeyError:
        raise _overtaken(plan) from None


def _read_kept(making: _Making) -> None:
    """Put the videos of the kept batches into the table, as the edits have them; remember the sides of the others."""
    edits = making.edits
    for number, ref in enumerate(making.kept):
        plain = plain_batch(making.folder, ref)
        for video in plain["videos"]:
            digest = video["digest_sha256"]
            said = edits.get(digest)
            if digest in edits and said is None:
                making.dropped += 1
                _add(making, video, LEFT, None)
                continue
            making.relabelled += said is not None and said.label != video["label"]
            _add(making, video, number, said)
        _keep_rejections(making, plain["rejections"])
    records = set(making.plan.kept)
    for ref in making.origin.batches if making.origin else ():
        if ref.record not in records:
            with contextlib.suppress(CorruptDataError):  # the batch is made again because of this
                for video in plain_batch(making.folder, ref)["videos"]:
                    making.lost.add(video["digest_sha256"])
                    _add(making, video, LEFT, None)


def _add(making: _Making, video: dict[str, Any], batch: int, said: Source | None) -> None:
    making.table.add(video, batch, known=True, said=said, group_by=making.config.group_by)


def _keep_rejections(making: _Making, plain: list[dict[str, Any]]) -> None:
    room = REJECTIONS_SHOWN - len(making.old_rejections)
    making.old_rejections += [Rejection.model_validate(rejection) for rejection in plain[:room]]


def _read_pending(making: _Making) -> None:
    for number, place in enumerate(making.plan.batches, start=len(making.kept)):
        batch = _pending(making.folder, place.key)
        for video in batch.videos:
            plain = video.model_dump()
            making.table.add(plain, number, known=False, said=None, group_by=making.config.group_by)
            making.accepted += len(video.paths)
            making.frames += video.frames_decoded
            making.left_out.update(video.left_out)
        making.new_rejections += batch.rejections


def _pending(folder: DatasetFolder, key: str) -> Batch:
    path = folder.pending(key)
    if not path.exists():
        raise ResumableError(f"batch {key[:12]} of the plan is not done.", hint="Run the same command again.")
    return Batch.from_json(read_bytes(path), str(path))


def _judge_rejections(making: _Making, arranged: Arranged) -> None:
    """Stop when too many of the new videos are bad; where many are known, a few bad new ones are no reason to."""
    plan, config = making.plan, making.config
    rejections = [*plan.rejections, *making.new_rejections]
    reasons = Counter(rejection.reason for rejection in rejections)
    listed = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    example = f" For example {rejections[0].path}: {rejections[0].detail}." if rejections else ""
    if not arranged.rows:
        raise BadInputError(
            f"none of the {len(rejections)} videos can be used ({listed}).{example}",
            hint="A clip needs --frames at --fps without a scene cut: shorter clips take shorter videos.",
        )
    # What is never opened is found again each time: it is new only where everything is.
    bad = len(making.new_rejections) + (0 if making.origin else len(plan.rejections))
    new = making.accepted + bad
    if bad > config.max_rejected * new and bad > KNOWN_SHARE * (new + plan.unchanged):
        raise BadInputError(
            f"{bad} of {new} new videos cannot be used ({listed}), more than the allowed "
            f"{config.max_rejected:.0%}.{example}",
            hint=f"Mend the videos, or go on without them with --max-rejected {min(1.0, bad / new + 0.005):.2f}; "
            "what was decoded is kept.",
        )


def _judge_split(making: _Making, arranged: Arranged) -> None:
    """Both sides must hold clips."""
    if len(set(arranged.sides.values())) < 2:
        raise BadInputError(
            f"{len(arranged.sides)} different video(s) (or groups of --group-by, or of copies that look the same) "
            "cannot be split into training and held-out.",
            hint="At least two different videos are needed.",
        )


def _dataset(making: _Making, arranged: Arranged) -> Dataset:
    """Write the batches that change and put all together."""
    rows_of: dict[int, list[int]] = {}
    for place, row in enumerate(arranged.rows):
        rows_of.setdefault(making.table.batches[row], []).append(place)
    copies = _copies(making, arranged)
    refs: list[BatchRef] = []
    for number, ref in enumerate(making.kept):
        places = rows_of.get(number, [])
        if _differs(making, arranged, number, places):
            assert making.origin
            ensure_local(making.workspace, making.origin, shards=ref.shards)
            refs += _revised(making, arranged, read_batch(making.folder, ref), places, copies)
        else:
            refs.append(ref)
    for number, planned in enumerate(making.plan.batches, start=len(making.kept)):
        batch = _pending(making.folder, planned.key)
        refs += _revised(making, arranged, batch, rows_of.get(number, []), copies)
    labels = {label for row in arranged.rows if (label := making.table.labels[row]) is not None}
    dataset = new_version(making.plan.name, 1, content_config(making.config), labels, refs)
    return dataset.model_copy(update={"number": _number(making.folder, dataset)})


def _copies(making: _Making, arranged: Arranged) -> dict[str, list[Video]]:
    """Records of videos that another stands for, by the digest of the other."""
    table = making.table
    wanted: dict[int, dict[str, str]] = {}  # batch -> digest of the copy -> digest of the one that stays
    for row, others in arranged.copies.items():
        for other in others:
            wanted.setdefault(table.batches[other], {})[table.digests[other]] = table.digests[row]
    found: dict[str, list[Video]] = {}
    for number, stays in sorted(wanted.items()):
        for video in _batch(making, number).videos:
            if digest := stays.get(video.digest_sha256):
                found.setdefault(digest, []).append(_as_said(video, making.edits.get(video.digest_sha256)))
    return found


def _batch(making: _Making, number: int) -> Batch:
    if number < len(making.kept):
        return read_batch(making.folder, making.kept[number])
    return _pending(making.folder, making.plan.batches[number - len(making.kept)].key)


def _differs(making: _Making, arranged: Arranged, number: int, places: list[int]) -> bool:
    """Whether anything in a kept batch is not as its record says."""
    table = making.table
    if len(places) != making.kept[number].videos:
        return True
    for place in places:
        row, group = arranged.rows[place], arranged.groups[place]
        if table.groups[row] != group or table.splits[row] != arranged.sides[group]:
            return True
        if row in arranged.copies or table.digests[row] in making.edits:
            return True
    return False


def _revised(
    making: _Making, arranged: Arranged, batch: Batch, places: list[int], copies: Mapping[str, list[Video]]
) -> list[BatchRef]:
    """The batch as it belongs into the version, written; [] when nothing of it is left."""
    stays = {making.table.digests[arranged.rows[place]]: arranged.groups[place] for place in places}
    changes: dict[str, Video | None] = {}
    for video in batch.videos:
        group = stays.get(digest := video.digest_sha256)
        if group is None:
            changes[digest] = None
            continue
        new = _as_said(video, making.edits.get(digest))
        new = new.model_copy(update={"group": group, "split": arranged.sides[group]})
        for copy in copies.get(digest, ()):
            new = with_copy(new, copy.digest_sha256, copy.paths, copy.copies)
        changes[digest] = new
    revised = revise_batch(making.folder, batch, changes)
    check_counts(revised)
    if not revised.videos and not revised.rejections:
        return []
    return [write_batch(making.folder, revised)]


def _as_said(video: Video, said: Source | None) -> Video:
    if said is None:
        return video
    now = {"paths": said.paths, "label": said.label, "licence": said.licence, "consent": said.consent}
    return video.model_copy(update=now)


def content_config(config: IngestConfig) -> IngestConfig:
    """The config as a version keeps it: without what has no influence on the clips, and without paths."""
    fields = config.model_dump(exclude=NOT_OF_CONTENT)
    if config.sidecar is not None and config.labels == "sidecar":  # the labels need its name, not its place
        fields["sidecar"] = PurePath(config.sidecar).name
    return IngestConfig(**fields)


def _number(folder: DatasetFolder, dataset: Dataset) -> int:
    """The number that a version with these clips has, or one above the highest."""
    numbers = {version.digest(): version.number for version in kept_versions(folder)}
    return numbers.get(dataset.digest()) or max(numbers.values(), default=0) + 1


def _clean_up(folder: DatasetFolder, dataset: Dataset) -> None:
    """Remove the plan, what waited for the commit, and shards that nothing else names."""
    fault_point("before_clean_up")
    waiting = sorted(folder.pending("x").parent.glob("*.json"))
    named = {shard.file for shard in dataset.shards}
    lost = {shard.file for path in waiting for shard in _shards_of(path)} - named
    if lost:
        for version in kept_versions(folder):
            lost -= {shard.file for shard in version.shards}
    # A shard goes before the record that names it, so that a killed clean-up is found again.
    for file in sorted(lost):
        (folder.shards / file).unlink(missing_ok=True)
    for path in [*waiting, folder.plan]:
        path.unlink(missing_ok=True)


def _shards_of(path: Path) -> Iterable[Shard]:
    try:
        return Batch.from_json(read_bytes(path), str(path)).shards
    except CorruptDataError:
        return ()


def _unchanged(
    workspace: Workspace, config: IngestConfig, plan: IngestPlan, current: Dataset | None, origin: Dataset
) -> IngestReport:
    """Make the version that was there, or is there, the current one."""
    folder = workspace.dataset(plan.name)
    if current is None or current.digest() != origin.digest():
        write_version(folder, origin)
    publish(workspace, origin)
    _clean_up(folder, origin)
    making = _Making(workspace, folder, config, plan, current, origin, [], {})
    near = _read_known(making)
    return _report(making, near, origin)


def _read_known(making: _Making) -> int:
    """Collect the rejections of a version that stays; returns how many of its videos have copies that look the same."""
    assert making.origin
    sizes: Counter[str] = Counter()
    for number, plain in enumerate(plain_batches(making.folder, making.origin)):
        _keep_rejections(making, plain["rejections"])
        if making.config.group_by:  # the groups do not tell why they are groups
            for video in plain["videos"]:
                _add(making, video, number, None)
        else:
            sizes.update(video["group"] for video in plain["videos"])
    if making.config.group_by:
        return making.table.arrange(making.config.heldout).near
    return sum(size for size in sizes.values() if size > 1)


def _report(making: _Making, near: int, dataset: Dataset, new_clips: int = 0) -> IngestReport:
    current, plan = making.current, making.plan
    rejections = (*plan.rejections, *making.new_rejections, *making.old_rejections)
    return IngestReport(
        name=plan.name,
        manifest=str(making.folder.manifest),
        dataset_digest=dataset.digest(),
        number=dataset.number,
        unchanged=current is not None and current.digest() == dataset.digest(),
        videos_accepted=making.accepted,
        videos_rejected=len(plan.rejections) + len(making.new_rejections),
        videos_unchanged=plan.unchanged,
        videos_dropped=making.dropped,
        videos_relabelled=making.relabelled,
        near_duplicates=near,
        clips_train=dataset.clips("train"),
        clips_heldout=dataset.clips("heldout"),
        clips_new=new_clips,
        left_out=dict(sorted(making.left_out.items())),
        shards=len(dataset.shards),
        frames_decoded=making.frames,
        seconds=0.0,
        rejections=rejections[:REJECTIONS_SHOWN],
    )


def _new_clips(making: _Making, arranged: Arranged) -> int:
    """Clips that the version before does not hold; of another recipe it holds none of these."""
    table = making.table
    before = making.current
    if before is None or recipe(before.config) != recipe(making.config):
        return sum(table.clips[row] for row in arranged.rows)
    new = (row for row in arranged.rows if not table.known[row] and table.digests[row] not in making.lost)
    return sum(table.clips[row] for row in new)
