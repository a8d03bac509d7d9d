"""A window of a real browser, and the screenshots that are taken of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

SECONDS = 120  # for a page on a machine that is busy
SIZE = {"width": 1280, "height": 800}
FLAGS = ("--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required")


@contextmanager
def window(executable: str) -> Iterator[Page]:
    """An empty window of this machine's browser, for the length of the block."""
    with sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=executable, args=list(FLAGS))
        try:
            page = chromium.new_page(viewport=SIZE)  # type: ignore[arg-type]
            page.set_default_timeout(SECONDS * 1000)
            yield page
        finally:
            chromium.close()


class Shots:
    """Screenshots by name, kept in a folder; also in VGAN_SCREENSHOTS, when that is set, for the documentation."""

    def __init__(self, page: Page, folder: Path) -> None:
        self.page = page
        kept = os.environ.get("VGAN_SCREENSHOTS")
        self.folders = [folder, *([Path(kept)] if kept else [])]

    def take(self, name: str) -> None:
        """Keep what the window shows now."""
        shot = self.page.screenshot(animations="disabled")
        for folder in self.folders:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.png").write_bytes(shot)
