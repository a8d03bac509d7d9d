"""A copy of a workspace that is whole although everything goes on, and putting it to another place.

What names others is copied first: databases, then records, then the files that they name, which are there before
any record names them and never change. So every record of the copy finds what it names. Databases are copied by
SQLite itself, at one moment each. `backup.json`, written last, makes a folder a backup.

A database knows the place of its workspace: restoring writes the new place into MLflow's own.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from . import __version__
from .errors import ConfigError, CorruptDataError, StorageError
from .records import Record
from .storage import fsync_folder, read_bytes, storage_errors, write_atomic

log = logging.getLogger(__name__)

LISTING = "backup.json"
MLFLOW_DATABASE = "mlflow.db"
# Made again at need, of this machine's processes, or on their way out; "**/" stands for any folder.
FOLDERS_LEFT_OUT = ("cache", "evaluation", "leases", "datasets/*/in-use", "services/logs", "runs/.pruned")
FILES_LEFT_OUT = (
    *("services/services.json", "services/*.lock", "services/.*.lock", "datasets/*/shards/.copies.lock"),
    *("*/*/lease.json", "*/*/.lease.json.lock", "**/.tmp-*", ".writable-*"),
    *("**/*.db-wal", "**/*.db-shm", "**/*.db-journal"),
)
# Columns of MLflow's database that hold places of files.
PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
WAIT_SECONDS = 60.0  # for a database that is being written


class Backup(Record):
    """What a backup holds: backup.json."""

    vgan_version: str
    root: str  # where the workspace was
    files: int
    size_bytes: int
    databases: tuple[str, ...]
    elsewhere: bool = False  # the servers' databases are PostgreSQL's, and not in it


@dataclass(frozen=True)
class Restored:
    """What restoring did."""

    root: Path
    backup: Backup
    places: int  # of files, in MLflow's database, that were rewritten


def back_up(root: Path, out: Path, *, elsewhere: bool = False) -> Backup:
    """Copy a workspace into a new folder, while everything may go on.

    Args:
        root: of the workspace.
        out: the folder; must not be there, or be empty.
        elsewhere: the servers' databases are not files of the workspace.

    Raises:
        ConfigError: `out` holds something, or lies in the workspace.
        StorageError: something cannot be read or written.
    """
    out = out.absolute()
    if out.resolve().is_relative_to(root.resolve()):
        raise ConfigError(f"{out} lies in the workspace that is copied.", hint="Name a folder elsewhere.")
    _require_empty(out, "A backup is made into a new folder each time.")
    names = sorted(_names(root), key=lambda name: (_rank(name), name))
    databases = tuple(str(name) for name in names if _rank(name) == 0)
    copied = size = 0
    for name in names:
        with storage_errors(root / name, "backing up"):
            taken = _copy(root / name, out / name)
        copied += taken is not None
        size += taken or 0
    made = Backup(
        vgan_version=__version__, root=str(root.absolute()), files=copied, size_bytes=size, databases=databases,
        elsewhere=elsewhere,
    )  # fmt: skip
    with storage_errors(out, "finishing"):
        fsync_folder(out)
    write_atomic(out / LISTING, made.to_json())
    return made


def restore(backup: Path, root: Path) -> Restored:
    """Make a workspace of a backup at a place where none is; killed, it leaves none.

    Raises:
        ConfigError: `backup` is none, or `root` holds something.
        CorruptDataError: files of the backup are missing, or a database in it is damaged.
        StorageError: something cannot be read or written.
    """
    backup, root = backup.absolute(), root.absolute()
    if not (backup / LISTING).is_file():
        raise ConfigError(f"{backup} is no backup: it has no {LISTING}.", hint="It is written last: make another one.")
    made = Backup.from_json(read_bytes(backup / LISTING), str(backup / LISTING))
    found = [path for path in backup.rglob("*") if path.is_file() and path != backup / LISTING]
    if len(found) != made.files or sum(path.stat().st_size for path in found) != made.size_bytes:
        raise CorruptDataError(
            f"{backup} has {len(found)} files where {LISTING} counts {made.files}, or others than these.",
            hint="It was changed or copied in part; take it whole.",
        )
    _require_empty(root, "Restore to a new folder, or move the present one away.")
    unfinished = root.with_name(f".{root.name}-restoring")
    with storage_errors(unfinished, "restoring to"):
        shutil.rmtree(unfinished, ignore_errors=True)
        root.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(backup, unfinished, ignore=shutil.ignore_patterns(LISTING))
    for name in made.databases:
        _check_database(unfinished / name)
    places = _move_places(unfinished / MLFLOW_DATABASE, made.root, str(root))
    with storage_errors(root, "restoring to"):
        if root.exists():
            root.rmdir()
        os.replace(unfinished, root)
        fsync_folder(root.parent)
    return Restored(root, made, places)


def _require_empty(folder: Path, hint: str) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is not empty.", hint=hint)


def _names(root: Path) -> Iterator[Path]:
    """Every file to copy, relative to the root."""
    for folder, folders, files in os.walk(root):
        here = Path(folder).relative_to(root)
        folders[:] = sorted(name for name in folders if not _fits(here / name, FOLDERS_LEFT_OUT))
        for name in files:
            if not _fits(here / name, FILES_LEFT_OUT):
                yield here / name


def _fits(name: Path, patterns: tuple[str, ...]) -> bool:
    """Whether one of them fits, part by part."""
    for pattern in patterns:
        parts, wanted = list(name.parts), pattern.split("/")
        if wanted[0] == "**":
            parts, wanted = parts[-1:], wanted[1:]
        if len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted)):
            return True
    return False


def _rank(name: Path) -> int:
    """Databases, what names datasets and runs, other records, and all else, which is named."""
    if name.suffix == ".db":
        return 0
    if name.name in ("manifest.json", "run.json"):
        return 1
    return 2 if name.suffix == ".json" else 3


def _copy(source: Path, target: Path) -> int | None:
    """Bytes of the copy; None when the file has gone since it was listed, as old checkpoints do."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix == ".db":
        _copy_database(source, target)
        return target.stat().st_size
    try:
        shutil.copy2(source, target)
    except FileNotFoundError:
        target.unlink(missing_ok=True)
        return None
    return target.stat().st_size


