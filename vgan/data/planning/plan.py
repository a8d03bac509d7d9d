"""What an ingest will do, as records: the plan is small, its batches lie in a file, one a line.

A plan of a million videos must not be held in memory or sent to a server: a task gets the plan and the place of
its batch in the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ...config import IngestConfig
from ...errors import ResumableError
from ...records import Record, Rejection, digest_of, recipe
from ...storage import atomic_file, storage_errors
from ...workspace import DatasetFolder


class Source(Record):
    """Files to be read: one content, all its names, and what is said of it."""

    digest_sha256: str
    size_bytes: int
    paths: tuple[str, ...]  # relative to the root, as `text_of` writes them, sorted
    label: str | None = None
    licence: str | None = None
    consent: str | None = None


class BatchPlan(Record):
    """One unit of work, retry and commit: a line of the plan file."""

    key: str  # of the batch: from its sources and the config
    root: str  # folder or URL of the videos, as `text_of` writes it
    sources: tuple[Source, ...]  # sorted by digest


class PlannedBatch(Record):
    """Where a batch stands in the plan file."""

    key: str
    offset: int
    size: int
    videos: int


class Edit(Record):
    """What is said of a known video now, where it differs from its record; or that it has left."""

    digest_sha256: str
    source: Source | None  # None: the video leaves the dataset


class IngestPlan(Record):
    """All that an ingest will do, before it does anything."""

    name: str
    config: IngestConfig
    base: str | None  # digest of the current version, whatever its recipe
    origin: str | None  # digest of the version whose batches are kept: the newest of this recipe
    kept: tuple[str, ...]  # records of the origin's batches that stay or are edited
    edits: tuple[Edit, ...]  # sorted by digest
    batches: tuple[PlannedBatch, ...]
    unchanged: int  # files (names, not contents) that are known already, taken or rejected
    rejections: tuple[Rejection, ...]  # files that are never opened: not regular, without a label, outside the root


def batch_key(sources: Iterable[Source], config: IngestConfig) -> str:
    """Key of the batch of these sources."""
    return digest_of({"sources": [source.model_dump(mode="json") for source in sources], "recipe": recipe(config)})


def write_plan_file(folder: DatasetFolder, batches: Iterable[BatchPlan]) -> tuple[PlannedBatch, ...]:
    """Write the batches of a plan as they come; returns where each stands."""
    places: list[PlannedBatch] = []
    offset = 0
    with atomic_file(folder.plan) as file:
        for batch in batches:
            line = batch.model_dump_json().encode() + b"\n"
            file.write(line)
            places.append(PlannedBatch(key=batch.key, offset=offset, size=len(line), videos=len(batch.sources)))
            offset += len(line)
    return tuple(places)


def read_batch_plan(folder: DatasetFolder, place: PlannedBatch) -> BatchPlan:
    """One batch of the plan file; raises ResumableError when another plan has taken the file's place."""
    with storage_errors(folder.plan, "reading"), open(folder.plan, "rb") as file:
        file.seek(place.offset)
        line = file.read(place.size)
    try:
        batch = BatchPlan.model_validate_json(line)
    except ValueError:
        batch = None
    if batch is None or batch.key != place.key:
        raise ResumableError(
            f"the plan of {folder.path.name} was made anew in the meantime.", hint="Run the same command again."
        )
    return batch


def read_batch_plans(folder: DatasetFolder, places: Iterable[PlannedBatch]) -> Iterator[BatchPlan]:
    """Batches of the plan file, one after the other."""
    for place in places:
        yield read_batch_plan(folder, place)
