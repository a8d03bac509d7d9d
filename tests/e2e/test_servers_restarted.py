"""Servers that die, lock up or stay away while a run is under way: nothing is lost, and nothing is done twice."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from processes import BIN, clean_env, free_port, running, wait_until_answers
from served import (
    SECONDS,
    Served,
    assert_nothing_is_left_of,
    outcome,
    resumes,
    standing_still,
    training_of,
    wait_for,
    wait_until_it_trains,
)

Outcome = tuple[str, bytes]

pytestmark = pytest.mark.timeout(900)  # on a machine that is busy


def test_a_run_outlives_a_locked_database_and_a_restart_of_its_prefect_server(
    served: Served, undisturbed: Outcome, tmp_path: Path
) -> None:
    """FAULTS 40: the training goes on meanwhile, and what was committed stays as it is."""
    workspace = served.workspace(tmp_path)
    shards = {path: path.stat().st_mtime_ns for path in workspace.glob("datasets/**/*.tar")}
    with served.worker():
        run = served.trigger("train/on-demand", workspace)
        wait_until_it_trains(workspace, run)
        with standing_still(run) as training:
            with served.locked_database():
                time.sleep(15)
            served.kill_server()
            time.sleep(5)
            served.start_server()
            assert training.is_running()
        assert served.finished(run)["run_count"] == 1
    assert resumes(workspace) == 0
    assert outcome(workspace) == undisturbed
    assert {path: path.stat().st_mtime_ns for path in workspace.glob("datasets/**/*.tar")} == shards
    assert_nothing_is_left_of(run)


class Mlflow:
    """A real MLflow server whose database outlives it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.url, self.log = f"http://127.0.0.1:{self.port}", folder / "mlflow.log"

    @contextmanager
    def up(self) -> Iterator[None]:
        command = [str(BIN / "mlflow"), "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        with running(command, self.log, env=clean_env(), cwd=self.folder) as process:
            wait_until_answers(f"{self.url}/health", process, self.log, SECONDS)
            try:
                yield
            finally:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.url}/api/2.0/mlflow/{path}", data, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def steps(self) -> list[int]:
        """Steps of the curve that the server has of its only run; none before there is one."""
        experiments = self.ask("experiments/search", {"max_results": 10})["experiments"]
        ids = [experiment["experiment_id"] for experiment in experiments]
        found = self.ask("runs/search", {"experiment_ids": ids}).get("runs", [])
        if not found:
            return []
        (run,) = found
        asked = f"metrics/get-history?run_id={run['info']['run_id']}&metric_key=clips"
        return [metric["step"] for metric in self.ask(asked).get("metrics", [])]

    def versions(self) -> list[str]:
        return [version["version"] for version in self.ask("model-versions/search").get("model_versions", [])]


def test_curves_are_whole_and_one_version_is_registered_although_mlflow_died_on_the_way(
    served: Served, undisturbed: Outcome, tmp_path: Path
) -> None:
    """FAULTS 39: it has a part of the curves when it dies, misses the rest, and is back after the first tries."""
    workspace, mlflow = served.workspace(tmp_path), Mlflow(tmp_path)
    environment = {"MLFLOW_TRACKING_URI": mlflow.url, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    with served.worker():
        with mlflow.up():
            run = served.trigger("retrain/nightly", workspace, environment)
            wait_until_it_trains(workspace, run)
            (training,) = training_of(run)
            training.suspend()
            time.sleep(16)  # metrics are forwarded every quarter of a minute, with the next step
            while not (part := len(mlflow.steps())):
                training.resume()
                time.sleep(0.1)
                training.suspend()
                time.sleep(1)
        training.resume()
        served.wait_until_it_says(run, "registering shapes", "failed")
        with mlflow.up():
            assert served.finished(run)["run_count"] == 1
            steps = mlflow.steps()
            assert mlflow.versions() == ["1"]
    whole = len(outcome(workspace)[1].splitlines())
    assert 0 < part < whole
    assert steps == list(range(1, whole + 1))
    assert outcome(workspace) == undisturbed


def test_schedules_make_runs(served: Served) -> None:
    """Prefect's scheduler fails in its log only, as it does with a SQLAlchemy of another minor version."""
    from flows.services.servers import TRAINING_POOL

    def scheduled() -> set[str]:
        found = served.ask("/flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}})
        return {run["work_pool_name"] for run in found if run["auto_scheduled"]}

    assert TRAINING_POOL in wait_for(scheduled, lambda: (served.folder / "server.log").read_text()[-2000:])
