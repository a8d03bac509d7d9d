"""Two flow runs that want the same training: one trains, the other waits for its result."""

from __future__ import annotations

import threading

import pytest

from vgan import storage
from vgan.config import TrainConfig
from vgan.errors import ResumableError
from vgan.storage import lease
from vgan.training.plan import run_key
from vgan.training.process import train


def test_a_training_that_another_process_is_at_is_waited_for(workspace, dataset, make_run, monkeypatch):
    """FAULTS 41: its result is taken; who does not want to wait is told who is at it."""
    monkeypatch.setattr(storage, "WAIT_BETWEEN_SECONDS", 0.02)
    config = TrainConfig()
    key = run_key(dataset, config)
    taken, refused = threading.Event(), threading.Event()

    def other() -> None:
        with lease(workspace.run(key).lease):
            taken.set()
            refused.wait(60)
            make_run(key)

    thread = threading.Thread(target=other)
    thread.start()
    try:
        assert taken.wait(60)
        with pytest.raises(ResumableError, match="is in use by process"):
            train(workspace, "toys", config)
    finally:
        refused.set()
    trained, unchanged = train(workspace, "toys", config, wait=60)
    thread.join()
    assert unchanged
    assert trained.run == key
