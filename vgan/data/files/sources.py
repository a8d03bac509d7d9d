"""What is known of files by name, size and time, so that only new ones are opened: `sources.db`.

It is a cache. A damaged, locked or foreign one is thrown away with a line in the log, and the next plan hashes the
files again. It also remembers under which root a content was seen, so that a file that has gone from one folder
does not take away what came from another; without it nothing is dropped that cannot be shown to have been there.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from .listing import Found, version_of

log = logging.getLogger(__name__)

SCHEMA = 1
APPLICATION = 0x7667616E  # "vgan": another program's database is not taken for ours
RACY_NS = 2_000_000_000  # a file changed so shortly ago may change again without another time stamp
ROWS_A_TRANSACTION = 2000
LOCK_SECONDS = 5.0

_TABLES = f"""
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {SCHEMA};
CREATE TABLE roots (id INTEGER PRIMARY KEY, root TEXT NOT NULL UNIQUE);
CREATE TABLE recipes (recipe TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE files (
    root INTEGER NOT NULL, path TEXT NOT NULL, digest BLOB NOT NULL, size INTEGER NOT NULL, version TEXT NOT NULL,
    present INTEGER NOT NULL, checksum INTEGER NOT NULL, PRIMARY KEY (root, path, digest)
) WITHOUT ROWID;
CREATE TABLE shards (file TEXT PRIMARY KEY, size INTEGER NOT NULL, version TEXT NOT NULL) WITHOUT ROWID;
"""
_REMEMBER = (
    "INSERT INTO files VALUES (?, ?, ?, ?, ?, 1, ?) ON CONFLICT DO UPDATE SET "
    "size = excluded.size, version = excluded.version, present = 1, checksum = excluded.checksum"
)


class _Row(NamedTuple):
    path: str
    digest: bytes
    size: int
    version: str
    present: int


class KnownFiles:
    """The database of one dataset; for one thread. A killed process leaves a whole one.

    Args:
        path: of the database.
        clock: nanoseconds since 1970, compared with the files' times.
    """

    def __init__(self, path: Path, *, clock: Callable[[], int] = time.time_ns) -> None:
        self.path = path
        self.clock = clock
        self.fresh = not path.exists()  # nothing is remembered of the past
        self._waiting = 0
        self._roots: dict[str, int] = {}
        self._database = self._open()

    def __enter__(self) -> KnownFiles:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Write what is still in memory."""
        self.flush()
        self._database.close()

    def flush(self) -> None:
        """Write what was remembered, so that it outlives this process."""
        self._waiting = 0
        self._do(lambda database: database.commit())

    def lookup(self, root: str, files: Iterable[Found]) -> Iterator[tuple[Found, bytes | None]]:
        """Each file with the sha256 of its content when it is known by name, size and version.

        Args:
            root: folder or URL.
            files: sorted by path.
        """
        rows = self._rows(root)
        row = next(rows, None)
        back: list[tuple[str, bytes]] = []
        for file in files:
            digest = None
            while row is not None and row.path <= file.path:
                if row.path == file.path and file.version and row[2:4] == file[1:]:
                    digest = row.digest
                    if not row.present:
                        back.append((row.path, digest))
                row = next(rows, None)
            yield file, digest
        self._mark(root, back, present=True)

    def former(self, root: str, now: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
        """Names and contents that were seen below a root, are not forgotten, and are not there now.

        Args:
            root: folder or URL.
            now: every name and content, sorted.
        """
        names = iter(now)
        name = next(names, None)
        for row in self._rows(root):
            while name is not None and name < row[:2]:
                name = next(names, None)
            if name != row[:2]:
                yield row[:2]

    def remember(self, root: str, file: Found, digest: bytes, changed_ns: int | None) -> None:
        """Keep the sha256 of a file that was just read.

        Args:
            root: folder or URL.
            file: as it was listed.
            digest: sha256 (32 bytes).
            changed_ns: when the file was last changed, by the file system; None where the version alone says it.
        """
        settled = changed_ns is None or changed_ns < self.clock() - RACY_NS
        version = file.version if settled else ""
        values = (self._root(root), file.path, digest, file.size, version)
        self._do(lambda database: database.execute(_REMEMBER, (*values, _checksum(*values))))
        self._count()

    def gone(self, root: str, names: Iterable[tuple[str, bytes]]) -> None:
        """Say that these names no longer hold these contents; they stay in mind until they are forgotten."""
        self._mark(root, names, present=False)

    def forget(self, root: str, names: Iterable[tuple[str, bytes]]) -> None:
        """Nothing needs to be known any more of these contents under these names."""
        number = self._root(root)
        statement = "DELETE FROM files WHERE root = ? AND path = ? AND digest = ?"
        self._do(lambda database: database.executemany(statement, ((number, *name) for name in names)))

    def other_roots(self, root: str, path: str, digest: bytes) -> list[str]:
        """Other roots under which a content was present under this name when they were last listed, sorted."""
        statement = (
            "SELECT roots.root FROM roots CROSS JOIN files ON files.root = roots.id AND files.path = ? "
            "AND files.digest = ? WHERE files.present AND roots.root != ? ORDER BY roots.root"
        )
        found: list[tuple[str]] = self._do(lambda base: base.execute(statement, (path, digest, root)).fetchall()) or []
        return [row[0] for row in found]

    def recipes(self, recipe: str) -> int:
        """Number of recipes that this dataset was planned with, this one included."""
        self._do(lambda database: database.execute("INSERT OR IGNORE INTO recipes VALUES (?)", (recipe,)))
        count: tuple[int] | None = self._do(lambda base: base.execute("SELECT count(*) FROM recipes").fetchone())
        return count[0] if count else 1

    def shard_is_known(self, file: str, status: os.stat_result) -> bool:
        """Whether a shard was whole when it last looked like this."""
        statement = "SELECT size, version FROM shards WHERE file = ?"
        row: tuple[int, str] | None = self._do(lambda base: base.execute(statement, (file,)).fetchone())
        return row == (status.st_size, version_of(status))

    def remember_shard(self, file: str, status: os.stat_result) -> None:
        """Say that a shard is whole; `status` was taken before it was read, or by the process that wrote it."""
        values = (file, status.st_size, version_of(status))
        self._do(lambda database: database.execute("INSERT OR REPLACE INTO shards VALUES (?, ?, ?)", values))
        self._count()

    def forget_shards(self, but: set[str]) -> None:
        """Keep nothing but these shards in mind."""
        found: list[tuple[str]] = self._do(lambda base: base.execute("SELECT file FROM shards").fetchall()) or []
        gone = [row for row in found if row[0] not in but]
        self._do(lambda database: database.executemany("DELETE FROM shards WHERE file = ?", gone))

    def _rows(self, root: str) -> Iterator[_Row]:
        """The rows of a root, sorted by path; a row whose checksum is wrong was damaged and is left out."""
        statement = (
            "SELECT path, digest, size, version, present, checksum FROM files WHERE root = ? ORDER BY path, digest"
        )
        number = self._root(root)
        cursor: sqlite3.Cursor | None = self._do(lambda database: database.execute(statement, (number,)))
        while cursor is not None:
            part: list[tuple[str, bytes, int, str, int, int]] | None
            part = self._do(lambda _, cursor=cursor: cursor.fetchmany(ROWS_A_TRANSACTION))
            if not part:
                return
            for row in part:
                if _checksum(number, *row[:4]) == row[5]:
                    yield _Row(*row[:5])

    def _mark(self, root: str, names: Iterable[tuple[str, bytes]], *, present: bool) -> None:
        number, value = self._root(root), int(present)
        statement = "UPDATE files SET present = ? WHERE root = ? AND path = ? AND digest = ? AND present != ?"
        self._do(lambda base: base.executemany(statement, ((value, number, *name, value) for name in names)))

    def _root(self, root: str) -> int:
        if root not in self._roots:
            self._do(lambda database: database.execute("INSERT OR IGNORE INTO roots (root) VALUES (?)", (root,)))
            row: tuple[int] | None
            row = self._do(lambda base: base.execute("SELECT id FROM roots WHERE root = ?", (root,)).fetchone())
            self._roots[root] = row[0] if row else 0
        return self._roots[root]

    def _count(self) -> None:
        self._waiting += 1
        if self._waiting >= ROWS_A_TRANSACTION:
            self.flush()

    def _do(self, action: Callable[[sqlite3.Connection], Any]) -> Any:
        """What the action returns; None, and an empty database from now on, when this one is no good."""
        try:
            return action(self._database)
        except sqlite3.Error as error:
            self._database = self._anew(str(error))
            return None

    def _open(self) -> sqlite3.Connection:
        try:
            return _connect(self.path)
        except (sqlite3.Error, OSError) as error:
            return self._anew(str(error))

    def _anew(self, why: str) -> sqlite3.Connection:
        """Throw the database away; in memory where no file can be written."""
        log.warning("%s is of no use (%s): it is made anew, and files are hashed again", self.path, why)
        self.fresh = True
        self._roots = {}
        with contextlib.suppress(AttributeError, sqlite3.Error):
            self._database.close()
        try:
            for name in (self.path.name, *(f"{self.path.name}-{tail}" for tail in ("journal", "wal", "shm"))):
                self.path.with_name(name).unlink(missing_ok=True)
            return _connect(self.path)
        except (sqlite3.Error, OSError) as error:
            log.warning(
                "%s cannot be written (%s): what is learnt of files is lost with this process", self.path, error
            )
            return _connect(None)


def _connect(path: Path | None) -> sqlite3.Connection:
    """Open or make the database; raises sqlite3.Error when it is not ours or has another schema."""
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(path or ":memory:", timeout=LOCK_SECONDS)
    try:
        # Text that is no longer UTF-8 fails its checksum instead of the whole query.
        database.text_factory = _lenient
        found = [database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
        if found == [0, 0] and not database.execute("SELECT 1 FROM sqlite_master").fetchone():
            database.executescript(f"BEGIN IMMEDIATE; {_TABLES} COMMIT;")
        elif found != [APPLICATION, SCHEMA]:
            raise sqlite3.DatabaseError("it has another schema")
        database.execute("PRAGMA synchronous = NORMAL")
        # Takes the lock, so that a database in use by another process is found out now.
        database.execute("BEGIN IMMEDIATE")
        database.rollback()
    except sqlite3.Error:
        database.close()
        raise
    return database


def _lenient(value: bytes) -> str:
    return value.decode(errors="replace")


def _checksum(*row: object) -> int:
    """Of a row: a flipped bit would else pass for the hash of a file."""
    return zlib.crc32(repr(row).encode(errors="replace"))