def _copy_database(source: Path, target: Path) -> None:
    try:
        with (
            contextlib.closing(sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True, timeout=WAIT_SECONDS)) as there,
            contextlib.closing(sqlite3.connect(target)) as here,
        ):
            there.backup(here)
            here.execute("pragma journal_mode=delete")
    except sqlite3.Error as error:
        raise StorageError(f"backing up the database {source} failed: {error}.") from error


def _check_database(path: Path) -> None:
    try:
        with contextlib.closing(sqlite3.connect(path)) as database:
            (said,) = database.execute("pragma quick_check").fetchone()
    except sqlite3.Error as error:
        said = str(error)
    if said != "ok":
        raise CorruptDataError(
            f"the database {path.name} of the backup is damaged: {said}.", hint="Take another backup."
        )


def _move_places(path: Path, before: str, after: str) -> int:
    """Put the new root where the old one stands at the beginning of a place; returns how many were."""
    if not path.exists():
        return 0
    moved, schemes = 0, (Path(before).as_uri(), before)
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        columns = {(table, column) for table, column in PLACES if _has_column(database, table, column)}
        for (table, column), old in ((place, old) for place in sorted(columns) for old in schemes):
            new = after if old == before else Path(after).as_uri()
            # Names of the fixed list above, never of the file.
            done = database.execute(
                f"update {table} set {column} = ? || substr({column}, ?) where substr({column}, 1, ?) = ?",  # noqa: S608
                (f"{new}/", len(old) + 2, len(old) + 1, f"{old}/"),
            )
            moved += done.rowcount
    return moved


def _has_column(database: sqlite3.Connection, table: str, column: str) -> bool:
    return column in [row[1] for row in database.execute(f"pragma table_info({table})")]
