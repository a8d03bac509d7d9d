"""A registered model as the start of a training: found by name, checked, and kept."""

from __future__ import annotations

import pytest

from tasks import registration
from tasks.generation import initial_weights
from vgan.config import RegisterConfig, TrainConfig
from vgan.errors import ConfigError, CorruptDataError, RegistryError
from vgan.storage import sha256_file
from vgan.training.plan import prepare, run_key
from vgan.workspace import Workspace

CHAMPION = TrainConfig(init="models:/toys@champion")


@pytest.fixture
def registered(workspace: Workspace, make_run) -> str:
    """sha256 of the champion's weights."""
    registration.register(workspace, make_run("toys-1", figure=1.0, seed=1), RegisterConfig())
    return weights(workspace, "toys-1")


def weights(workspace: Workspace, run: str) -> str:
    return sha256_file(workspace.run(run).generator / "weights.safetensors")


def test_a_model_is_found_by_alias_and_version_and_an_unknown_one_is_named(workspace, dataset, registered, make_run):
    assert initial_weights(workspace, dataset, CHAMPION) == registered
    assert initial_weights(workspace, dataset, TrainConfig(init="models:/toys/1")) == registered
    for init in ("models:/nothing@champion", "models:/toys@nobody", "models:/toys/9", "models:/toys"):
        with pytest.raises(ConfigError, match=init) as caught:
            initial_weights(workspace, dataset, TrainConfig(init=init))
        assert "toys" in caught.value.hint
    registration.register(workspace, make_run("toys-2", figure=0.5, seed=2), RegisterConfig())
    moved = initial_weights(workspace, dataset, CHAMPION)
    assert moved == weights(workspace, "toys-2")
    assert run_key(dataset, CHAMPION, moved) != run_key(dataset, CHAMPION, registered)


def test_a_registry_that_is_away_or_damaged_loses_no_run_that_has_started(workspace, dataset, registered, monkeypatch):
    other = CHAMPION.model_copy(update={"seed": 5})
    prepare(workspace, dataset, CHAMPION, initial_weights(workspace, dataset, CHAMPION))
    for package in workspace.root.glob("mlartifacts/**/weights.safetensors"):
        package.write_bytes(package.read_bytes()[:-1] + b"?")
    assert initial_weights(workspace, dataset, CHAMPION) == registered
    with pytest.raises(CorruptDataError, match="altered"):
        initial_weights(workspace, dataset, other)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert initial_weights(workspace, dataset, CHAMPION) == registered
    with pytest.raises(RegistryError):
        initial_weights(workspace, dataset, other)


def test_asking_for_a_model_where_none_was_ever_registered_writes_nothing(workspace, dataset):
    before = sorted(workspace.root.rglob("*"))
    with pytest.raises(ConfigError, match="no registered model 'models:/toys@champion'"):
        initial_weights(workspace, dataset, CHAMPION)
    assert sorted(workspace.root.rglob("*")) == before
