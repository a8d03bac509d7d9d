"""The machine's figures in MLflow: what a server has not seen is made up for, once."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tasks.tracking.runs import METRICS_PER_CALL, _replay_system


class Server:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def get_metric_history(self, run_id: str, name: str) -> list[Any]:
        return [metric for metric in self.told if metric.key == name]

    def log_batch(self, run_id: str, metrics: list[Any]) -> None:
        assert 0 < len(metrics) <= METRICS_PER_CALL
        self.told += metrics


def test_lines_are_logged_once_with_the_time_of_their_making(tmp_path: Path) -> None:
    path, server = tmp_path / "system.jsonl", Server()
    api: Any = server
    _replay_system(api, "run", path)
    assert server.told == []
    figures = {"cpu_utilization_percentage": 50.0, "gpu_0_utilization_percentage": 9.0}
    made = [json.dumps({"time": 1000 + n, **figures}) for n in range(METRICS_PER_CALL)]
    path.write_text("\n".join([*made, '{"time": 5, "half']))
    _replay_system(api, "run", path)
    _replay_system(api, "run", path)
    assert len(server.told) == 2 * METRICS_PER_CALL
    path.write_text("\n".join([*made, json.dumps({"time": 7, **figures}), ""]))
    _replay_system(api, "run", path)
    last = [SimpleNamespace(**{"key": m.key, "at": m.timestamp, "step": m.step}) for m in server.told[-2:]]
    assert [metric.key for metric in last] == [f"system/{name}" for name in figures]
    assert {(metric.at, metric.step) for metric in last} == {(7, METRICS_PER_CALL)}
