"""What a person sees: logs and bars on standard error, results on standard output."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn
from rich.table import Column, Table

from vgan import logs
from vgan.errors import VganError
from vgan.progress import Pace
from vgan.progress import Progress as ProgressSink

err = Console(stderr=True)
out = Console()
_for_json: TextIO | None = None  # standard output, while nothing else may be written to it


def setup_logging() -> None:
    """Send vgan's own log lines to standard error, warnings of libraries too; as JSON when that is asked for."""
    if logs.wanted():
        logs.as_json()
    else:
        logs.as_text(("vgan", "tasks"))


def complain(error: VganError) -> None:
    """Say why a command ends: what was wrong, and on a line of its own what to do next."""
    if logs.wanted():
        logs.complain(error)
        return
    err.print(f"[bold red]vgan:[/] {escape(printable(error.message))}", highlight=False, soft_wrap=True)
    if error.hint:
        err.print(f"      {escape(printable(error.hint))}", highlight=False, soft_wrap=True)


@contextmanager
def bars() -> Iterator[Callable[[str], ProgressSink]]:
    """Progress bars on a terminal, nothing in a pipe: yields a maker of one sink a stage.

    Stage, bar, share and time left have their places; a note that is longer than the rest of the line is cut off.
    """
    columns = (
        TextColumn("[bold]{task.fields[stage]:>9}"),
        BarColumn(bar_width=max(10, min(40, err.width - 90))),
        TaskProgressColumn(),
        TextColumn("{task.fields[left]:>7}", style="progress.remaining"),
        TextColumn("{task.description}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
    )
    with Progress(*columns, console=err, expand=True, disable=logs.wanted() or not err.is_terminal) as shown:
        rows: dict[str, tuple[TaskID, Pace]] = {}

        def sink_of(stage: str) -> ProgressSink:
            if stage not in rows:
                rows[stage] = shown.add_task("", stage=stage, left=""), Pace()
            row, pace = rows[stage]

            def report(done: float, total: float, note: str) -> None:
                pace.tell(time.monotonic(), done, total)
                left = "" if done >= total else clock(pace.seconds_left)
                shown.update(row, completed=done, total=total, description=escape(note), left=left)

            return report

        yield sink_of


def clock(seconds: float | None) -> str:
    """A time left as '1:02:03', as long for any of them below ten hours; '-:--:--' when it is not known."""
    if seconds is None:
        return "-:--:--"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


@contextmanager
def json_alone() -> Iterator[None]:
    """Keep standard output for `print_json`: what a library prints there goes to standard error."""
    global _for_json  # noqa: PLW0603
    _for_json = sys.stdout
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _for_json = None


def print_json(value: dict[str, Any]) -> None:
    """One JSON object on standard output."""
    output = _for_json or sys.stdout
    output.write(json.dumps(value, allow_nan=False) + "\n")
    output.flush()


def print_table(title: str, rows: list[tuple[str, ...]], headings: tuple[str, ...]) -> None:
    """A table for people; text of files and servers is shown as it is, never as markup."""
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(escape(printable(cell)) for cell in row))
    out.print(table)


def size(count: float) -> str:
    """Bytes for people, in powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def printable(text: str) -> str:
    """`text` without control characters and undecodable bytes, which a terminal would obey or choke on."""
    safe = text.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in safe)
