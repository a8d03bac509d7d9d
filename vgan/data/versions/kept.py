"""The versions of a dataset: listing, comparing and pruning them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import ConfigError
from ...records import Dataset, TrainedRun, recipe
from ...storage import fault_point, fsync_folder, lease, read_bytes, storage_errors
from ...workspace import DatasetFolder, Workspace
from ..buckets.shard_copies import is_used
from ..manifest import load_dataset, plain_batches
from .growth import announced_versions

NAMES_SHOWN = 1000  # of each list of a comparison


@dataclass(frozen=True)
class DatasetLine:
    """A dataset in the list of all."""

    name: str
    number: int  # of the current version
    digest: str
    versions: int
    videos: int
    clips: int
    size_bytes: int  # of all its files, of all versions


@dataclass(frozen=True)
class VersionLine:
    """A version in the list of a dataset's."""

    number: int
    digest: str
    current: bool
    videos: int
    clips_train: int
    clips_heldout: int
    differs: dict[str, Any]  # fields of its config that are not the current version's
    runs: tuple[str, ...]  # trained on it


@dataclass(frozen=True)
class Comparison:
    """What is other in a second version; videos by their first name, at most NAMES_SHOWN of each kind."""

    first: VersionLine
    second: VersionLine
    counts: dict[str, int]  # "added", "removed", "relabelled", "moved": to the other side
    videos: dict[str, list[str]]
    config: dict[str, tuple[Any, Any]]  # fields that differ: before, after


@dataclass(frozen=True)
class Pruning:
    """What pruning removes, and what it spares beyond the newest."""

    name: str
    versions: tuple[VersionLine, ...]
    spared: dict[int, str]  # number of a version -> why it stays
    waiting: tuple[Path, ...]  # batches that wait for a commit that nobody has asked for since long
    files: tuple[Path, ...]  # shards and records that no kept version and no other waiting batch names
    size_bytes: int  # of the files


def list_datasets(workspace: Workspace) -> list[DatasetLine]:
    """All datasets, by name."""
    lines: list[DatasetLine] = []
    for name in workspace.dataset_names():
        dataset = load_dataset(workspace, name)
        folder = workspace.dataset(name)
        files = [path for path in folder.path.rglob("*") if path.is_file()]
        lines.append(
            DatasetLine(
                name=name,
                number=dataset.number,
                digest=dataset.digest(),
                versions=len(_version_files(folder)),
                videos=dataset.videos,
                clips=dataset.clips("train") + dataset.clips("heldout"),
                size_bytes=sum(path.stat().st_size for path in files),
            )
        )
    return lines


def list_versions(workspace: Workspace, name: str) -> list[VersionLine]:
    """The kept versions of a dataset, the newest first.

    Raises:
        ConfigError: there is no such dataset.
        CorruptDataError: a record is damaged.
    """
    current = load_dataset(workspace, name)
    runs = _runs_by_version(workspace, name)
    versions = sorted(_versions(workspace.dataset(name)), key=lambda version: -version.number)
    return [_line(version, current, runs) for version in versions]


def find_version(workspace: Workspace, name: str, wanted: str) -> Dataset:
    """The version of this number, or whose digest begins so; raises ConfigError unless it is exactly one."""
    load_dataset(workspace, name)
    versions = list(_versions(workspace.dataset(name)))
    found = [version for version in versions if wanted == str(version.number)]
    found = found or [version for version in versions if len(wanted) >= 4 and version.digest().startswith(wanted)]
    if len(found) != 1:
        known = ", ".join(f"{v.number} ({v.digest()[:12]})" for v in sorted(versions, key=lambda v: v.number))
        raise ConfigError(
            f"dataset {name!r} has {'no' if not found else 'more than one'} version {wanted!r}.",
            hint=f"Name one of these by its number or the beginning of its digest: {known}.",
        )
    return found[0]


def compare(workspace: Workspace, name: str, first: str, second: str) -> Comparison:
    """What is other in the second version of a dataset; versions by number or beginning of the digest."""
    before, after = find_version(workspace, name, first), find_version(workspace, name, second)
    folder, runs = workspace.dataset(name), _runs_by_version(workspace, name)
    current = load_dataset(workspace, name)
    old = {digest: (label, split, path) for digest, label, split, path in _videos(folder, before)}
    counts: dict[str, int] = {"added": 0, "removed": 0, "relabelled": 0, "moved": 0}
    videos: dict[str, list[str]] = {kind: [] for kind in counts}

    def note(kind: str, path: str) -> None:
        counts[kind] += 1
        if len(videos[kind]) < NAMES_SHOWN:
            videos[kind].append(path)

    for digest, label, split, path in _videos(folder, after):
        known = old.pop(digest, None)
        if known is None:
            note("added", path)
            continue
        if known[0] != label:
            note("relabelled", path)
        if known[1] != split:
            note("moved", path)
    for _, _, path in old.values():
        note("removed", path)
    return Comparison(
        first=_line(before, current, runs),
        second=_line(after, current, runs),
        counts=counts,
        videos={kind: sorted(names) for kind, names in videos.items()},
        config=_differing(before, after),
    )


