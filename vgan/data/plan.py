"""What an ingest has to do: which files are new, in which batches, and which are no videos at all.

Files are known by the sha256 of their bytes, never by name or date. Planning writes nothing.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..config import IngestConfig
from ..errors import BadInputError, ConfigError, StorageError
from ..progress import Progress, silent
from ..records import Batch, Dataset, Record, Rejection, digest_of
from ..storage import sha256_file, storage_errors
from ..workspace import Workspace
from .manifest import batch_problems, current_version
from .names import text_of

log = logging.getLogger(__name__)

INGEST_VERSION = 1  # of decoding, cutting and writing: with another, equal videos would give other bytes
EXTENSIONS = {
    *(".mp4", ".m4v", ".m4a", ".mov", ".mj2", ".3gp", ".3g2", ".mkv", ".webm", ".avi", ".flv", ".ogv"),
    *(".mpg", ".mpeg", ".vob", ".ts", ".mts", ".m2ts", ".wmv", ".asf"),
}
_NOT_OF_CONTENT = {"max_rejected", "videos_per_batch"}


class Source(Record):
    """Files to be read: one content, all its names."""

    digest_sha256: str
    size_bytes: int
    paths: tuple[str, ...]  # relative to the videos' root, as `text_of` writes them, sorted


class BatchPlan(Record):
    """One unit of work, retry and commit."""

    key: str  # of the batch: from the digests and names of its sources and the config
    root: str  # folder of the videos, as `text_of` writes it
    sources: tuple[Source, ...]  # sorted by digest
    ensure_heldout: bool  # the first of a dataset without held-out clips
    first: str | None  # key of the batch of this plan that ensures them, whose choices this one follows


class IngestPlan(Record):
    """All that an ingest will do, before it does anything."""

    name: str
    config: IngestConfig
    base: str | None  # digest of the version that the plan starts from
    kept: tuple[str, ...]  # keys of the base's batches that stay as they are
    batches: tuple[BatchPlan, ...]  # run the first one first, the others in any order
    unchanged: int  # videos that the kept batches know already, taken or rejected
    rejections: tuple[Rejection, ...]  # what is no regular file below the root and was never opened


@dataclass
class _Listing:
    files: list[Path] = field(default_factory=list[Path])
    rejections: list[Rejection] = field(default_factory=list[Rejection])


def recipe(config: IngestConfig) -> dict[str, Any]:
    """The part of a config that decides what the clips of a video are."""
    return config.model_dump(mode="json", exclude=_NOT_OF_CONTENT) | {"ingest_version": INGEST_VERSION}


def plan_ingest(
    workspace: Workspace, videos: Path, name: str, config: IngestConfig, *, progress: Progress = silent
) -> IngestPlan:
    """Compare the videos below a folder (or one file) with a dataset.

    Raises:
        ConfigError: the folder does not exist or cannot be read.
        BadInputError: there is no video file in it.
    """
    folder = workspace.dataset(name)
    root = videos.expanduser().absolute()
    listing = _list_videos(root)
    if root.is_file():
        root = root.parent
    sources = _hash(root, listing, progress)
    base = current_version(folder)
    same = base if base and recipe(base.config) == recipe(config) else None
    kept = [batch for batch in same.batches if not batch_problems(folder, batch)] if same else []
    known = {digest for batch in kept for digest in digests_of(batch)}
    new = [source for source in sources if source.digest_sha256 not in known]
    ensure = not any(shard.split == "heldout" for batch in kept for shard in batch.shards)
    return IngestPlan(
        name=name,
        config=config,
        base=base.digest() if base else None,
        kept=tuple(sorted(batch.key for batch in kept)),
        batches=_into_batches(new, known, text_of(str(root)), same, config, ensure=ensure),
        unchanged=len(sources) - len(new),
        rejections=tuple(sorted(listing.rejections, key=lambda rejection: rejection.path)),
    )


def digests_of(batch: Batch) -> set[str]:
    """sha256 of every file that a batch has dealt with."""
    taken = {digest for video in batch.videos for digest in (video.digest_sha256, *video.copies)}
    return taken | {rejection.digest_sha256 for rejection in batch.rejections if rejection.digest_sha256}


def _into_batches(
    new: list[Source], known: set[str], root: str, base: Dataset | None, config: IngestConfig, *, ensure: bool
) -> tuple[BatchPlan, ...]:
    """Batches of the asked size; a damaged batch whose files are all there is made again as it was."""
    by_digest = {source.digest_sha256: source for source in new}
    parts: list[list[Source]] = []
    for batch in base.batches if base else ():
        digests = digests_of(batch)
        if digests and digests <= by_digest.keys():
            parts.append([by_digest.pop(digest) for digest in sorted(digests)])
        elif lost := len(digests - known - by_digest.keys()):
            log.warning("batch %s is damaged and %d of its videos are gone: they leave the dataset", batch.key, lost)
    rest = [by_digest[digest] for digest in sorted(by_digest)]
    parts += [rest[at : at + config.videos_per_batch] for at in range(0, len(rest), config.videos_per_batch)]
    keys = [_key(part, config) for part in parts]
    first = keys[0] if ensure and keys else None
    return tuple(
        BatchPlan(
            key=key,
            root=root,
            sources=tuple(part),
            ensure_heldout=key == first,
            first=None if key == first else first,
        )
        for key, part in zip(keys, parts, strict=True)
    )


def _key(sources: list[Source], config: IngestConfig) -> str:
    # The names are part of it: they give the label and, with group_by, the group.
    named = [[source.digest_sha256, list(source.paths)] for source in sources]
    return digest_of({"sources": named, "recipe": recipe(config)})


def _hash(root: Path, listing: _Listing, progress: Progress) -> list[Source]:
    """One source for each content, sorted by digest."""
    names: dict[str, list[str]] = {}
    sizes: dict[str, int] = {}
    for done, path in enumerate(listing.files):
        progress(done, len(listing.files), "reading names and hashes")
        relative = text_of(os.path.relpath(path, root))
        try:
            digest, size = sha256_file(path), path.stat().st_size
        except (StorageError, OSError) as error:
            listing.rejections.append(_rejected(relative, "unreadable", str(error)))
            continue
        names.setdefault(digest, []).append(relative)
        sizes[digest] = size
    return [
        Source(digest_sha256=digest, size_bytes=sizes[digest], paths=tuple(sorted(names[digest])))
        for digest in sorted(names)
    ]


def _rejected(path: str, reason: str, detail: str) -> Rejection:
    return Rejection(path=path, digest_sha256=None, reason=reason, detail=text_of(detail)[:300])


def _list_videos(root: Path) -> _Listing:
    listing = _Listing()
    if not root.exists():
        raise ConfigError(f"there is no {root}.", hint="Name the folder that holds your videos with --videos.")
    if root.is_dir():
        with storage_errors(root, "reading"):
            os.listdir(root)  # noqa: PTH208  only to find out at once whether it may be read
        real_root = os.path.realpath(root)
        for path in _walk(str(root), real_root, set(), listing):
            _sort_out(path, root, real_root, listing)
    else:
        _sort_out(root, root.parent, os.path.realpath(root.parent), listing)
    listing.files.sort(key=os.fsencode)
    if not listing.files and not listing.rejections:
        raise BadInputError(
            f"there is no video in {root}.", hint=f"Files are taken by their ending: {' '.join(sorted(EXTENSIONS))}."
        )
    return listing


def _walk(folder: str, real_root: str, seen: set[str], listing: _Listing) -> Iterator[Path]:
    """Paths of everything below a folder that is named like a video, links to folders inside the root followed."""
    real = os.path.realpath(folder)
    if real in seen:
        return
    seen.add(real)
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: os.fsencode(entry.name))
    except OSError as error:
        relative = text_of(os.path.relpath(folder, real_root))
        listing.rejections.append(_rejected(relative, "unreadable", f"folder cannot be read: {error.strerror}"))
        return
    for entry in entries:
        path = Path(entry.path)
        if path.suffix.lower() in EXTENSIONS and not entry.name.startswith("._"):
            yield path
        elif entry.is_dir() and _inside(os.path.realpath(path), real_root):
            yield from _walk(entry.path, real_root, seen, listing)


def _inside(path: str, real_root: str) -> bool:
    return os.path.commonpath([path, real_root]) == real_root


def _sort_out(path: Path, root: Path, real_root: str, listing: _Listing) -> None:
    """Take regular files; all else is rejected without being opened, since opening a pipe would wait for ever."""
    relative = text_of(os.path.relpath(path, root))
    try:
        mode = path.stat().st_mode
    except OSError as error:
        listing.rejections.append(_rejected(relative, "unreadable", error.strerror or str(error)))
        return
    if not stat.S_ISREG(mode):
        listing.rejections.append(_rejected(relative, "not_regular", "it is not a regular file"))
    elif not _inside(os.path.realpath(path), real_root):
        listing.rejections.append(_rejected(relative, "outside_root", "the link leads out of the videos' folder"))
    else:
        listing.files.append(path)
