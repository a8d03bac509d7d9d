"""Prefect's temporary server ends with the command that started it, even when that was killed.

Prefect stops the server when its process exits by itself; after SIGKILL the server would stay for ever. It runs
by uvicorn, which reads its options from the environment too: its event loop is made here, before anything else
is loaded, and ties the process to the command.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager

from vgan.training.lifeline import SUPERVISOR, die_with

LOOP = "UVICORN_LOOP"


@contextmanager
def mortal_servers() -> Iterator[None]:
    """uvicorn servers that are started inside end with this process."""
    added = {LOOP: f"{__name__}:{make_loop.__name__}", SUPERVISOR: str(os.getpid())}
    before = {name: os.environ.get(name) for name in added}
    os.environ.update(added)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def make_loop() -> asyncio.AbstractEventLoop:
    """The event loop of such a server, which uvicorn calls in it."""
    die_with(int(os.environ.pop(SUPERVISOR)))
    from uvicorn.loops.auto import auto_loop_factory

    return auto_loop_factory()()
