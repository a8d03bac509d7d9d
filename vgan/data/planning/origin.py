"""What a plan starts from: the newest version of the same recipe, its videos by content, and what of it is whole."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ...config import IngestConfig
from ...errors import CorruptDataError
from ...progress import Progress
from ...records import BatchRef, Dataset, recipe
from ...workspace import DatasetFolder
from ..files.sidecar import Said
from ..files.sources import KnownFiles
from ..manifest import kept_versions, plain_batch, shard_problems

log = logging.getLogger(__name__)


class KnownVideo(NamedTuple):
    """A video of the origin, as much of it as a plan needs."""

    digest: bytes
    size: int
    paths: tuple[str, ...]
    said: Said


@dataclass
class Origin:
    """The origin's videos by content."""

    version: Dataset | None = None
    kept: list[str] = field(default_factory=list[str])  # records of the batches that are whole
    videos: list[KnownVideo] = field(default_factory=list[KnownVideo])  # of those batches
    by_digest: dict[bytes, int] = field(default_factory=dict[bytes, int])  # digests of videos and their copies
    rejected: set[bytes] = field(default_factory=set[bytes])
    damaged: dict[bytes, int] = field(default_factory=dict[bytes, int])  # number of the damaged batch of a content


def find_origin(folder: DatasetFolder, current: Dataset | None, config: IngestConfig) -> Dataset | None:
    """The current version when it has this recipe, else the newest kept one that has; None without one."""
    wanted = recipe(config)
    if current is not None and recipe(current.config) == wanted:
        return current
    same = (version for version in kept_versions(folder) if recipe(version.config) == wanted)
    return max(same, key=lambda version: version.number, default=None)


def read_origin(
    folder: DatasetFolder,
    version: Dataset | None,
    known: KnownFiles,
    progress: Progress,
    away: Collection[str] = (),
) -> Origin:
    """Read the records of a version's batches and check its shards; one that was checked before is not read again.

    Shards whose names are in `away` need not be here.
    """
    origin = Origin(version)
    shared: dict[Said, Said] = {}
    damaged: list[dict[str, Any]] = []
    refs = version.batches if version else ()
    for done, ref in enumerate(refs):
        if done % 100 == 0:
            progress(done, len(refs), "reading what is known")
        try:
            batch = plain_batch(folder, ref)
        except CorruptDataError as error:
            log.warning("a batch of %d videos is given up, its files are read again: %s", ref.videos, error)
            continue
        if problems := _shard_problems(folder, ref, known, away):
            log.warning("a batch of %d videos is made again: %s", ref.videos, "; ".join(problems))
            damaged.append(batch)
        else:
            origin.kept.append(ref.record)
            _learn(origin, batch, shared)
    for number, batch in enumerate(damaged):
        for digest in _digests(batch):
            if digest not in origin.by_digest and digest not in origin.rejected:
                origin.damaged.setdefault(digest, number)
    if version:
        known.flush()
    return origin


def _learn(origin: Origin, batch: dict[str, Any], shared: dict[Said, Said]) -> None:
    for video in batch["videos"]:
        said = Said(video["label"], video["licence"], video["consent"])
        digest = bytes.fromhex(video["digest_sha256"])
        number = len(origin.videos)
        origin.videos.append(
            KnownVideo(digest, video["size_bytes"], tuple(video["paths"]), shared.setdefault(said, said))
        )
        origin.by_digest[digest] = number
        for copy in video["copies"]:
            origin.by_digest.setdefault(bytes.fromhex(copy), number)
    origin.rejected.update(
        bytes.fromhex(item["digest_sha256"]) for item in batch["rejections"] if item["digest_sha256"]
    )


def _digests(batch: dict[str, Any]) -> set[bytes]:
    """sha256 of every file that a batch has dealt with."""
    taken = {digest for video in batch["videos"] for digest in (video["digest_sha256"], *video["copies"])}
    rejected = {item["digest_sha256"] for item in batch["rejections"] if item["digest_sha256"]}
    return {bytes.fromhex(digest) for digest in taken | rejected}


def _shard_problems(folder: DatasetFolder, ref: BatchRef, known: KnownFiles, away: Collection[str]) -> list[str]:
    problems: list[str] = []
    for shard in ref.shards:
        path: Path = folder.shards / shard.file
        try:
            status = path.stat()
        except OSError:
            if shard.file not in away:
                problems.append(f"{shard.file}: missing")
            continue
        if status.st_size == shard.size_bytes and known.shard_is_known(shard.file, status):
            continue
        found = shard_problems(path, shard)
        problems += found
        if not found:
            known.remember_shard(shard.file, status)
    return problems
