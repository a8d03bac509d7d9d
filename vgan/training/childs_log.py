"""What a training process writes to its log, as its supervisor reads it while it runs. Needs no torch."""

from __future__ import annotations

import logging
from pathlib import Path

log = logging.getLogger(f"{__package__}.process")  # it is the supervisor who says it

TAIL_LINES = 12
# Lines that people are told at once begin so: level, and for what is no warning the module that says it.
TOLD = ((b"WARNING ", logging.WARNING), (b"INFO vgan.training.compiling: ", logging.INFO))


class ChildsLog:
    """The log of one attempt, from where it stands when this is made."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.begin = self.told = path.stat().st_size if path.exists() else 0

    def hand_on(self) -> str | None:
        """Log again what is new and for people; returns the last of it that is news and no warning."""
        if not self.path.exists() or self.path.stat().st_size == self.told:
            return None
        news: str | None = None
        with open(self.path, "rb") as file:
            file.seek(self.told)
            lines = file.read().split(b"\n")[:-1]  # what follows the last newline is still being written
        for line in lines:
            self.told += len(line) + 1
            for prefix, level in TOLD:
                if line.startswith(prefix):
                    text = line[len(prefix) :].decode(errors="replace")
                    (log.warning if level == logging.WARNING else log.info)("%s", text)
                    news = text if level == logging.INFO else news
        return news

    def tail(self) -> list[str]:
        """The last lines of this attempt."""
        with open(self.path, "rb") as file:
            file.seek(self.begin)
            return file.read().decode(errors="replace").splitlines()[-TAIL_LINES:]
