"""How many clips have come that no training has seen and nobody was told of; the workspace alone decides.

A version is known when a finished run was trained on it, or when it was announced: an empty file
`datasets/<name>/announced/<digest>`, written before anybody is told. So the same clips are never
announced twice, whichever server was asked, and at most not at all when a process dies in between,
for which there is the nightly training.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ...errors import CorruptDataError
from ...records import BatchRef, Dataset, recipe
from ...storage import read_bytes, write_atomic
from ...workspace import DatasetFolder, Workspace
from ..manifest import current_version, plain_batch

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Growth:
    """A version of a dataset, and its clips that no version known to a training holds."""

    digest: str
    number: int
    new_clips: int


def announce(workspace: Workspace, name: str, least: int) -> Growth | None:
    """Note the current version as announced when at least so many of its clips are new; else None.

    For a caller that holds the dataset's lease, and tells others after this has returned.

    Raises:
        CorruptDataError: the current version is not as it was written.
        StorageError: the note cannot be written.
    """
    folder = workspace.dataset(name)
    current = current_version(folder)
    if current is None or folder.announced(current.digest()).exists():
        return None
    new_clips = count_new_clips(workspace, current)
    if new_clips < least:
        return None
    take(workspace, name, current.digest())
    return Growth(current.digest(), current.number, new_clips)


def take(workspace: Workspace, name: str, digest: str) -> None:
    """Note that a version needs no announcement, as it was made or is on its way to a training."""
    note = workspace.dataset(name).announced(digest)
    if not note.exists():
        write_atomic(note, b"")


def count_new_clips(workspace: Workspace, dataset: Dataset) -> int:
    """Clips of this version of which no version with the same recipe, trained on or announced, has the video."""
    folder = workspace.dataset(dataset.name)
    here = {ref.record: ref for ref in dataset.batches}
    elsewhere: dict[str, BatchRef] = {}
    shared: set[str] = set()
    for version in _known_versions(workspace, dataset):
        refs = {ref.record: ref for ref in version.batches}
        shared |= refs.keys() & here.keys()
        elsewhere |= {record: ref for record, ref in refs.items() if record not in here}
    fresh: dict[str, int] = {}
    for record, ref in here.items():
        if record not in shared:
            fresh |= _clips_by_video(folder, ref)
    for ref in elsewhere.values():
        if not fresh:
            break
        for digest in _known_videos(folder, ref):
            fresh.pop(digest, None)
    return sum(fresh.values())


def announced_versions(folder: DatasetFolder) -> set[str]:
    """Digests of the versions that were announced, or taken by a training."""
    return {path.name for path in folder.announced("x").parent.glob("*") if not path.name.startswith(".")}


def _clips_by_video(folder: DatasetFolder, ref: BatchRef) -> dict[str, int]:
    return {video["digest_sha256"]: video["clips"] for video in plain_batch(folder, ref)["videos"]}


def _known_videos(folder: DatasetFolder, ref: BatchRef) -> Iterable[str]:
    try:
        return _clips_by_video(folder, ref)
    except CorruptDataError as error:  # of an older version, which nobody may need any more
        log.warning("a batch of a version that was trained on is passed over: %s", error)
        return ()


def _known_versions(workspace: Workspace, dataset: Dataset) -> Iterator[Dataset]:
    """Versions with this one's recipe that a training has seen or will see; those that were pruned are unknown."""
    folder, same = workspace.dataset(dataset.name), recipe(dataset.config)
    for digest in sorted(announced_versions(folder) | _trained_versions(workspace, dataset.name)):
        path = folder.version(digest)
        try:
            version = Dataset.from_json(read_bytes(path), str(path)) if path.exists() else None
        except CorruptDataError as error:
            log.warning("a version that was trained on is passed over: %s", error)
            continue
        if version and recipe(version.config) == same:
            yield version


def _trained_versions(workspace: Workspace, name: str) -> set[str]:
    """Digests of the versions that finished runs were trained on."""
    trained: set[str] = set()
    for run in workspace.run_keys():
        path = workspace.run(run).record
        try:
            record = json.loads(read_bytes(path))
            if record["dataset"] == name:
                trained.add(record["dataset_digest"])
        except (ValueError, KeyError, TypeError):
            log.warning("%s is damaged, and is passed over", path)
    return trained
