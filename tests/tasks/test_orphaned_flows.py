"""A flow whose worker has died goes on printing to nobody."""

from __future__ import annotations

import logging
import os

import pytest
from rich.console import Console

from tasks.orphaned import outlive_the_worker


@pytest.mark.parametrize("on_a_worker", [True, False])
def test_a_console_that_nobody_reads_ends_a_command_and_no_flow(
    on_a_worker: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "dup2", lambda *_: None)  # of rich, which would take this process's standard output
    monkeypatch.delenv("PREFECT__FLOW_RUN_ID", raising=False)
    if on_a_worker:
        monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "1")
    read, write = os.pipe()
    handler = logging.StreamHandler()
    with os.fdopen(write, "w") as stream:
        console = handler.console = Console(file=stream)  # type: ignore[attr-defined]
        logger = logging.getLogger("tested.orphan")
        logger.addHandler(handler)
        try:
            outlive_the_worker()
        finally:
            logger.removeHandler(handler)
        os.close(read)
        if on_a_worker:
            console.print("to nobody")
            console.print("again")
            assert console.quiet
        else:
            with pytest.raises(SystemExit):
                console.print("to nobody")
        monkeypatch.undo()
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # what is left in its buffer
