"""Shards that lie both here and where the dataset is published: fetching, sending, and making room.

A shard is evicted only if a version names it, the bucket holds it in its size, and no process of this machine
reads a version with it. What was never published is never removed.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TypeVar

from ...errors import ConfigError, CorruptDataError, StorageError
from ...progress import Progress, silent
from ...records import Dataset, Shard
from ...remote import RemoteFolder
from ...storage import fsync_folder, read_bytes, sha256_file, storage_errors, sweep_temporary, temporary_prefix
from ...workspace import DatasetFolder
from ..files.cache import CAP_VARIABLE, cache_bytes, locked

log = logging.getLogger(__name__)

THREADS = 4  # transfers at a time
LISTED_FROM = 32  # for so many names a listing is quicker than questions

ItemT = TypeVar("ItemT")
_in_use: dict[Path, int] = {}  # lock file -> descriptor, until this process ends
_in_use_guard = threading.Lock()


class ShardCopies:
    """The shards of one dataset, here and there."""

    def __init__(self, folder: DatasetFolder, remote: RemoteFolder) -> None:
        self.folder = folder
        self.remote = remote

    def stored(self, shards: Iterable[Shard]) -> set[str]:
        """Names of those that the bucket holds in their size."""
        wanted = {shard.file: shard.size_bytes for shard in shards}
        if len(wanted) < LISTED_FROM:
            found = [self.remote.stat(f"shards/{name}") for name in wanted]
            sizes = {file.path.removeprefix("shards/"): file.size for file in found if file}
        else:
            sizes = {file.path: file.size for file in RemoteFolder(f"{self.remote.url}/shards").files()}
        return {name for name, size in wanted.items() if sizes.get(name) == size}

    def push(self, shards: Iterable[Shard], progress: Progress = silent) -> None:
        """Send those that are not there; raises CorruptDataError for one that lies nowhere."""
        by_name = {shard.file: shard for shard in shards}
        missing = [by_name[name] for name in sorted(set(by_name) - self.stored(by_name.values()))]
        each(missing, self._send, lambda shard: shard.file, progress)

    def _send(self, shard: Shard) -> None:
        path = self.folder.shards / shard.file
        if not path.is_file() or path.stat().st_size != shard.size_bytes:
            raise CorruptDataError(
                f"shard {path} is missing or damaged, and not published.",
                hint="Run ingest again: it writes lost shards anew.",
            )
        self.remote.put(path, f"shards/{shard.file}")

    def ensure(self, dataset: Dataset, shards: Iterable[Shard], progress: Progress = silent) -> None:
        """Have these shards of a version on this machine, for as long as this process lives.

        Raises:
            ConfigError: they take more than VGAN_CACHE_GB.
            CorruptDataError: what the bucket holds is not what the version names.
            StorageError: the bucket cannot be read, or the disk is full.
        """
        wanted = {shard.file: shard for shard in shards}
        # The lock: between the look at a shard and the sign that it is in use, nobody else may evict it.
        with locked(self._lock):
            _use(self.folder.in_use(dataset.digest()))
            absent = [shard for shard in wanted.values() if not _whole(self.folder.shards / shard.file, shard)]
            if absent:
                _check_cap(dataset, sum(shard.size_bytes for shard in wanted.values()))
                sweep_temporary(self.folder.shards)
                self._evict(sum(shard.size_bytes for shard in absent), keep=set(wanted))
                each(absent, self._fetch, lambda shard: shard.file, progress)

    @property
    def _lock(self) -> Path:
        return self.folder.shards / ".copies.lock"

    def _fetch(self, shard: Shard) -> None:
        """Fetch, check and name one shard; a copy that came damaged is fetched once more."""
        path = self.folder.shards / shard.file
        temporary = path.parent / f"{temporary_prefix()}{secrets.token_hex(4)}-{shard.file}"
        try:
            for _ in range(2):
                self.remote.fetch(f"shards/{shard.file}", temporary, limit=shard.size_bytes)
                if _whole(temporary, shard) and sha256_file(temporary) == shard.sha256:
                    with storage_errors(path, "writing"):
                        os.replace(temporary, path)
                        fsync_folder(path.parent)
                    return
                log.warning("shard %s came damaged from %s", shard.file, self.remote.url)
            size = temporary.stat().st_size
            what = "its sha256 is not the manifest's"
            if size != shard.size_bytes:
                what = f"{size} bytes instead of {shard.size_bytes}"
        except FileNotFoundError:
            what = "it is not there"
        except StorageError:
            found = self.remote.stat(f"shards/{shard.file}")
            if found is None or found.size == shard.size_bytes:
                raise
            what = f"{found.size} bytes instead of {shard.size_bytes}"
        finally:
            temporary.unlink(missing_ok=True)
        raise CorruptDataError(
            f"shard {shard.file} at {self.remote.url}/shards is not as it was published: {what}.",
            hint="Remove it there and run ingest again on the machine that has its videos.",
        )

    def trim(self) -> None:
        """Evict shards used longest ago until those that are left fit into VGAN_CACHE_GB."""
        with locked(self._lock):
            self._evict(0, keep=set())

    def _evict(self, needed: int, keep: set[str]) -> None:
        """Make room for `needed` more bytes; warns when what may go is not enough."""
        sizes = {path.name: path.stat().st_size for path in self.folder.shards.glob("*.tar")}
        surplus = sum(sizes.values()) + needed - cache_bytes()
        if surplus <= 0:
            return
        for shard in self._evictable(keep & set(sizes), sizes):
            if surplus <= 0:
                return
            (self.folder.shards / shard.file).unlink(missing_ok=True)
            log.info("evicted %s, which is published", shard.file)
            surplus -= shard.size_bytes
        if surplus > 0:
            log.warning("copies of %s exceed %s by %d bytes in use here", self.folder.path.name, CAP_VARIABLE, surplus)

    def _evictable(self, keep: set[str], sizes: dict[str, int]) -> Iterator[Shard]:
        """Shards that may go, those of the version used longest ago first."""
        used: dict[str, tuple[float, Shard]] = {}
        for path in sorted(self.folder.version("*").parent.glob("*.json")):
            lock = self.folder.in_use(path.stem)
            last = float("inf") if is_used(lock) else lock.stat().st_mtime if lock.exists() else 0.0
            try:
                version = Dataset.from_json(read_bytes(path), str(path))
            except CorruptDataError as error:
                log.warning("a kept version is passed over: %s", error)
                continue
            for shard in version.shards:
                used[shard.file] = max(used.get(shard.file, (0.0, shard)), (last, shard), key=lambda pair: pair[0])
        here = {n: pair for n, pair in used.items() if n not in keep and sizes.get(n) == pair[1].size_bytes}
        stored = self.stored(shard for _, shard in here.values()) if here else set[str]()
        order = sorted((last, name) for name, (last, _) in here.items() if name in stored and last != float("inf"))
        return (here[name][1] for _, name in order)


def _check_cap(dataset: Dataset, needed: int) -> None:
    if needed > (cap := cache_bytes()):
        raise ConfigError(
            f"dataset {dataset.name} needs {needed / 1e9:.3f} GB of shards here, "
            f"and {CAP_VARIABLE} allows {cap / 1e9:.3f} GB.",
            hint=f"Raise it, for example {CAP_VARIABLE}={int(needed / 1e9 * 1.2) + 1}.",
        )


def each(
    items: list[ItemT], work: Callable[[ItemT], None], name: Callable[[ItemT], str], progress: Progress = silent
) -> None:
    """Do the work for all, several at a time; the first error ends it."""
    if not items:
        return
    with ThreadPoolExecutor(THREADS, thread_name_prefix="transfer") as pool:
        futures = {pool.submit(work, item): item for item in items}
        try:
            for done, future in enumerate(as_completed(futures), 1):
                future.result()
                progress(done, len(items), name(futures[future]))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _whole(path: Path, shard: Shard) -> bool:
    try:
        return path.stat().st_size == shard.size_bytes
    except FileNotFoundError:
        return False


def _use(path: Path) -> None:
    """Lock a version as in use by this process, and note the time."""
    with _in_use_guard, storage_errors(path, "writing"):
        if path not in _in_use:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            _in_use[path] = descriptor
        os.utime(path)


def is_used(path: Path) -> bool:
    """Whether a process of this machine holds the lock of a version."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
