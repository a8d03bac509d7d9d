"""From listed files to contents: the sha256 of each file, of which only unknown ones are opened."""

from __future__ import annotations

import hashlib
import itertools
import os
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from ...errors import VganError
from ...progress import Progress
from ...remote import RemoteFile
from ...workspace import Workspace
from .cache import VideoCache
from .listing import Found, Listing, version_of
from .names import path_of
from .sources import KnownFiles

WINDOW = 512  # files that are handed to the threads at a time


class Content(NamedTuple):
    """One file of a listing with the hash of its bytes."""

    digest: bytes  # sha256, 32 bytes
    path: str
    size: int


class _Read(NamedTuple):
    digest: bytes
    size: int
    version: str  # of the file when its last byte had been read
    changed_ns: int | None  # as `KnownFiles.remember` wants it


def hash_files(workspace: Workspace, listing: Listing, known: KnownFiles, progress: Progress) -> list[Content]:
    """Every readable file of a listing with its hash, sorted by path.

    The listing gives up its files, and rejects those that cannot be read. What was read is remembered at once, so
    that a plan that was killed goes on where it was.
    """
    contents: list[Content] = []
    unknown: list[Found] = []
    for file, digest in known.lookup(listing.root, listing.files):
        if digest is None:
            unknown.append(file)
        else:
            contents.append(Content(digest, file.path, file.size))
    listing.files = []
    if unknown:
        contents += _hash_unknown(workspace, listing, unknown, known, progress)
        contents.sort(key=lambda content: content.path)
    known.flush()
    return contents


def _hash_unknown(
    workspace: Workspace, listing: Listing, unknown: list[Found], known: KnownFiles, progress: Progress
) -> Iterator[Content]:
    read = _remote_reader(workspace, listing.root) if listing.remote else _local_reader(listing.root)
    # In a bucket, equal versions of two files say nothing: they may be no more than times.
    parts = ([file] for file in unknown) if listing.remote else _by_inode(listing.root, unknown)
    done = 0
    with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="hash") as pool:
        while window := list(itertools.islice(parts, WINDOW)):
            results = list(pool.map(read, (part[0] for part in window)))
            # One object of a bucket may be out of reach; when all are, the trouble is not theirs.
            if all(isinstance(result, VganError) for result in results):
                raise next(result for result in results if isinstance(result, VganError))
            for part, result in zip(window, results, strict=True):
                progress(done, len(unknown), f"hashing new files: {part[0].path}")
                done += len(part)
                for file in part:
                    if not isinstance(result, _Read):
                        listing.reject(file.path, "unreadable", str(result))
                        continue
                    # Under the version it was listed with, or none when it changed meanwhile.
                    same = (file.size, file.version) == (result.size, result.version)
                    now = Found(file.path, result.size, file.version if same else "")
                    known.remember(listing.root, now, result.digest, result.changed_ns)
                    yield Content(result.digest, file.path, result.size)
    progress(done, len(unknown), "hashed new files")


def _by_inode(root: str, files: list[Found]) -> Iterator[list[Found]]:
    """The names of each file together, so that hard links are read once."""
    files.sort(key=lambda file: (file.version, file.size, file.path))
    for _, group in itertools.groupby(files, key=lambda file: file[1:]):
        same = list(group)
        if len(same) == 1:
            yield same
            continue
        parts: dict[tuple[int, int], list[Found]] = {}
        for file in same:
            try:
                status = os.stat(_local_path(root, file))  # noqa: PTH116
            except OSError:
                yield [file]  # gone: reading it says so
            else:
                parts.setdefault((status.st_dev, status.st_ino), []).append(file)
        yield from parts.values()


def _local_path(root: str, file: Found) -> str:
    return os.path.join(path_of(root), path_of(file.path))  # noqa: PTH118


def _local_reader(root: str) -> Callable[[Found], _Read | str | VganError]:
    def read(file: Found) -> _Read | str | VganError:
        try:
            # Without waiting: a pipe may have taken the file's place since it was listed.
            descriptor = os.open(_local_path(root, file), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(descriptor, "rb", buffering=0) as stream:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    return "it is no longer a regular file"
                digest = hashlib.file_digest(stream, "sha256").digest()
                status = os.fstat(descriptor)
        except OSError as error:
            return error.strerror or str(error)
        return _Read(digest, status.st_size, version_of(status), status.st_ctime_ns)

    return read


def _remote_reader(workspace: Workspace, url: str) -> Callable[[Found], _Read | str | VganError]:
    cache = VideoCache(workspace)

    def read(file: Found) -> _Read | str | VganError:
        try:
            with cache.hold(url, RemoteFile(file.path, file.size, file.version)) as copy, open(copy, "rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").digest()
        except FileNotFoundError:
            return "it was replaced or removed while it was listed"
        except VganError as error:
            return error
        return _Read(digest, file.size, file.version, None)

    return read
