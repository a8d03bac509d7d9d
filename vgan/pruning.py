"""What of a workspace may go, why the rest stays, and how it goes.

What is decided by others comes in as `Needs`; this module looks at files only. A run goes by one rename out of
runs/, a dataset version before the shards that only it names: killed anywhere, the next call finishes.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from .data.files.cache import VideoCache, unlink_unused
from .data.versions.kept import Pruning, plan_pruning, prune
from .errors import ConfigError, CorruptDataError, ResumableError
from .progress import counted, duration
from .records import Evaluation, TrainedRun, Verdict
from .storage import fault_point, fsync_folder, is_leased, lease, read_bytes, storage_errors
from .training.plan import read_config
from .workspace import RunFolder, Workspace

Kind = Literal[
    "run", "dataset version", "waiting batch", "shards", "initial weights", "evaluation cache", "video copies"
]

# A run on its way out of runs/, where no run of that key is looked for.
LEAVING = ".pruned"


@dataclass(frozen=True)
class Needs:
    """What the registry needs of a workspace."""

    runs: Mapping[str, str] = field(default_factory=dict[str, str])  # key -> why it stays
    versions: Mapping[str, str] = field(default_factory=dict[str, str])  # digest of a dataset version -> why it stays
    registered: frozenset[str] = frozenset()  # keys of all runs that it knows a version of


@dataclass(frozen=True)
class Rule:
    """What stays besides all that is needed or in use."""

    keep: int  # newest finished runs, and newest versions, of each dataset
    idle_before: float  # seconds since 1970: unfinished runs, waiting batches and caches used since then stay


@dataclass(frozen=True)
class Line:
    """One thing that goes or stays."""

    kind: Kind
    name: str
    why: str
    size_bytes: int


@dataclass(frozen=True)
class Pruned:
    """What goes, or went, and what stays for another reason than being among the newest."""

    going: tuple[Line, ...]
    staying: tuple[Line, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of what goes."""
        return sum(line.size_bytes for line in self.going)


@dataclass(frozen=True)
class _Run:
    """What is known of a run's folder."""

    folder: RunFolder
    dataset: str | None
    damaged: bool  # a record of it cannot be read
    versions: frozenset[str]  # dataset versions that it was trained or judged on
    finished: float | None  # when its record was written
    judged: bool
    registered: bool  # by the gate's own record
    changed: float  # when a file of it was last written
    size_bytes: int
    init_sha256: str | None = None

    @property
    def key(self) -> str:
        return self.folder.path.name


def prune_workspace(workspace: Workspace, rule: Rule, needs: Needs, now: float, *, remove: bool) -> Pruned:
    """Decide what may go, and remove it when asked to.

    Args:
        workspace: of which nothing that was published elsewhere is touched.
        rule: what stays anyway.
        needs: what the registry needs.
        now: seconds since 1970, to say ages.
        remove: False to only look.

    Raises:
        ConfigError: `keep` is below 1.
        CorruptDataError: a dataset version is damaged, so that nobody knows what it needs.
        StorageError: something cannot be removed.
    """
    if rule.keep < 1:
        raise ConfigError(f"keep is {rule.keep}.", hint="At least one stays.")
    going: list[Line] = []
    staying: list[Line] = []
    kept: list[_Run] = []
    if remove:
        _finish_leaving(workspace)
    runs = sorted(_runs(workspace), key=lambda run: run.key)
    newest = _newest(runs, rule.keep)
    for run in runs:
        why = _why_run_stays(run, rule, needs, now)
        if why is None and run.key not in newest and remove:
            why = _remove_run(run)
        if why is None and run.key not in newest:
            old = "" if run.finished is None else f", older than the newest {rule.keep}"
            going.append(Line("run", run.key, f"changed {_age(run.changed, now)} ago{old}", run.size_bytes))
            continue
        kept.append(run)
        if why is not None:
            staying.append(Line("run", run.key, why, run.size_bytes))
    if remove:
        _finish_leaving(workspace)
    needed = {digest: f"run {run.key} needs it" for run in kept for digest in run.versions} | dict(needs.versions)
    for name in workspace.dataset_names():
        _prune_dataset(workspace, name, rule, needed, going, staying, remove=remove)
    for line, paths in [*_initial(workspace, rule, kept), *_evaluation_caches(workspace, rule)]:
        going.append(line)
        if remove:
            _unlink(paths)
    going += _video_copies(workspace, rule, remove=remove)
    return Pruned(tuple(going), tuple(staying))


def _runs(workspace: Workspace) -> Iterator[_Run]:
    for path in sorted((workspace.root / "runs").glob("*/")):
        if path.name != LEAVING and path.is_dir():
            yield _look(RunFolder(path))


def _look(folder: RunFolder) -> _Run:
    """Whatever its records say."""
    leases = {folder.lease.name, f".{folder.lease.name}.lock"}  # which change by being looked at
    files = [path.stat() for path in folder.path.rglob("*") if path.is_file() and path.name not in leases]
    changed = max((stat.st_mtime for stat in files), default=folder.path.stat().st_mtime)
    dataset, init, versions = None, None, set[str]()
    damaged = judged = registered = False
    try:
        if folder.config.exists():
            config = read_config(folder)
            dataset, init = config.dataset, config.init_sha256
            versions.add(config.dataset_digest)
        if folder.record.exists():
            trained = TrainedRun.from_json(read_bytes(folder.record), str(folder.record))
            dataset = trained.dataset
            versions.add(trained.dataset_digest)
        for path in (folder.evaluation, folder.champion_evaluation):
            if path.exists():
                versions.add(Evaluation.from_json(read_bytes(path), str(path)).dataset_digest)
        if folder.verdict.exists():
            judged = True
            registered = Verdict.from_json(read_bytes(folder.verdict), str(folder.verdict)).register
    except (CorruptDataError, ConfigError):
        damaged = True
    finished = folder.record.stat().st_mtime if folder.record.exists() else None
    size = sum(stat.st_size for stat in files)
    return _Run(folder, dataset, damaged, frozenset(versions), finished, judged, registered, changed, size, init)


