"""The sheet of samples that a training draws at each checkpoint, on its page in Prefect while it trains."""

from __future__ import annotations

import base64
import io
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from pathlib import Path

from tasks.showing import Page
from vgan.workspace import RunFolder

log = logging.getLogger(__name__)

KEY = "training-samples"
SECONDS_BETWEEN_LOOKS = 15.0
CLOSING_SECONDS = 3.0  # that the end of the block waits for the last sheet
ROWS, TILE, BELOW = 6, 64, 4  # of clips shown; pixels of a frame's smaller side in a sheet, and between its rows
MOST_WIDE = 1040  # pixels
MOST_BYTES = 40_000  # of the picture: it goes into Prefect's database
QUALITIES = (85, 70, 50, 30)


@contextmanager
def showing_samples(folder: RunFolder) -> Iterator[None]:
    """Show the newest sheet of the run as long as the block lasts; never in the way of the work."""
    ended = threading.Event()
    before = newest_sheet(folder) if folder.record.exists() else None  # of a run that had finished already
    context = copy_context()  # says which run the page belongs to
    watching = threading.Thread(target=context.run, args=(_watch, folder, before, ended), daemon=True, name="samples")
    watching.start()
    try:
        yield
    except BaseException:  # whoever stops a run waits for nothing
        ended.set()
        raise
    ended.set()
    watching.join(CLOSING_SECONDS)


def _watch(folder: RunFolder, shown: Path | None, ended: threading.Event) -> None:
    page, over = Page(KEY), False
    while not over:
        over = ended.wait(SECONDS_BETWEEN_LOOKS if page.begun else 1.0)
        with suppress(Exception):  # the folder, or Prefect, may be away
            newest = newest_sheet(folder)
            if newest is not None and newest != shown:
                page.write(*samples_page(newest))
                shown = newest


def newest_sheet(folder: RunFolder) -> Path | None:
    """The sheet of the highest step."""
    drawn = [path for path in folder.samples.glob("step-*.png") if path.stem[5:].isdigit()]
    return max(drawn, key=lambda path: int(path.stem[5:]), default=None)


def samples_page(sheet: Path) -> tuple[str, str]:
    """(Markdown with the picture in it, description); raises ValueError for what is no picture."""
    said = f"Samples at step {int(sheet.stem[5:]):,}"
    picture = sheet_markdown(sheet, said)
    if picture is None:
        raise ValueError(f"{sheet} is no picture")
    told = f"{said}: generated clips, one a row, each read from left to right, always from the same seeds."
    return f"{told}\n\n{picture}", said


def sheet_markdown(path: Path, title: str) -> str | None:
    """The sheet in the text itself, for Prefect's page, which stores no files; None as of `sheet_jpeg`."""
    jpeg = sheet_jpeg(path)
    return f"![{title}](data:image/jpeg;base64,{base64.b64encode(jpeg).decode()})" if jpeg else None


def sheet_jpeg(path: Path) -> bytes | None:
    """The first rows of a contact sheet as a small jpeg; None when it is no picture, or never small enough."""
    from PIL import Image

    try:
        with Image.open(path) as opened:
            sheet = opened.convert("RGB")
    except (OSError, ValueError) as error:
        log.debug("%s is not shown: %s", path, error)
        return None
    # Frames are enlarged by a whole factor to at least TILE, so six rows end between two of them or within one.
    sheet = sheet.crop((0, 0, sheet.width, min(sheet.height, ROWS * (TILE + BELOW) * max(1, sheet.width // MOST_WIDE))))
    sheet.thumbnail((MOST_WIDE, MOST_WIDE))
    for quality in QUALITIES:
        held = io.BytesIO()
        sheet.save(held, "JPEG", quality=quality)
        if held.tell() <= MOST_BYTES:
            return held.getvalue()
    return None
