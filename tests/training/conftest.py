from pathlib import Path

import pytest
from shapes_dataset import write_dataset

from vgan.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with a dataset `shapes` of 24 clips of 4 frames of 16 x 16 in two classes."""
    opened = Workspace.open(tmp_path / "workspace")
    write_dataset(opened)
    return opened
