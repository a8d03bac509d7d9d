"""Datasets on a bucket: one machine ingests, others load from the URL alone.

Below VGAN_DATASETS a dataset lies as in a workspace: <name>/manifest.json, versions/, batches/ and shards/. The
manifest is written last there too. Nothing that comes from a bucket is trusted: names are checked before they
become paths, records and shards against the hashes that name them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterable

from ...errors import ConfigError, CorruptDataError, ResumableError
from ...progress import Progress, silent
from ...records import Batch, BatchRef, Dataset, Shard, Split
from ...remote import RemoteFolder
from ...storage import fault_point, read_bytes, write_atomic
from ...workspace import Workspace
from .shard_copies import ShardCopies, each

log = logging.getLogger(__name__)

RECORD_BYTES = 1 << 30  # of a manifest or a batch's record
_SHARD = re.compile(r"(train|heldout)-[0-9a-f]{16}\.tar")
_DIGEST = re.compile(r"[0-9a-f]{64}")


def refresh(workspace: Workspace, name: str, digest: str | None = None) -> None:
    """Take over what other machines have published of a dataset: its current version, or the one of this digest."""
    if workspace.published is None:
        return
    if digest is None:
        Published(workspace, name).pull()
    elif not workspace.dataset(name).version(digest).exists():
        Published(workspace, name).pull_version(digest)


def publish(workspace: Workspace, dataset: Dataset, progress: Progress = silent) -> None:
    """Publish the version that was just committed, if anywhere."""
    if workspace.published:
        Published(workspace, dataset.name).push_version(dataset, progress)


def evicted(workspace: Workspace, dataset: Dataset) -> set[str]:
    """Names of a version's shards that are not on this machine but published: no reason to make them again."""
    folder = workspace.dataset(dataset.name)
    absent = [shard for shard in dataset.shards if not (folder.shards / shard.file).exists()]
    if workspace.published is None or not absent:
        return set()
    return Published(workspace, dataset.name).stored(absent)


def ensure_local(
    workspace: Workspace,
    dataset: Dataset,
    split: Split | None = None,
    *,
    shards: Iterable[Shard] | None = None,
    progress: Progress = silent,
) -> None:
    """Have a version's shards on this machine; without VGAN_DATASETS they are here or lost, and nothing is done.

    Args:
        workspace: where they are needed.
        dataset: the version.
        split: the side that is needed; None for both.
        shards: those that are needed, when it is only some.
        progress: told after each shard that was fetched.

    Raises:
        ConfigError: they take more than VGAN_CACHE_GB.
        CorruptDataError: what is published is not what the version names.
        StorageError: the bucket cannot be read, or the disk is full.
    """
    if workspace.published:
        wanted = dataset.shards if shards is None else shards
        wanted = [shard for shard in wanted if split in (None, shard.split)]
        Published(workspace, dataset.name).ensure(dataset, wanted, progress)