def plan_pruning(
    workspace: Workspace,
    name: str,
    keep: int,
    *,
    trained_too: bool = False,
    needed: Mapping[str, str] | None = None,
    waiting_since: float | None = None,
) -> Pruning:
    """What would go if only the newest versions stayed; removes nothing.

    Args:
        workspace: where the dataset lies.
        name: of the dataset.
        keep: how many of the newest versions stay, besides the current one and those in use.
        trained_too: also remove versions that a finished run was trained on.
        needed: digests of versions that stay whatever their age, and why.
        waiting_since: batches that have waited for a commit since before then (seconds since 1970) go; None: none.

    Raises:
        ConfigError: there is no such dataset, or `keep` is below 1.
        CorruptDataError: a kept version is damaged, so that nobody knows what it needs.
    """
    if keep < 1:
        raise ConfigError(f"keep is {keep}.", hint="At least one version stays.")
    folder = workspace.dataset(name)
    lines = list_versions(workspace, name)
    going: list[VersionLine] = []
    spared: dict[int, str] = {}
    reasons = _announced_last(folder, lines) | dict(needed or {})
    for line in lines[keep:]:
        if why := reasons.get(line.digest) or _why_spared(folder, line, trained_too):
            spared[line.number] = why
        else:
            going.append(line)
    gone = {line.digest for line in going}
    waiting = [path for path in _waiting(folder) if waiting_since and path.stat().st_mtime < waiting_since]
    files = _unnamed(folder, [version for version in _versions(folder) if version.digest() not in gone], waiting)
    return Pruning(
        name=name,
        versions=tuple(going),
        spared=spared,
        waiting=tuple(waiting),
        files=tuple(files),
        size_bytes=sum(path.stat().st_size for path in files),
    )


def prune(
    workspace: Workspace,
    name: str,
    keep: int,
    *,
    trained_too: bool = False,
    needed: Mapping[str, str] | None = None,
    waiting_since: float | None = None,
) -> Pruning:
    """Remove what `plan_pruning` says: versions first, then what only they named; killed, it is called again.

    Raises:
        ConfigError, CorruptDataError: as `plan_pruning`.
        ResumableError: an ingest is at work on this dataset.
    """
    folder = workspace.dataset(name)
    with lease(folder.lease):
        planned = plan_pruning(
            workspace, name, keep, trained_too=trained_too, needed=needed, waiting_since=waiting_since
        )
        versions = [folder.version(line.digest) for line in planned.versions]
        for paths in (versions, planned.waiting, planned.files):
            for path in paths:
                with storage_errors(path, "removing"):
                    path.unlink(missing_ok=True)
                fault_point("in_pruning")
            for place in sorted({path.parent for path in paths}):
                fsync_folder(place)
    return planned


def _why_spared(folder: DatasetFolder, line: VersionLine, trained_too: bool) -> str | None:
    if line.current:
        return "it is the current one"
    if is_used(folder.in_use(line.digest)):
        return "a process reads it now"
    if line.runs and not trained_too:
        return f"run {line.runs[0]} was trained on it" + (f", and {len(line.runs) - 1} more" if line.runs[1:] else "")
    return None


def _announced_last(folder: DatasetFolder, lines: list[VersionLine]) -> dict[str, str]:
    """Without it nobody would know of its clips that they are not new."""
    announced = announced_versions(folder)
    newest = next((line for line in lines if line.digest in announced), None)
    return {newest.digest: "it is the last that was announced for training"} if newest else {}


def _waiting(folder: DatasetFolder) -> list[Path]:
    return sorted(folder.pending("x").parent.glob("*.json"))


def _unnamed(folder: DatasetFolder, versions: list[Dataset], going: list[Path]) -> list[Path]:
    """Shards and records of batches that no version and nothing that waits for a commit names, shards first."""
    refs = [ref for version in versions for ref in version.batches]
    shards = {shard.file for ref in refs for shard in ref.shards}
    records = {f"{ref.record}.json" for ref in refs}
    waiting = [read_bytes(path) for path in _waiting(folder) if path not in going]
    tars = sorted(folder.shards.glob("*.tar"))
    # What waits is searched, not parsed: what it names stays, also when it is damaged.
    spare = [tar for tar in tars if tar.name not in shards and not any(tar.name.encode() in text for text in waiting)]
    return [*spare, *(path for path in sorted(folder.batch("x").parent.glob("*.json")) if path.name not in records)]


def _version_files(folder: DatasetFolder) -> list[Path]:
    return sorted(folder.version("x").parent.glob("*.json"))


def _versions(folder: DatasetFolder) -> Iterator[Dataset]:
    """Every kept version and the current one; raises CorruptDataError for one that cannot be read."""
    seen: set[str] = set()
    for path in [*_version_files(folder), folder.manifest]:
        version = Dataset.from_json(read_bytes(path), str(path))
        if (digest := version.digest()) not in seen:
            seen.add(digest)
            yield version


def _videos(folder: DatasetFolder, version: Dataset) -> Iterator[tuple[str, str | None, str, str]]:
    """sha256, label, side and first name of each video."""
    for batch in plain_batches(folder, version):
        for video in batch["videos"]:
            yield video["digest_sha256"], video["label"], video["split"], video["paths"][0]


def _runs_by_version(workspace: Workspace, name: str) -> dict[str, list[str]]:
    runs: dict[str, list[str]] = {}
    for key in workspace.run_keys():
        record = workspace.run(key).record
        trained = TrainedRun.from_json(read_bytes(record), str(record))
        if trained.dataset == name:
            runs.setdefault(trained.dataset_digest, []).append(key)
    return runs


def _differing(first: Dataset, second: Dataset) -> dict[str, tuple[Any, Any]]:
    before, after = recipe(first.config), recipe(second.config)
    fields = sorted(before.keys() | after.keys())
    return {field: (before.get(field), after.get(field)) for field in fields if before.get(field) != after.get(field)}


def _line(version: Dataset, current: Dataset, runs: dict[str, list[str]]) -> VersionLine:
    return VersionLine(
        number=version.number,
        digest=version.digest(),
        current=version.digest() == current.digest(),
        videos=version.videos,
        clips_train=version.clips("train"),
        clips_heldout=version.clips("heldout"),
        differs={field: after for field, (_, after) in _differing(current, version).items()},
        runs=tuple(runs.get(version.digest(), ())),
    )
