"""A version in the making: what its kept and its new batches hold, in one table."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from ...config import IngestConfig
from ...errors import CorruptDataError, ResumableError
from ...records import REJECTIONS_SHOWN, Batch, BatchRef, Dataset, Rejection
from ...storage import read_bytes
from ...workspace import DatasetFolder, Workspace
from ..batches.pending import pending_batch
from ..manifest import plain_batch, read_batch
from ..planning.plan import IngestPlan, Source
from .table import LEFT, Table


@dataclass
class Making:
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

    def read(self) -> None:
        """Fill the table and the counts."""
        _read_kept(self)
        _read_new(self)

    def add(self, video: dict[str, Any], batch: int, said: Source | None = None) -> None:
        """Append a video of the version before to the table."""
        self.table.add(video, batch, known=True, said=said, group_by=self.config.group_by)

    def keep_rejections(self, plain: list[dict[str, Any]]) -> None:
        """Remember what a kept batch has rejected, as far as there is room."""
        room = REJECTIONS_SHOWN - len(self.old_rejections)
        self.old_rejections += [Rejection.model_validate(rejection) for rejection in plain[:room]]

    def batch(self, number: int) -> Batch:
        """A batch by its number in the table."""
        if number < len(self.kept):
            return read_batch(self.folder, self.kept[number])
        return pending_batch(self.folder, self.plan.batches[number - len(self.kept)].key)


def edits_of(plan: IngestPlan) -> dict[str, Source | None]:
    """What is said now of the videos that a plan edits, by digest; None: it leaves."""
    return {edit.digest_sha256: edit.source for edit in plan.edits}


def find_kept(
    folder: DatasetFolder, current: Dataset | None, plan: IngestPlan
) -> tuple[Dataset | None, list[BatchRef]]:
    """The version whose batches are kept, and those that are."""
    origin = current
    if plan.origin is None:
        origin = None
    elif current is None or current.digest() != plan.origin:
        path = folder.version(plan.origin)
        if not path.exists():
            raise overtaken(plan)
        origin = Dataset.from_json(read_bytes(path), str(path))
    refs = {ref.record: ref for ref in origin.batches} if origin else {}
    try:
        return origin, [refs[record] for record in plan.kept]
    except KeyError:
        raise overtaken(plan) from None


def overtaken(plan: IngestPlan) -> ResumableError:
    """The error that tells of a plan whose dataset is another one by now."""
    return ResumableError(
        f"dataset {plan.name} was changed by another ingest in the meantime.", hint="Run the same command again."
    )


def _read_kept(making: Making) -> None:
    """Put the videos of the kept batches into the table, as the edits have them; remember the sides of the others."""
    edits = making.edits
    for number, ref in enumerate(making.kept):
        plain = plain_batch(making.folder, ref)
        for video in plain["videos"]:
            digest = video["digest_sha256"]
            said = edits.get(digest)
            if digest in edits and said is None:
                making.dropped += 1
                making.add(video, LEFT)
                continue
            making.relabelled += said is not None and said.label != video["label"]
            making.add(video, number, said)
        making.keep_rejections(plain["rejections"])
    records = set(making.plan.kept)
    for ref in making.origin.batches if making.origin else ():
        if ref.record not in records:
            with contextlib.suppress(CorruptDataError):  # the batch is made again because of this
                for video in plain_batch(making.folder, ref)["videos"]:
                    making.lost.add(video["digest_sha256"])
                    making.add(video, LEFT)


def _read_new(making: Making) -> None:
    for number, place in enumerate(making.plan.batches, start=len(making.kept)):
        batch = pending_batch(making.folder, place.key)
        for video in batch.videos:
            plain = video.model_dump()
            making.table.add(plain, number, known=False, said=None, group_by=making.config.group_by)
            making.accepted += len(video.paths)
            making.frames += video.frames_decoded
            making.left_out.update(video.left_out)
        making.new_rejections += batch.rejections
