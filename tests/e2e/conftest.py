"""Fixtures of the slow tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from served import INGEST, TRAIN, Served, outcome

SHAPES = 24  # videos; enough for a few held-out clips of each class


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def shapes_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from vgan.data.shapes import write_videos

    folder = tmp_path_factory.mktemp("shapes")
    write_videos(folder, num=SHAPES, seed=1)
    return folder


@pytest.fixture(scope="session")
def ingested(shapes_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a small dataset `shapes`; to be copied."""
    from vgan.config import IngestConfig
    from vgan.data.ingest import ingest
    from vgan.workspace import Workspace

    root = tmp_path_factory.mktemp("ingested")
    ingest(Workspace.open(root), str(shapes_videos), "shapes", IngestConfig.model_validate(INGEST))
    return root


@pytest.fixture(scope="session")
def undisturbed(ingested: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, bytes]:
    """What the training that the tests of faults disturb makes when nobody does."""
    from vgan.config import TrainConfig
    from vgan.training.process import train
    from vgan.workspace import Workspace

    root = tmp_path_factory.mktemp("undisturbed") / "workspace"
    shutil.copytree(ingested, root)
    train(Workspace.open(root), "shapes", TrainConfig.model_validate(TRAIN))
    return outcome(root)


@pytest.fixture(scope="session")
def served(ingested: Path, shapes_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A Prefect server that may be killed; each test starts the workers that it kills."""
    it = Served(tmp_path_factory.mktemp("served"), ingested, shapes_videos)
    it.start_server()
    try:
        it.deploy()
        yield it
    finally:
        it.close()
