"""Runs of a worker whose processes are killed, meet a full disk or each other: each ends as an undisturbed one does."""

from __future__ import annotations

import resource
from pathlib import Path

import psutil
import pytest
from served import (
    Served,
    assert_nothing_is_left_of,
    flow_of,
    outcome,
    resumes,
    standing_still,
    training_of,
    wait_for,
    wait_until_it_trains,
)

Outcome = tuple[str, bytes]

pytestmark = pytest.mark.timeout(900)  # on a machine that is busy


def test_training_that_met_a_full_disk_and_then_was_killed_is_gone_on_with_by_the_retries_of_its_task(
    served: Served, undisturbed: Outcome, tmp_path: Path
) -> None:
    """FAULTS 5, 6, 11: each attempt goes on from the newest checkpoint; the file that could not be written is named."""
    workspace = served.workspace(tmp_path)
    with served.worker():
        run = served.trigger("train/on-demand", workspace)
        wait_until_it_trains(workspace, run)
        (training,) = training_of(run)
        resource.prlimit(training.pid, resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
        wait_for(lambda: resumes(workspace) == 1 and training_of(run))
        (training,) = training_of(run)
        training.kill()
        assert served.finished(run)["run_count"] == 1
    assert resumes(workspace) == 2
    assert outcome(workspace) == undisturbed
    assert any("File too large" in line for line in served.logs(run))
    assert_nothing_is_left_of(run)


def test_a_run_whose_flow_process_is_killed_is_crashed_and_gone_on_with(
    served: Served, undisturbed: Outcome, tmp_path: Path
) -> None:
    """FAULTS 10, 40: the training ends with the flow, even while it stands still; the worker tells the server."""
    workspace = served.workspace(tmp_path)
    with served.worker():
        run = served.trigger("train/on-demand", workspace)
        wait_until_it_trains(workspace, run)
        with standing_still(run) as training:
            flow_of(run).kill()
            training.wait(30)
        assert served.finished(run)["run_count"] == 2
    assert "CRASHED" in served.states(run)
    assert resumes(workspace) == 1
    assert outcome(workspace) == undisturbed
    assert_nothing_is_left_of(run)


def test_a_run_outlives_the_worker_that_started_it(served: Served, undisturbed: Outcome, tmp_path: Path) -> None:
    """FAULTS 40: the flow tells the server itself how it ended; the next worker does not begin it anew."""
    workspace = served.workspace(tmp_path)
    with served.worker() as worker:
        run = served.trigger("train/on-demand", workspace)
        wait_until_it_trains(workspace, run)
        with standing_still(run):
            worker.kill()
            worker.wait(30)
        with served.worker():
            assert served.finished(run)["run_count"] == 1
    assert resumes(workspace) == 0
    assert outcome(workspace) == undisturbed
    assert_nothing_is_left_of(run)


def test_a_run_whose_machine_died_is_found_silent_and_gone_on_with_by_another_worker(
    served: Served, undisturbed: Outcome, tmp_path: Path
) -> None:
    """FAULTS 40, 42: worker, flow and training are killed at once, so nobody is left to tell the server."""
    workspace = served.workspace(tmp_path)
    with served.worker() as worker:
        run = served.trigger("train/on-demand", workspace)
        wait_until_it_trains(workspace, run)
        dying = [worker, *worker.children(recursive=True)]
        for process in dying:
            process.suspend()  # so that none sees another one's end
        for process in dying:
            process.kill()
        psutil.wait_procs(dying, timeout=30)
    assert_nothing_is_left_of(run)
    assert served.read(run)["state_type"] == "RUNNING"
    with served.worker():
        assert served.finished(run)["run_count"] == 2
    assert "CRASHED" in served.states(run)
    assert resumes(workspace) == 1
    assert outcome(workspace) == undisturbed


def test_runs_that_meet_on_one_dataset_train_once_and_register_one_version(
    served: Served, undisturbed: Outcome, tmp_path: Path
) -> None:
    """FAULTS 41: of two deployments, which no queue keeps apart; the second waits for the lease and finds it done."""
    workspace = served.workspace(tmp_path)
    with served.worker(), served.worker():
        first = served.trigger("train/on-demand", workspace)
        wait_until_it_trains(workspace, first)
        with standing_still(first):
            second = served.trigger("retrain/nightly", workspace)
            served.wait_until_it_says(second, "is in use by process")
        assert [served.finished(run)["run_count"] for run in (first, second)] == [1, 1]
    assert resumes(workspace) == 0
    assert outcome(workspace) == undisturbed
    assert len(list(workspace.glob("mlartifacts/**/weights.safetensors"))) == 1
