"""What the tests of ingest share."""

import shutil
from pathlib import Path

import pytest
from ingesting import count_decoding


@pytest.fixture
def counted(monkeypatch):
    """Names of the files that were decoded."""
    return count_decoding(monkeypatch)


@pytest.fixture
def videos(shapes_videos, tmp_path):
    """A copy of the shapes that a test may change."""
    return Path(shutil.copytree(shapes_videos, tmp_path / "videos"))
