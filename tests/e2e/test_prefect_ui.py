"""The Prefect UI in a real browser: a retraining is started, watched, cancelled and retried by clicking alone."""

from __future__ import annotations

import json
from io import BytesIO

import pytest
from PIL import Image
from served import resumes
from ui_story import NAME, Story, dataset_files, steps_logged

pytest_plugins = ("ui_fixtures",)
pytestmark = pytest.mark.timeout(1200)  # on a machine that is busy; alone, all of them take less than 150 s


def test_the_form_takes_numbers_choices_and_switches_of_nested_settings(submitted: Story) -> None:
    given = submitted.parameters
    assert given["name"] == NAME
    wanted = {
        "ingest_config": {"frames": 8, "height": 32, "width": 32, "labels": "folder", "exclude_synthetic": True},
        "train_config": {"preset": "tiny", "budget": "30s", "threads": 1, "device": "cpu", "deterministic": True},
        "evaluate_config": {"clips": 16, "bootstrap": 20},
    }
    for section, fields in wanted.items():
        assert {name: given[section][name] for name in fields} == fields
    assert given["ingest_config"]["fps"] == 8, "what was not touched keeps its default"


def test_the_page_of_a_run_shows_its_stages_progress_and_artifacts(watched_run: Story) -> None:
    shown = watched_run.shown
    assert "ingest" in shown["Subflow Runs"]
    assert "train" in shown["Task Runs"]
    for artifact in ("train-progress", "retrain-summary", "training-samples"):
        assert artifact in shown["Artifacts"].lower()
    first, later = watched_run.progress
    assert 0 < first < later <= 100
    graph = Image.open(BytesIO(watched_run.graph)).convert("RGB")
    assert len(graph.getcolors(1 << 24) or []) > 8, "a picture of the run, not an empty area"


def test_cancelling_writes_a_checkpoint_and_stops_with_nothing_left_behind(cancelled: Story) -> None:
    """FAULTS 9: a training that is cancelled from the UI finishes its step and writes a checkpoint."""
    assert cancelled.stopped_at > cancelled.checkpoint, "of the step at which it was cancelled"
    assert cancelled.seconds < cancelled.bound
    assert cancelled.left == []


def test_a_retry_goes_on_from_that_checkpoint_and_repeats_nothing(retried: Story) -> None:
    (record,) = retried.root.glob("runs/*/run.json")
    log = (record.parent / "train.log").read_text()
    assert resumes(retried.root) == 1
    assert f"resuming at step {retried.stopped_at}," in log
    steps = steps_logged(retried.root)
    assert steps == sorted(set(steps)), "no step was trained twice"
    assert json.loads(record.read_text())["steps"] >= steps[-1] > retried.stopped_at
    assert dataset_files(retried.root) == retried.before, "nothing was ingested again"
    tasks = retried.watched.ask("/task_runs/filter", {"sort": "EXPECTED_START_TIME_ASC"})
    assert sum(task["name"].startswith("ingest-batch-") for task in tasks) == 1
    for artifact in ("verdict", "metrics", "report"):
        assert artifact in retried.shown["Completed"].lower()