class Published:
    """One dataset below VGAN_DATASETS and its folder here.

    Raises:
        ConfigError: no or another URL than vgan opens, no such bucket, no credentials, a missing driver.
        StorageError: whatever else the bucket does, from each method; another try may help.
    """

    def __init__(self, workspace: Workspace, name: str) -> None:
        if workspace.published is None:
            raise ConfigError("VGAN_DATASETS names no URL.")
        self.folder = workspace.dataset(name)
        self.remote = RemoteFolder(f"{workspace.published}/{name}")
        self.copies = ShardCopies(self.folder, self.remote)

    def push_shards(self, shards: Iterable[Shard]) -> None:
        """Send what a batch or a commit wrote; what is there in its size is skipped: names are hashes."""
        self.copies.push(shards)

    def push_version(self, dataset: Dataset, progress: Progress = silent) -> None:
        """Publish the version that was just committed here: shards, records, and the manifest last.

        Calling it again sends what is missing there.

        Raises:
            ResumableError: another machine has published since this one last looked.
        """
        content = dataset.to_json()
        self._check_base(content)
        self.copies.push(dataset.shards, progress)
        self._push_batches(dataset)
        if self._manifest() != content:
            self.remote.put_bytes(content, f"versions/{dataset.digest()}.json")
            fault_point("before_published_manifest")
            self._check_base(content)  # again, after what may have been hours of sending
            self.remote.put_bytes(content, "manifest.json")
        self._remember(content)
        self.copies.trim()

    def pull(self) -> bool:
        """Take over what another machine has published; whether there was something new.

        Raises:
            ConfigError: the dataset here was never published, and another one of its name was.
            CorruptDataError: a record there is damaged.
        """
        content = self._manifest()
        if content is None or _sha256(content) == self._seen():
            return False
        here = read_bytes(self.folder.manifest) if self.folder.manifest.exists() else None
        if here == content:
            self._remember(content)
            return False
        if here is not None and self._seen() is None:
            raise ConfigError(
                f"dataset {self.folder.path.name} of this workspace was never published, and {self.remote.url} "
                "holds another one.",
                hint="Ingest under another name, or use another workspace or VGAN_DATASETS.",
            )
        if here is not None and _sha256(here) != self._seen():
            log.warning("%s gives way to the version that another machine published", self.folder.manifest)
        dataset = self._take(content, f"{self.remote.url}/manifest.json")
        write_atomic(self.folder.version(dataset.digest()), content)
        write_atomic(self.folder.manifest, content)
        self._remember(content)
        return True

    def pull_version(self, digest: str) -> bool:
        """Take over the record of one version, which need not be the current one; whether it is here now."""
        path = self.folder.version(digest)
        if path.exists() or not _DIGEST.fullmatch(digest):
            return path.exists()
        content = self.remote.read_bytes(f"versions/{digest}.json", RECORD_BYTES)
        if content is None:
            return False
        where = f"{self.remote.url}/versions/{digest}.json"
        if self._take(content, where).digest() != digest:
            raise CorruptDataError(f"{where} is another version than its name says.")
        write_atomic(path, content)
        return True

    def stored(self, shards: Iterable[Shard]) -> set[str]:
        """Names of those of the shards that are published."""
        return self.copies.stored(shards)

    def ensure(self, dataset: Dataset, shards: Iterable[Shard], progress: Progress = silent) -> None:
        """Have these shards of a version on this machine, for as long as this process lives."""
        self._check_names(dataset)
        self.copies.ensure(dataset, shards, progress)

    def _take(self, content: bytes, where: str) -> Dataset:
        """Parse a version's record, refuse names that lead elsewhere, and fetch the batches' records."""
        dataset = Dataset.from_json(content, where)
        self._check_names(dataset)
        absent = [ref for ref in dataset.batches if not self.folder.batch(ref.record).exists()]
        each(absent, self._fetch_batch, lambda ref: ref.record)
        return dataset

    def _check_names(self, dataset: Dataset) -> None:
        strange = [ref.record for ref in dataset.batches if not _DIGEST.fullmatch(ref.record)]
        strange += [shard.file for shard in dataset.shards if not _SHARD.fullmatch(shard.file)]
        if strange or dataset.name != self.folder.path.name:
            name = repr((strange or [dataset.name])[0][:80])
            raise CorruptDataError(f"{name} in a manifest of {self.remote.url} names nothing of this dataset.")

    def _fetch_batch(self, ref: BatchRef) -> None:
        content = self.remote.read_bytes(f"batches/{ref.record}.json", RECORD_BYTES)
        if content is None or Batch.digest_of_file(content) != ref.record:
            raise CorruptDataError(
                f"{self.remote.url}/batches/{ref.record}.json is {'missing' if content is None else 'damaged'}.",
                hint="Remove it there and run ingest again on the machine that published it.",
            )
        write_atomic(self.folder.batch(ref.record), content)

    def _push_batches(self, dataset: Dataset) -> None:
        there = {file.path for file in RemoteFolder(f"{self.remote.url}/batches").files()}
        absent = [ref for ref in dataset.batches if f"{ref.record}.json" not in there]
        each(absent, self._send_batch, lambda ref: ref.record)

    def _send_batch(self, ref: BatchRef) -> None:
        self.remote.put_bytes(read_bytes(self.folder.batch(ref.record)), f"batches/{ref.record}.json")

    def _manifest(self) -> bytes | None:
        return self.remote.read_bytes("manifest.json", RECORD_BYTES)

    def _check_base(self, content: bytes) -> None:
        there = self._manifest()
        if there is None or there == content or _sha256(there) == self._seen():
            return
        raise ResumableError(
            f"another machine has published to {self.remote.url} in the meantime.",
            hint="Run the same command again: it begins with what was published. One machine at a time may ingest.",
        )

    def _seen(self) -> str | None:
        """sha256 of the published manifest that this folder was last equal to; None when there was none at this URL."""
        if not self.folder.published.exists():
            return None
        try:
            record = json.loads(read_bytes(self.folder.published))
            return record["sha256"] if record["url"] == self.remote.url else None
        except (ValueError, KeyError, TypeError):
            return None

    def _remember(self, content: bytes) -> None:
        record = {"url": self.remote.url, "sha256": _sha256(content)}
        write_atomic(self.folder.published, json.dumps(record).encode() + b"\n")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
