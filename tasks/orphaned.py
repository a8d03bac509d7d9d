"""A flow outlives the worker that started it, although nobody reads what it prints any more."""

from __future__ import annotations

import logging
import os
from typing import Any


def outlive_the_worker() -> None:
    """Let a console whose reader has gone fall silent; rich would end the process, and with it the flow."""
    if not os.environ.get("PREFECT__FLOW_RUN_ID"):
        return  # of a command: `vgan run | head` ends with its reader
    loggers = [logging.getLogger(), *logging.root.manager.loggerDict.values()]
    for handler in {handler for logger in loggers for handler in getattr(logger, "handlers", ())}:
        if console := getattr(handler, "console", None):
            _silence_when_unread(console)


def _silence_when_unread(console: Any) -> None:
    def fall_silent() -> None:
        console.quiet = True

    console.on_broken_pipe = fall_silent
