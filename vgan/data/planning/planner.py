"""What an ingest has to do: which contents are new, in which batches, and what of the known ones has changed.

Files are known by the sha256 of their bytes, never by name or date. Planning writes the plan file and what it
learnt of files; no version, batch or shard.
"""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from ...config import IngestConfig
from ...errors import BadInputError, ConfigError
from ...progress import Progress, silent
from ...records import Dataset, Rejection, digest_of, recipe
from ...workspace import DatasetFolder, Workspace
from ..buckets.published import evicted, refresh
from ..files.hashing import Content, hash_files
from ..files.listing import EXTENSIONS, Listing, list_videos
from ..files.sidecar import Sidecar, read_sidecar
from ..files.sources import KnownFiles
from ..manifest import current_version
from .changes import Changes, find_changes
from .origin import Origin, find_origin, read_origin
from .plan import BatchPlan, IngestPlan, Source, batch_key, write_plan_file
from .said import Speaker

log = logging.getLogger(__name__)


def plan_ingest(
    workspace: Workspace, videos: str | Path, name: str, config: IngestConfig, *, progress: Progress = silent
) -> IngestPlan:
    """Compare the videos below a folder or URL (or one file) with a dataset, and write the plan file.

    A known file is not opened. The caller holds the dataset's lease.

    Raises:
        ConfigError: the folder or the sidecar does not exist or cannot be used.
        BadInputError: there is no video file, or more known ones have vanished than `config.max_missing`.
        CorruptDataError: the manifest is damaged.
        StorageError: the folder cannot be read, or the plan not be written.
    """
    folder = workspace.dataset(name)
    refresh(workspace, name)
    sidecar = _read_sidecar(config)
    progress(0, 1, "listing the videos")
    listing = list_videos(os.fspath(videos), follow_outside=config.follow_outside)
    current = current_version(folder)
    with KnownFiles(folder.sources) as known:
        version = find_origin(folder, current, config)
        away = evicted(workspace, version) if version else set[str]()
        origin = read_origin(folder, version, known, progress, away)
        contents = hash_files(workspace, listing, known, progress)
        if known.fresh and origin.version:
            log.warning("what came from which folder was lost: videos that are gone already stay in the dataset")
        return plan_contents(folder, name, config, current, origin, listing, contents, sidecar, known)


def plan_contents(
    folder: DatasetFolder,
    name: str,
    config: IngestConfig,
    current: Dataset | None,
    origin: Origin,
    listing: Listing,
    contents: list[Content],
    sidecar: Sidecar | None,
    known: KnownFiles,
) -> IngestPlan:
    """Plan what was listed and hashed; a million contents are never records at the same time.

    Args:
        folder: of the dataset.
        name: of the dataset.
        config: of this ingest.
        current: the version that the manifest holds.
        origin: what the version of this recipe holds.
        listing: the root, and what was rejected already.
        contents: the listed files, sorted by path; they are sorted anew.
        sidecar: what is said of the videos.
        known: what is remembered of files.

    Raises:
        BadInputError: as `plan_ingest`.
        StorageError: the plan file cannot be written.
    """
    if sidecar:
        sidecar.log_unused([content.path for content in contents])
    speaker = Speaker(config, listing.root, sidecar, known)
    several_recipes = known.recipes(digest_of(recipe(config))) > 1
    changes = find_changes(config, origin, listing, contents, speaker, known, forget=not several_recipes)
    if not (contents or listing.rejections or changes.from_here):
        raise BadInputError(
            f"there is no video in {listing.root}.",
            hint=f"Files are taken by their ending: {' '.join(sorted(EXTENSIONS))}.",
        )
    changes.judge(config, listing.root)
    contents.sort()
    rejections = [*listing.rejections, *changes.rejections]
    batches = write_plan_file(folder, _batches(origin, listing, contents, speaker, config, rejections))
    speaker.log_torn()
    if origin.version and folder.shards.is_dir():
        known.forget_shards({entry.name for entry in os.scandir(folder.shards)})
    return IngestPlan(
        name=name,
        config=config,
        base=current.digest() if current else None,
        origin=origin.version.digest() if origin.version else None,
        kept=tuple(sorted(origin.kept)),
        edits=changes.edits(),
        batches=batches,
        unchanged=_count_known(origin, contents, changes),
        rejections=tuple(sorted(rejections, key=lambda rejection: rejection.path)),
    )


def _read_sidecar(config: IngestConfig) -> Sidecar | None:
    sidecar = read_sidecar(config.sidecar) if config.sidecar else None
    if sidecar and config.labels == "sidecar" and not any(said.label for said in sidecar.rows.values()):
        raise ConfigError(
            f"no row of the sidecar {sidecar.place} has a label.",
            hint="Give it a column 'label', or choose other labels than --labels sidecar.",
        )
    return sidecar


def _count_known(origin: Origin, contents: list[Content], changes: Changes) -> int:
    """Files, every name counted: together with those of the batches and the rejections they are all that was listed."""
    known = sum(1 for file in contents if file.digest in origin.by_digest or file.digest in origin.rejected)
    return known - len(changes.rejections)


def _batches(
    origin: Origin,
    listing: Listing,
    contents: list[Content],
    speaker: Speaker,
    config: IngestConfig,
    rejections: list[Rejection],
) -> Iterator[BatchPlan]:
    """Batches of the asked size; then each damaged one, made again of those of its files that are there."""
    again: dict[int, list[Source]] = {}
    batch: list[Source] = []
    found = 0
    for digest, group in itertools.groupby(contents, key=lambda content: content.digest):
        if digest in origin.by_digest or digest in origin.rejected:
            continue
        files = list(group)
        paths = tuple(file.path for file in files)
        found += digest in origin.damaged
        said = speaker.of_new(paths)
        if said is None:
            rejections += [speaker.no_label(path) for path in paths]
            continue
        source = Source(
            digest_sha256=digest.hex(),
            size_bytes=files[0].size,
            paths=paths,
            label=said.label,
            licence=said.licence,
            consent=said.consent,
        )
        if digest in origin.damaged:
            again.setdefault(origin.damaged[digest], []).append(source)
            continue
        batch.append(source)
        if len(batch) == config.videos_per_batch:
            yield _batch_plan(listing.root, batch, config)
            batch = []
    for sources in [batch, *(again[number] for number in sorted(again))]:
        if sources:
            yield _batch_plan(listing.root, sources, config)
    if gone := len(origin.damaged) - found:
        log.warning("%d of the videos of damaged batches are gone from %s: they leave the dataset", gone, listing.root)


def _batch_plan(root: str, sources: list[Source], config: IngestConfig) -> BatchPlan:
    return BatchPlan(key=batch_key(sources, config), root=root, sources=tuple(sources))
