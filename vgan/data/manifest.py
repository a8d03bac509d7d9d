"""Dataset versions on disk: reading them, checking them, and the commit that makes one."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..config import IngestConfig
from ..errors import ConfigError, CorruptDataError
from ..progress import Progress, silent
from ..records import Batch, BatchRef, Dataset, Shard
from ..storage import fault_point, read_bytes, sha256_file, write_atomic
from ..workspace import DatasetFolder, Workspace
from .buckets.published import ensure_local, refresh
from .shards.tar_index import index_shard, keys_digest

log = logging.getLogger(__name__)


def current_version(folder: DatasetFolder) -> Dataset | None:
    """The version that the manifest holds; None without one; raises CorruptDataError for a damaged one."""
    if not folder.manifest.exists():
        return None
    return Dataset.from_json(read_bytes(folder.manifest), str(folder.manifest))


def load_dataset(workspace: Workspace, name: str, digest: str | None = None) -> Dataset:
    """The current version of a dataset, or the kept one of this digest; what was published of it comes first.

    Raises:
        ConfigError: there is no such dataset, or it has no such version; lists the known names.
        CorruptDataError: the manifest is damaged.
        StorageError: VGAN_DATASETS does not answer.
    """
    folder = workspace.dataset(name)
    refresh(workspace, name, digest)
    path = folder.version(digest) if digest else folder.manifest
    if not path.exists():
        raise _unknown(workspace, name, digest)
    return Dataset.from_json(read_bytes(path), str(path))


def _unknown(workspace: Workspace, name: str, digest: str | None) -> ConfigError:
    """Says what was looked for and where, and what there is instead."""
    known = workspace.dataset_names()
    where = f"{workspace.root}{f' or {workspace.published}' if workspace.published else ''}"
    other = "Take one of these, name another folder with --workspace, or make it" if known else "Make it"
    elsewhere = "" if known else ", or name another folder with --workspace"
    return ConfigError(
        f"there is no {f'version {digest} of ' if digest else ''}dataset {name!r} in {where} "
        f"(known: {', '.join(known) or 'none'}).",
        hint=f"{other} with `vgan ingest --videos FOLDER --name {name}`{elsewhere}.",
    )


def kept_versions(folder: DatasetFolder) -> Iterator[Dataset]:
    """Every kept version, in the order of their digests; one that cannot be read is passed over with a warning."""
    for path in sorted(folder.version("x").parent.glob("*.json")):
        try:
            yield Dataset.from_json(read_bytes(path), str(path))
        except CorruptDataError as error:
            log.warning("a kept version is passed over: %s", error)


def read_batch(folder: DatasetFolder, ref: BatchRef) -> Batch:
    """The record of a batch; raises CorruptDataError when it is not the one that the manifest names."""
    return Batch.from_json(_batch_bytes(folder, ref), str(folder.batch(ref.record)))


def read_batches(folder: DatasetFolder, dataset: Dataset) -> Iterator[Batch]:
    """The batches of a version, one after the other: never all in memory."""
    for ref in dataset.batches:
        yield read_batch(folder, ref)


def plain_batches(folder: DatasetFolder, dataset: Dataset) -> Iterator[dict[str, Any]]:
    """`read_batches` as plain JSON, ten times as fast, for one pass over a few fields of many videos."""
    for ref in dataset.batches:
        yield plain_batch(folder, ref)


def plain_batch(folder: DatasetFolder, ref: BatchRef) -> dict[str, Any]:
    """`read_batch` as plain JSON."""
    return json.loads(_batch_bytes(folder, ref))


def _batch_bytes(folder: DatasetFolder, ref: BatchRef) -> bytes:
    path = folder.batch(ref.record)
    if not path.exists():
        raise CorruptDataError(f"{path} is missing.", hint="Restore it from a backup, or ingest again.")
    content = read_bytes(path)
    if Batch.digest_of_file(content) != ref.record:
        raise CorruptDataError(
            f"{path} is not the record that the manifest names.", hint="Restore it from a backup, or ingest again."
        )
    return content


def write_batch(folder: DatasetFolder, batch: Batch) -> BatchRef:
    """Keep the record of a batch under its digest; returns how a manifest names it."""
    path = folder.batch(batch.digest())
    if not path.exists():
        write_atomic(path, batch.to_json())
    return BatchRef(
        key=batch.key,
        record=batch.digest(),
        videos=len(batch.videos),
        rejections=len(batch.rejections),
        shards=batch.shards,
    )


def verify_dataset(workspace: Workspace, dataset: Dataset, progress: Progress = silent) -> list[str]:
    """Read every shard and record again and compare them with the manifest; returns one line for each that differs.

    Shards that are published and not here are fetched first.
    """
    folder = workspace.dataset(dataset.name)
    ensure_local(workspace, dataset, progress=progress)
    problems: list[str] = []
    for done, shard in enumerate(dataset.shards):
        progress(done, len(dataset.shards), shard.file)
        problems += shard_problems(folder.shards / shard.file, shard)
    for ref in dataset.batches:
        try:
            _batch_bytes(folder, ref)
        except CorruptDataError as error:
            problems.append(error.message)
    progress(len(dataset.shards), len(dataset.shards), "verified")
    return problems


def shard_problems(path: Path, shard: Shard) -> list[str]:
    """What differs between a shard and its record: at most one line, [] when it is sound."""
    # The name comes out of a file: it must not lead anywhere else.
    if os.sep in shard.file or not path.is_file():
        return [f"{shard.file}: missing"]
    if (size := path.stat().st_size) != shard.size_bytes:
        return [f"{shard.file}: {size} bytes instead of {shard.size_bytes}"]
    if sha256_file(path) != shard.sha256:
        return [f"{shard.file}: its sha256 is not the manifest's"]
    try:
        keys = [member.key for member in index_shard(path) if member.kind != "json"]
    except CorruptDataError as error:
        return [f"{shard.file}: {error.message}"]
    if len(keys) != shard.samples or keys_digest(keys) != shard.keys_sha256:
        return [f"{shard.file}: holds other clips than the manifest says"]
    return []


def new_version(
    name: str, number: int, config: IngestConfig, labels: Iterable[str], batches: Iterable[BatchRef]
) -> Dataset:
    """Put batches together: labels and batches sorted, so that the order of work leaves no trace."""
    ordered = tuple(sorted(batches, key=lambda batch: (batch.key, batch.record)))
    return Dataset(name=name, number=number, config=config, labels=tuple(sorted(set(labels))), batches=ordered)


def write_version(folder: DatasetFolder, dataset: Dataset) -> None:
    """Keep the version under its digest, then make it the current one: the commit point of ingest."""
    write_atomic(folder.version(dataset.digest()), dataset.to_json())
    fault_point("before_manifest")
    write_atomic(folder.manifest, dataset.to_json())
