"""What is said of videos beside their bytes: label, licence and consent, from a CSV or JSON-lines file."""

from __future__ import annotations

import csv
import json
import logging
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

from ...errors import ConfigError
from ...remote import RemoteFolder, is_url, plain_path
from ...storage import storage_errors
from .names import has_controls, text_of

log = logging.getLogger(__name__)

FIELD_LIMIT = 1000  # characters of a label, licence or consent
PATH_LIMIT = 4096
LINE_LIMIT = 1 << 20  # bytes
COLUMNS = {"path": "path", "label": "label", "licence": "licence", "license": "licence", "consent": "consent"}


class Said(NamedTuple):
    """What a sidecar says of one video; None for what it does not say."""

    label: str | None = None
    licence: str | None = None
    consent: str | None = None


_Refuse = Callable[[int, str], ConfigError]


class Sidecar:
    """The rows of a sidecar by path."""

    def __init__(self, place: str, rows: dict[str, Said]) -> None:
        self.place = place
        self.rows = rows

    def of(self, paths: Iterable[str]) -> Said | None:
        """What is said of a video of these names, each field by the first name that has it; None without a row."""
        found = [self.rows[path] for path in paths if path in self.rows]
        if not found:
            return None
        return Said(
            *(next((value for value in column if value is not None), None) for column in zip(*found, strict=True))
        )

    def log_unused(self, paths: Iterable[str]) -> int:
        """Say how many rows name no file of these; returns how many."""
        used = sum(1 for path in paths if path in self.rows)
        if unused := len(self.rows) - used:
            present = set(paths)
            example = next(path for path in self.rows if path not in present)
            log.warning(
                "%d of %d rows of %s name no video, for example %r", unused, len(self.rows), self.place, example
            )
        return unused


def read_sidecar(place: str) -> Sidecar:
    """Read a sidecar whole.

    A `.jsonl` or `.ndjson` file holds one JSON object a line, any other is CSV with a header row. `path` is relative
    to the videos' root, with "/" between folders; `label`, `licence` (or `license`) and `consent` may be missing or
    empty. It is UTF-8, with or without a byte order mark.

    Args:
        place: path or URL.

    Raises:
        ConfigError: there is no such file, or a line of it cannot be used; names the line.
        StorageError: it cannot be read.
    """
    place = plain_path(place)
    if not is_url(place):
        path = Path(place).expanduser()
        if not path.is_file():
            raise ConfigError(f"there is no sidecar {path}.", hint="Name a CSV or JSON-lines file with --sidecar.")
        return _read(path, str(path))
    folder, _, name = place.rpartition("/")
    with tempfile.TemporaryDirectory(prefix="vgan-sidecar-") as scratch:
        copy = Path(scratch) / f"sidecar{Path(name).suffix}"
        try:
            RemoteFolder(folder).fetch(name, copy)
        except FileNotFoundError as error:
            raise ConfigError(f"there is no sidecar {place}.", hint="Name it with --sidecar.") from error
        return _read(copy, place)


def _read(path: Path, place: str) -> Sidecar:
    def refuse(line: int, problem: str) -> ConfigError:
        where = f"line {line} of the sidecar {place}" if line else f"the sidecar {place}"
        return ConfigError(f"{where}: {problem}.", hint="Mend it and run the same command again.")

    rows: dict[str, Said] = {}
    shared: dict[str, str] = {}  # few labels and licences for many videos: each once in memory
    read = _json_rows if path.suffix.lower() in (".jsonl", ".ndjson") else _csv_rows
    with storage_errors(path, "reading"):
        for line, row in read(_lines(path, refuse), refuse):
            name = _text((row.get("path") or "").removeprefix("./"))
            if not name:
                raise refuse(line, "it has no path")
            if len(name) > PATH_LIMIT or "\0" in name or not _is_text(name):
                raise refuse(line, "its path is no path")
            if name in rows:
                raise refuse(line, f"the path {name!r} stands there twice")
            values = [_clean(row.get(column), column, line, refuse) for column in Said._fields]
            rows[name] = Said(*(None if value is None else shared.setdefault(value, value) for value in values))
    if not rows:
        raise refuse(0, "it holds no row")
    return Sidecar(place, rows)


def _clean(value: str | None, column: str, line: int, refuse: _Refuse) -> str | None:
    value = (value or "").strip()
    if not value:
        return None
    if len(value) > FIELD_LIMIT:
        raise refuse(line, f"the {column} has {len(value):,} characters, more than {FIELD_LIMIT:,}")
    if has_controls(value):
        raise refuse(line, f"the {column} {value[:50]!r} holds control characters")
    return value


def _is_text(name: str) -> bool:
    # Half a character can be written in JSON, but in no file.
    return not re.search("[\ud800-\udfff]", name)


def _text(name: str) -> str:
    """The name as `text_of` writes it: a file of text holds it so already, JSON may hold the bytes unwritten."""
    return re.sub("[\udc80-\udcff]", lambda match: text_of(match[0]), name)


def _lines(path: Path, refuse: _Refuse) -> Iterator[str]:
    with open(path, "rb") as file:
        number = 0
        while raw := file.readline(LINE_LIMIT):
            number += 1
            if len(raw) == LINE_LIMIT:
                raise refuse(number, f"it has more than {LINE_LIMIT:,} bytes")
            try:
                yield raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise refuse(number, "it is not UTF-8") from error


def _csv_rows(lines: Iterator[str], refuse: _Refuse) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.reader(lines, strict=True)
    columns: list[str | None] | None = None
    start = 1
    try:
        for cells in reader:
            line, start = start, reader.line_num + 1
            if not any(cells):
                continue
            if columns is None:
                columns = _columns(cells, line, refuse)
                continue
            if len(cells) != len(columns):
                raise refuse(line, f"it has {len(cells)} cells, the header {len(columns)}")
            yield line, {column: cell for column, cell in zip(columns, cells, strict=True) if column}
    except csv.Error as error:
        raise refuse(max(start, reader.line_num), f"it is not CSV: {error}") from error


def _columns(header: list[str], line: int, refuse: _Refuse) -> list[str | None]:
    """The field that each column is read into; None for one that is not read."""
    names = [cell.strip().lower() for cell in header]
    columns = [COLUMNS.get(name) for name in names]
    known = [column for column in columns if column]
    if "path" not in known:
        raise refuse(line, f"there is no column 'path' (found: {', '.join(map(repr, names[:10]))})")
    if len(known) != len(set(known)):
        raise refuse(line, "a column stands there twice")
    _log_ignored(name for name in names if name not in COLUMNS)
    return columns


def _json_rows(lines: Iterator[str], refuse: _Refuse) -> Iterator[tuple[int, dict[str, str]]]:
    ignored: set[str] = set()
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            value: Any = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise refuse(number, f"it is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise refuse(number, "it is no JSON object")
        fields = cast("dict[str, Any]", value)
        row: dict[str, str] = {}
        for name, cell in fields.items():
            column = COLUMNS.get(name.strip().lower())
            if column is None:
                if len(ignored) < 10:
                    ignored.add(name)
            elif cell is not None:
                if column in row or isinstance(cell, bool) or not isinstance(cell, str | int):
                    raise refuse(number, f"its {column} is not one text")
                row[column] = str(cell)
        yield number, row
    _log_ignored(sorted(ignored))


def _log_ignored(names: Iterable[str]) -> None:
    if listed := ", ".join(repr(name[:50]) for name in names):
        log.info("columns of the sidecar that are not read: %s", listed)
