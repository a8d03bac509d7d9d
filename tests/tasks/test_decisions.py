"""A flow run stays with the weights and the dataset version that its first attempt took."""

from __future__ import annotations

import os
import time

import pytest
from prefect.runtime import flow_run

from tasks import decisions, train
from tasks.decisions import decided
from vgan.config import TrainConfig
from vgan.storage import write_atomic
from vgan.workspace import Workspace

CHAMPION = TrainConfig(init="models:/toys@champion")


@pytest.fixture
def flow_runs(monkeypatch):
    """Be in the flow run of this id from now on."""
    return lambda name: monkeypatch.setattr(flow_run, "get_id", lambda: name)


def test_a_retry_starts_from_the_same_weights_although_the_alias_has_moved(workspace, dataset, flow_runs, monkeypatch):
    """FAULTS 40: without asking the registry again, which may be away by then."""
    asked: list[str] = []

    def champion_is(sha256: str) -> None:
        def find(*_: object) -> str:
            asked.append(sha256)
            write_atomic(workspace.initial(sha256), b"weights")
            return sha256

        monkeypatch.setattr(train, "initial_weights", find)

    champion_is("aa")
    flow_runs("run-1")
    assert train._initial(workspace, dataset, CHAMPION) == "aa"
    champion_is("bb")
    assert train._initial(workspace, dataset, CHAMPION) == "aa"
    flow_runs("run-2")
    assert train._initial(workspace, dataset, CHAMPION) == "bb", "the champion of now"
    flow_runs("run-1")
    assert train._initial(workspace, dataset, CHAMPION) == "aa"
    assert asked == ["aa", "bb"]
    workspace.initial("aa").unlink()
    assert train._initial(workspace, dataset, CHAMPION) == "bb", "no other is left to start from"
    assert train._initial(workspace, dataset, TrainConfig()) is None


def test_a_retry_trains_on_the_same_version_although_there_is_a_newer_one(workspace, dataset, flow_runs):
    flow_runs("run-1")
    assert train._version(workspace, "toys") == dataset.digest()
    newer, folder = dataset.model_copy(update={"number": 2}), workspace.dataset("toys")
    for path in (folder.manifest, folder.version(newer.digest())):
        write_atomic(path, newer.to_json())
    assert train._version(workspace, "toys") == dataset.digest()
    flow_runs("run-2")
    assert train._version(workspace, "toys") == newer.digest()
    flow_runs("run-1")
    folder.version(dataset.digest()).unlink()
    assert train._version(workspace, "toys") == newer.digest(), "there is no other left"


def test_a_damaged_decision_is_made_again_and_old_ones_are_forgotten(workspace: Workspace, flow_runs):
    flow_runs("run-1")
    assert decided(workspace, "which", lambda: "this") == "this"
    assert decided(workspace, "which", lambda: "that") == "this"
    assert decided(workspace, "another", lambda: "that") == "that"
    for path in workspace.root.glob("flow-runs/run-1/*.json"):
        path.write_bytes(b"{")
    assert decided(workspace, "which", lambda: "that") == "that"
    old = time.time() - decisions.KEPT_SECONDS - 1
    os.utime(workspace.root / "flow-runs" / "run-1", (old, old))
    flow_runs("run-2")
    assert decided(workspace, "which", lambda: "this") == "this"
    assert [path.name for path in workspace.root.glob("flow-runs/*")] == ["run-2"]


def test_a_task_outside_of_any_flow_decides_by_itself(workspace: Workspace):
    assert decided(workspace, "which", lambda: "this") == "this"
    assert decided(workspace, "which", lambda: "that") == "that"
    assert not list(workspace.root.iterdir())