def _newest(runs: list[_Run], keep: int) -> set[str]:
    """Keys of the newest finished runs of each dataset."""
    by_dataset: dict[str | None, list[_Run]] = {}
    for run in sorted(runs, key=lambda run: -(run.finished or 0)):
        if run.finished is not None:
            by_dataset.setdefault(run.dataset, []).append(run)
    return {run.key for found in by_dataset.values() for run in found[:keep]}


def _why_run_stays(run: _Run, rule: Rule, needs: Needs, now: float) -> str | None:
    if run.key in needs.runs:
        return needs.runs[run.key]
    if is_leased(run.folder.lease):
        return "a process works on it now"
    if run.damaged:
        return "its records cannot be read"
    if run.registered and run.key not in needs.registered:
        return "it was registered, and the MLflow that was asked does not know it"
    if not run.judged and run.changed >= rule.idle_before:
        state = "not finished" if run.finished is None else "not judged yet"
        return f"{state}, and changed {_age(run.changed, now)} ago"
    return None


def _remove_run(run: _Run) -> str | None:
    """Rename the run's folder away and remove it; says why not when somebody works on it by now."""
    grave = run.folder.path.parent / LEAVING / run.key
    try:
        with storage_errors(run.folder.path, "removing"), lease(run.folder.lease):
            if _look(run.folder).changed != run.changed:
                return "it was changed in this moment"
            grave.parent.mkdir(exist_ok=True)
            if grave.exists():
                shutil.rmtree(grave)
            run.folder.path.rename(grave)
            fsync_folder(run.folder.path.parent)
    except ResumableError:
        return "a process works on it now"
    fault_point("in_pruning")
    with storage_errors(grave, "removing"):
        shutil.rmtree(grave)
    return None


def _finish_leaving(workspace: Workspace) -> None:
    """Remove where removed runs were renamed to, with what a killed call left there."""
    leaving = workspace.root / "runs" / LEAVING
    with storage_errors(leaving, "removing"):
        if leaving.exists():
            shutil.rmtree(leaving)


def _prune_dataset(
    workspace: Workspace,
    name: str,
    rule: Rule,
    needed: Mapping[str, str],
    going: list[Line],
    staying: list[Line],
    *,
    remove: bool,
) -> None:
    if is_leased(workspace.dataset(name).lease):
        staying.append(Line("dataset version", name, "an ingest is at work on it", 0))
        return
    # A version on which a removed run was trained goes with it: `needed` names what the kept ones need.
    done: Pruning
    try:
        work = prune if remove else plan_pruning
        done = work(workspace, name, rule.keep, trained_too=True, needed=needed, waiting_since=rule.idle_before)
    except ResumableError:
        staying.append(Line("dataset version", name, "an ingest is at work on it", 0))
        return
    for line in done.versions:
        why = f"older than the newest {rule.keep}, {counted(line.videos, 'video')}"
        going.append(Line("dataset version", f"{name} {line.number} ({line.digest[:12]})", why, 0))
    for number, why in done.spared.items():
        staying.append(Line("dataset version", f"{name} {number}", why, 0))
    if done.waiting:
        going.append(
            Line("waiting batch", f"{name}, {len(done.waiting)} of them", "nobody went on with their ingest", 0)
        )
    if done.files:
        said = "no version that stays names them"
        going.append(Line("shards", f"{name}, {counted(len(done.files), 'file')}", said, done.size_bytes))


def _initial(workspace: Workspace, rule: Rule, kept: list[_Run]) -> Iterator[tuple[Line, list[Path]]]:
    """Weights from which only runs started that have finished or gone; their records go first."""
    needed = {run.init_sha256 for run in kept if run.finished is None}
    for weights in sorted(workspace.initial("x").parent.glob("*.safetensors")):
        record = weights.with_suffix(".json")
        used = (record if record.exists() else weights).stat().st_mtime  # the record is written by every run's start
        if weights.stem not in needed and used < rule.idle_before:
            size = weights.stat().st_size
            yield (
                Line("initial weights", weights.stem[:12], "no unfinished run starts from them", size),
                [record, weights],
            )


def _evaluation_caches(workspace: Workspace, rule: Rule) -> Iterator[tuple[Line, list[Path]]]:
    for path in sorted((workspace.root / "evaluation").glob("*/*.safetensors")):
        if path.stat().st_mtime < rule.idle_before:
            name = f"{path.parent.name}/{path.stem[:12]}"
            yield Line("evaluation cache", name, "not used lately, made again at need", path.stat().st_size), [path]


def _video_copies(workspace: Workspace, rule: Rule, *, remove: bool) -> list[Line]:
    folder = VideoCache(workspace).folder
    idle = [path for path in sorted(folder.glob("*")) if path.is_file() and path.stat().st_mtime < rule.idle_before]
    sizes = {path: path.stat().st_size for path in idle}
    gone = [path for path in idle if not remove or unlink_unused(path)]
    if not gone:
        return []
    size = sum(sizes[path] for path in gone)
    return [Line("video copies", counted(len(gone), "file"), "not used lately, fetched again at need", size)]


def _unlink(paths: list[Path]) -> None:
    for path in paths:
        with storage_errors(path, "removing"):
            path.unlink(missing_ok=True)
        fault_point("in_pruning")


def _age(then: float, now: float) -> str:
    return duration(max(0.0, now - then))
