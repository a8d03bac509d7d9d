"""Fixtures of the slow tests."""

from __future__ import annotations

from pathlib import Path

import pytest

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
