"""Dataset versions on disk: reading them, checking them, and the commit that makes one."""

from __future__ import annotations

import os
from pathlib import Path

from ..config import IngestConfig
from ..errors import ConfigError, CorruptDataError
from ..progress import Progress, silent
from ..records import Batch, Dataset, Shard
from ..storage import fault_point, read_bytes, sha256_file, write_atomic
from ..workspace import DatasetFolder, Workspace
from .loader import index_shard, keys_digest


def current_version(folder: DatasetFolder) -> Dataset | None:
    """The version that the manifest holds; None without one; raises CorruptDataError for a damaged one."""
    if not folder.manifest.exists():
        return None
    return Dataset.from_json(read_bytes(folder.manifest), str(folder.manifest))


def load_dataset(workspace: Workspace, name: str, digest: str | None = None) -> Dataset:
    """The current version of a dataset, or the kept one of this digest.

    Raises:
        ConfigError: there is no such dataset, or it has no such version; lists the known names.
        CorruptDataError: the manifest is damaged.
    """
    folder = workspace.dataset(name)
    path = folder.version(digest) if digest else folder.manifest
    if not path.exists():
        known = ", ".join(workspace.dataset_names()) or "none"
        version = f"version {digest} of " if digest else ""
        raise ConfigError(
            f"there is no {version}dataset {name!r} in {workspace.root} (known: {known}).",
            hint=f"Make it with `vgan ingest --videos FOLDER --name {name}`.",
        )
    return Dataset.from_json(read_bytes(path), str(path))


def verify_dataset(workspace: Workspace, dataset: Dataset, progress: Progress = silent) -> list[str]:
    """Read every shard again and compare it with the manifest; returns one line for each that differs."""
    folder = workspace.dataset(dataset.name)
    problems: list[str] = []
    for done, shard in enumerate(dataset.shards):
        progress(done, len(dataset.shards), shard.file)
        problems += shard_problems(folder.shards / shard.file, shard)
    progress(len(dataset.shards), len(dataset.shards), "verified")
    return problems


def batch_problems(folder: DatasetFolder, batch: Batch) -> list[str]:
    """What differs between the shards of a batch and its record."""
    return [line for shard in batch.shards for line in shard_problems(folder.shards / shard.file, shard)]


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
        keys = [member.key for member in index_shard(path) if member.kind == "npy"]
    except CorruptDataError as error:
        return [f"{shard.file}: {error.message}"]
    if len(keys) != shard.samples or keys_digest(keys) != shard.keys_sha256:
        return [f"{shard.file}: holds other clips than the manifest says"]
    return []


def new_version(name: str, config: IngestConfig, batches: list[Batch]) -> Dataset:
    """Put batches together: labels and batches sorted, so that the order of work leaves no trace."""
    labels = {video.label for batch in batches for video in batch.videos if video.label is not None}
    ordered = tuple(sorted(batches, key=lambda batch: batch.key))
    return Dataset(name=name, config=config, labels=tuple(sorted(labels)), batches=ordered)


def write_version(folder: DatasetFolder, dataset: Dataset) -> None:
    """Keep the version under its digest, then make it the current one: the commit point of ingest."""
    write_atomic(folder.version(dataset.digest()), dataset.to_json())
    fault_point("before_manifest")
    write_atomic(folder.manifest, dataset.to_json())
