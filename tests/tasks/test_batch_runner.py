"""Promises of the runner of batches before anything runs on it."""

from __future__ import annotations

import pytest

from flows import runners
from flows.runners import batch_runner
from vgan.config import IngestConfig
from vgan.errors import ConfigError, MissingToolError, StorageError


@pytest.mark.parametrize("engine", ["dask", "ray"])
def test_an_engine_that_is_not_installed_is_told_with_the_command_that_installs_it(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runners, "find_spec", lambda name: None)
    config = IngestConfig.model_validate({"runner": engine})
    with pytest.raises(MissingToolError, match=rf"pip install 'vgan\[{engine}\]'"), batch_runner(config):
        pass


def test_a_cluster_elsewhere_needs_a_prefect_server_that_it_can_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runners, "find_spec", lambda name: object())
    config = IngestConfig(runner="dask", runner_address="tcp://127.0.0.1:9")
    with pytest.raises(ConfigError, match="PREFECT_API_URL"), batch_runner(config):
        pass


def test_an_address_without_a_cluster_is_refused() -> None:
    with pytest.raises(ValueError, match="set `runner` to dask or ray"):
        IngestConfig(runner_address="tcp://127.0.0.1:9")


@pytest.mark.e2e
def test_a_cluster_that_does_not_answer_is_named() -> None:
    dask = pytest.importorskip("dask")
    from prefect.settings import PREFECT_API_URL, temporary_settings

    config = IngestConfig(runner="dask", runner_address="tcp://127.0.0.1:9")
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        dask.config.set({"distributed.comm.timeouts.connect": "0.5s"}),
        pytest.raises(StorageError, match=r"tcp://127\.0\.0\.1:9 does not answer"),
        batch_runner(config),
    ):
        pass
