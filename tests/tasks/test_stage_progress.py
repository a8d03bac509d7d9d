"""What Prefect is told while a stage works."""

from __future__ import annotations

from typing import Any

import pytest

from tasks import progress
from tasks.progress import stage_progress


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


def test_the_artifact_says_what_the_terminal_says_and_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    sent: list[tuple[float, str]] = []

    def create(value: float, **named: Any) -> str:
        sent.append((value, named["description"]))
        return "id"

    monkeypatch.setattr(progress, "time", clock)
    monkeypatch.setattr(progress, "create_progress_artifact", create)
    monkeypatch.setattr(progress, "update_progress_artifact", lambda of, value, said: sent.append((value, said)))
    shown: list[tuple[float, float, str]] = []
    monkeypatch.setattr(progress, "terminal", lambda stage: lambda *said: shown.append(said))
    with stage_progress("train") as sink:
        sink(3, 3, "the last shard")
        for _ in range(4):
            clock.now += 2.0
            sink(5000 + 10 * clock.now, 8000, "10.0 clips/s, loss D 0.710 G 0.640")
    assert sent[-1] == (pytest.approx(63.5), "train: 10.0 clips/s, loss D 0.710 G 0.640, 4 min 52 s left")
    assert shown[-1] == (5080, 8000, "10.0 clips/s, loss D 0.710 G 0.640")
